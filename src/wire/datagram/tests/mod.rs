//! Datagrams against the golden bytes, at every cut, and with every bit turned.

mod faults;
mod random;

use super::super::name;
use super::super::reader::{Reader, put_short};
use super::super::reason::RejectCause;
use super::super::samples::{header, key_7, names, unhex, vector, vectors};
use super::super::seal::Key;
use super::*;

/// A request as a receiver sees it and as a sender writes it.
#[derive(Clone, Debug)]
struct Sample {
    received: Request<'static>,
    sent: RequestBody<'static>,
}

impl Sample {
    fn push(
        (reply, collapse): (ReplyMode, &'static [u8]),
        (ttl_s, spread_ms): (u32, u32),
        list: Vec<Target<'static>>,
        payload: &'static [u8],
    ) -> Self {
        let list = &*list.leak();
        let (targets, sent_targets) = (targets(list), list);
        let received = Request::Push(Push {
            reply,
            collapse,
            ttl_s,
            spread_ms,
            targets,
            payload,
        });
        let sent = RequestBody::Push {
            reply,
            collapse,
            ttl_s,
            spread_ms,
            targets: sent_targets,
            payload,
        };
        Self { received, sent }
    }

    fn join(group: &'static str, users: Vec<&'static str>) -> Self {
        let users = &*users.leak();
        let received = Request::Join(Membership {
            group,
            users: names(users),
        });
        Self {
            received,
            sent: RequestBody::Join { group, users },
        }
    }

    fn leave(group: &'static str, users: Vec<&'static str>) -> Self {
        let users = &*users.leak();
        let received = Request::Leave(Membership {
            group,
            users: names(users),
        });
        Self {
            received,
            sent: RequestBody::Leave { group, users },
        }
    }

    fn kick(kick: Kick<'static>) -> Self {
        Self {
            received: Request::Kick(kick),
            sent: RequestBody::Kick(kick),
        }
    }

    fn presence(list: Vec<Target<'static>>) -> Self {
        let list = &*list.leak();
        let received = Request::Presence(targets(list));
        Self {
            received,
            sent: RequestBody::Presence { targets: list },
        }
    }

    fn ping(bytes: &'static [u8]) -> Self {
        Self {
            received: Request::Ping(bytes),
            sent: RequestBody::Ping(bytes),
        }
    }

    fn encode(&self, key: Option<&Key>) -> Vec<u8> {
        let mut out = Vec::new();
        let header = header(self.sent.op(), if key.is_some() { 7 } else { 0 });
        encode_request(&mut out, &header, &self.sent, key);
        out
    }

    fn body(&self) -> Vec<u8> {
        self.encode(None).split_off(HEADER_BYTES)
    }

    /// How many bytes at the end may be more or fewer.
    fn rest_len(&self) -> Option<usize> {
        match self.received {
            Request::Push(Push { payload: bytes, .. }) | Request::Ping(bytes) => Some(bytes.len()),
            _ => None,
        }
    }
}

/// Targets as if decoded. Their bytes are leaked: only tests make them from a slice.
fn targets(list: &[Target<'_>]) -> Targets<'static> {
    let mut bytes = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    for target in list {
        bytes.push(target.code());
        put_short(&mut bytes, target.name().as_bytes());
    }
    Targets::decode(&mut Reader::new(bytes.leak()), u16::MAX, |_| Ok(())).unwrap()
}

/// The value of every golden request, named as there, and whether it is signed.
fn golden() -> Vec<(&'static str, bool, Sample)> {
    use Target::{All, ExceptGroup, ExceptUser, Group, User};
    let kick = Kick {
        user: "a",
        device: "",
        hold_s: 60,
        reason: "bye",
    };
    vec![
        (
            "push_all_unsigned",
            false,
            Sample::push((ReplyMode::One, b""), (0, 0), vec![All], b"hello"),
        ),
        (
            "push_user_and_group_signed",
            true,
            Sample::push(
                (ReplyMode::Two, b"score"),
                (3600, 0),
                vec![User("user-42"), Group("room/ü")],
                b"\x00\xff payload",
            ),
        ),
        (
            "push_all_except_spread_signed",
            true,
            Sample::push(
                (ReplyMode::None, b""),
                (0, 5000),
                vec![All, ExceptUser("user-42"), ExceptGroup("muted")],
                b"",
            ),
        ),
        ("join_signed", true, Sample::join("room/1", vec!["a", "b"])),
        ("kick_signed", true, Sample::kick(kick)),
        (
            "presence_signed",
            true,
            Sample::presence(vec![All, User("a"), Group("room/1")]),
        ),
        ("ping_unsigned", false, Sample::ping(b"tick")),
    ]
}

/// One sample of each op and of each form of it, the golden ones among them.
fn samples() -> Vec<Sample> {
    let kick = Kick {
        user: "a",
        device: "phone",
        hold_s: HOLD_S_MAX,
        reason: "",
    };
    let more = [
        Sample::leave("room/1", vec!["a", "b"]),
        Sample::kick(kick),
        Sample::ping(b""),
        Sample::ping(&[0xee; PING_BYTES_MAX]),
    ];
    golden()
        .into_iter()
        .map(|(_, _, sample)| sample)
        .chain(more)
        .collect()
}

fn verified(bytes: &[u8], signed: bool) -> Result<Verified<'_>, RejectCause> {
    let unverified = Unverified::parse(bytes)?;
    if signed {
        unverified.verify(&key_7())
    } else {
        unverified.accept_unsigned()
    }
}

#[test]
fn golden_bytes_decode_to_their_values_and_encode_back() {
    for (name, signed, sample) in golden() {
        let bytes = vector("datagrams", name);
        let (key_id, op) = (if signed { 7 } else { 0 }, sample.sent.op());
        assert_eq!(
            Unverified::parse(&bytes).unwrap().key_id(),
            key_id,
            "{name}"
        );
        let datagram = verified(&bytes, signed).unwrap();
        assert_eq!(*datagram.header(), header(op, key_id), "{name}");
        assert_eq!(datagram.op(), op, "{name}");
        assert_eq!(datagram.bytes(), bytes, "{name}");
        assert_eq!(datagram.body(), &bytes[HEADER_BYTES..], "{name}");
        let request = Request::decode(datagram.op(), datagram.body());
        assert_eq!(request, Ok(sample.received), "{name}");
        assert_eq!(sample.received.op(), op, "{name}");
        assert_eq!(sample.encode(signed.then(key_7).as_ref()), bytes, "{name}");
    }
}

#[test]
fn every_golden_request_is_tested() {
    let golden = golden();
    for (name, _) in vectors("datagrams") {
        let tested = golden.iter().any(|(known, ..)| *known == name);
        assert!(tested || name.starts_with("reply_"), "{name}");
    }
}

#[test]
fn a_datagram_cut_short_is_rejected_before_its_body_is_read() {
    for (name, signed, _) in golden() {
        let bytes = vector("datagrams", name);
        for cut in 0..bytes.len() {
            let outcome = verified(&bytes[..cut], signed).err();
            match cut {
                0..HEADER_BYTES => assert_eq!(outcome, Some(RejectCause::Short), "{name}"),
                _ if signed => assert_eq!(outcome, Some(RejectCause::Mac), "{name}, {cut}"),
                _ => assert_eq!(outcome, None, "{name}: nothing seals it"),
            }
        }
    }
}

#[test]
fn every_truncated_body_is_an_error_but_where_the_rest_is_free() {
    for sample in samples() {
        let (op, body) = (sample.sent.op(), sample.body());
        let fixed = body.len() - sample.rest_len().unwrap_or(0);
        for cut in 0..body.len() {
            let decoded = Request::decode(op, &body[..cut]);
            if cut < fixed {
                let truncated = matches!(decoded, Err(BadRequest::Truncated { .. }));
                assert!(truncated, "{sample:?} cut at {cut}: {decoded:?}");
                continue;
            }
            let rest = match decoded.unwrap() {
                Request::Push(push) => push.payload,
                Request::Ping(bytes) => bytes,
                other => panic!("{other:?} has no free rest"),
            };
            assert_eq!(rest, &body[fixed..cut]);
        }
    }
}

#[test]
fn trailing_bytes_are_an_error_but_where_the_rest_is_free() {
    for sample in samples() {
        let mut body = sample.body();
        body.extend_from_slice(b"ab");
        let decoded = Request::decode(sample.sent.op(), &body);
        match sample.rest_len() {
            None => assert_eq!(decoded, Err(BadRequest::Trailing(2)), "{sample:?}"),
            Some(PING_BYTES_MAX) => assert_eq!(decoded, Err(BadRequest::Ping(66))),
            Some(_) => assert!(decoded.is_ok(), "{sample:?}"),
        }
    }
}

#[test]
fn any_bit_of_a_signed_datagram_that_is_turned_is_noticed() {
    for sample in samples() {
        let mut bytes = sample.encode(Some(&key_7()));
        assert!(verified(&bytes, true).is_ok());
        for bit in 0..8 * bytes.len() {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            bytes[byte] ^= mask;
            let cause = match byte {
                0 | 1 => RejectCause::Magic,
                2 => RejectCause::Version,
                3 if Op::from_code(bytes[3]).is_none() => RejectCause::Op,
                _ => RejectCause::Mac,
            };
            assert_eq!(
                verified(&bytes, true).err(),
                Some(cause),
                "bit {bit}, {sample:?}"
            );
            assert!(
                verified(&bytes, false).is_err(),
                "bit {bit} makes it unsigned"
            );
            bytes[byte] ^= mask;
        }
        assert!(verified(&bytes, true).is_ok());
    }
}

#[test]
fn a_datagram_of_64_bytes_has_an_empty_body() {
    for key in [None, Some(key_7())] {
        let bytes = Sample::ping(b"").encode(key.as_ref());
        assert_eq!(bytes.len(), HEADER_BYTES);
        let datagram = verified(&bytes, key.is_some()).unwrap();
        assert_eq!(datagram.body(), b"");
        assert_eq!(
            Request::decode(datagram.op(), datagram.body()),
            Ok(Request::Ping(b""))
        );
    }
}

#[test]
fn a_request_is_appended_and_its_seal_covers_it_alone() {
    let (_, _, sample) = golden().swap_remove(3);
    let mut bytes = b"before".to_vec();
    encode_request(
        &mut bytes,
        &header(Op::Join, 7),
        &sample.sent,
        Some(&key_7()),
    );
    assert_eq!(
        bytes,
        [b"before", &vector("datagrams", "join_signed")[..]].concat()
    );
}

#[test]
fn an_unsigned_request_has_key_id_0_and_the_op_of_its_body() {
    let mut bytes = Vec::new();
    encode_request(
        &mut bytes,
        &header(Op::Kick, 7),
        &RequestBody::Ping(b"tick"),
        None,
    );
    assert_eq!(bytes, vector("datagrams", "ping_unsigned"));
}

#[test]
fn targets_and_users_come_out_in_their_order() {
    let list = [
        Target::User("b"),
        Target::All,
        Target::ExceptGroup("g"),
        Target::User("b"),
    ];
    let targets = targets(&list);
    assert_eq!(targets.iter().collect::<Vec<_>>(), list);
    assert_eq!((targets.len(), targets.iter().len()), (4, 4));
    assert!(
        list.iter()
            .map(Target::is_exception)
            .eq([false, false, true, false])
    );
    let text = r#"[User("b"), All, ExceptGroup("g"), User("b")]"#;
    assert_eq!(format!("{targets:?}"), text);
}

#[test]
fn datagrams_are_copies_of_borrows() {
    // A value that can be copied owns no memory, whatever lengths its bytes declare.
    fn copies<T: Copy>() {}
    copies::<Verified<'_>>();
    copies::<Request<'_>>();
    copies::<BadRequest>();
    copies::<RejectCause>();
}

//! Requests of random values, and random bytes.

use proptest::prelude::*;

use super::super::super::samples::{any_bytes, any_group, any_name, any_text, damaged};
use super::*;

fn any_target() -> impl Strategy<Value = Target<'static>> {
    prop_oneof![
        Just(Target::All),
        any_name().prop_map(|name| Target::User(name.leak())),
        any_group().prop_map(|name| Target::Group(name.leak())),
    ]
}

fn any_exception() -> impl Strategy<Value = Target<'static>> {
    prop_oneof![
        any_name().prop_map(|name| Target::ExceptUser(name.leak())),
        any_group().prop_map(|name| Target::ExceptGroup(name.leak())),
    ]
}

fn any_targets() -> impl Strategy<Value = Vec<Target<'static>>> {
    let addressed = prop::collection::vec(any_target(), 1..4);
    let exceptions = prop::collection::vec(any_exception(), 0..4);
    (addressed, exceptions)
        .prop_map(|(addressed, exceptions)| [addressed, exceptions].concat())
        .prop_shuffle()
}

fn any_push() -> impl Strategy<Value = Sample> {
    let reply = prop::sample::select(&ReplyMode::ALL[..]);
    let times = prop_oneof![
        any::<u32>().prop_map(|ttl_s| (ttl_s, 0)),
        (Just(0), any::<u32>())
    ];
    (reply, any_bytes(255), times, any_targets(), any_bytes(300)).prop_map(
        |(reply, collapse, times, targets, payload)| {
            Sample::push((reply, collapse.leak()), times, targets, payload.leak())
        },
    )
}

fn any_membership() -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    let users = prop::collection::vec(any_name(), 1..5);
    (any_group(), users).prop_map(|(group, users)| {
        let users = users.into_iter().map(|user| &*user.leak()).collect();
        (&*group.leak(), users)
    })
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let kick = (any_name(), any_text(), 0..=HOLD_S_MAX, any_text()).prop_map(
        |(user, device, hold_s, reason)| {
            let (user, device, reason) = (user.leak(), device.leak(), reason.leak());
            Sample::kick(Kick {
                user,
                device,
                hold_s,
                reason,
            })
        },
    );
    prop_oneof![
        any_push(),
        any_membership().prop_map(|(group, users)| Sample::join(group, users)),
        any_membership().prop_map(|(group, users)| Sample::leave(group, users)),
        kick,
        prop::collection::vec(any_target(), 1..5).prop_map(Sample::presence),
        any_bytes(PING_BYTES_MAX).prop_map(|bytes| Sample::ping(bytes.leak())),
    ]
}

/// The body of a request, written again from what was decoded.
fn encode_again(request: &Request<'_>) -> Vec<u8> {
    let targets: Vec<_> = match request {
        Request::Push(push) => push.targets.iter().collect(),
        Request::Presence(targets) => targets.iter().collect(),
        _ => Vec::new(),
    };
    let users: Vec<_> = match request {
        Request::Join(change) | Request::Leave(change) => change.users.iter().collect(),
        _ => Vec::new(),
    };
    let body = match *request {
        Request::Push(Push {
            reply,
            collapse,
            ttl_s,
            spread_ms,
            payload,
            ..
        }) => RequestBody::Push {
            reply,
            collapse,
            ttl_s,
            spread_ms,
            targets: &targets,
            payload,
        },
        Request::Join(Membership { group, .. }) => RequestBody::Join {
            group,
            users: &users,
        },
        Request::Leave(Membership { group, .. }) => RequestBody::Leave {
            group,
            users: &users,
        },
        Request::Kick(kick) => RequestBody::Kick(kick),
        Request::Presence(_) => RequestBody::Presence { targets: &targets },
        Request::Ping(bytes) => RequestBody::Ping(bytes),
    };
    let mut out = Vec::new();
    encode_request(&mut out, &header(body.op(), 0), &body, None);
    out.split_off(HEADER_BYTES)
}

/// Decoding `body` does not panic, and what it accepts is the one encoding of its value.
fn check_canonical(body: &[u8]) -> Result<(), TestCaseError> {
    for op in Op::ALL {
        if let Ok(request) = Request::decode(op, body) {
            prop_assert_eq!(encode_again(&request), body);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn requests_of_any_values_decode_to_them(sample in any_sample(), signed: bool) {
        let bytes = sample.encode(signed.then(key_7).as_ref());
        let datagram = verified(&bytes, signed).unwrap();
        prop_assert_eq!(Request::decode(datagram.op(), datagram.body()), Ok(sample.received));
    }

    #[test]
    fn headers_of_any_values_decode_to_them(
        key_id: u32,
        time_ms: u64,
        request_id: [u8; 16],
        body in any_bytes(PING_BYTES_MAX),
    ) {
        let header = Header { op: Op::Ping.code(), key_id, time_ms, request_id };
        let mut bytes = Vec::new();
        encode_request(&mut bytes, &header, &RequestBody::Ping(&body), Some(&key_7()));
        let datagram = verified(&bytes, true).unwrap();
        prop_assert_eq!(*datagram.header(), header);
        prop_assert_eq!(datagram.body(), body);
    }

    #[test]
    fn random_bytes_never_panic(bytes in any_bytes(120)) {
        let _ = verified(&bytes, true);
        let _ = verified(&bytes, false);
        let _ = verified(&[b"PG\x01\x06", &bytes[..]].concat(), true);
        check_canonical(&bytes)?;
    }

    #[test]
    fn random_targets_never_panic(count in 0_u8..4, bytes in any_bytes(40)) {
        check_canonical(&[&[0, count], &bytes[..]].concat())?;
        check_canonical(&[&[0; 10][..], &[0, count], &bytes].concat())?;
    }

    #[test]
    fn damaged_requests_never_panic_and_what_is_accepted_is_canonical(
        bytes in damaged(samples().iter().map(Sample::body).collect()),
    ) {
        check_canonical(&bytes)?;
    }

    #[test]
    fn damaged_datagrams_never_panic_and_never_verify(
        bytes in damaged(vectors("datagrams").into_iter().map(|(_, bytes)| bytes).collect()),
    ) {
        if verified(&bytes, true).is_ok() {
            prop_assert!(vectors("datagrams").iter().any(|(_, golden)| *golden == bytes));
        }
        let _ = verified(&bytes, false);
    }
}

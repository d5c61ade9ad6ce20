//! Replies against the golden bytes, with every fault, and at random.

use proptest::prelude::*;

use super::super::samples::{any_bytes, damaged, header, key_7, vector, vectors};
use super::*;

const NOW_MS: u64 = 1_790_000_000_000;
const FIXED_BYTES: usize = HEADER_BYTES + 32;

/// The value of every golden reply, named as there, with the op of its request.
fn golden() -> [(&'static str, Op, Reply<'static>); 2] {
    let push = Reply {
        status: Status::Done,
        counts: Counts {
            matched: 3,
            written: 1,
            waiting: 1,
            refused: 1,
        },
        elapsed_ms: 17,
        number: 42,
        tail: b"",
    };
    let presence = Reply {
        status: Status::Done,
        counts: Counts {
            matched: 8,
            ..Counts::default()
        },
        elapsed_ms: 0,
        number: 0,
        tail: b"\0\0\0\x05\0\0\0\x03\0\0\0\0",
    };
    [
        ("reply_push_done_signed", Op::Push, push),
        ("reply_presence_signed", Op::Presence, presence),
    ]
}

fn encode(request: &Header, reply: &Reply<'_>, key: Option<&Key>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_reply(&mut out, request, NOW_MS, reply, key);
    out
}

#[test]
fn golden_bytes_decode_to_their_values_and_encode_back() {
    for (name, op, reply) in golden() {
        let bytes = vector("datagrams", name);
        let decoded = decode_reply(&bytes, Some(&key_7()));
        assert_eq!(decoded, Ok((header(op, 7), reply)), "{name}");
        assert_eq!(
            encode(&header(op, 7), &reply, Some(&key_7())),
            bytes,
            "{name}"
        );
    }
}

#[test]
fn every_golden_reply_is_tested() {
    let named = vectors("datagrams")
        .into_iter()
        .filter(|(name, _)| name.starts_with("reply_"));
    assert_eq!(named.count(), golden().len());
}

#[test]
fn a_reply_bears_the_gateways_time_and_all_else_of_its_request() {
    let (_, _, reply) = golden()[0];
    let request = Header {
        time_ms: 5,
        ..header(Op::Push, 7)
    };
    let mut bytes = b"before".to_vec();
    encode_reply(&mut bytes, &request, NOW_MS, &reply, Some(&key_7()));
    assert_eq!(
        bytes,
        [
            b"before",
            &vector("datagrams", "reply_push_done_signed")[..]
        ]
        .concat()
    );
}

#[test]
fn presence_lists_the_sessions_of_each_target() {
    let [_, (_, _, presence)] = golden();
    assert_eq!(presence.sessions().collect::<Vec<_>>(), [5, 3, 0]);
    assert_eq!(presence.sessions().len(), 3);
}

#[test]
fn every_cut_of_a_reply_is_an_error() {
    for (name, op, reply) in golden() {
        let signed = vector("datagrams", name);
        let unsigned = encode(&header(op, 0), &reply, None);
        for cut in 0..signed.len() {
            let cause = if cut < HEADER_BYTES {
                RejectCause::Short
            } else {
                RejectCause::Mac
            };
            let decoded = decode_reply(&signed[..cut], Some(&key_7()));
            assert_eq!(
                decoded,
                Err(ReplyError::Rejected(cause)),
                "{name} cut at {cut}"
            );
            let decoded = decode_reply(&unsigned[..cut], None);
            match cut {
                0..HEADER_BYTES => {
                    assert_eq!(decoded, Err(ReplyError::Rejected(RejectCause::Short)));
                }
                HEADER_BYTES..FIXED_BYTES => {
                    assert!(
                        matches!(decoded, Err(ReplyError::Truncated { .. })),
                        "{decoded:?}"
                    );
                }
                _ if cut.is_multiple_of(4) => assert!(decoded.is_ok(), "a target fewer"),
                _ => assert!(matches!(decoded, Err(ReplyError::Tail(_))), "{decoded:?}"),
            }
        }
    }
}

#[test]
fn any_bit_of_a_signed_reply_that_is_turned_is_noticed() {
    for (name, _, _) in golden() {
        let mut bytes = vector("datagrams", name);
        for bit in 0..8 * bytes.len() {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            bytes[byte] ^= mask;
            let decoded = decode_reply(&bytes, Some(&key_7()));
            assert!(
                matches!(decoded, Err(ReplyError::Rejected(_))),
                "{name}, bit {bit}"
            );
            bytes[byte] ^= mask;
        }
    }
}

#[test]
fn requests_and_unknown_ops_are_not_replies() {
    let (_, _, reply) = golden()[0];
    let mut bytes = encode(&header(Op::Push, 0), &reply, None);
    for op in 0..=u8::MAX {
        bytes[3] = op;
        let rejected = decode_reply(&bytes, None) == Err(ReplyError::Rejected(RejectCause::Op));
        assert_eq!(rejected, !(129..=134).contains(&op), "op {op}");
    }
}

#[test]
fn a_reply_is_signed_exactly_as_its_request_was() {
    let (_, op, reply) = golden()[0];
    let signed = encode(&header(op, 7), &reply, Some(&key_7()));
    let unsigned = encode(&header(op, 0), &reply, None);
    assert_eq!(decode_reply(&unsigned, None), Ok((header(op, 0), reply)));
    let cause = |cause| Err(ReplyError::Rejected(cause));
    assert_eq!(decode_reply(&signed, None), cause(RejectCause::Unsigned));
    assert_eq!(
        decode_reply(&unsigned, Some(&key_7())),
        cause(RejectCause::Mac)
    );
}

#[test]
fn unknown_statuses_and_reserved_bytes_are_refused() {
    let (_, op, reply) = golden()[0];
    let bytes = encode(&header(op, 0), &reply, None);
    let changed = |at: usize, value| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode_reply(&bytes, None).map(|(_, reply)| reply.status)
    };
    for status in 0..=u8::MAX {
        let known = Status::from_code(status).ok_or(ReplyError::Status(status));
        assert_eq!(changed(64, status), known);
    }
    for at in 65..68 {
        for bit in 0..8 {
            assert_eq!(
                changed(at, 1 << bit),
                Err(ReplyError::Reserved),
                "byte {at}"
            );
        }
    }
}

#[test]
fn the_tail_fits_the_op() {
    let lengths = [0, 1, 4, 64, 65, 68, 1024, 1028];
    for op in Op::ALL {
        let fitting: &[usize] = match op {
            Op::Presence => &[0, 4, 64, 68, 1024],
            Op::Ping => &[0, 1, 4, 64],
            _ => &[0],
        };
        for length in lengths {
            let tail = vec![0xee; length];
            let bytes = encode(
                &header(op, 0),
                &Reply {
                    tail: &tail,
                    ..golden()[0].2
                },
                None,
            );
            let decoded = decode_reply(&bytes, None);
            if fitting.contains(&length) {
                assert_eq!(decoded.unwrap().1.tail, tail, "{op}");
            } else {
                assert_eq!(decoded, Err(ReplyError::Tail(clamped(length))), "{op}");
            }
        }
    }
}

fn any_reply() -> impl Strategy<Value = (Op, Reply<'static>)> {
    let tail = prop_oneof![
        any_bytes(PING_BYTES_MAX).prop_map(|tail| (Op::Ping, tail)),
        prop::collection::vec(any::<[u8; 4]>(), 0..=256)
            .prop_map(|sessions| (Op::Presence, sessions.concat())),
        prop::sample::select(vec![Op::Push, Op::Join, Op::Leave, Op::Kick])
            .prop_map(|op| (op, Vec::new())),
    ];
    let counts =
        any::<(u32, u32, u32, u32)>().prop_map(|(matched, written, waiting, refused)| Counts {
            matched,
            written,
            waiting,
            refused,
        });
    let status = prop::sample::select(&Status::ALL[..]);
    (tail, counts, status, any::<u32>(), any::<u64>()).prop_map(
        |((op, tail), counts, status, elapsed_ms, number)| {
            (
                op,
                Reply {
                    status,
                    counts,
                    elapsed_ms,
                    number,
                    tail: tail.leak(),
                },
            )
        },
    )
}

fn unsigned_golden() -> Vec<Vec<u8>> {
    golden()
        .map(|(_, op, reply)| encode(&header(op, 0), &reply, None))
        .into()
}

proptest! {
    #[test]
    fn replies_of_any_values_decode_to_them((op, reply) in any_reply(), signed: bool) {
        let (key, header) = (signed.then(key_7), header(op, if signed { 7 } else { 0 }));
        let bytes = encode(&header, &reply, key.as_ref());
        prop_assert_eq!(decode_reply(&bytes, key.as_ref()), Ok((header, reply)));
    }

    #[test]
    fn random_bytes_never_panic(bytes in any_bytes(120), op: u8) {
        let _ = decode_reply(&bytes, Some(&key_7()));
        let _ = decode_reply(&bytes, None);
        let head = [&b"PG\x01"[..], &[129 + op % 6], &[0; 60]].concat();
        let _ = decode_reply(&[&head[..], &bytes[..]].concat(), None);
    }

    #[test]
    fn damaged_replies_never_panic_and_what_is_accepted_is_canonical(
        bytes in damaged(unsigned_golden()),
    ) {
        if let Ok((header, reply)) = decode_reply(&bytes, None) {
            let mut again = Vec::new();
            encode_reply(&mut again, &header, header.time_ms, &reply, None);
            prop_assert_eq!(again, bytes);
        }
    }
}

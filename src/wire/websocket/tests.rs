//! Frames in both directions, cut everywhere, and what is against WebSocket.

use std::borrow::Cow;

use proptest::prelude::*;

use super::super::samples::any_bytes;
use super::*;
use crate::wire::frame::GatewayFrame;

const MASK: [u8; MASK_BYTES] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame of any head; where it is masked, with [`MASK`].
fn frame(first: u8, is_masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_masked(&mut bytes, Opcode::Binary, payload, MASK);
    bytes[0] = first;
    if !is_masked {
        bytes[1] &= 0x7f;
        let at = bytes.len() - payload.len();
        bytes.drain(at - MASK_BYTES..at);
        let at = bytes.len() - payload.len();
        bytes[at..].copy_from_slice(payload);
    }
    bytes
}

fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode as u8, true, payload)
}

/// A frame as it was read, with bytes of its own.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Message(Vec<u8>),
    Part,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

impl From<Item<'_>> for Read {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Message(body) => Self::Message(body.into_owned()),
            Item::Part => Self::Part,
            Item::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Item::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Item::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Reads a stream that comes in pieces of this size.
fn read(side: Side, stream: &[u8], piece: usize, max: usize) -> Result<Vec<Read>, Fault> {
    let (mut arrived, mut parts, mut items) = (Vec::new(), None, Vec::new());
    for bytes in stream.chunks(piece.max(1)) {
        arrived.extend_from_slice(bytes);
        while let Some((item, used)) = decode(side, &mut arrived, &mut parts, max)? {
            items.push(item.into());
            arrived.drain(..used);
        }
    }
    assert!(arrived.is_empty(), "whole frames");
    Ok(items)
}

/// The example of RFC 6455, section 5.7: a masked "Hello", made binary.
#[test]
fn the_mask_is_that_of_the_rfc() {
    let bytes = [
        0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(masked(Opcode::Binary, b"Hello"), bytes);
    let read = read(Side::Gateway, &bytes, bytes.len(), 5);
    assert_eq!(read, Ok(vec![Read::Message(b"Hello".to_vec())]));
}

#[test]
fn a_stream_is_read_alike_however_it_is_cut() {
    let long = vec![b'.'; 300];
    let longer = vec![b':'; 70_000];
    let stream = [
        masked(Opcode::Binary, b"one"),
        masked(Opcode::Ping, b"there?"),
        frame(0x02, true, b"in "),
        masked(Opcode::Pong, b""),
        frame(0x00, true, b"three "),
        masked(Opcode::Ping, b"now?"),
        frame(0x00, true, b""),
        masked(Opcode::Continuation, b"parts"),
        masked(Opcode::Binary, b""),
        masked(Opcode::Binary, &long),
        masked(Opcode::Close, b"\x03\xe8bye"),
    ];
    let expected = vec![
        Read::Message(b"one".to_vec()),
        Read::Ping(b"there?".to_vec()),
        Read::Part,
        Read::Pong(Vec::new()),
        Read::Part,
        Read::Ping(b"now?".to_vec()),
        Read::Part,
        Read::Message(b"in three parts".to_vec()),
        Read::Message(Vec::new()),
        Read::Message(long),
        Read::Close(1000, "bye".to_owned()),
    ];
    let stream = stream.concat();
    for piece in 1..=stream.len() {
        let read = read(Side::Gateway, &stream, piece, 300);
        assert_eq!(read.as_ref(), Ok(&expected), "in pieces of {piece}");
    }
    let stream = masked(Opcode::Binary, &longer);
    let read = read(Side::Gateway, &stream, 4_000, longer.len());
    assert_eq!(read, Ok(vec![Read::Message(longer)]));
}

#[test]
fn what_the_gateway_sends_is_read_by_a_client() {
    let mut stream = Vec::new();
    put_message(&mut stream, &GatewayFrame::Pong(b"pong"));
    put_control(&mut stream, Opcode::Ping, &[]);
    put_control(&mut stream, Opcode::Pong, &[b'x'; 200]);
    put_header(&mut stream, Opcode::Binary, 66_000);
    stream.resize(stream.len() + 66_000, 7);
    put_close(&mut stream, 4001, &"ä".repeat(100));
    let expected = vec![
        Read::Message(b"\x03pong".to_vec()),
        Read::Ping(Vec::new()),
        Read::Pong(vec![b'x'; CONTROL_MAX]),
        Read::Message(vec![7; 66_000]),
        Read::Close(4001, "ä".repeat(61)),
    ];
    assert_eq!(read(Side::Client, &stream, 1_000, 66_000), Ok(expected));
}

/// Each is told by its head: not a byte of what it announces has come.
#[test]
fn what_is_against_websocket_is_told_by_its_head() {
    let protocol = |bytes: &[u8]| (bytes.to_vec(), 1002);
    let mask = |head: &[u8]| [head, &MASK].concat();
    let cases = [
        ("no mask", protocol(&[0x82, 0x05])),
        ("the first reserved bit", protocol(&[0xc2, 0x85])),
        ("the second", protocol(&[0xa2, 0x85])),
        ("the third", protocol(&[0x92, 0x85])),
        ("opcode 3", protocol(&mask(&[0x83, 0x85]))),
        ("opcode 7", protocol(&mask(&[0x87, 0x85]))),
        ("opcode 11", protocol(&mask(&[0x8b, 0x85]))),
        ("opcode 15", protocol(&mask(&[0x8f, 0x85]))),
        ("a long ping", protocol(&[0x89, 0xfe])),
        ("a longer pong", protocol(&[0x8a, 0xff])),
        ("a long close", protocol(&[0x88, 0xfe, 0, 126])),
        ("a ping in parts", protocol(&mask(&[0x09, 0x80]))),
        ("a close in parts", protocol(&mask(&[0x08, 0x80]))),
        ("a part of nothing", protocol(&mask(&[0x80, 0x85]))),
        (
            "a part of nothing that goes on",
            protocol(&mask(&[0x00, 0x85])),
        ),
        ("5 in 16 bits", protocol(&mask(&[0x82, 0xfe, 0, 5]))),
        (
            "300 in 64 bits",
            protocol(&mask(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 44])),
        ),
        ("a text", (mask(&[0x81, 0x85]), 1003)),
        ("a text in parts", (mask(&[0x01, 0x80]), 1003)),
        (
            "one byte over the limit",
            (mask(&[0x82, 0xfe, 0x10, 0x01]), 1009),
        ),
        (
            "a length without end",
            (
                mask(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255]),
                1009,
            ),
        ),
    ];
    for (what, (mut bytes, code)) in cases {
        let fault = decode(Side::Gateway, &mut bytes, &mut None, 4096);
        let fault = fault.expect_err(what);
        assert_eq!(fault.code(), code, "{what}: {fault}");
        assert_eq!(fault.why(), fault.to_string(), "{what}");
    }
    let mut of_a_client = masked(Opcode::Binary, b"x");
    let fault = decode(Side::Client, &mut of_a_client, &mut None, 10);
    assert_eq!(fault.expect_err("masked").code(), 1002);
}

#[test]
fn a_message_in_parts_is_bounded_as_one_in_one() {
    let parts = |sizes: &[usize]| -> Vec<u8> {
        let first = frame(0x02, true, &vec![1; sizes[0]]);
        let more = sizes[1..]
            .iter()
            .map(|size| frame(0x00, true, &vec![1; *size]));
        std::iter::once(first).chain(more).flatten().collect()
    };
    for (stream, code) in [
        (parts(&[50, 50, 1]), 1009),
        (parts(&[0, 0, 101]), 1009),
        ([parts(&[10]), masked(Opcode::Binary, b"x")].concat(), 1002),
        ([parts(&[10]), frame(0x02, true, b"x")].concat(), 1002),
        ([parts(&[10]), masked(Opcode::Text, b"x")].concat(), 1003),
    ] {
        let fault = read(Side::Gateway, &stream, 7, 100).expect_err("over the limit");
        assert_eq!(fault.code(), code);
    }
    let whole = [parts(&[50, 50]), masked(Opcode::Continuation, b"")].concat();
    let read = read(Side::Gateway, &whole, 7, 100).expect("at the limit");
    assert_eq!(read[2], Read::Message(vec![1; 100]));
}

#[test]
fn a_close_frame_has_a_code_or_nothing() {
    let close = |payload: &[u8]| {
        let mut bytes = masked(Opcode::Close, payload);
        let item = decode(Side::Gateway, &mut bytes, &mut None, 0);
        item.map(|item| Read::from(item.expect("whole").0))
    };
    assert_eq!(close(b""), Ok(Read::Close(NO_CODE, String::new())));
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1009, 1011, 3000, 4001, 4999,
    ] {
        let read = close(&[&code.to_be_bytes()[..], b"why"].concat());
        assert_eq!(read, Ok(Read::Close(code, "why".to_owned())));
    }
    for code in [
        0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535,
    ] {
        let fault = close(&code.to_be_bytes()).expect_err("no code");
        assert_eq!(fault.code(), 1002, "{code}");
    }
    assert_eq!(close(b"\x03").expect_err("half a code").code(), 1002);
    let utf8 = close(b"\x03\xe8\xff").expect_err("not UTF-8");
    assert_eq!((utf8, utf8.code()), (Fault::Utf8, 1007));
}

#[test]
fn a_declared_length_takes_no_memory() {
    let (mut bytes, mut parts) = (frame(0x02, true, &[1; 200]), None);
    bytes.truncate(20);
    assert_eq!(
        decode(Side::Gateway, &mut bytes, &mut parts, 1 << 40),
        Ok(None)
    );
    assert_eq!(parts, None);
}

#[test]
fn a_message_that_trickles_in_takes_no_more_than_a_whole_one() {
    let (mut parts, max) = (None, 1_000);
    for first in std::iter::once(0x02).chain(std::iter::repeat_n(0x00, max - 1)) {
        let mut bytes = frame(first, true, b"x");
        let used = bytes.len();
        let item = decode(Side::Gateway, &mut bytes, &mut parts, max);
        assert_eq!(item, Ok(Some((Item::Part, used))));
    }
    let whole = parts.expect("it goes on");
    assert_eq!((whole.len(), whole.capacity()), (max, max));
}

proptest! {
    #[test]
    fn messages_of_any_bytes_come_back(
        messages in prop::collection::vec(any_bytes(300), 1..5),
        mask: [u8; MASK_BYTES],
        piece in 1..400usize,
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            put_masked(&mut stream, Opcode::Binary, message, mask);
        }
        let expected: Vec<_> = messages.into_iter().map(Read::Message).collect();
        prop_assert_eq!(read(Side::Gateway, &stream, piece, 300), Ok(expected));
    }

    #[test]
    fn random_bytes_never_panic_and_no_message_is_over_its_bound(
        mut bytes in any_bytes(200),
        max in 0..100usize,
        is_amid: bool,
    ) {
        let mut parts = is_amid.then(|| vec![1; max / 2]);
        let mut at = 0;
        while let Ok(Some((item, used))) = decode(Side::Gateway, &mut bytes[at..], &mut parts, max)
        {
            prop_assert!(used > 0);
            if let Item::Message(body) = &item {
                prop_assert!(body.len() <= max);
            }
            if let Item::Ping(payload) | Item::Pong(payload) = &item {
                prop_assert!(payload.len() <= CONTROL_MAX);
            }
            at += used;
        }
        prop_assert!(parts.is_none_or(|parts| parts.len() <= max));
    }

    #[test]
    fn every_cut_of_a_frame_needs_more(message in any_bytes(300), cut: prop::sample::Index) {
        let whole = masked(Opcode::Binary, &message);
        let mut bytes = whole[..cut.index(whole.len())].to_vec();
        prop_assert_eq!(decode(Side::Gateway, &mut bytes, &mut None, 300), Ok(None));
        let mut bytes = whole;
        let item = Item::Message(Cow::Borrowed(&message[..]));
        let used = bytes.len();
        prop_assert_eq!(decode(Side::Gateway, &mut bytes, &mut None, 300), Ok(Some((item, used))));
    }
}

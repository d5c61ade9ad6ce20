//! Frames against the golden bytes, and at every cut.

mod faults;
mod random;

use super::super::name::Names;
use super::super::reason::{CloseCode, RETRY_NEVER};
use super::super::samples::{names, vector, vectors};
use super::*;

/// A frame of either direction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Frame<'a> {
    Client(ClientFrame<'a>),
    Gateway(GatewayFrame<'a>),
}

impl<'a> Frame<'a> {
    /// The same direction as `self`, out of other bytes.
    fn decode_alike(&self, body: &'a [u8]) -> Result<Self, FrameError> {
        match self {
            Self::Client(_) => ClientFrame::decode(body).map(Self::Client),
            Self::Gateway(_) => GatewayFrame::decode(body).map(Self::Gateway),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Client(frame) => frame.encode(&mut out),
            Self::Gateway(frame) => frame.encode(&mut out),
        }
        out
    }

    fn frame_type(&self) -> u8 {
        match self {
            Self::Client(frame) => frame.frame_type(),
            Self::Gateway(frame) => frame.frame_type(),
        }
    }

    /// How many bytes at the end may be more or fewer.
    fn rest_len(&self) -> Option<usize> {
        match self {
            Self::Client(ClientFrame::Ping(bytes) | ClientFrame::Pong(bytes))
            | Self::Gateway(GatewayFrame::Ping(bytes) | GatewayFrame::Pong(bytes))
            | Self::Gateway(GatewayFrame::Push { payload: bytes, .. }) => Some(bytes.len()),
            _ => None,
        }
    }
}

fn hello_sample() -> ClientFrame<'static> {
    ClientFrame::Hello(Hello {
        version: 1,
        resume: false,
        heartbeat_s: 30,
        epoch: 0,
        cursor: 0,
        device: "phone",
        groups: names(&["room/1"]),
        token: b"user-42",
    })
}

/// The value of every golden frame, named as there.
fn golden() -> Vec<(&'static str, Frame<'static>)> {
    let (room, kept) = ("room/1", 42);
    let hello_resume = ClientFrame::Hello(Hello {
        version: 1,
        resume: true,
        heartbeat_s: 0,
        epoch: 0x0102_0304_0506_0708,
        cursor: 41,
        device: "",
        groups: Names::default(),
        token: b"u",
    });
    let welcome = GatewayFrame::Welcome(Welcome {
        version: 1,
        resumed: true,
        heartbeat_s: 30,
        max_frame: 65_512,
        session: 9,
        epoch: 0x0102_0304_0506_0708,
        cursor: 41,
    });
    let push = |number, scope, group, payload| GatewayFrame::Push {
        number,
        scope,
        group,
        payload,
    };
    let refused = |frame_type, group| GatewayFrame::Refused {
        frame_type,
        code: CloseCode::Auth,
        group,
    };
    let close = |code, retry_after_ms, reason| GatewayFrame::Close {
        code,
        retry_after_ms,
        reason,
    };
    let clients = [
        ("hello", hello_sample()),
        ("hello_resume", hello_resume),
        ("ping", ClientFrame::Ping(b"12345678")),
        ("pong_empty", ClientFrame::Pong(b"")),
        ("ack", ClientFrame::Ack { number: kept }),
        ("join", ClientFrame::Join { group: room }),
        ("leave", ClientFrame::Leave { group: room }),
        ("bye", ClientFrame::Bye),
        ("token", ClientFrame::Token { token: b"a.b.c" }),
    ];
    let gateways = [
        ("welcome_resumed", welcome),
        ("push_all_kept", push(kept, Scope::All, "", b"hello")),
        ("push_user_live", push(0, Scope::User, "", b"")),
        ("push_group_live", push(0, Scope::Group, room, b"hi")),
        ("joined", GatewayFrame::Joined { group: room }),
        ("left", GatewayFrame::Left { group: room }),
        ("refused", refused(JOIN, "secret")),
        ("refused_token", refused(TOKEN, "")),
        ("current", GatewayFrame::Current { cursor: kept }),
        (
            "close_draining",
            close(CloseCode::Draining, 2500, "draining"),
        ),
        (
            "close_replaced",
            close(CloseCode::Replaced, RETRY_NEVER, ""),
        ),
        // PING and PONG go both ways.
        ("ping", GatewayFrame::Ping(b"12345678")),
        ("pong_empty", GatewayFrame::Pong(b"")),
    ];
    let clients = clients
        .into_iter()
        .map(|(name, frame)| (name, Frame::Client(frame)));
    clients
        .chain(
            gateways
                .into_iter()
                .map(|(name, frame)| (name, Frame::Gateway(frame))),
        )
        .collect()
}

#[test]
fn golden_bytes_decode_to_their_values_and_encode_back() {
    for (name, frame) in golden() {
        let bytes = vector("frames", name);
        let (body, consumed) = split(&bytes, bytes.len() - LENGTH_BYTES).unwrap().unwrap();
        assert_eq!(consumed, bytes.len(), "{name}");
        assert_eq!(frame.decode_alike(body), Ok(frame), "{name}");
        assert_eq!(frame.frame_type(), body[0], "{name}");
        assert_eq!(frame.encode(), bytes, "{name}");
    }
}

#[test]
fn every_golden_frame_is_tested() {
    let golden = golden();
    for (name, _) in vectors("frames") {
        assert!(golden.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[test]
fn every_prefix_of_a_frame_needs_more_and_what_follows_it_is_left() {
    for (name, bytes) in vectors("frames") {
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut], 4096), Ok(None), "{name} cut at {cut}");
        }
        let followed = [&bytes[..], b"\0\0"].concat();
        let whole = Ok(Some((&bytes[LENGTH_BYTES..], bytes.len())));
        assert_eq!(split(&followed, 4096), whole, "{name}");
    }
}

#[test]
fn every_truncated_body_is_an_error_but_where_the_rest_is_free() {
    for (name, frame) in golden() {
        let bytes = vector("frames", name);
        let body = &bytes[LENGTH_BYTES..];
        let fixed = body.len() - frame.rest_len().unwrap_or(0);
        for cut in 0..body.len() {
            let decoded = frame.decode_alike(&body[..cut]);
            if cut >= fixed {
                let rest = decoded.unwrap().rest_len();
                assert_eq!(rest, Some(cut - fixed), "{name} cut at {cut}");
                continue;
            }
            let expected = matches!(
                decoded,
                Err(FrameError::Empty | FrameError::Truncated { .. })
            );
            assert!(expected, "{name} cut at {cut}: {decoded:?}");
        }
    }
}

#[test]
fn trailing_bytes_are_an_error_but_where_the_rest_is_free() {
    for (name, frame) in golden() {
        let mut body = vector("frames", name)[LENGTH_BYTES..].to_vec();
        body.extend_from_slice(b"ab");
        let decoded = frame.decode_alike(&body);
        match frame.rest_len() {
            None => assert_eq!(decoded, Err(FrameError::Trailing(2)), "{name}"),
            Some(8) => assert_eq!(decoded, Err(FrameError::Ping(10)), "{name}"),
            Some(rest) => assert_eq!(decoded.unwrap().rest_len(), Some(rest + 2), "{name}"),
        }
    }
}

#[test]
fn frames_are_copies_of_borrows() {
    // A value that can be copied owns no memory, whatever lengths its bytes declare.
    fn copies<T: Copy>() {}
    copies::<ClientFrame<'_>>();
    copies::<GatewayFrame<'_>>();
    copies::<FrameError>();
    assert!(
        size_of::<FrameError>() <= 12,
        "an error is returned in registers"
    );
}

#[test]
fn a_hello_is_encoded_from_a_slice_of_groups_as_from_decoded_ones() {
    let mut bytes = b"before".to_vec();
    let fields = HelloFields {
        version: 1,
        resume: false,
        heartbeat_s: 30,
        epoch: 5,
        cursor: 6,
        device: "phone",
        groups: &["room/1"],
        token: b"user-42",
    };
    encode_hello(&mut bytes, &fields);
    assert_eq!(bytes, [b"before", &vector("frames", "hello")[..]].concat());
}

#[test]
fn a_push_header_stands_before_its_payload() {
    let mut bytes = b"before".to_vec();
    push_header(&mut bytes, 42, Scope::All, "", b"hello".len());
    bytes.extend_from_slice(b"hello");
    assert_eq!(
        bytes,
        [b"before", &vector("frames", "push_all_kept")[..]].concat()
    );
}

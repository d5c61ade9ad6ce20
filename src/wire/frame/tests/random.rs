//! Frames of random values, and random bytes.

use proptest::prelude::*;

use super::super::super::samples::{any_bytes, any_group, any_text, damaged};
use super::*;

fn any_client_frame() -> impl Strategy<Value = ClientFrame<'static>> {
    let position = prop_oneof![Just(None), any::<(u64, u64)>().prop_map(Some)];
    let groups = prop_oneof![
        9 => prop::collection::vec(any_group(), 0..4),
        1 => prop::collection::vec("[a-z]{1,3}", 255),
    ];
    let hello = (
        1..=u8::MAX,
        position,
        any::<u16>(),
        any_text(),
        groups,
        any_bytes(300),
    )
        .prop_map(|(version, position, heartbeat_s, device, groups, token)| {
            let (epoch, cursor) = position.unwrap_or((0, 0));
            ClientFrame::Hello(Hello {
                version,
                resume: position.is_some(),
                heartbeat_s,
                epoch,
                cursor,
                device: device.leak(),
                groups: names(&groups),
                token: token.leak(),
            })
        });
    prop_oneof![
        hello,
        any_bytes(8).prop_map(|bytes| ClientFrame::Ping(bytes.leak())),
        any_bytes(8).prop_map(|bytes| ClientFrame::Pong(bytes.leak())),
        any::<u64>().prop_map(|number| ClientFrame::Ack { number }),
        any_group().prop_map(|group| ClientFrame::Join {
            group: group.leak()
        }),
        any_group().prop_map(|group| ClientFrame::Leave {
            group: group.leak()
        }),
        Just(ClientFrame::Bye),
        any_bytes(300).prop_map(|token| ClientFrame::Token {
            token: token.leak()
        }),
    ]
}

fn any_gateway_frame() -> impl Strategy<Value = GatewayFrame<'static>> {
    let code = || prop::sample::select(&CloseCode::ALL[..]);
    let welcome = (any::<(bool, u16, u32)>(), any::<(u64, u64, u64)>()).prop_map(
        |((resumed, heartbeat_s, max_frame), (session, epoch, cursor))| {
            let (version, resumed) = (1, resumed);
            GatewayFrame::Welcome(Welcome {
                version,
                resumed,
                heartbeat_s,
                max_frame,
                session,
                epoch,
                cursor,
            })
        },
    );
    let address = prop_oneof![
        Just((Scope::All, String::new())),
        Just((Scope::User, String::new())),
        any_group().prop_map(|group| (Scope::Group, group)),
    ];
    let push =
        (any::<u64>(), address, any_bytes(300)).prop_map(|(number, (scope, group), payload)| {
            GatewayFrame::Push {
                number,
                scope,
                group: group.leak(),
                payload: payload.leak(),
            }
        });
    let refused_frame = prop_oneof![
        Just((TOKEN, String::new())),
        (
            prop::sample::select(vec![HELLO, JOIN, LEAVE, TOKEN]),
            any_group()
        ),
    ];
    let refused =
        (refused_frame, code()).prop_map(|((frame_type, group), code)| GatewayFrame::Refused {
            frame_type,
            code,
            group: group.leak(),
        });
    let close = (code(), any::<u32>(), any_text()).prop_map(|(code, retry_after_ms, reason)| {
        GatewayFrame::Close {
            code,
            retry_after_ms,
            reason: reason.leak(),
        }
    });
    prop_oneof![
        welcome,
        push,
        any_group().prop_map(|group| GatewayFrame::Joined {
            group: group.leak()
        }),
        any_group().prop_map(|group| GatewayFrame::Left {
            group: group.leak()
        }),
        refused,
        any::<u64>().prop_map(|cursor| GatewayFrame::Current { cursor }),
        close,
        any_bytes(8).prop_map(|bytes| GatewayFrame::Ping(bytes.leak())),
        any_bytes(8).prop_map(|bytes| GatewayFrame::Pong(bytes.leak())),
    ]
}

/// Whether encoding may give other bytes than were decoded: a HELLO whose epoch and cursor, or
/// whose flags and fields of a later version, were ignored.
fn forgets(frame: &ClientFrame<'_>) -> bool {
    matches!(frame, ClientFrame::Hello(hello) if !hello.resume || hello.version > 1)
}

/// Decoding `body` does not panic, and what it accepts is the one encoding of its value.
fn check_canonical(body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(frame) = ClientFrame::decode(body) {
        let encoded = Frame::Client(frame).encode();
        if forgets(&frame) {
            prop_assert_eq!(ClientFrame::decode(&encoded[LENGTH_BYTES..]), Ok(frame));
        } else {
            prop_assert_eq!(&encoded[LENGTH_BYTES..], body);
        }
    }
    if let Ok(frame) = GatewayFrame::decode(body) {
        prop_assert_eq!(&Frame::Gateway(frame).encode()[LENGTH_BYTES..], body);
    }
    Ok(())
}

proptest! {
    #[test]
    fn frames_of_any_values_decode_to_them(
        client in any_client_frame(),
        gateway in any_gateway_frame(),
    ) {
        for frame in [Frame::Client(client), Frame::Gateway(gateway)] {
            let bytes = frame.encode();
            let (body, consumed) = split(&bytes, 1 << 20).unwrap().unwrap();
            prop_assert_eq!(consumed, bytes.len());
            prop_assert_eq!(frame.decode_alike(body), Ok(frame));
        }
    }

    #[test]
    fn every_cut_of_any_frame_needs_more(frame in any_client_frame(), cut: prop::sample::Index) {
        let bytes = Frame::Client(frame).encode();
        prop_assert_eq!(split(&bytes[..cut.index(bytes.len())], 1 << 20), Ok(None));
    }

    #[test]
    fn random_bytes_never_panic(bytes in any_bytes(80), frame_type: u8) {
        let _ = split(&bytes, 64);
        check_canonical(&bytes)?;
        check_canonical(&[&[frame_type % 9], &bytes[..]].concat())?;
        check_canonical(&[&[128 + frame_type % 9], &bytes[..]].concat())?;
    }

    #[test]
    fn damaged_frames_never_panic_and_what_is_accepted_is_canonical(
        bytes in damaged(vectors("frames").into_iter().map(|(_, bytes)| bytes).collect()),
    ) {
        let _ = split(&bytes, 64);
        check_canonical(bytes.get(LENGTH_BYTES..).unwrap_or_default())?;
    }
}

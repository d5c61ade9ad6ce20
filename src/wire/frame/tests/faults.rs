//! Frames with every fault that the protocol names.

use super::super::super::samples::unhex;
use super::*;

#[test]
fn a_length_of_0_or_over_the_limit_is_an_error_before_anything_behind_it_is_there() {
    assert_eq!(split(&[0, 0, 0, 0], 4096), Err(FrameError::Empty));
    let too_long = Err(FrameError::TooLong {
        length: 4097,
        max: 4096,
    });
    assert_eq!(split(&[0, 0, 0x10, 0x01], 4096), too_long);
    assert_eq!(split(&[0, 0, 0x10, 0x00], 4096), Ok(None));
    let endless = Err(FrameError::TooLong {
        length: u32::MAX,
        max: 4096,
    });
    assert_eq!(split(&[0xff; 64], 4096), endless);
    assert_eq!(split(&[0xff; 64], usize::MAX), Ok(None));
}

#[test]
fn an_empty_message_is_not_a_frame() {
    assert_eq!(ClientFrame::decode(b""), Err(FrameError::Empty));
    assert_eq!(GatewayFrame::decode(b""), Err(FrameError::Empty));
}

#[test]
fn unknown_types_and_those_of_the_other_direction_are_refused() {
    for frame_type in 0..=u8::MAX {
        let (to_gateway, to_client) = (1..=8, 129..=135);
        let body = [frame_type];
        let unknown = Err(FrameError::Type(frame_type));
        let known = to_gateway.contains(&frame_type);
        assert_eq!(
            ClientFrame::decode(&body) != unknown,
            known,
            "to gateway, {frame_type}"
        );
        let known = to_client.contains(&frame_type) || [PING, PONG].contains(&frame_type);
        let unknown = Err(FrameError::Type(frame_type));
        assert_eq!(
            GatewayFrame::decode(&body) != unknown,
            known,
            "to client, {frame_type}"
        );
    }
}

#[track_caller]
fn refuse_client(body: &str, error: FrameError) {
    assert_eq!(ClientFrame::decode(&unhex(body)), Err(error));
}

#[track_caller]
fn refuse_gateway(body: &str, error: FrameError) {
    assert_eq!(GatewayFrame::decode(&unhex(body)), Err(error));
}

/// A HELLO of this version and these flags, with some epoch and cursor, and bytes behind it.
fn hello_bytes(version: u8, flags: u8, behind: &[u8]) -> Vec<u8> {
    let fields = [HELLO, version, flags, 0, 30];
    let position = [[7; 8], [9; 8]].concat();
    [
        &fields[..],
        &position,
        &[1, b'd', 1, 1, b'g', 0, 1, b't'],
        behind,
    ]
    .concat()
}

#[track_caller]
fn hello(version: u8, flags: u8, behind: &[u8]) -> Result<(bool, u64, u64), FrameError> {
    let bytes = hello_bytes(version, flags, behind);
    match ClientFrame::decode(&bytes)? {
        ClientFrame::Hello(hello) => {
            assert_eq!(
                (hello.version, hello.device, hello.token),
                (version, "d", &b"t"[..])
            );
            assert_eq!(hello.groups.iter().collect::<Vec<_>>(), ["g"]);
            Ok((hello.resume, hello.epoch, hello.cursor))
        }
        other => panic!("not a HELLO: {other:?}"),
    }
}

const POSITION: (bool, u64, u64) = (true, 0x0707_0707_0707_0707, 0x0909_0909_0909_0909);

#[test]
fn a_hello_of_version_0_is_malformed() {
    assert_eq!(hello(0, 0, b""), Err(FrameError::Version(0)));
}

#[test]
fn epoch_and_cursor_are_ignored_without_resume() {
    assert_eq!(hello(1, 1, b""), Ok(POSITION));
    assert_eq!(hello(1, 0, b""), Ok((false, 0, 0)));
}

#[test]
fn a_hello_of_version_1_has_no_other_flags_and_nothing_behind_it() {
    for bit in 1..8 {
        for resume in [0, 1] {
            let flags = 1 << bit | resume;
            assert_eq!(hello(1, flags, b""), Err(FrameError::Flags(flags)));
        }
    }
    assert_eq!(hello(1, 0, b"x"), Err(FrameError::Trailing(1)));
}

#[test]
fn a_hello_above_version_1_may_have_flags_and_fields_that_are_not_known() {
    for version in [2, 3, 255] {
        assert_eq!(hello(version, 0b1111_1110, b""), Ok((false, 0, 0)));
        assert_eq!(hello(version, 0b1111_1111, b"what comes"), Ok(POSITION));
    }
}

#[test]
fn a_hello_above_version_1_is_still_checked_as_far_as_it_is_known() {
    let whole = hello_bytes(2, 1, b"");
    for cut in 2..whole.len() {
        let decoded = ClientFrame::decode(&whole[..cut]);
        assert!(
            matches!(decoded, Err(FrameError::Truncated { .. })),
            "cut at {cut}"
        );
    }
    let star = whole
        .iter()
        .map(|byte| if *byte == b'g' { b'*' } else { *byte });
    let star: Vec<u8> = star.collect();
    assert_eq!(
        ClientFrame::decode(&star),
        Err(FrameError::Name(NameError::Star))
    );
}

#[test]
fn names_in_a_hello_are_checked() {
    let fixed = format!("01 01 00 0000 {}", "00".repeat(16));
    let control = FrameError::Name(NameError::Control);
    refuse_client(&format!("{fixed} 01 0a 00 0000"), control);
    refuse_client(
        &format!("{fixed} 00 01 00 0000"),
        FrameError::Name(NameError::Empty),
    );
    refuse_client(
        &format!("{fixed} 00 02 01 67 01 2a 0000"),
        FrameError::Name(NameError::Star),
    );
    // A second group is declared, and its length is taken for that of a token that is not there.
    let truncated = FrameError::Truncated { needs: 2, left: 1 };
    refuse_client(&format!("{fixed} 00 02 01 67 01 61 00"), truncated);
}

#[test]
fn groups_must_be_names_without_a_star() {
    for frame_type in ["05", "06"] {
        refuse_client(
            &format!("{frame_type} 00"),
            FrameError::Name(NameError::Empty),
        );
        refuse_client(
            &format!("{frame_type} 02 612a"),
            FrameError::Name(NameError::Star),
        );
        refuse_client(
            &format!("{frame_type} 01 ff"),
            FrameError::Name(NameError::NotUtf8(0)),
        );
    }
    for frame_type in ["83", "84", "82 0000000000000000 02", "85 05 0007"] {
        refuse_gateway(
            &format!("{frame_type} 02 612a"),
            FrameError::Name(NameError::Star),
        );
    }
    refuse_gateway("83 00", FrameError::Name(NameError::Empty));
    refuse_gateway("84 00", FrameError::Name(NameError::Empty));
}

#[test]
fn pings_carry_0_to_8_bytes() {
    for frame_type in [PING, PONG] {
        for count in 0..=12 {
            let body = [vec![frame_type], vec![0xee; count]].concat();
            let client = ClientFrame::decode(&body).map(|frame| Frame::Client(frame).rest_len());
            let gateway = GatewayFrame::decode(&body).map(|frame| Frame::Gateway(frame).rest_len());
            let expected = if count > 8 {
                Err(FrameError::Ping(clamped(count)))
            } else {
                Ok(Some(count))
            };
            assert_eq!(client, expected);
            assert_eq!(gateway, expected);
        }
    }
}

#[test]
fn a_welcome_is_of_version_1_and_has_no_other_flags() {
    let rest = "00".repeat(30);
    assert!(GatewayFrame::decode(&unhex(&format!("81 01 00 {rest}"))).is_ok());
    refuse_gateway(&format!("81 00 00 {rest}"), FrameError::Version(0));
    refuse_gateway(&format!("81 02 00 {rest}"), FrameError::Version(2));
    for bit in 1..8 {
        let flags = 1 << bit;
        refuse_gateway(
            &format!("81 01 {flags:02x} {rest}"),
            FrameError::Flags(flags),
        );
    }
}

#[test]
fn a_push_names_a_group_exactly_when_its_scope_is_one() {
    refuse_gateway("82 0000000000000000 00 01 67", FrameError::Group(1));
    refuse_gateway("82 0000000000000000 01 02 6768", FrameError::Group(2));
    refuse_gateway("82 0000000000000000 02 00", FrameError::Group(0));
    for scope in 3..=u8::MAX {
        let body = format!("82 0000000000000000 {scope:02x} 01 67");
        refuse_gateway(&body, FrameError::Scope(scope));
    }
}

#[test]
fn what_can_be_refused_are_groups_and_tokens() {
    for frame_type in 0..=u8::MAX {
        let named = unhex(&format!("85 {frame_type:02x} 0009 01 67"));
        let unnamed = unhex(&format!("85 {frame_type:02x} 0009 00"));
        let (named, unnamed) = (GatewayFrame::decode(&named), GatewayFrame::decode(&unnamed));
        match frame_type {
            TOKEN => assert!(named.is_ok() && unnamed.is_ok()),
            HELLO | JOIN | LEAVE => {
                assert!(named.is_ok(), "{frame_type}");
                assert_eq!(unnamed, Err(FrameError::Group(0)), "{frame_type}");
            }
            _ => {
                assert_eq!(named, Err(FrameError::RefusedType(frame_type)));
                assert_eq!(unnamed, Err(FrameError::RefusedType(frame_type)));
            }
        }
    }
}

#[test]
fn unknown_close_codes_and_bad_reasons_are_refused() {
    for code in [0, 11, 0x0100, 0xffff] {
        let unknown = FrameError::CloseCode(code);
        refuse_gateway(&format!("86 {code:04x} 00000000 0000"), unknown);
        refuse_gateway(&format!("85 05 {code:04x} 01 67"), unknown);
    }
    refuse_gateway(
        "86 0001 00000000 0001 07",
        FrameError::Name(NameError::Control),
    );
    let long = format!("86 0001 00000000 0100 {}", "61".repeat(256));
    refuse_gateway(&long, FrameError::Name(NameError::TooLong(256)));
}

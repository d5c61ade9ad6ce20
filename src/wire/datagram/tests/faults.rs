//! Datagrams with every fault that the protocol names.

use super::*;

#[track_caller]
fn reject(bytes: &[u8], cause: RejectCause) {
    assert_eq!(Unverified::parse(bytes).err(), Some(cause));
}

#[test]
fn a_header_is_checked_in_the_order_of_the_protocol() {
    let mut bytes = vector("datagrams", "ping_unsigned");
    assert!(Unverified::parse(&bytes).is_ok());
    // Each fault is in front of those that were made before it.
    bytes[3] = 0x7f;
    reject(&bytes, RejectCause::Op);
    bytes[2] = 2;
    reject(&bytes, RejectCause::Version);
    bytes[1] = b'H';
    reject(&bytes, RejectCause::Magic);
    reject(&bytes[..63], RejectCause::Short);
    reject(b"", RejectCause::Short);
}

#[test]
fn only_the_ops_of_requests_are_known() {
    let mut bytes = vector("datagrams", "ping_unsigned");
    for op in 0..=u8::MAX {
        bytes[3] = op;
        let expected = if (1..=6).contains(&op) {
            None
        } else {
            Some(RejectCause::Op)
        };
        assert_eq!(Unverified::parse(&bytes).err(), expected, "op {op}");
    }
}

#[test]
fn only_version_1_is_known() {
    let mut bytes = vector("datagrams", "ping_unsigned");
    for version in (0..=u8::MAX).filter(|version| *version != 1) {
        bytes[2] = version;
        reject(&bytes, RejectCause::Version);
    }
}

#[test]
fn a_datagram_over_the_maximum_is_rejected() {
    let mut bytes = vector("datagrams", "ping_unsigned");
    bytes.resize(DATAGRAM_BYTES_MAX, 0);
    assert!(Unverified::parse(&bytes).is_ok());
    bytes.push(0);
    reject(&bytes, RejectCause::Short);
}

#[test]
fn unsigned_means_key_id_0_and_a_mac_of_zeros() {
    let unsigned = vector("datagrams", "ping_unsigned");
    assert!(verified(&unsigned, false).is_ok());
    for byte in (4..8).chain(32..64) {
        for bit in 0..8 {
            let mut bytes = unsigned.clone();
            bytes[byte] = 1 << bit;
            let outcome = verified(&bytes, false).err();
            assert_eq!(
                outcome,
                Some(RejectCause::Unsigned),
                "byte {byte}, bit {bit}"
            );
        }
    }
    assert_eq!(verified(&unsigned, true).err(), Some(RejectCause::Mac));
}

#[test]
fn another_key_does_not_verify() {
    let bytes = vector("datagrams", "join_signed");
    let other = Key::new(&[7; 32]).unwrap();
    let outcome = Unverified::parse(&bytes).unwrap().verify(&other).err();
    assert_eq!(outcome, Some(RejectCause::Mac));
}

#[track_caller]
fn refuse(op: Op, body: &str, error: BadRequest) {
    assert_eq!(Request::decode(op, &unhex(body)), Err(error));
}

#[track_caller]
fn accept(op: Op, body: &str) {
    assert!(
        Request::decode(op, &unhex(body)).is_ok(),
        "{:?}",
        Request::decode(op, &unhex(body))
    );
}

/// A PUSH with these targets after its fixed fields: reply 0, no collapse, ttl 0, spread 0.
fn push(targets: &str) -> String {
    format!("00 00 00000000 00000000 {targets}")
}

#[test]
fn reply_modes_are_0_to_2() {
    for mode in 0..=u8::MAX {
        let body = format!("{mode:02x} 00 00000000 00000000 0001 00 00");
        match mode {
            0..=2 => accept(Op::Push, &body),
            _ => refuse(Op::Push, &body, BadRequest::ReplyMode(mode)),
        }
    }
}

#[test]
fn a_collapse_key_is_any_255_bytes() {
    let body = format!("00 ff {} 00000000 00000000 0001 0000", "00ff2a".repeat(85));
    accept(Op::Push, &body);
}

#[test]
fn only_a_live_push_is_spread() {
    accept(Op::Push, "00 00 00000000 ffffffff 0001 0000");
    accept(Op::Push, "00 00 ffffffff 00000000 0001 0000");
    let spread_kept = BadRequest::SpreadKept {
        spread_ms: 2,
        ttl_s: 1,
    };
    refuse(Op::Push, "00 00 00000001 00000002 0001 0000", spread_kept);
}

#[test]
fn a_push_has_1_to_512_targets() {
    let count = |count| BadRequest::TargetCount { count, max: 512 };
    refuse(Op::Push, &push("0000"), count(0));
    refuse(Op::Push, &push("0000 0000"), count(0));
    accept(Op::Push, &push(&format!("0200 {}", "0000".repeat(512))));
    refuse(
        Op::Push,
        &push(&format!("0201 {}", "0000".repeat(513))),
        count(513),
    );
    refuse(Op::Push, &push("ffff"), count(u16::MAX));
}

#[test]
fn a_presence_has_1_to_256_targets() {
    let count = |count| BadRequest::TargetCount { count, max: 256 };
    refuse(Op::Presence, "0000", count(0));
    accept(Op::Presence, &format!("0100 {}", "0000".repeat(256)));
    refuse(
        Op::Presence,
        &format!("0101 {}", "0000".repeat(257)),
        count(257),
    );
}

#[test]
fn a_push_addresses_somebody() {
    refuse(Op::Push, &push("0001 81 01 61"), BadRequest::OnlyExceptions);
    refuse(
        Op::Push,
        &push("0002 81 01 61 82 01 67"),
        BadRequest::OnlyExceptions,
    );
    for somebody in ["00 00", "01 01 62", "02 01 67"] {
        accept(Op::Push, &push(&format!("0002 81 01 61 {somebody}")));
        accept(Op::Push, &push(&format!("0002 {somebody} 82 01 67")));
    }
}

#[test]
fn scopes_are_those_of_the_op() {
    for scope in 0..=u8::MAX {
        let named = if scope == 0 { "00" } else { "01 61" };
        let one = format!("{scope:02x} {named}");
        let unknown = BadRequest::Scope(scope);
        match scope {
            0..=2 => accept(Op::Presence, &format!("0001 {one}")),
            _ => refuse(Op::Presence, &format!("0001 {one}"), unknown),
        }
        match scope {
            0..=2 | 129 | 130 => accept(Op::Push, &push(&format!("0002 00 00 {one}"))),
            _ => refuse(Op::Push, &push(&format!("0002 00 00 {one}")), unknown),
        }
    }
}

#[test]
fn all_has_no_name_and_every_other_target_has_one() {
    let targets = |one| [(Op::Push, push(&format!("0002 00 00 {one}")))];
    for (op, body) in targets("00 01 61") {
        refuse(op, &body, BadRequest::NamedAll);
    }
    refuse(Op::Presence, "0001 00 01 61", BadRequest::NamedAll);
    for scope in ["01", "02", "81", "82"] {
        let body = push(&format!("0002 00 00 {scope} 00"));
        refuse(Op::Push, &body, BadRequest::Name(name::NameError::Empty));
    }
    refuse(
        Op::Presence,
        "0001 01 00",
        BadRequest::Name(name::NameError::Empty),
    );
}

#[test]
fn groups_hold_no_star_and_users_may() {
    let star = BadRequest::Name(name::NameError::Star);
    refuse(Op::Push, &push("0001 02 01 2a"), star);
    refuse(Op::Push, &push("0002 00 00 82 01 2a"), star);
    refuse(Op::Presence, "0001 02 01 2a", star);
    refuse(Op::Join, "01 2a 0001 01 61", star);
    refuse(Op::Leave, "01 2a 0001 01 61", star);
    accept(Op::Push, &push("0002 01 01 2a 81 01 2a"));
    accept(Op::Join, "01 67 0001 01 2a");
    accept(Op::Kick, "01 2a 01 2a 00000000 01 2a");
}

#[test]
fn names_are_checked_wherever_they_stand() {
    let control = BadRequest::Name(name::NameError::Control);
    for scope in ["01", "02", "81", "82"] {
        refuse(
            Op::Push,
            &push(&format!("0002 00 00 {scope} 01 07")),
            control,
        );
    }
    refuse(Op::Join, "01 07 0001 01 61", control);
    refuse(Op::Join, "01 67 0002 01 61 01 07", control);
    refuse(Op::Kick, "01 07 00 00000000 00", control);
    refuse(Op::Kick, "01 61 01 07 00000000 00", control);
    refuse(Op::Kick, "01 61 00 00000000 01 07", control);
}

#[test]
fn a_membership_has_a_group_and_1_to_512_users() {
    for op in [Op::Join, Op::Leave] {
        refuse(
            op,
            "00 0001 01 61",
            BadRequest::Name(name::NameError::Empty),
        );
        refuse(op, "01 67 0000", BadRequest::UserCount(0));
        accept(op, &format!("01 67 0200 {}", "0161".repeat(512)));
        let body = format!("01 67 0201 {}", "0161".repeat(513));
        refuse(op, &body, BadRequest::UserCount(513));
        refuse(
            op,
            "01 67 0001 00",
            BadRequest::Name(name::NameError::Empty),
        );
    }
}

#[test]
fn a_kick_names_a_user_and_holds_for_a_day_at_most() {
    refuse(
        Op::Kick,
        "00 00 00000000 00",
        BadRequest::Name(name::NameError::Empty),
    );
    accept(Op::Kick, "01 61 00 00015180 00");
    refuse(Op::Kick, "01 61 00 00015181 00", BadRequest::Hold(86_401));
    refuse(Op::Kick, "01 61 00 ffffffff 00", BadRequest::Hold(u32::MAX));
}

#[test]
fn a_ping_has_0_to_64_bytes() {
    accept(Op::Ping, "");
    accept(Op::Ping, &"ee".repeat(64));
    refuse(Op::Ping, &"ee".repeat(65), BadRequest::Ping(65));
}

#[test]
fn an_empty_body_is_a_ping_or_nothing() {
    for op in Op::ALL {
        let decoded = Request::decode(op, b"");
        assert_eq!(decoded.is_ok(), op == Op::Ping, "{op}");
    }
}

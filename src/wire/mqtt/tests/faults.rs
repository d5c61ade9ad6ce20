//! Each way to be malformed, by its reason.

use super::*;

#[track_caller]
fn check(hex: &str, version: Version, expected: PacketError) {
    let bytes = unhex(hex);
    let decoded = split(&bytes, PACKET_BYTES_MAX)
        .map(|packet| packet.expect("is whole"))
        .and_then(|packet| {
            assert_eq!(packet.used, bytes.len(), "{hex} is one packet");
            ClientPacket::decode(&packet, version)
        });
    assert_eq!(decoded, Err(expected), "{hex}");
    assert!(expected.reason().is_error());
}

#[test]
fn each_malformed_packet_has_its_reason() {
    use PacketError::*;
    let both = [Version::V3, Version::V5];
    for (hex, error) in [
        ("f0 00", Type(15)),
        ("00 00", Type(0)),
        ("20 02 0000", Type(2)),
        ("50 02 0001", Type(5)),
        ("62 02 0001", Type(6)),
        ("c1 00", Flags(0xc1)),
        ("41 02 0001", Flags(0x41)),
        ("80 06 0001 0001 61 00", Flags(0x80)),
        ("a0 05 0001 0001 61", Flags(0xa0)),
        ("38 03 0001 61", Flags(0x38)),
        ("36 05 0001 61 0001", Qos),
        ("32 05 0001 61 0000", PacketId),
        ("40 02 0000", PacketId),
        ("40 01 00", Truncated { needs: 2, left: 1 }),
        ("c0 01 00", Trailing(1)),
        ("30 02 0001", Truncated { needs: 1, left: 0 }),
        ("10 06 0004 4d515450", ProtocolName),
        ("10 0e 0006 4d514973 6470 03 02 003c 0000", ProtocolName),
        ("10 0c 0004 4d515454 06 02 0000 0000", ProtocolLevel(6)),
        ("10 0c 0004 4d515454 04 03 0000 0000", ConnectFlags(3)),
        ("10 0c 0004 4d515454 04 0a 0000 0000", ConnectFlags(0x0a)),
        ("10 0c 0004 4d515454 04 22 0000 0000", ConnectFlags(0x22)),
        ("10 0c 0004 4d515454 04 42 0000 0000", ConnectFlags(0x42)),
        ("10 0e 0004 4d515454 04 02 0000 0002 c328", Text),
        ("10 0d 0004 4d515454 04 02 0000 0001 00", Text),
        ("10 0d 0004 4d515454 04 02 0000 0000 00", Trailing(1)),
        ("12 0c 0004 4d515454 04 02 0000 0000", Flags(0x12)),
    ] {
        for version in both {
            check(hex, version, error);
        }
    }
    for (hex, error) in [
        ("82 02 0001", NoFilter),
        ("82 06 0001 0001 61 03", SubscriptionOptions(3)),
        ("82 06 0001 0001 61 04", SubscriptionOptions(4)),
        ("82 05 0001 0000 00", Filter),
        ("82 07 0001 0002 612b 00", Filter),
        ("82 08 0001 0003 232f61 00", Filter),
        ("a2 02 0001", NoFilter),
        ("30 03 0001 2b", Topic),
        ("30 02 0000", Topic),
        ("e0 01 00", Trailing(1)),
        ("40 03 0001 00", Trailing(1)),
    ] {
        check(hex, Version::V3, error);
    }
    for (hex, error) in [
        ("82 03 0001 00", NoFilter),
        ("82 07 0001 00 0001 61 40", SubscriptionOptions(0x40)),
        ("82 07 0001 00 0001 61 30", SubscriptionOptions(0x30)),
        (
            "82 10 0001 00 000a 2473686172652f672f74 04",
            SubscriptionOptions(4),
        ),
        ("82 0f 0001 00 0009 2473686172652f672f 00", Filter),
        ("82 0f 0001 00 0009 2473686172652f2b2f 00", Filter),
        ("82 09 0001 02 0b 00 0001 61 00", PropertyValue(0x0b)),
        ("82 0b 0001 04 0b 01 0b 02 0001 61 00", PropertyTwice(0x0b)),
        ("82 09 0001 02 01 00 0001 61 00", Property(1)),
        ("82 09 0001 02 7f 00 0001 61 00", Property(0x7f)),
        ("82 0a 0001 03 ff 01 00 0001 61 00", Property(0xff)),
        (
            "82 0b 0001 04 26 0001 61 0001 61 00",
            Truncated { needs: 2, left: 0 },
        ),
        ("30 04 0000 00 61", Topic),
        ("30 07 0000 03 23 0000 61", PropertyValue(0x23)),
        ("40 03 0001 01", Reason(1)),
        ("e0 01 8b", Reason(0x8b)),
        ("e0 02 00 05", Truncated { needs: 5, left: 0 }),
        (
            "10 10 0004 4d515454 05 02 0000 03 21 0000 0000",
            PropertyValue(0x21),
        ),
        (
            "10 12 0004 4d515454 05 02 0000 05 27 00000000 0000",
            PropertyValue(0x27),
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 17 02 0000",
            PropertyValue(0x17),
        ),
        ("10 0f 0004 4d515454 05 02 0000 82 00 0000 00", Length),
    ] {
        check(hex, Version::V5, error);
    }
}

#[test]
fn lengths_are_bounded_before_anything_else_is_looked_at() {
    let max = 100;
    let too_long = |length| Err(PacketError::TooLong { length, max: 100 });
    assert_eq!(split(&[0x10, 99], max), too_long(101));
    assert_eq!(split(&[0x10, 98], max), Ok(None));
    assert_eq!(
        split(&[0x10, 0xff, 0xff, 0xff, 0x7f], max),
        too_long(268_435_460)
    );
    for short in [&[0x10][..], &[0x10, 0x80], &[0x10, 0xff, 0xff, 0xff], &[]] {
        assert_eq!(split(short, usize::MAX), Ok(None), "{short:02x?}");
    }
    // Five digits, and two where one does.
    for bad in [&[0x10, 0xff, 0xff, 0xff, 0xff][..], &[0x10, 0x82, 0x00]] {
        assert_eq!(
            split(bad, usize::MAX),
            Err(PacketError::Length),
            "{bad:02x?}"
        );
    }
}

#[test]
fn what_a_server_may_not_say_is_an_error() {
    for (hex, version, error) in [
        ("20 02 02 00", Version::V3, PacketError::ConnectFlags(2)),
        ("20 02 01 05", Version::V3, PacketError::ConnectFlags(1)),
        ("20 02 00 06", Version::V3, PacketError::Reason(6)),
        ("e0 00", Version::V3, PacketError::Type(14)),
        ("90 02 0001", Version::V3, PacketError::NoFilter),
        ("e0 01 fe", Version::V5, PacketError::Reason(0xfe)),
        ("c0 00", Version::V5, PacketError::Type(12)),
    ] {
        let bytes = unhex(hex);
        assert_eq!(
            ServerPacket::decode(&packet(&bytes), version),
            Err(error),
            "{hex}"
        );
    }
}

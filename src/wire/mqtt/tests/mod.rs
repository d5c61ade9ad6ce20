//! Golden packets, packets of random values, and the same bytes through another codec.

mod faults;
mod random;

use super::super::frame::Scope;
use super::super::samples::unhex;
use super::*;

/// Packets to the server, as the standards write them: name, version, bytes.
pub(super) const CLIENT: [(&str, Version, &str); 17] = [
    // MQTT 3.1.1, figure 3.6: will of QoS 1, user name, password, keep alive 10.
    (
        "connect_3",
        Version::V3,
        "10 21 0004 4d515454 04 ce 000a 0002 6964 0001 77 0001 6d 0003 616461 0006 736563726574",
    ),
    (
        "connect_3_bare",
        Version::V3,
        "10 0c 0004 4d515454 04 02 0000 0000",
    ),
    // MQTT 5, figure 3-6: session expiry 10, and what we use besides.
    (
        "connect_5",
        Version::V5,
        "10 29 0004 4d515454 05 c0 000a 0d 11 0000000a 21 0014 27 00001000 0002 6964 0003 616461 \
         0006 736563726574",
    ),
    (
        "connect_5_token",
        Version::V5,
        "10 14 0004 4d515454 05 42 003c 00 0000 0005 746f6b656e",
    ),
    (
        "connect_5_will",
        Version::V5,
        "10 1b 0004 4d515454 05 26 0000 00 0001 61 05 18 00000001 0001 74 0002 6d6d",
    ),
    ("publish_3", Version::V3, "30 07 0003 612f62 6869"),
    // MQTT 5, figure 3-9: packet identifier 10.
    ("publish_5", Version::V5, "3a 0a 0003 612f62 000a 00 6869"),
    ("puback_3", Version::V3, "40 02 0001"),
    ("puback_5", Version::V5, "40 03 0001 80"),
    // MQTT 3.1.1, figure 3.23: a/b with QoS 1, c/d with QoS 2.
    (
        "subscribe_3",
        Version::V3,
        "82 0e 000a 0003 612f62 01 0003 632f64 02",
    ),
    (
        "subscribe_5",
        Version::V5,
        "82 0f 000a 00 0003 612f62 01 0003 632f64 2e",
    ),
    (
        "subscribe_5_shared",
        Version::V5,
        "82 14 0001 02 0b 07 000c 2473686172652f672f742f2b 00",
    ),
    // MQTT 3.1.1, figure 3.30.
    (
        "unsubscribe_3",
        Version::V3,
        "a2 0c 000a 0003 612f62 0003 632f64",
    ),
    (
        "unsubscribe_5",
        Version::V5,
        "a2 0d 000a 00 0003 612f62 0003 632f64",
    ),
    ("pingreq", Version::V3, "c0 00"),
    ("disconnect_3", Version::V3, "e0 00"),
    ("disconnect_5", Version::V5, "e0 07 00 05 11 00000e10"),
];

/// Packets to the client.
pub(super) const SERVER: [(&str, Version, &str); 14] = [
    ("connack_3", Version::V3, "20 02 01 00"),
    ("connack_3_refused", Version::V3, "20 02 00 05"),
    ("connack_5", Version::V5, "20 07 00 00 04 24 01 25 00"),
    (
        "connack_5_refused",
        Version::V5,
        "20 09 00 87 06 1f 0003 776879",
    ),
    ("publish_3", Version::V3, "3b 08 0003 616c6c 0007 68"),
    ("publish_5", Version::V5, "30 08 0004 75736572 00 68"),
    ("puback_5", Version::V5, "40 03 0001 87"),
    ("suback_3", Version::V3, "90 04 000a 01 80"),
    ("suback_5", Version::V5, "90 06 000a 00 01 8f 9e"),
    ("unsuback_3", Version::V3, "b0 02 000a"),
    ("unsuback_5", Version::V5, "b0 05 000a 00 00 11"),
    ("pingresp", Version::V3, "d0 00"),
    ("disconnect_5", Version::V5, "e0 01 8b"),
    (
        "disconnect_5_why",
        Version::V5,
        "e0 08 8e 06 1f 0003 776879",
    ),
];

/// The one packet that `bytes` are.
#[track_caller]
fn packet(bytes: &[u8]) -> Packet<'_> {
    let packet = split(bytes, PACKET_BYTES_MAX).unwrap().unwrap();
    assert_eq!(packet.used, bytes.len(), "one packet: {bytes:02x?}");
    packet
}

#[track_caller]
fn from_client(bytes: &[u8], version: Version) -> ClientPacket<'_> {
    ClientPacket::decode(&packet(bytes), version).unwrap()
}

#[test]
fn golden_packets_come_out_as_they_went_in() {
    for (name, version, hex) in CLIENT {
        let bytes = unhex(hex);
        let mut again = Vec::new();
        from_client(&bytes, version).encode(version, &mut again);
        assert_eq!(again, bytes, "{name}");
    }
    for (name, version, hex) in SERVER {
        let (bytes, mut again) = (unhex(hex), Vec::new());
        let decoded = ServerPacket::decode(&packet(&bytes), version);
        decoded.expect(name).encode(version, &mut again);
        assert_eq!(again, bytes, "{name}");
    }
}

fn client(name: &str) -> Vec<u8> {
    let (_, _, hex) = CLIENT.iter().find(|(known, ..)| *known == name).unwrap();
    unhex(hex)
}

#[test]
fn a_connect_says_who_the_client_is() {
    let bytes = client("connect_3");
    let ClientPacket::Connect(connect) = from_client(&bytes, Version::V3) else {
        panic!("a CONNECT");
    };
    let will = connect.will.unwrap();
    assert_eq!(
        (will.qos, will.retain, will.topic),
        (Qos::AtLeastOnce, false, "w")
    );
    assert_eq!(
        (connect.user_name, connect.password),
        (Some("ada"), Some(&b"secret"[..]))
    );
    assert_eq!(
        (connect.keep_alive_s, connect.clean_start, connect.client_id),
        (10, true, "id")
    );
    let bytes = client("connect_5");
    let ClientPacket::Connect(connect) = from_client(&bytes, Version::V5) else {
        panic!("a CONNECT");
    };
    assert_eq!(connect.version, Version::V5);
    let number = |property| connect.properties.number(property);
    assert_eq!(number(Property::SESSION_EXPIRY), Some(10));
    assert_eq!(number(Property::RECEIVE_MAXIMUM), Some(20));
    assert_eq!(number(Property::MAXIMUM_PACKET_SIZE), Some(4096));
    assert_eq!(number(Property::TOPIC_ALIAS_MAXIMUM), None);
}

#[test]
fn a_subscription_has_its_options() {
    let bytes = client("subscribe_5");
    let ClientPacket::Subscribe {
        packet_id, filters, ..
    } = from_client(&bytes, Version::V5)
    else {
        panic!("a SUBSCRIBE");
    };
    let second = Subscription {
        filter: "c/d",
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
    };
    assert_eq!(packet_id, 10);
    let first = Subscription::new("a/b", Qos::AtLeastOnce);
    assert_eq!(filters.iter().collect::<Vec<_>>(), [first, second]);
}

#[test]
fn a_head_and_its_payload_are_a_publish() {
    for version in [Version::V3, Version::V5] {
        for (qos, dup, number) in [
            (Qos::AtMostOnce, false, 0),
            (Qos::AtMostOnce, false, 7),
            (Qos::AtLeastOnce, false, 65_535),
            (Qos::AtLeastOnce, true, u64::MAX),
        ] {
            for (scope, group, topic) in [
                (Scope::All, "", "all"),
                (Scope::User, "", "user"),
                (Scope::Group, "room/1", "group/room/1"),
            ] {
                let mut bytes = Vec::new();
                publish_head(&mut bytes, (version, qos, dup), (scope, group), number, 200);
                assert!(bytes.len() <= PUBLISH_HEAD_BYTES_MAX);
                bytes.extend_from_slice(&[b'x'; 200]);
                let ClientPacket::Publish(publish) = from_client(&bytes, version) else {
                    panic!("a PUBLISH");
                };
                assert_eq!((publish.qos, publish.dup, publish.topic), (qos, dup, topic));
                assert_eq!(publish.payload, [b'x'; 200]);
                let id = if qos == Qos::AtLeastOnce {
                    packet_id(number)
                } else {
                    0
                };
                assert_eq!(publish.packet_id, id);
                let shown = number.to_string();
                let expected = (version == Version::V5 && number > 0).then_some(&*shown);
                assert_eq!(publish.properties.user(NUMBER), expected);
                assert_eq!(Topic::parse(topic), Some((scope, group)));
            }
        }
    }
    let (mut longest, group) = (Vec::new(), "g".repeat(255));
    let kind = (Version::V5, Qos::AtLeastOnce, true);
    publish_head(&mut longest, kind, (Scope::Group, &group), u64::MAX, 65_000);
    // The length of such a payload takes three bytes of the four that it may.
    assert_eq!(longest.len() + 1, PUBLISH_HEAD_BYTES_MAX);
}

#[test]
fn packet_identifiers_are_never_0_and_differ_among_65_535() {
    assert_eq!(
        [1, 2, 65_535, 65_536, 65_537].map(packet_id),
        [1, 2, 65_535, 1, 2]
    );
    assert_ne!(packet_id(u64::MAX), 0);
}

#[test]
fn filters_are_what_can_be_had_exactly() {
    for (filter, parsed) in [
        ("user", Ok(Filter::User)),
        ("user/#", Ok(Filter::User)),
        ("all", Ok(Filter::All)),
        ("all/#", Ok(Filter::All)),
        ("+", Ok(Filter::UserAndAll)),
        ("group/room", Ok(Filter::Group("room"))),
        ("group/room/1", Ok(Filter::Group("room/1"))),
        ("group//", Ok(Filter::Group("/"))),
        ("#", Err(FilterError::Wildcard)),
        ("+/#", Err(FilterError::Wildcard)),
        ("+/room", Err(FilterError::Wildcard)),
        ("group/+", Err(FilterError::Wildcard)),
        ("group/#", Err(FilterError::Wildcard)),
        ("group/room/#", Err(FilterError::Wildcard)),
        ("group/", Err(FilterError::Unknown)),
        ("group/a*", Err(FilterError::Unknown)),
        ("group", Err(FilterError::Unknown)),
        ("user/+", Err(FilterError::Unknown)),
        ("/user", Err(FilterError::Unknown)),
        ("USER", Err(FilterError::Unknown)),
        ("$SYS/#", Err(FilterError::Unknown)),
        ("sensors/+/temperature", Err(FilterError::Unknown)),
        ("$share/workers/user", Err(FilterError::Shared)),
    ] {
        assert_eq!(Filter::parse(filter), parsed, "{filter}");
    }
    assert!(Filter::UserAndAll.matches(Scope::All, ""));
    assert!(!Filter::UserAndAll.matches(Scope::Group, "all"));
    assert!(Filter::Group("a").matches(Scope::Group, "a"));
    assert!(!Filter::Group("a").matches(Scope::Group, "b"));
    assert!(!Topic::of(Scope::Group, "a+b").is_valid());
    assert!(Topic::of(Scope::Group, "a/b").is_valid());
}

#[test]
fn close_codes_have_reasons_that_their_packets_may_bear() {
    use super::super::reason::CloseCode;
    // MQTT 5, 3.2.2.2.
    let of_connack = (0x80..=0x8a)
        .chain([0x8c, 0x90, 0x95, 0x97, 0x99])
        .chain(0x9a..=0x9d);
    let of_connack: Vec<u8> = of_connack.chain([0x9f]).collect();
    for code in CloseCode::ALL {
        let (ends, refuses) = (ReasonCode::of(code), ReasonCode::of_refusal(code));
        assert!(ends.is_error() && ends.word().is_some(), "{code}");
        assert!(of_connack.contains(&refuses.0), "{code}: {refuses:?}");
        assert!((1..=5).contains(&refuses.return_code()), "{code}");
    }
}

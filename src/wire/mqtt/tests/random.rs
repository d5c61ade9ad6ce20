//! Packets of random values, damaged ones, and each of them through a codec that others wrote.

use mqtt_proto::{v3, v5};
use proptest::prelude::*;

use super::super::super::samples::{any_bytes, any_group, damaged};
use super::*;

/// Texts of MQTT: no U+0000.
fn any_string() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9/]{1,20}", "[^\\x00]{0,30}"]
}

fn any_topic() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/]{1,20}",
        any_group().prop_map(|group| format!("group/{group}"))
    ]
    .prop_filter("a topic name", |topic| !topic.contains(['+', '#', '\0']))
}

fn any_filter() -> impl Strategy<Value = String> {
    prop_oneof![
        any_topic(),
        Just("#".to_owned()),
        Just("+".to_owned()),
        Just("+/a/#".to_owned()),
        "[a-z]{1,5}".prop_map(|name| format!("$share/{name}/group/+")),
    ]
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3), Just(Version::V5)]
}

/// One property each of some that a CONNECT may have, and a few of the user's.
fn any_connect_properties() -> impl Strategy<Value = PropertyList> {
    let user = prop::collection::vec((any_string(), any_string()), 0..3);
    (any::<(Option<u32>, Option<u16>, Option<u32>)>(), user).prop_map(
        |((expiry, receive, size), user)| {
            let mut list = PropertyList::default();
            let numbers = [
                (Property::SESSION_EXPIRY, expiry),
                (
                    Property::RECEIVE_MAXIMUM,
                    receive.map(|max| u32::from(max.max(1))),
                ),
                (Property::MAXIMUM_PACKET_SIZE, size.map(|max| max.max(1))),
            ];
            for (property, number) in numbers {
                if let Some(number) = number {
                    list = list.with(property, Value::Number(number));
                }
            }
            user.iter().fold(list, |list, (name, value)| {
                list.with(Property::USER, Value::Pair(name, value))
            })
        },
    )
}

fn any_connect() -> impl Strategy<Value = Vec<u8>> {
    let will = (any::<bool>(), 0..3_u8, any_topic(), any_bytes(20));
    let who = (
        any_string(),
        prop::option::of(any_string()),
        prop::option::of(any_bytes(40)),
    );
    (
        any_version(),
        any::<(bool, u16)>(),
        any_connect_properties(),
        prop::option::of(will),
        who,
    )
        .prop_map(|(version, (clean_start, keep_alive_s), list, will, who)| {
            let (client_id, user_name, password) = who;
            let of_5 = version == Version::V5;
            let connect = Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id: &client_id,
                will: will.as_ref().map(|(retain, qos, topic, payload)| Will {
                    qos: Qos::from_code(*qos).unwrap(),
                    retain: *retain,
                    topic,
                    payload,
                    properties: Properties::default(),
                }),
                user_name: user_name.as_deref(),
                password: password.as_deref().filter(|_| of_5 || user_name.is_some()),
                properties: if of_5 {
                    list.as_properties()
                } else {
                    Properties::default()
                },
            };
            let mut bytes = Vec::new();
            connect.encode(&mut bytes);
            bytes
        })
}

fn any_client_packet() -> impl Strategy<Value = (Version, Vec<u8>)> {
    let id = 1..=u16::MAX;
    let publish = (
        any_version(),
        0..3_u8,
        id.clone(),
        any_topic(),
        any_bytes(300),
    )
        .prop_map(|(version, qos, packet_id, topic, payload)| {
            let qos = Qos::from_code(qos).unwrap();
            let publish = Publish {
                dup: qos != Qos::AtMostOnce && packet_id % 2 == 0,
                qos,
                retain: packet_id % 3 == 0,
                topic: &topic,
                packet_id,
                properties: Properties::default(),
                payload: &payload,
            };
            (version, encoded(|out| publish.encode(version, out)))
        });
    let filters = prop::collection::vec((any_filter(), 0..3_u8), 1..4);
    let subscribe = (any_version(), id.clone(), filters, any::<bool>()).prop_map(
        |(version, packet_id, filters, wants)| {
            let none = Properties::default();
            let bytes = encoded(|out| match wants {
                true => {
                    let all = filters.iter().map(|(filter, qos)| {
                        Subscription::new(filter, Qos::from_code(*qos).unwrap())
                    });
                    encode_subscribe(out, version, packet_id, none, all);
                }
                false => {
                    let all = filters.iter().map(|(filter, _)| &**filter);
                    encode_unsubscribe(out, version, packet_id, none, all);
                }
            });
            (version, bytes)
        },
    );
    let rest = (any_version(), id, 0..3_u8).prop_map(|(version, packet_id, which)| {
        let (reason, properties) = Default::default();
        let packet = match which {
            0 => ClientPacket::PubAck {
                packet_id,
                reason,
                properties,
            },
            1 => ClientPacket::PingReq,
            _ => ClientPacket::Disconnect { reason, properties },
        };
        (version, encoded(|out| packet.encode(version, out)))
    });
    let connect = any_connect().prop_map(|bytes| {
        let level = bytes.iter().position(|byte| *byte == b'T').unwrap() + 2;
        let version = if bytes[level] == 4 {
            Version::V3
        } else {
            Version::V5
        };
        (version, bytes)
    });
    prop_oneof![connect, publish, subscribe, rest]
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

/// What the other codec makes of a whole packet, written anew by it; `None` where it refuses.
fn through_another(bytes: &[u8], version: Version) -> Option<Vec<u8>> {
    match version {
        Version::V3 => {
            let packet = v3::Packet::decode(bytes).ok()??;
            Some(packet.encode().ok()?.as_ref().to_vec())
        }
        Version::V5 => {
            let packet = v5::Packet::decode(bytes).ok()??;
            Some(packet.encode().ok()?.as_ref().to_vec())
        }
    }
}

/// The version that a packet is of: a CONNECT says its own, whatever was expected.
fn spoken(packet: &ClientPacket<'_>, expected: Version) -> Version {
    match packet {
        ClientPacket::Connect(connect) => connect.version,
        _ => expected,
    }
}

/// A packet in words, its properties in an order of their own: the other codec writes them in its.
fn in_words(packet: &ClientPacket<'_>) -> String {
    let sorted = |properties: &Properties<'_>| {
        let mut all: Vec<String> = properties.iter().map(|one| format!("{one:?}")).collect();
        all.sort();
        all
    };
    match packet {
        ClientPacket::Connect(connect) => {
            let properties = sorted(&connect.properties);
            let bare = Connect {
                properties: Properties::default(),
                ..*connect
            };
            format!("{bare:?} {properties:?}")
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn packets_come_out_as_they_went_in((version, bytes) in any_client_packet()) {
        let decoded = from_client(&bytes, version);
        let again = encoded(|out| decoded.encode(version, out));
        prop_assert_eq!(&again, &bytes);
        for end in 0..bytes.len() {
            prop_assert_eq!(split(&bytes[..end], usize::MAX), Ok(None), "cut at {}", end);
        }
    }

    #[test]
    fn another_codec_reads_the_same((version, bytes) in any_client_packet()) {
        let ours = from_client(&bytes, version);
        let version = spoken(&ours, version);
        let theirs = through_another(&bytes, version);
        let theirs = theirs.expect("what is good here is good there");
        let again = from_client(&theirs, version);
        prop_assert_eq!(in_words(&again), in_words(&ours));
    }

    #[test]
    fn what_is_taken_of_damaged_packets_another_codec_takes_too(
        bytes in damaged(CLIENT.iter().map(|(_, _, hex)| unhex(hex)).collect()),
        version in any_version(),
    ) {
        let Ok(Some(packet)) = split(&bytes, PACKET_BYTES_MAX) else { return Ok(()) };
        let Ok(decoded) = ClientPacket::decode(&packet, version) else { return Ok(()) };
        let version = spoken(&decoded, version);
        let theirs = through_another(&bytes[..packet.used], version);
        prop_assert!(theirs.is_some(), "{:?} is refused there", decoded);
    }

    #[test]
    fn random_bytes_are_no_harm(bytes in any_bytes(64), version in any_version()) {
        if let Ok(Some(packet)) = split(&bytes, 64) {
            let _ = ClientPacket::decode(&packet, version);
            let _ = ServerPacket::decode(&packet, version);
        }
        let first = bytes.first().copied().unwrap_or(0x30);
        let damaged = Packet { first, body: &bytes, used: 0 };
        let _ = ClientPacket::decode(&damaged, version);
        let _ = ServerPacket::decode(&damaged, version);
    }
}

//! What is refused, with which words, and what it costs.

use pushgate::wire::mqtt::{ClientPacket, Property, PropertyList, Publish, Qos, Value, Version};
use pushgate::wire::mqtt::{Properties, ReasonCode, ServerPacket};

use super::{from_elsewhere, gateway, unhex};
use crate::support::baseline::Baseline;
use crate::support::gateway::Gateway;
use crate::support::mqtt::{Entrance, MqttClient};
use crate::support::sender::Sender;
use crate::tokens::issuer::Issuer;

#[tokio::test]
async fn what_cannot_be_had_is_refused_by_name() {
    let gateway = gateway("[clients]\nmax_groups = 2\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    for (filter, reason) in [
        ("#", ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
        ("group/+", ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
        (
            "group/room/#",
            ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        (
            "$share/workers/user",
            ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        ("$SYS/#", ReasonCode::TOPIC_FILTER_INVALID),
        ("sensors/1", ReasonCode::TOPIC_FILTER_INVALID),
        ("group/", ReasonCode::TOPIC_FILTER_INVALID),
        ("group/a*", ReasonCode::TOPIC_FILTER_INVALID),
    ] {
        let mut ada = Entrance::of(Version::V5, "ada", "").enter(door).await;
        let codes = ada.subscribe(&[filter, "user"], Qos::AtLeastOnce).await;
        assert_eq!(
            codes,
            [reason.0, 1],
            "{filter}: and the other one is granted"
        );
        ada.leave().await;
        let mut bob = Entrance::of(Version::V3, "bob", "").enter(door).await;
        let codes = bob.subscribe(&[filter, "user"], Qos::AtMostOnce).await;
        assert_eq!(codes, [0x80, 0], "{filter}");
        bob.leave().await;
    }
    let mut ada = Entrance::of(Version::V5, "ada", "").enter(door).await;
    let groups = ["group/a", "group/b", "group/c"];
    let codes = ada.subscribe(&groups, Qos::AtMostOnce).await;
    assert_eq!(codes, [0, 0, ReasonCode::QUOTA_EXCEEDED.0]);
    // One with an identifier, which this server has said that it does not take.
    ada.send_bytes(&unhex("82 0c 0009 02 0b07 0004 75736572 00"))
        .await;
    match ada.next().await {
        Some(ServerPacket::SubAck {
            packet_id, codes, ..
        }) => {
            let code = ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED.0;
            assert_eq!((packet_id, codes), (9, &[code][..]));
        }
        other => panic!("{other:?}"),
    }
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

/// Sends this to a client that is in, and returns the reason of the end.
async fn ended(gateway: &Gateway, version: Version, bytes: &[u8]) -> Option<ReasonCode> {
    let door = gateway.door("mqtt");
    let mut client = Entrance::of(version, "ada", "phone").enter(door).await;
    client.send_bytes(bytes).await;
    client.closed().await.map(|(reason, _)| reason)
}

#[tokio::test]
async fn who_breaks_the_protocol_is_cut_with_the_reason() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let too_long = [&[0x82, 0xfe, 0x1f][..], &[0; 4_094]].concat();
    for (what, bytes, reason) in [
        (
            "a second CONNECT",
            Entrance::of(Version::V5, "ada", "").encode(),
            0x82,
        ),
        ("AUTH", unhex("f0 00"), 0x82),
        ("PUBREL", unhex("62 02 0001"), 0x82),
        ("no filter", unhex("82 03 0001 00"), 0x82),
        ("flags", unhex("c1 00"), 0x81),
        (
            "a filter that is none",
            unhex("82 08 0001 00 0002 612b 00"),
            0x81,
        ),
        (
            "a text that is none",
            unhex("82 08 0001 00 0002 c328 00"),
            0x81,
        ),
        ("identifier 0", unhex("82 07 0000 00 0001 61 00"), 0x81),
        ("a length that never ends", unhex("c0 ff ff ff ff"), 0x81),
        ("over the limit", too_long, 0x95),
    ] {
        assert_eq!(
            ended(&gateway, Version::V5, &bytes).await,
            Some(ReasonCode(reason)),
            "{what}"
        );
    }
    for bytes in ["f0 00", "c1 00", "82 02 0001", "82 07 0001 0002 612b 00"] {
        assert_eq!(
            ended(&gateway, Version::V3, &unhex(bytes)).await,
            None,
            "{bytes}"
        );
    }
    baseline.assert_back_at(&gateway).await;
    assert_eq!(super::ended(&gateway, "protocol").await, 14);
}

#[tokio::test]
async fn nobody_publishes_here() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let publish = |qos, retain, properties| Publish {
        dup: false,
        qos,
        retain,
        topic: "user",
        packet_id: 7,
        properties,
        payload: b"hello",
    };
    let none = Properties::default();
    let mut ada = Entrance::of(Version::V5, "ada", "")
        .enter(gateway.door("mqtt"))
        .await;
    ada.want("user", Qos::AtMostOnce).await;
    ada.send(&ClientPacket::Publish(publish(
        Qos::AtLeastOnce,
        false,
        none,
    )))
    .await;
    match ada.next().await {
        Some(ServerPacket::PubAck {
            packet_id, reason, ..
        }) => {
            assert_eq!((packet_id, reason), (7, ReasonCode::NOT_AUTHORIZED));
        }
        other => panic!("{other:?}"),
    }
    ada.assert_quiet().await;
    ada.leave().await;
    let alias = PropertyList::default().with(Property::TOPIC_ALIAS, Value::Number(1));
    let alias = alias.as_properties();
    for (packet, reason) in [
        (
            publish(Qos::AtMostOnce, false, none),
            ReasonCode::NOT_AUTHORIZED,
        ),
        (
            publish(Qos::ExactlyOnce, false, none),
            ReasonCode::QOS_NOT_SUPPORTED,
        ),
        (
            publish(Qos::AtLeastOnce, true, none),
            ReasonCode::RETAIN_NOT_SUPPORTED,
        ),
        (
            publish(Qos::AtLeastOnce, false, alias),
            ReasonCode::TOPIC_ALIAS_INVALID,
        ),
    ] {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        assert_eq!(
            ended(&gateway, Version::V5, &bytes).await,
            Some(reason),
            "{packet:?}"
        );
    }
    let mut bytes = Vec::new();
    publish(Qos::AtLeastOnce, false, none).encode(Version::V3, &mut bytes);
    assert_eq!(ended(&gateway, Version::V3, &bytes).await, None);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_mqtt_publishes_refused_total"), 6);
    baseline.assert_back_at(&gateway).await;
    assert_eq!(super::ended(&gateway, "auth").await, 5);
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why_where_that_can_be_said() {
    let gateway = gateway("[clients]\nmax_devices = 1\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut others = from_elsewhere(door);
    let mut refused = async |entrance: &Entrance| {
        let client = others(entrance.version).await;
        let (mut client, granted) = entrance.try_enter_over(client).await;
        assert_eq!(
            client.next().await,
            None,
            "nothing follows, and the gateway closes"
        );
        granted.reason
    };
    let of = |version| Entrance::of(version, "ada", "phone");
    let will = |version, will| Entrance {
        will: Some(will),
        ..of(version)
    };
    let method = PropertyList::default().with(
        Property::AUTHENTICATION_METHOD,
        Value::Text("SCRAM-SHA-256"),
    );
    for (entrance, reason) in [
        (
            will(Version::V5, (Qos::AtMostOnce, true)),
            ReasonCode::RETAIN_NOT_SUPPORTED,
        ),
        (
            will(Version::V5, (Qos::ExactlyOnce, false)),
            ReasonCode::QOS_NOT_SUPPORTED,
        ),
        (
            Entrance {
                properties: method,
                ..of(Version::V5)
            },
            ReasonCode::BAD_AUTHENTICATION_METHOD,
        ),
        (
            Entrance::of(Version::V5, "ada", "a\u{7f}"),
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ),
        (
            Entrance::of(Version::V3, "ada", "a\u{7f}"),
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ),
        (
            Entrance::of(Version::V3, "ada", "").kept(),
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ),
        (
            Entrance::of(Version::V5, "", "phone"),
            ReasonCode::NOT_AUTHORIZED,
        ),
        (
            Entrance::of(Version::V3, "", "phone"),
            ReasonCode::NOT_AUTHORIZED,
        ),
    ] {
        assert_eq!(refused(&entrance).await, reason, "{entrance:?}");
    }
    // A will that nobody will publish is no reason not to be let in.
    for (version, allowed) in [
        (Version::V5, (Qos::AtLeastOnce, false)),
        (Version::V3, (Qos::ExactlyOnce, true)),
    ] {
        will(version, allowed).enter(door).await.leave().await;
    }
    let ada = of(Version::V5).enter(door).await;
    let other = Entrance::of(Version::V5, "ada", "tablet");
    assert_eq!(refused(&other).await, ReasonCode::QUOTA_EXCEEDED);
    let other = Entrance::of(Version::V3, "ada", "tablet");
    assert_eq!(refused(&other).await, ReasonCode::SERVER_UNAVAILABLE);
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_first_packet_that_is_no_connect_is_not_waited_for() {
    let gateway = gateway("[clients]\nmax_hello = 1024\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut others = from_elsewhere(door);
    for (what, bytes, answer) in [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
        ("a native HELLO", unhex("0000001e 01 01"), None),
        ("SUBSCRIBE", unhex("82 06 0001 0001 61 00"), None),
        ("too long", unhex("10 80 08"), None),
        ("a length that never ends", unhex("10 ff ff ff ff"), None),
        // In the words of 3.1.1: unacceptable protocol version.
        (
            "3.1",
            unhex("10 0e 0006 4d5149736470 03 02 003c 0000"),
            Some("20 02 00 01"),
        ),
        (
            "version 6",
            unhex("10 0c 0004 4d515454 06 02 003c 0000"),
            Some("20 02 00 01"),
        ),
    ] {
        let mut client = others(Version::V3).await;
        client.send_bytes(&bytes).await;
        let said = client.rest().await;
        assert_eq!(said, answer.map(unhex).unwrap_or_default(), "{what}");
    }
    // Where it is clear what it speaks, it is told that it does not speak it well.
    let mut client = MqttClient::connect(door, Version::V5).await;
    client
        .send_bytes(&unhex("10 0d 0004 4d515454 05 03 003c 00 0000"))
        .await;
    match client.next().await {
        Some(ServerPacket::ConnAck(connack)) => {
            assert_eq!(connack.reason, ReasonCode::MALFORMED_PACKET);
        }
        other => panic!("{other:?}"),
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_connect_has_to_be_whole_in_time() {
    let gateway = gateway("[clients]\nhandshake_timeout = '500ms'\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut silent = MqttClient::connect(door, Version::V5).await;
    let mut slow = MqttClient::connect(door, Version::V5).await;
    slow.send_bytes(&Entrance::of(Version::V5, "ada", "").encode()[..9])
        .await;
    assert!(silent.rest().await.is_empty() && slow.rest().await.is_empty());
    // A later packet that is begun has to be whole in time as well.
    let mut ada = Entrance::of(Version::V5, "ada", "").enter(door).await;
    ada.send_bytes(&unhex("82 06 00")).await;
    assert_eq!(
        ada.closed().await.map(|(reason, _)| reason),
        Some(ReasonCode::UNSPECIFIED)
    );
    baseline.assert_back_at(&gateway).await;
    assert_eq!(super::ended(&gateway, "handshake_timeout").await, 3);
}

#[tokio::test]
async fn a_token_is_the_password() {
    let issuer = Issuer::new();
    let gateway = gateway(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let token = issuer.token(
        "old",
        &["--user", "ada", "--group", "given", "--join", "room/*"],
    );
    let with = |version, user: Option<&str>, password: &str| Entrance {
        user: user.map(str::to_owned),
        password: Some(password.as_bytes().to_vec()),
        ..Entrance::of(version, "", "phone")
    };
    // Version 3.1.1 has no password without a user name.
    for entrance in [
        with(Version::V5, None, &token),
        with(Version::V5, Some("ada"), &token),
        with(Version::V3, Some("ada"), &token),
    ] {
        let mut ada = entrance.enter(door).await;
        let filters = ["group/room/1", "group/other", "user"];
        let codes = ada.subscribe(&filters, Qos::AtMostOnce).await;
        let refused = match entrance.version {
            Version::V5 => ReasonCode::NOT_AUTHORIZED.0,
            Version::V3 => 0x80,
        };
        assert_eq!(codes, [0, refused, 0], "{entrance:?}");
        let sender = Sender::unsigned(gateway.udp).await;
        let group = pushgate::wire::datagram::Target::Group("given");
        sender.push(&[group], b"x").await;
        assert_eq!(
            ada.messages(1).await,
            ["group/given x"],
            "by the token, unasked"
        );
        ada.leave().await;
    }
    let bad_name = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
    for (entrance, reason) in [
        (with(Version::V5, Some("bob"), &token), bad_name),
        (with(Version::V3, Some("bob"), &token), bad_name),
        (
            with(Version::V5, None, "no token"),
            ReasonCode::NOT_AUTHORIZED,
        ),
        (
            Entrance::of(Version::V5, "ada", "phone"),
            ReasonCode::NOT_AUTHORIZED,
        ),
    ] {
        let (_, granted) = entrance.try_enter(door).await;
        assert_eq!(granted.reason, reason, "{entrance:?}");
    }
    baseline.assert_back_at(&gateway).await;
}

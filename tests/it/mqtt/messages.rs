//! Topics, QoS, and what a client is granted.

use pushgate::wire::datagram::{RequestBody, Target};
use pushgate::wire::mqtt::{ClientPacket, Property, Qos, ReasonCode, ServerPacket, Version};

use super::{ended, gateway};
use crate::kept::keep;
use crate::requests::counts;
use crate::support::baseline::Baseline;
use crate::support::eventually;
use crate::support::mqtt::Entrance;
use crate::support::sender::Sender;

const BOTH: [Version; 2] = [Version::V3, Version::V5];

#[tokio::test]
async fn each_target_has_its_topic() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for version in BOTH {
        let mut ada = Entrance::of(version, "ada", "phone")
            .enter(gateway.door("mqtt"))
            .await;
        let (user, all, room) = (Target::User("ada"), Target::All, Target::Group("room/1"));
        for target in [user, all, room] {
            let answer = sender.push(&[target], b"too early").await;
            assert_eq!(
                answer.counts,
                counts(0, 0, 0, 0),
                "{target:?}: nobody has asked for it"
            );
        }
        let filters = ["user", "all", "group/room/1"];
        let granted = ada.subscribe(&filters, Qos::AtMostOnce).await;
        assert_eq!(granted, [0, 0, 0]);
        for target in [user, all, room] {
            let answer = sender.push(&[target], b"hello").await;
            assert_eq!(answer.counts, counts(1, 1, 0, 0), "{target:?}");
        }
        // Once, under the first target that it has asked for.
        sender
            .push(&[Target::Group("other"), all, user], b"both")
            .await;
        assert_eq!(
            ada.messages(4).await,
            ["user hello", "all hello", "group/room/1 hello", "all both"]
        );
        let codes = ada.unsubscribe(&["all", "group/room/1", "never"]).await;
        let expected: &[u8] = if version == Version::V5 {
            &[0, 0, 0x11]
        } else {
            &[]
        };
        assert_eq!(codes, expected);
        sender.push(&[all], b"x").await;
        sender.push(&[room], b"x").await;
        sender.push(&[all, user], b"after").await;
        assert_eq!(ada.messages(1).await, ["user after"]);
        ada.assert_quiet().await;
        ada.leave().await;
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn wildcards_are_granted_where_they_mean_what_they_say() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut ada = Entrance::of(Version::V5, "ada", "")
        .enter(gateway.door("mqtt"))
        .await;
    ada.want("+", Qos::AtMostOnce).await;
    for target in [Target::User("ada"), Target::All, Target::Group("room")] {
        sender.push(&[target], b"x").await;
    }
    assert_eq!(ada.messages(2).await, ["user x", "all x"]);
    // Another filter with the same topic goes on when the first one is gone.
    ada.want("all/#", Qos::AtMostOnce).await;
    assert_eq!(ada.unsubscribe(&["+"]).await, [0]);
    for target in [Target::User("ada"), Target::All] {
        sender.push(&[target], b"y").await;
    }
    assert_eq!(ada.messages(1).await, ["all y"]);
    ada.assert_quiet().await;
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn kept_messages_go_with_qos_1_and_are_acknowledged() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for (version, number) in BOTH.into_iter().zip([1, 3]) {
        let mut ada = Entrance::of(version, "ada", "phone")
            .enter(gateway.door("mqtt"))
            .await;
        // QoS 2 is granted as 1.
        assert_eq!(ada.subscribe(&["user"], Qos::ExactlyOnce).await, [1]);
        ada.want("all", Qos::AtMostOnce).await;
        let answer = keep(&sender, Target::User("ada"), b"kept", (600, b"")).await;
        assert_eq!((answer.counts, answer.number), (counts(1, 1, 0, 0), number));
        let kept = ada.message().await;
        assert_eq!(kept.text(), "user kept");
        assert_eq!((u64::from(kept.packet_id), kept.dup), (number, false));
        let shown = (version == Version::V5).then_some(number);
        assert_eq!(kept.number, shown);
        let before = gateway.scrape().await.value("pushgate_confirmed_total");
        ada.acknowledge(kept.packet_id).await;
        eventually("it is confirmed", async || {
            let confirmed = gateway.scrape().await.value("pushgate_confirmed_total");
            (confirmed == before + 1)
                .then_some(())
                .ok_or_else(|| format!("{confirmed}"))
        })
        .await;
        // What was granted QoS 0 goes with QoS 0, kept or not; what is not kept always does.
        keep(&sender, Target::All, b"kept", (600, b"")).await;
        sender.push(&[Target::User("ada")], b"live").await;
        for expected in ["all kept", "user live"] {
            let message = ada.message().await;
            assert_eq!((message.text().as_str(), message.packet_id), (expected, 0));
        }
        ada.leave().await;
    }
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn no_more_are_in_flight_than_the_client_takes() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let entrance = Entrance::of(Version::V5, "ada", "").with(Property::RECEIVE_MAXIMUM, 2);
    let mut ada = entrance.enter(gateway.door("mqtt")).await;
    ada.want("user", Qos::AtLeastOnce).await;
    let user = Target::User("ada");
    for expected in [counts(1, 1, 0, 0), counts(1, 1, 0, 0), counts(1, 0, 1, 0)] {
        assert_eq!(
            keep(&sender, user, b"kept", (600, b"")).await.counts,
            expected
        );
    }
    // In order: a live one waits behind it.
    assert_eq!(
        sender.push(&[user], b"live").await.counts,
        counts(1, 0, 1, 0)
    );
    let first = ada.message().await.packet_id;
    ada.message().await;
    ada.assert_quiet().await;
    assert_eq!(gateway.scrape().await.value("pushgate_sessions_behind"), 1);
    ada.acknowledge(first).await;
    let third = ada.message().await;
    assert_eq!(
        (third.text().as_str(), third.packet_id),
        ("user kept", first + 2)
    );
    assert_eq!(ada.message().await.text(), "user live");
    // One that acknowledges nothing of its own does no harm.
    ada.acknowledge(9_999).await;
    ada.assert_quiet().await;
    ada.leave().await;
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn who_acknowledges_nothing_is_slow_in_the_end() {
    let gateway = gateway("[clients]\nqueue_messages = 5\n");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let entrance = Entrance::of(Version::V5, "ada", "").with(Property::RECEIVE_MAXIMUM, 1);
    let mut ada = entrance.enter(gateway.door("mqtt")).await;
    ada.want("user", Qos::AtLeastOnce).await;
    let mut refused = 0;
    for _ in 0..20 {
        let answer = sender
            .push_patiently(&[Target::User("ada")], b"live")
            .await
            .0;
        refused += answer.counts.refused;
        keep(&sender, Target::User("ada"), b"kept", (600, b"")).await;
    }
    let closed = ada.closed().await;
    assert_eq!(
        closed.map(|(reason, _)| reason),
        Some(ReasonCode::QUOTA_EXCEEDED)
    );
    assert!(refused <= 1, "{refused}");
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
    assert_eq!(ended(&gateway, "slow").await, 1);
}

#[tokio::test]
async fn what_is_too_long_for_the_client_is_skipped_and_counted() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let entrance = Entrance::of(Version::V5, "ada", "");
    let mut ada = entrance
        .with(Property::MAXIMUM_PACKET_SIZE, 100)
        .enter(gateway.door("mqtt"))
        .await;
    ada.want("user", Qos::AtMostOnce).await;
    // Type, length, topic behind its length, and the length of no properties.
    let fits = 100 - (1 + 1 + 2 + 4 + 1);
    let user = [Target::User("ada")];
    let long = vec![b'x'; fits + 1];
    assert_eq!(sender.push(&user, &long).await.counts, counts(1, 0, 0, 1));
    assert_eq!(
        sender.push(&user, &long[..fits]).await.counts,
        counts(1, 1, 0, 0)
    );
    assert_eq!(ada.message().await.payload.len(), fits);
    let skipped = gateway
        .scrape()
        .await
        .at("pushgate_deliveries_total", "skipped");
    assert_eq!(skipped, 1);
    // What it acknowledges says nothing of what was skipped before.
    ada.want("user", Qos::AtLeastOnce).await;
    for payload in [&long[..], b"short"] {
        keep(&sender, user[0], payload, (600, b"")).await;
    }
    let short = ada.message().await;
    assert_eq!(short.payload, b"short");
    ada.acknowledge(short.packet_id).await;
    eventually("it is confirmed", async || {
        let confirmed = gateway.scrape().await.value("pushgate_confirmed_total");
        (confirmed > 0).then_some(()).ok_or("nothing is".to_owned())
    })
    .await;
    let confirmed = gateway.scrape().await.value("pushgate_confirmed_total");
    assert_eq!(confirmed, 1);
    gateway.purge().await;
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_group_that_a_service_gives_comes_unasked() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut ada = Entrance::of(Version::V5, "ada", "")
        .enter(gateway.door("mqtt"))
        .await;
    for group in ["room", "a+b"] {
        let join = RequestBody::Join {
            group,
            users: &["ada"],
        };
        assert_eq!(sender.ask(&join).await.counts, counts(1, 1, 0, 0));
    }
    sender.push(&[Target::Group("room")], b"x").await;
    assert_eq!(ada.messages(1).await, ["group/room x"]);
    // No topic can hold its name.
    let answer = sender.push(&[Target::Group("a+b")], b"x").await;
    assert_eq!(answer.counts, counts(0, 0, 0, 0));
    ada.want("user", Qos::AtMostOnce).await;
    let both = [Target::Group("a+b"), Target::User("ada")];
    let answer = sender.push(&both, b"y").await;
    assert_eq!(answer.counts, counts(1, 1, 0, 0));
    assert_eq!(ada.messages(1).await, ["user y"]);
    assert_eq!(
        ada.unsubscribe(&["group/room"]).await,
        [0],
        "it can be left"
    );
    let answer = sender.push(&[Target::Group("room")], b"x").await;
    assert_eq!(answer.counts, counts(0, 0, 0, 0));
    ada.assert_quiet().await;
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_client_is_told_what_it_is_granted() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut entrance = Entrance::of(Version::V5, "ada", "");
    entrance.keep_alive_s = 0;
    let entrance = entrance.with(Property::SESSION_EXPIRY, u32::MAX);
    let (ada, granted) = entrance.try_enter(door).await;
    for (property, number) in [
        (Property::MAXIMUM_QOS, 1),
        (Property::RETAIN_AVAILABLE, 0),
        (Property::MAXIMUM_PACKET_SIZE, 4_096),
        (Property::SUBSCRIPTION_IDS_AVAILABLE, 0),
        (Property::SHARED_AVAILABLE, 0),
        (Property::SERVER_KEEP_ALIVE, 30),
        (Property::SESSION_EXPIRY, 7 * 24 * 3_600),
    ] {
        assert_eq!(granted.number(property), Some(number), "{property:?}");
    }
    let assigned = granted.text(Property::ASSIGNED_CLIENT_ID).expect("a name");
    assert!(
        assigned.starts_with("auto-") && assigned.len() == 21,
        "{assigned}"
    );
    let (other, again) = entrance.try_enter(door).await;
    assert_ne!(
        again.text(Property::ASSIGNED_CLIENT_ID),
        Some(assigned),
        "another one"
    );
    for client in [ada, other] {
        client.leave().await;
    }
    // What is as the client asked is not said; a keep alive that is out of bounds is.
    for (asked, granted_s) in [(60, None), (3, Some(5)), (u16::MAX, Some(3_600))] {
        let mut entrance = Entrance::of(Version::V5, "bob", "phone");
        entrance.keep_alive_s = asked;
        let (client, granted) = entrance.try_enter(door).await;
        assert_eq!(
            granted.number(Property::SERVER_KEEP_ALIVE),
            granted_s,
            "{asked}"
        );
        assert_eq!(granted.number(Property::SESSION_EXPIRY), None);
        client.leave().await;
    }
    // Without a user name the client identifier is who it is.
    let mut nameless = Entrance::of(Version::V3, "", "sensor-7");
    nameless.user = None;
    let mut sensor = nameless.enter(door).await;
    sensor.want("user", Qos::AtMostOnce).await;
    let sender = Sender::unsigned(gateway.udp).await;
    sender.push(&[Target::User("sensor-7")], b"x").await;
    assert_eq!(sensor.messages(1).await, ["user x"]);
    sensor.leave().await;
    let remembered = "pushgate_mqtt_sessions_remembered";
    assert_eq!(
        gateway.scrape().await.value(remembered),
        2,
        "those with an expiry"
    );
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_ping_is_answered_however_the_packets_are_cut() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let mut bytes = Entrance::of(Version::V3, "ada", "").encode();
    for packet in [ClientPacket::PingReq; 3] {
        packet.encode(Version::V3, &mut bytes);
    }
    for piece in [1, 2, 7, bytes.len()] {
        let door = gateway.door("mqtt");
        let mut client = crate::support::mqtt::MqttClient::connect(door, Version::V3).await;
        for part in bytes.chunks(piece) {
            client.send_bytes(part).await;
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            client.next().await,
            Some(ServerPacket::ConnAck(_))
        ));
        for _ in 0..3 {
            assert_eq!(client.next().await, Some(ServerPacket::PingResp));
        }
        client.leave().await;
    }
    baseline.assert_back_at(&gateway).await;
}

//! Sessions that outlive their connections: what is sent again, what is forgotten, and that a
//! client is told which of the two.

use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::mqtt::{
    ClientPacket, Properties, Property, PropertyList, Qos, ReasonCode, Subscription, Value,
    Version, encode_subscribe,
};

use super::gateway;
use crate::kept::keep;
use crate::requests::counts;
use crate::support::baseline::Baseline;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::mqtt::{Entrance, Message};
use crate::support::sender::Sender;

const ADA: Target<'_> = Target::User("ada");
const REMEMBERED: &str = "pushgate_mqtt_sessions_remembered";

/// Waits until as many sessions are remembered while their clients are gone.
async fn remembers(gateway: &Gateway, sessions: u64) {
    eventually(format!("{sessions} are remembered"), async || {
        let now = gateway.scrape().await.value(REMEMBERED);
        (now == sessions)
            .then_some(())
            .ok_or_else(|| format!("{now} are"))
    })
    .await;
}

fn sent(message: &Message) -> (String, u16, bool) {
    (message.text(), message.packet_id, message.dup)
}

#[tokio::test]
async fn a_session_goes_on_where_it_was() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let mut number = 0;
    for (version, device) in [(Version::V3, "old"), (Version::V5, "new")] {
        let entrance = Entrance::lasting(version, "ada", device);
        let mut ada = entrance.enter(door).await;
        assert!(!ada.session_present, "there was none before");
        ada.want("user", Qos::AtLeastOnce).await;
        ada.want("group/room", Qos::AtLeastOnce).await;
        ada.want("all", Qos::AtMostOnce).await;
        let first = number + 1;
        for (target, payload) in [(ADA, "one"), (ADA, "two"), (Target::All, "three")] {
            keep(&sender, target, payload.as_bytes(), (600, b"")).await;
            number += 1;
        }
        let got = [
            ada.message().await,
            ada.message().await,
            ada.message().await,
        ];
        assert_eq!(got.each_ref().map(|message| message.dup), [false; 3]);
        ada.acknowledge(got[0].packet_id).await;
        ada.assert_quiet().await;
        ada.leave().await;
        remembers(&gateway, 1).await;
        // While it is away: kept messages wait, live ones do not.
        let away = keep(&sender, Target::Group("room"), b"four", (600, b"")).await;
        assert_eq!(away.counts, counts(0, 0, 0, 0));
        number += 1;
        sender.push(&[ADA], b"missed").await;
        let mut ada = entrance.enter(door).await;
        assert!(ada.session_present);
        let id = |offset: u64| u16::try_from(first + offset).expect("small");
        // "two" was not acknowledged; "three" went with QoS 0, and is not sent twice.
        assert_eq!(
            sent(&ada.message().await),
            ("user two".to_owned(), id(1), true)
        );
        assert_eq!(
            sent(&ada.message().await),
            ("group/room four".to_owned(), id(3), false)
        );
        sender.push(&[Target::All], b"live").await;
        assert_eq!(ada.messages(1).await, ["all live"]);
        for packet_id in [id(1), id(3)] {
            ada.acknowledge(packet_id).await;
        }
        ada.assert_quiet().await;
        ada.leave().await;
        remembers(&gateway, 1).await;
        let mut ada = entrance.enter(door).await;
        assert!(ada.session_present);
        ada.assert_quiet().await;
        // Clean: the session is forgotten, and with it what it had asked for.
        drop(ada);
        let mut ada = Entrance::of(version, "ada", device).enter(door).await;
        assert!(!ada.session_present);
        assert_eq!(sender.push(&[ADA], b"x").await.counts, counts(0, 0, 0, 0));
        ada.assert_quiet().await;
        ada.leave().await;
        remembers(&gateway, 0).await;
    }
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn what_is_in_flight_is_sent_again_when_a_connection_takes_over() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let entrance = Entrance::lasting(Version::V5, "ada", "phone");
    let mut ada = entrance.enter(door).await;
    ada.want("user", Qos::AtLeastOnce).await;
    for payload in [b"one", b"two"] {
        keep(&sender, ADA, payload, (600, b"")).await;
    }
    assert_eq!(ada.messages(2).await, ["user one", "user two"]);
    for _ in 0..3 {
        let mut newer = entrance.enter(door).await;
        assert!(newer.session_present);
        let closed = ada.closed().await.map(|(reason, _)| reason);
        assert_eq!(closed, Some(ReasonCode::SESSION_TAKEN_OVER));
        for (number, payload) in [(1, "user one"), (2, "user two")] {
            assert_eq!(
                sent(&newer.message().await),
                (payload.to_owned(), number, true)
            );
        }
        ada = newer;
    }
    ada.acknowledge(1).await;
    ada.acknowledge(2).await;
    ada.assert_quiet().await;
    // One of the other protocol takes the connection over, not what MQTT remembers.
    let login = crate::support::client::Login::user("ada").device("phone");
    let native = login.enter(gateway.native).await;
    assert!(ada.closed().await.is_some());
    remembers(&gateway, 1).await;
    let mut ada = entrance.enter(door).await;
    assert!(ada.session_present);
    assert_eq!(
        sender.push(&[ADA], b"live").await.counts,
        counts(1, 1, 0, 0)
    );
    assert_eq!(ada.messages(1).await, ["user live"]);
    drop((native, ada));
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_session_ends_at_its_expiry() {
    let gateway = gateway("[history]\nmax_ttl = '1h'\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let short = Entrance::of(Version::V5, "ada", "phone")
        .kept()
        .with(Property::SESSION_EXPIRY, 1);
    let mut ada = short.enter(door).await;
    ada.want("user", Qos::AtLeastOnce).await;
    // While it is connected nothing expires.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    ada.assert_quiet().await;
    ada.leave().await;
    remembers(&gateway, 0).await;
    assert!(!short.enter(door).await.session_present);
    // A client may say otherwise when it leaves; no longer than anything is kept, though.
    let long = Entrance::lasting(Version::V5, "ada", "tablet");
    let mut ada = long.enter(door).await;
    let goodbye = async |client: &mut crate::support::mqtt::MqttClient, expiry_s: u32| {
        let list = PropertyList::default();
        let list = list.with(Property::SESSION_EXPIRY, Value::Number(expiry_s));
        let leave = ClientPacket::Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: list.as_properties(),
        };
        client.send(&leave).await;
        client.closed().await
    };
    remembers(&gateway, 0).await;
    assert_eq!(goodbye(&mut ada, u32::MAX).await, None);
    remembers(&gateway, 1).await;
    let mut ada = long.enter(door).await;
    assert!(ada.session_present);
    assert_eq!(goodbye(&mut ada, 0).await, None);
    remembers(&gateway, 0).await;
    // One that was to end with its connection cannot be prolonged.
    let mut ada = Entrance::of(Version::V5, "ada", "watch").enter(door).await;
    let closed = goodbye(&mut ada, 10).await.map(|(reason, _)| reason);
    assert_eq!(closed, Some(ReasonCode::PROTOCOL_ERROR));
    remembers(&gateway, 0).await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_session_that_has_lost_something_begins_anew_and_says_so() {
    let gateway = gateway("[history]\nmessages = 2\n");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let entrance = Entrance::lasting(Version::V5, "ada", "phone");
    let mut ada = entrance.enter(door).await;
    for filter in ["user", "all", "group/room"] {
        ada.want(filter, Qos::AtLeastOnce).await;
    }
    ada.leave().await;
    remembers(&gateway, 1).await;
    for payload in [b"one", b"two", b"six"] {
        keep(&sender, ADA, payload, (600, b"")).await;
    }
    let mut ada = entrance.enter(door).await;
    assert!(
        !ada.session_present,
        "the first of the three is not kept any more"
    );
    for target in [ADA, Target::All, Target::Group("room")] {
        let answer = sender.push(&[target], b"x").await;
        assert_eq!(
            answer.counts,
            counts(0, 0, 0, 0),
            "{target:?}: all that was asked for is gone"
        );
    }
    ada.assert_quiet().await;
    ada.want("user", Qos::AtLeastOnce).await;
    assert_eq!(sender.push(&[ADA], b"x").await.counts, counts(1, 1, 0, 0));
    assert_eq!(ada.messages(1).await, ["user x"]);
    drop(ada);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_restart_forgets_all_sessions() {
    let entrance = Entrance::lasting(Version::V5, "ada", "phone");
    for _ in 0..2 {
        let gateway = gateway("");
        let mut ada = entrance.enter(gateway.door("mqtt")).await;
        assert!(!ada.session_present);
        ada.want("user", Qos::AtLeastOnce).await;
        drop(ada);
        remembers(&gateway, 1).await;
        gateway.signal(rustix::process::Signal::TERM);
        assert_eq!(gateway.finish().await.0, Some(0));
    }
}

/// What stands behind a DISCONNECT in the same read is not carried out, and not remembered.
#[tokio::test]
async fn nothing_behind_a_disconnect_counts() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let entrance = Entrance::lasting(Version::V5, "ada", "phone");
    let mut ada = entrance.enter(door).await;
    let mut bytes = Vec::new();
    let (reason, properties) = Default::default();
    ClientPacket::Disconnect { reason, properties }.encode(Version::V5, &mut bytes);
    let all = [Subscription::new("group/late", Qos::AtLeastOnce)];
    encode_subscribe(
        &mut bytes,
        Version::V5,
        7,
        Properties::default(),
        all.into_iter(),
    );
    ada.send_bytes(&bytes).await;
    assert_eq!(ada.next().await, None, "the gateway closes");
    remembers(&gateway, 1).await;
    let mut ada = entrance.enter(door).await;
    assert!(ada.session_present);
    let none = ReasonCode::NO_SUBSCRIPTION_EXISTED.0;
    assert_eq!(ada.unsubscribe(&["group/late"]).await, [none]);
    ada.leave().await;
    baseline.assert_back_at(&gateway).await;
}

//! How a connection ends, and what is said then.

use std::time::{Duration, Instant};

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::mqtt::{Qos, ReasonCode, Version};
use pushgate::wire::reason::Status;

use super::{ended, gateway};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::mqtt::{Entrance, MqttClient};
use crate::support::sender::Sender;

#[tokio::test]
async fn who_says_nothing_for_one_and_a_half_keep_alives_is_cut() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut entrance = Entrance::of(Version::V5, "ada", "");
    entrance.keep_alive_s = 5;
    let (began, mut silent) = (Instant::now(), entrance.enter(door).await);
    let mut lively = Entrance::of(Version::V3, "bob", "");
    lively.keep_alive_s = 5;
    let mut lively = lively.enter(door).await;
    let pinged = async {
        loop {
            lively.assert_quiet().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let closed = tokio::select! {
        closed = silent.closed() => closed,
        never = pinged => never,
    };
    assert!(
        began.elapsed() >= Duration::from_millis(7_500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        closed.map(|(reason, _)| reason),
        Some(ReasonCode::KEEP_ALIVE_TIMEOUT)
    );
    lively.assert_quiet().await;
    lively.leave().await;
    baseline.assert_back_at(&gateway).await;
    assert_eq!(ended(&gateway, "heartbeat").await, 1);
}

#[tokio::test]
async fn a_drain_says_so_and_both_doors_take_over_from_each_other() {
    let gateway = gateway("[drain]\nlinger = \"3s\"\n");
    let baseline = Baseline::of(&gateway).await;
    let door = gateway.door("mqtt");
    let mut over_mqtt = Entrance::of(Version::V5, "ada", "phone").enter(door).await;
    let login = Login::user("ada").device("phone");
    let mut native = login.enter(gateway.native).await;
    let closed = over_mqtt.closed().await.map(|(reason, _)| reason);
    assert_eq!(closed, Some(ReasonCode::SESSION_TAKEN_OVER));
    let mut again = Entrance::of(Version::V3, "ada", "phone").enter(door).await;
    assert_eq!(native.closed().await.code.word(), "replaced");
    let mut newest = Entrance::of(Version::V5, "ada", "phone").enter(door).await;
    assert_eq!(again.closed().await, None, "3.1.1 has no words for it");
    let sender = Sender::unsigned(gateway.udp).await;
    let kick = RequestBody::Kick(Kick {
        user: "ada",
        device: "",
        hold_s: 0,
        reason: "enough",
    });
    assert_eq!(sender.ask(&kick).await.counts.matched, 1);
    let kicked = (ReasonCode::ADMINISTRATIVE_ACTION, "enough".to_owned());
    assert_eq!(newest.closed().await, Some(kicked));
    baseline.assert_back_at(&gateway).await;

    let mut ada = Entrance::of(Version::V5, "ada", "phone").enter(door).await;
    ada.want("user", Qos::AtMostOnce).await;
    let late = MqttClient::connect(door, Version::V5).await;
    // The kernel has connected it; that the gateway has accepted it comes later.
    eventually("it is waited for", async || {
        let waiting = gateway.scrape().await.value("pushgate_unauthenticated");
        (waiting == 1)
            .then_some(())
            .ok_or(format!("{waiting} wait"))
    })
    .await;
    gateway.signal(rustix::process::Signal::TERM);
    eventually("it drains", async || {
        let status = sender.push(&[Target::All], b"x").await.status;
        (status == Status::Draining)
            .then_some(())
            .ok_or(format!("{status:?}"))
    })
    .await;
    // Who was accepted before, and says only now who it is, is told as well.
    let bob = Entrance::of(Version::V5, "bob", "");
    let (_, granted) = bob.try_enter_over(late).await;
    assert_eq!(granted.reason, ReasonCode::SERVER_UNAVAILABLE);
    let closed = ada.closed().await.map(|(reason, _)| reason);
    assert_eq!(closed, Some(ReasonCode::SERVER_SHUTTING_DOWN));
    assert_eq!(gateway.finish().await.0, Some(0));
}

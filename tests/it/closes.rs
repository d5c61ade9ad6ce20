//! Every close code that a client can be told, when it is told, and when it may come back.

use pushgate::wire::datagram::{Kick, RequestBody};
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use pushgate::wire::reason::{CloseCode, RETRY_NEVER, Status};
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Closed, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Answer, Sender};

/// What the default spread allows for those who may come back at their own time.
const RETRY: std::ops::RangeInclusive<u32> = 500..=10_000;

#[track_caller]
fn assert_closed(closed: &Closed, code: CloseCode, retry: std::ops::RangeInclusive<u32>) {
    assert_eq!(closed.code, code, "{closed:?}");
    assert!(retry.contains(&closed.retry_after_ms), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_drains_tells_those_it_has_and_those_who_come() {
    let gateway = Gateway::start("drain = { linger = '1s', spread = '4s' }");
    let mut client = Login::user("ada").enter(gateway.native).await;
    gateway.signal(Signal::TERM);
    eventually("the gateway is not ready", async || {
        let (status, word) = gateway.get("/readyz").await;
        (status == 503 && word.contains("draining"))
            .then_some(())
            .ok_or(word)
    })
    .await;
    let mut late = Client::connect(gateway.native).await;
    assert_closed(&late.closed().await, CloseCode::Draining, 500..=4_000);
    assert_closed(&client.closed().await, CloseCode::Draining, 500..=4_000);
    drop((client, late));
    let (code, _) = gateway.finish().await;
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_of_the_same_device_replaces_the_older() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let login = Login::user("ada").device("phone");
    let mut older = login.enter(gateway.native).await;
    let mut newer = login.enter(gateway.native).await;
    let closed = older.closed().await;
    assert_closed(&closed, CloseCode::Replaced, RETRY_NEVER..=RETRY_NEVER);
    newer.assert_alive().await;
    drop((older, newer));
    baseline.assert_back_at(&gateway).await;
}

async fn kick(sender: &Sender, user: &str, device: &str, hold_s: u32) -> Answer {
    let kick = Kick {
        user,
        device,
        hold_s,
        reason: "tidying up",
    };
    let answer = sender.ask(&RequestBody::Kick(kick)).await;
    assert_eq!(answer.status, Status::Done);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_kicked_with_a_hold_comes_back_only_after_it() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = |device: &str| Login::user("ada").device(device);
    let mut phone = login("phone").enter(gateway.native).await;
    let mut tablet = login("tablet").enter(gateway.native).await;
    let mut bob = Login::user("bob").enter(gateway.native).await;

    // One device, for ten minutes: it is told how much of them is left, and the others stay.
    let answer = kick(&sender, "ada", "phone", 600).await;
    assert_eq!((answer.counts.matched, answer.counts.written), (1, 1));
    let closed = phone.closed().await;
    assert_closed(&closed, CloseCode::Kicked, 600_000..=600_000);
    assert_eq!(closed.reason, "tidying up");
    let again = login("phone").try_enter(gateway.native).await;
    assert_closed(
        &again.err().expect("the hold holds"),
        CloseCode::Kicked,
        500_000..=600_000,
    );
    tablet.assert_alive().await;

    // Every device of the user, and the hold is over once it is lifted.
    assert_eq!(kick(&sender, "ada", "", 600).await.counts.matched, 1);
    assert_eq!(tablet.closed().await.code, CloseCode::Kicked);
    assert!(login("watch").try_enter(gateway.native).await.is_err());
    for device in ["", "phone"] {
        assert_eq!(kick(&sender, "ada", device, 0).await.counts.matched, 0);
    }
    let mut phone = login("phone").enter(gateway.native).await;

    // Without a hold: do not come back as you are; but whoever does is let in.
    kick(&sender, "ada", "", 0).await;
    let closed = phone.closed().await;
    assert_closed(&closed, CloseCode::Kicked, RETRY_NEVER..=RETRY_NEVER);
    let mut phone = login("phone").enter(gateway.native).await;

    // A short hold ends by itself.
    kick(&sender, "ada", "", 1).await;
    assert_closed(&phone.closed().await, CloseCode::Kicked, 1_000..=1_000);
    let phone = eventually("the hold is over", async || {
        let entered = login("phone").try_enter(gateway.native).await;
        entered.map_err(|closed| format!("{closed:?}"))
    })
    .await;
    bob.assert_alive().await;
    drop((phone, tablet, bob));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_heard_for_two_and_a_half_heartbeats_is_closed() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    // 1 s is not offered: it is clamped to 5 s.
    let login = |user| Login::user(user).heartbeat_s(1);
    // First, so that it would be the first to be closed.
    let mut answering = login("answering").enter(gateway.native).await;
    let mut mute = Client::connect(gateway.native).await;
    mute.send_bytes(&login("mute").encode()).await;
    let welcome = mute.greeted().await.expect("the client is let in");
    assert_eq!(welcome.heartbeat_s, 5);
    let (over, mut is_over) = oneshot::channel();
    let answering = tokio::spawn(async move {
        let mut pings = 0;
        loop {
            let frame = tokio::select! {
                _ = &mut is_over => return (pings, answering),
                frame = answering.next() => frame,
            };
            match frame {
                Some(GatewayFrame::Ping(bytes)) => {
                    let bytes = bytes.to_vec();
                    answering.send(&ClientFrame::Pong(&bytes)).await;
                    pings += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let mut pings = 0;
    let closed = loop {
        match mute.next().await {
            Some(GatewayFrame::Ping(_)) if pings < 3 => pings += 1,
            Some(GatewayFrame::Close {
                code,
                retry_after_ms,
                reason,
            }) => {
                let reason = reason.to_owned();
                break Closed {
                    code,
                    retry_after_ms,
                    reason,
                };
            }
            other => panic!("{other:?}"),
        }
    };
    assert_closed(&closed, CloseCode::Heartbeat, RETRY);
    assert!(pings >= 1, "who is quiet is asked first");
    over.send(()).expect("the one that answers stays");
    let (pings, mut answering) = answering.await.expect("the one that answers stays");
    assert!(pings >= 2, "{pings}");
    answering.assert_alive().await;
    drop((mute, answering));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_names_nobody_is_not_let_in() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    for token in ["", "a\nb", "\u{85}"] {
        let refused = Login::user(token).try_enter(gateway.native).await;
        let closed = refused.err().unwrap_or_else(|| panic!("{token:?} came in"));
        assert_closed(&closed, CloseCode::Auth, RETRY_NEVER..=RETRY_NEVER);
    }
    baseline.assert_back_at(&gateway).await;
}

/// Waits until so many connections are held: a place is given back a moment after its client left.
async fn await_connections(gateway: &Gateway, expected: u64) {
    eventually("the places are given back", async || {
        let held = gateway.scrape().await.value("pushgate_connections");
        (held == expected)
            .then_some(())
            .ok_or_else(|| format!("{held} held"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_cap_are_told_so() {
    let gateway = Gateway::start("clients = { max_connections = 3 }");
    let baseline = Baseline::of(&gateway).await;
    let mut inside = Vec::new();
    for user in ["ada", "bob"] {
        inside.push(Login::user(user).enter(gateway.native).await);
    }
    // One that has not said HELLO yet has a place, too.
    let unnamed = Client::connect(gateway.native).await;
    await_connections(&gateway, 3).await;
    for _ in 0..5 {
        let mut over = Client::connect(gateway.native).await;
        assert_closed(&over.closed().await, CloseCode::TooMany, RETRY);
    }
    for client in &mut inside {
        client.assert_alive().await;
    }
    drop(unnamed);
    await_connections(&gateway, 2).await;
    inside.push(Login::user("eve").enter(gateway.native).await);
    drop(inside);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_bounded_by_themselves() {
    let gateway = Gateway::start("clients = { max_per_address = 2 }");
    let baseline = Baseline::of(&gateway).await;
    let (here, there) = ([127, 0, 0, 2].into(), [127, 0, 0, 3].into());
    let native = gateway.native;
    let mut first = Client::connect_from(here, native).await;
    let second = Client::connect_from(here, native).await;
    let mut over = Client::connect_from(here, native).await;
    assert_closed(&over.closed().await, CloseCode::TooMany, RETRY);
    let mut elsewhere = Client::connect_from(there, native).await;
    for (client, user) in [(&mut first, "ada"), (&mut elsewhere, "bob")] {
        client.send_bytes(&Login::user(user).encode()).await;
        client.greeted().await.expect("there is a place");
    }
    drop((second, over));
    await_connections(&gateway, 2).await;
    let mut third = Client::connect_from(here, native).await;
    third.send_bytes(&Login::user("eve").encode()).await;
    third.greeted().await.expect("a place was given back");
    drop((first, elsewhere, third));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_too_many_is_not_let_in_and_takes_no_place() {
    let gateway = Gateway::start("clients = { max_devices = 2 }");
    let baseline = Baseline::of(&gateway).await;
    let login = |device: &str| Login::user("ada").device(device);
    let mut phone = login("phone").enter(gateway.native).await;
    let mut tablet = login("tablet").enter(gateway.native).await;
    let refused = login("watch").try_enter(gateway.native).await;
    let closed = refused.err().expect("two devices are the bound");
    assert_closed(&closed, CloseCode::TooMany, RETRY);
    phone.assert_alive().await;
    tablet.assert_alive().await;
    // A takeover is not one more.
    let again = login("phone").enter(gateway.native).await;
    assert_eq!(phone.closed().await.code, CloseCode::Replaced);
    drop((again, phone));
    eventually("a place is free", async || {
        let entered = login("watch").try_enter(gateway.native).await;
        entered.map_err(|closed| format!("{closed:?}"))
    })
    .await;
    drop(tablet);
    baseline.assert_back_at(&gateway).await;
}

//! How the gateway leaves: everybody is told, and what was accepted is finished.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pushgate::wire::datagram::{RequestBody, Target};
use pushgate::wire::reason::{CloseCode, Status};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};

const CLIENTS: usize = 500;
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Readiness has gone away.
async fn draining(gateway: &Gateway) {
    eventually("readiness goes away", async || {
        match gateway.get("/readyz").await {
            (503, text) if text.contains("draining") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// It ended in order: no task was left, and nothing had to be cut off.
#[track_caller]
fn assert_ended(code: Option<i32>, log: &[String]) {
    assert_eq!(code, Some(0), "{log:#?}");
    let alarms = log
        .iter()
        .filter(|line| !line.contains("\"level\":\"INFO\""));
    assert_eq!(alarms.collect::<Vec<_>>(), Vec::<&String>::new());
    let last = log.last().expect("a drain is logged");
    assert!(last.contains("\"stopped\""), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_is_told_and_every_accepted_push_arrives() {
    let gateway = Gateway::start("[drain]\nlinger = \"500ms\"\nspread = \"20s\"\n");
    let logins = (0..CLIENTS).map(|number| Login::user(format!("user{number}")));
    let crowd = Crowd::enter(gateway.native, logins).await;
    let sender = Arc::new(Sender::unsigned(gateway.udp).await);
    let (next, mut senders) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    for _ in 0..32 {
        let (sender, next) = (Arc::clone(&sender), Arc::clone(&next));
        // Until it is told to stop; what it was told was done.
        senders.spawn(async move {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let mut payload = vec![b'.'; 1_000];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let (answer, _) = sender.push_patiently(&[Target::All], &payload).await;
                match answer.status {
                    Status::Done => done.push(number),
                    Status::Draining => return done,
                    other => panic!("{other}"),
                }
            }
        });
    }
    eventually("pushes are under way", async || {
        let seen = crowd.seen(0).numbers.len();
        if seen > 100 {
            Ok(())
        } else {
            Err(format!("{seen} seen"))
        }
    })
    .await;
    gateway.signal(Signal::TERM);
    let mut done = HashSet::new();
    while let Some(ended) = senders.join_next().await {
        done.extend(ended.expect("every sender is told DRAINING"));
    }
    let (code, log) = gateway.finish().await;
    eventually("every stream has ended", async || {
        let left = (0..CLIENTS)
            .filter(|index| !crowd.seen(*index).ended)
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are open, or broke within a frame"))
        }
    })
    .await;
    let mut retries = HashSet::new();
    let order = crowd.seen(0).numbers.clone();
    assert_eq!(order.iter().copied().collect::<HashSet<_>>(), done);
    assert_eq!(order.len(), done.len(), "no message came twice");
    for index in 0..CLIENTS {
        let seen = crowd.seen(index);
        let closed = seen.closed.as_ref().expect("everybody is told");
        assert_eq!(closed.code, CloseCode::Draining);
        assert!(
            (500..=20_000).contains(&closed.retry_after_ms),
            "{closed:?}"
        );
        retries.insert(closed.retry_after_ms);
        assert!(seen.numbers == order, "client {index} missed something");
    }
    // Of 500 random moments out of 20,000 a few fall together.
    assert!(
        retries.len() > CLIENTS * 9 / 10,
        "only {} moments",
        retries.len()
    );
    assert_ended(code, &log);
    crowd.leave().await;
}

#[tokio::test]
async fn what_is_new_is_turned_away_and_what_was_done_is_still_told() {
    let gateway = Gateway::start(&format!(
        "[drain]\nlinger = \"3s\"\n[[keys]]\nid = 7\nsecret = \"{SECRET}\"\nops = [\"push\"]\n"
    ));
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::signed(gateway.udp, 7, SECRET).await;
    let ada = [Target::User("ada")];
    let before = sender.encode(&push(&ada, b"before"));
    let first = sender.ask_datagram(&before).await;
    assert_eq!((first.status, first.counts.written), (Status::Done, 1));
    gateway.signal(Signal::TERM);
    draining(&gateway).await;
    // In the contract's order: a known id, the age, the drain, and only then what it may do.
    assert_eq!(sender.ask_datagram(&before).await.counts, first.counts);
    let old = sender.encode_at(1, rand::random(), &push(&ada, b""));
    assert_eq!(sender.ask_datagram(&old).await.status, Status::Stale);
    assert_eq!(sender.push(&ada, b"new").await.status, Status::Draining);
    let forbidden = sender.ask(&RequestBody::Ping(b"")).await;
    assert_eq!(forbidden.status, Status::Draining);
    let late = Login::user("bob").try_enter(gateway.native).await;
    assert_eq!(
        late.err().expect("nobody is let in").code,
        CloseCode::Draining
    );
    assert_eq!(gateway.get("/healthz").await.0, 200);
    assert_eq!(client.next_push().await.2, b"before");
    assert_eq!(client.closed().await.code, CloseCode::Draining);
    let (code, log) = gateway.finish().await;
    assert_ended(code, &log);
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let gateway = Gateway::start("[drain]\nlinger = \"1h\"\ngrace = \"1h\"\n");
    let client = Login::user("ada").enter(gateway.native).await;
    gateway.signal(Signal::TERM);
    draining(&gateway).await;
    gateway.signal(Signal::TERM);
    // An hour is longer than anybody waits here.
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(1), "{log:#?}");
    assert!(
        log.iter().any(|line| line.contains("cut short")),
        "{log:#?}"
    );
    drop(client);
}

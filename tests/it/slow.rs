//! Clients that do not read are behind by themselves: nobody else notices, memory stays bounded,
//! and they do not live for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::reason::{CloseCode, Status};
use tokio::task::JoinSet;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

const READERS: usize = 900;
const BLOCKED: usize = 100;
const PUSHES: u32 = 2_000;
const PAYLOAD: usize = 4096;
const IN_FLIGHT: usize = 64;
const BUDGET: u64 = 64 * 1024 * 1024;
/// What the process may hold beside the budget, for a thousand sessions and its own code.
const BESIDE: u64 = 64 * 1024 * 1024;

/// A client that never reads, with a receive buffer so small that this is soon noticed.
async fn blocked(gateway: &Gateway, user: &str) -> Client {
    let mut client = Client::connect_narrow(gateway.native).await;
    client.send_bytes(&Login::user(user).encode()).await;
    client.greeted().await.expect("the client is let in");
    client
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(PAYLOAD, b'.');
    payload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_clients_cost_the_others_nothing_and_memory_stays_in_the_budget() {
    // Blocked clients are to be closed for what they cost, not for their age.
    let gateway = Gateway::start("clients = { memory_budget = '64MiB', queue_age = '60s' }");
    let baseline = Baseline::of(&gateway).await;
    let at_first = gateway.resident_bytes();
    let mut blockers = Vec::new();
    for number in 0..BLOCKED {
        let client = Login::user(format!("blocked-{number}"));
        blockers.push(client.enter(gateway.native).await);
    }
    let logins = (0..READERS).map(|number| Login::user(format!("reader-{number}")));
    let crowd = Crowd::enter(gateway.native, logins).await;

    let sender = Arc::new(Sender::unsigned(gateway.udp).await);
    let next = Arc::new(AtomicU32::new(0));
    let mut pushing = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (sender, next) = (Arc::clone(&sender), Arc::clone(&next));
        pushing.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= PUSHES {
                    return;
                }
                let (answer, _) = sender
                    .push_patiently(&[Target::All], &payload(number))
                    .await;
                assert_eq!(answer.status, Status::Done, "{answer:?}");
                assert!(answer.counts.matched as usize >= READERS, "{answer:?}");
            }
        });
    }
    let watch = async {
        loop {
            let bytes = gateway.scrape().await.value("pushgate_log_bytes");
            assert!(bytes <= BUDGET, "{bytes} bytes in the log");
            let resident = gateway.resident_bytes();
            assert!(
                resident <= at_first + BUDGET + BESIDE,
                "{resident} bytes resident, {at_first} at first"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = watch => {}
        _ = pushing.join_all() => {}
    }

    crowd.await_messages(PUSHES as usize).await;
    let order = crowd.seen(0).numbers.clone();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..PUSHES), "each message came once");
    crowd.assert_saw(&order).await;
    eventually("the blocked ones are closed", async || {
        let scrape = gateway.scrape().await;
        let slow = scrape.at("pushgate_connections_closed_total", "slow");
        (slow == BLOCKED as u64)
            .then_some(())
            .ok_or_else(|| format!("{slow} of {BLOCKED}"))
    })
    .await;
    crowd.leave().await;
    // The blocked ones still hold their ends: nothing of theirs may be held at the other end.
    baseline.assert_back_at(&gateway).await;
    drop(blockers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_a_closed_window_does_not_live_for_ever() {
    let gateway = Gateway::start("clients = { queue_age = '1s' }");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let old = blocked(&gateway, "old").await;
    let kicked = blocked(&gateway, "kicked").await;
    for user in ["old", "kicked"] {
        // Until the kernel takes no more for it.
        eventually("the window is closed", async || {
            let answer = sender.push(&[Target::User(user)], &[0; 60_000]).await;
            let waits = answer.counts.waiting == 1;
            waits.then_some(()).ok_or_else(|| format!("{answer:?}"))
        })
        .await;
        if user == "kicked" {
            let kick = Kick {
                user,
                device: "",
                hold_s: 0,
                reason: "",
            };
            let answer = sender.ask(&RequestBody::Kick(kick)).await;
            assert_eq!(answer.counts.matched, 1);
        }
    }
    // Nobody pushes any more: the age alone ends the one, and the farewell has an end for the
    // other.
    baseline.assert_back_at(&gateway).await;
    let scrape = gateway.scrape().await;
    let closed = ["slow", "kicked"];
    let closed = closed.map(|reason| scrape.at("pushgate_connections_closed_total", reason));
    assert_eq!(closed, [1, 1]);
    drop((old, kicked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_that_reads_again_in_time_is_told_so() {
    let gateway = Gateway::start("clients = { queue_messages = 8 }");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    // The gateway waits a moment for the client to take its CLOSE; on a busy machine that may be
    // over before this test gets its turn, so there is more than one try.
    let mut told = None;
    for attempt in 0..10 {
        let user = format!("slow-{attempt}");
        let mut client = blocked(&gateway, &user).await;
        eventually("the client is over its bound", async || {
            let answer = sender.push(&[Target::User(&user)], &[0; 60_000]).await;
            let over = answer.counts.refused == 1 || answer.counts.matched == 0;
            over.then_some(()).ok_or_else(|| format!("{answer:?}"))
        })
        .await;
        if let Some(closed) = client.close_if_told().await {
            told = Some(closed);
            break;
        }
    }
    let told = told.expect("somebody is told");
    assert_eq!(told.code, CloseCode::Slow);
    assert!((500..=10_000).contains(&told.retry_after_ms), "{told:?}");
    baseline.assert_back_at(&gateway).await;
}

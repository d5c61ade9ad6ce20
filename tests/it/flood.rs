//! A sender that waits for nothing is told BUSY; the clients do not pay for it.

use std::collections::HashMap;

use pushgate::clock::Clock;
use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};

const CLIENTS: usize = 500;
const DATAGRAMS: u32 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_does_not_wait_is_told_busy_and_harms_nobody() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let logins = (0..CLIENTS).map(|number| Login::user(format!("user-{number}")));
    let crowd = Crowd::enter(gateway.native, logins).await;
    let sender = Sender::unsigned(gateway.udp).await;

    for number in 0..DATAGRAMS {
        let payload = number.to_be_bytes();
        let mut id = rand::random::<[u8; 16]>();
        id[..4].copy_from_slice(&payload);
        let now = Clock::system().now_ms();
        let datagram = sender.encode_at(now, id, &push(&[Target::All], &payload));
        sender.send(&datagram.bytes).await;
    }
    sender.barrier().await;
    let done = eventually("every job has ended", async || {
        let scrape = gateway.scrape().await;
        let jobs = scrape.value("pushgate_jobs") + scrape.at("pushgate_tasks", "push_handler");
        (jobs == 0)
            .then(|| scrape.requests("push", "done"))
            .ok_or_else(|| format!("{jobs} jobs"))
    })
    .await;

    // What the kernel dropped on either way is neither seen nor told: the gateway's own count says
    // how many were carried out.
    crowd
        .await_messages(usize::try_from(done).expect("few"))
        .await;
    let order = crowd.seen(0).numbers.clone();
    assert_eq!(order.len() as u64, done);
    assert!(
        order.is_sorted_by(|one, two| one < two),
        "one sender's pushes are accepted in the order of their arrival"
    );
    crowd.assert_saw(&order).await;

    let number = |id: &[u8; 16]| id.first_chunk().copied().map_or(0, u32::from_be_bytes);
    let told: HashMap<u32, Status> = sender
        .unexpected()
        .iter()
        .map(|answer| (number(&answer.request_id), answer.status))
        // The barrier's PING may have been repeated, and answered twice.
        .filter(|(number, _)| *number < DATAGRAMS)
        .collect();
    let busy = told.values().filter(|status| **status == Status::Busy);
    assert!(busy.count() > 0, "nobody was told BUSY");
    for (number, status) in &told {
        let seen = order.binary_search(number).is_ok();
        match status {
            Status::Done => assert!(seen, "{number} was DONE and nobody saw it"),
            Status::Busy => assert!(!seen, "{number} was BUSY and yet sent"),
            other => panic!("{number} was answered {other:?}"),
        }
    }
    let slow = gateway
        .scrape()
        .await
        .sum("pushgate_connections_closed_total");
    assert_eq!(slow, 0, "nobody is closed for a sender's haste");
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

//! A push whose sender is answered before it has ended goes on, ends, and leaves nothing behind.
//!
//! This is the leak that the gateway was built to rule out: a job that reports to somebody who has
//! stopped waiting must neither wait for them nor be cut off.

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};

const CLIENTS: usize = 3_000;
const BROADCASTS: u32 = 300;

/// Every job outlives its handler. The bounds of a client do not matter here: a busy machine is
/// not to close any.
const CONFIG: &str = r#"
[clients]
queue_messages = 4096
queue_age = "60s"
[push]
deadline = "1ms"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_whose_senders_were_told_timeout_end_and_reach_everybody() {
    let gateway = Gateway::start(CONFIG);
    let baseline = Baseline::of(&gateway).await;
    let logins = (0..CLIENTS).map(|number| Login::user(format!("user-{number}")));
    let crowd = Crowd::enter(gateway.native, logins).await;
    let sender = Sender::unsigned(gateway.udp).await;

    let (mut accepted, mut timeouts) = (Vec::new(), 0);
    for number in 0..BROADCASTS {
        let payload = number.to_be_bytes();
        let datagram = sender.encode(&push(&[Target::All], &payload));
        let answer = sender.ask_for_the_end(&datagram).await;
        match answer.status {
            Status::Busy => continue,
            Status::Timeout => timeouts += 1,
            Status::Done => {}
            other => panic!("{other:?} for broadcast {number}"),
        }
        accepted.push((number, datagram));
    }
    assert!(timeouts > 0, "no job outlived its handler");

    let numbers: Vec<u32> = accepted.iter().map(|(number, _)| *number).collect();
    crowd.assert_saw(&numbers).await;
    eventually("the jobs and their handlers have ended", async || {
        let scrape = gateway.scrape().await;
        let live = ["push_job", "push_handler"].map(|kind| scrape.at("pushgate_tasks", kind));
        (live == [0, 0])
            .then_some(())
            .ok_or_else(|| format!("{live:?} live"))
    })
    .await;
    // Whoever asks again is told the result, and nothing is sent again.
    for (number, datagram) in &accepted {
        let answer = sender.ask_datagram(datagram).await;
        assert_eq!(answer.status, Status::Done, "broadcast {number}");
        assert_eq!(answer.counts.matched as usize, CLIENTS, "{answer:?}");
    }
    crowd.assert_saw(&numbers).await;

    let scrape = gateway.scrape().await;
    let done = scrape.requests("push", "done");
    assert_eq!(done, accepted.len() as u64);
    let written = scrape.at("pushgate_deliveries_total", "written");
    assert_eq!(written, done * CLIENTS as u64);
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

//! Clients come and go in every way, and leave nothing behind.

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;

/// Connections that are cut.
const CYCLES: usize = 5_000;
/// As many at a time.
const LANES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_clients_that_are_cut_leave_nothing() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let native = gateway.native;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        tasks.spawn(async move {
            for cycle in 0..CYCLES / LANES {
                let login = Login::user(format!("user-{lane}-{cycle}")).group("room");
                let mut client = Client::connect(native).await;
                client.send_bytes(&login.encode()).await;
                // Half of them wait for what the gateway says, the others cut it off.
                if cycle % 2 == 0 {
                    client.greeted().await.expect("the client is let in");
                }
                client.reset();
            }
        });
    }
    tasks.join_all().await;
    // Some may still wait to be accepted: until all have been, the baseline means nothing.
    let closed = "pushgate_connections_closed_total";
    eventually("every connection has ended", async || {
        let ended = gateway.scrape().await.sum(closed);
        (ended == CYCLES as u64)
            .then_some(())
            .ok_or_else(|| format!("{ended} of {CYCLES}"))
    })
    .await;
    baseline.assert_back_at(&gateway).await;
    let scrape = gateway.scrape().await;
    let lost = ["reset", "io", "eof"].map(|reason| scrape.at(closed, reason));
    assert_eq!(
        lost.iter().sum::<u64>(),
        CYCLES as u64,
        "{:?}",
        scrape.labels(closed)
    );
}

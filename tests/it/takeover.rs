//! One session for each user and device, however many try at once.

use std::sync::Arc;

use pushgate::wire::reason::{CloseCode, RETRY_NEVER};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;

const RACERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_logins_of_one_device_the_newest_stays() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut bystander = Login::user("ada")
        .device("tablet")
        .enter(gateway.native)
        .await;

    let (start, native) = (Arc::new(Barrier::new(RACERS)), gateway.native);
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let start = Arc::clone(&start);
        racers.spawn(async move {
            let login = Login::user("ada").device("phone").group("room");
            let mut client = Client::connect(native).await;
            start.wait().await;
            client.send_bytes(&login.encode()).await;
            client.greeted().await.map(|_| client)
        });
    }
    let (mut welcomed, mut too_late) = (Vec::new(), 0);
    for raced in racers.join_all().await {
        match raced {
            Ok(client) => welcomed.push(client),
            Err(closed) => {
                assert_eq!(closed.code, CloseCode::Replaced);
                assert_eq!(closed.retry_after_ms, RETRY_NEVER);
                too_late += 1;
            }
        }
    }
    welcomed.sort_by_key(|client| client.session);
    let mut newest = welcomed.pop().expect("somebody comes in");
    newest.assert_alive().await;
    for mut replaced in welcomed {
        assert!(replaced.session < newest.session);
        let closed = replaced.closed().await;
        assert_eq!(closed.code, CloseCode::Replaced);
        assert_eq!(closed.retry_after_ms, RETRY_NEVER);
    }
    assert!(too_late < RACERS, "the newest was let in");
    newest.assert_alive().await;
    bystander.assert_alive().await;
    eventually("the gauges know of two", async || {
        let scrape = gateway.scrape().await;
        let sessions = scrape.value("pushgate_sessions");
        let connections = scrape.value("pushgate_connections");
        // Two devices are in the lane of their user, and one in that of its group.
        let lanes = scrape.value("pushgate_lanes");
        ((sessions, connections, lanes) == (2, 2, 2))
            .then_some(())
            .ok_or_else(|| format!("{sessions} sessions, {connections} connections, {lanes} lanes"))
    })
    .await;
    let scrape = gateway.scrape().await;
    let replaced = scrape.at("pushgate_connections_closed_total", "replaced");
    assert_eq!(replaced, RACERS as u64 - 1);
    drop((newest, bystander));
    baseline.assert_back_at(&gateway).await;
}

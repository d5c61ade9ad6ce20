//! What a gateway holds when nobody is there, and has to hold again when everybody has left.

use std::collections::BTreeMap;
use std::time::Duration;

use super::eventually;
use super::gateway::Gateway;
use super::scrape::Scrape;

/// Gauges that must come back to where they were.
const GAUGES: [&str; 11] = [
    "pushgate_sessions",
    "pushgate_connections",
    "pushgate_unauthenticated",
    "pushgate_lanes",
    "pushgate_jobs",
    "pushgate_deliveries_waiting",
    "pushgate_sessions_behind",
    "pushgate_log_messages",
    "pushgate_log_bytes",
    "pushgate_history_messages",
    "pushgate_history_bytes",
];

const DESCRIPTORS: &str = "descriptors";

/// Sessions, lanes, jobs, what waits, tasks of every kind, and descriptors.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Baseline(BTreeMap<String, u64>);

impl Baseline {
    /// What `gateway` holds now; the request that asks is in it.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        // The first connection of the admin door may still be open when the second one looks.
        let mut last = Self::look(gateway).await.0;
        eventually("a gateway at rest", async || {
            let now = Self::look(gateway).await.0;
            let at_rest = now == last;
            last = now;
            at_rest.then_some(()).ok_or_else(|| "it changes".to_owned())
        })
        .await;
        last
    }

    async fn look(gateway: &Gateway) -> (Self, Scrape) {
        let scrape = gateway.scrape().await;
        let gauges = GAUGES.map(|name| (name.to_owned(), scrape.value(name)));
        let tasks = scrape.labels("pushgate_tasks").into_iter();
        let tasks = tasks.map(|(kind, live)| (format!("pushgate_tasks{{{kind}}}"), live));
        let mut held: BTreeMap<_, _> = gauges.into_iter().chain(tasks).collect();
        held.insert(DESCRIPTORS.to_owned(), Self::descriptors(gateway).await);
        (Self(held), scrape)
    }

    /// The least of a few looks: the connection that asked for the metrics may be about to close.
    async fn descriptors(gateway: &Gateway) -> u64 {
        let mut least = usize::MAX;
        for _ in 0..5 {
            least = least.min(gateway.descriptors());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        least as u64
    }

    /// Waits until the gateway holds no more than at the start, and its counters add up.
    pub(crate) async fn assert_back_at(&self, gateway: &Gateway) {
        eventually("the gateway is back at its baseline", async || {
            let (now, scrape) = Self::look(gateway).await;
            let mut left = scrape.faults();
            for (what, before) in &self.0 {
                let now = now.0.get(what).copied().unwrap_or_default();
                let is_back = match what.as_str() {
                    DESCRIPTORS => now <= *before,
                    _ => now == *before,
                };
                if !is_back {
                    left.push(format!("{what}: {before} before, {now} now"));
                }
            }
            left.is_empty().then_some(()).ok_or_else(|| left.join("; "))
        })
        .await;
    }
}

//! What a gateway holds when nobody is there, and has to hold again when everybody has left.

use std::collections::BTreeMap;

use super::eventually;
use super::gateway::Gateway;
use super::scrape::Scrape;

/// Gauges that must come back to where they were.
const GAUGES: [&str; 8] = [
    "pushgate_sessions",
    "pushgate_connections",
    "pushgate_lanes",
    "pushgate_jobs",
    "pushgate_deliveries_waiting",
    "pushgate_sessions_behind",
    "pushgate_log_messages",
    "pushgate_log_bytes",
];

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
        let descriptors = gateway.descriptors() as u64;
        held.insert("descriptors".to_owned(), descriptors);
        (Self(held), scrape)
    }

    /// Waits until the gateway holds no more than at the start, and its counters add up.
    pub(crate) async fn assert_back_at(&self, gateway: &Gateway) {
        eventually("the gateway is back at its baseline", async || {
            let (now, scrape) = Self::look(gateway).await;
            let mut left = scrape.faults();
            for (what, before) in &self.0 {
                let now = now.0.get(what).copied().unwrap_or_default();
                if now != *before {
                    left.push(format!("{what}: {before} before, {now} now"));
                }
            }
            left.is_empty().then_some(()).ok_or_else(|| left.join("; "))
        })
        .await;
    }
}

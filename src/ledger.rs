//! The only spawn. Every task of the process is started here under a kind, and is counted until it
//! has ended: live, started, ended, panicked, the age of the oldest, and where it was spawned.
//!
//! A leak is a number here long before it is an outage: tasks of a kind that outgrow what they
//! work for. The ledger never ends a task by force; it hands out the token that asks them to end,
//! and waits.

mod kind;
mod leaks;
mod slab;
mod task;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use kind::Kind;
pub use leaks::{Explained, LeakWatch, Leaks, Suspicion};

use crate::metrics::Metrics;
use slab::Slab;
use task::{Counted, Guard};

/// Who runs. Clones are the same ledger.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Shared>);

/// What one kind of task has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindReport {
    /// The kind.
    pub kind: Kind,
    /// Tasks that have started and not ended.
    pub live: u64,
    /// Tasks ever started.
    pub started: u64,
    /// Tasks ever ended, in whatever way.
    pub ended: u64,
    /// Those among the ended that panicked.
    pub panicked: u64,
    /// Age of the oldest live one; zero when there is none.
    pub oldest: Duration,
}

/// The live tasks that one line of the source has spawned under one kind.
#[derive(Clone, Copy, Debug)]
pub struct SiteReport {
    /// The kind.
    pub kind: Kind,
    /// The line that called [`Ledger::spawn`].
    pub location: &'static Location<'static>,
    /// Tasks that have started and not ended.
    pub live: u64,
    /// Age of the oldest of them; zero when there is none.
    pub oldest: Duration,
}

#[derive(Debug)]
struct Shared {
    born: Instant,
    kinds: [Account; Kind::ALL.len()],
    /// Tasks of all kinds; the last to end wakes who waits.
    live: AtomicUsize,
    drained: Notify,
    stop: CancellationToken,
}

/// The books of one kind.
#[derive(Debug)]
struct Account {
    /// When and where each live task began. A lock, because starts and ends reuse each other's
    /// slots; held for a push or a pop, and for one chunk of a report.
    slab: Mutex<Slab>,
    started: IntCounter,
    ended: IntCounter,
    panicked: IntCounter,
    live_gauge: IntGauge,
    oldest_gauge: prometheus::Gauge,
}

impl Account {
    fn slab(&self) -> std::sync::MutexGuard<'_, Slab> {
        // Nothing inside the lock can panic half-way through a change.
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// An empty ledger that counts into these metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let kinds = Kind::ALL.map(|kind| Account {
            slab: Mutex::default(),
            started: metrics.tasks_started.at(kind.index()).clone(),
            ended: metrics.tasks_ended.at(kind.index()).clone(),
            panicked: metrics.tasks_panicked.at(kind.index()).clone(),
            live_gauge: metrics.tasks.at(kind.index()).clone(),
            oldest_gauge: metrics.task_oldest.at(kind.index()).clone(),
        });
        Self(Arc::new(Shared {
            born: Instant::now(),
            kinds,
            live: AtomicUsize::new(0),
            drained: Notify::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Starts a task on the current runtime. It is counted until its future has been dropped,
    /// whether or not somebody keeps the handle.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, kind: Kind, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(Counted {
            future,
            guard: self.guard(kind, Location::caller()),
        })
    }

    /// Starts a closure on the runtime's threads for blocking work, counted likewise. It cannot be
    /// stopped from outside: it must end by itself.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, kind: Kind, work: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let guard = self.guard(kind, Location::caller());
        tokio::task::spawn_blocking(move || {
            let _guard = guard;
            work()
        })
    }

    /// The token that asks every task to end.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Waits until no task is live. It stops nobody: cancel [`stop_token`](Self::stop_token)
    /// first, and give this a deadline.
    pub async fn wait(&self) {
        loop {
            let drained = self.0.drained.notified();
            if self.0.live.load(Ordering::Acquire) == 0 {
                return;
            }
            drained.await;
        }
    }

    /// The books, one entry for each kind in the order of [`Kind::ALL`].
    pub fn kinds(&self) -> Vec<KindReport> {
        Kind::ALL.map(|kind| self.kind(kind)).to_vec()
    }

    /// Tasks of this kind that have started and not ended.
    pub fn live(&self, kind: Kind) -> u64 {
        self.account(kind).slab().live()
    }

    /// Age of the oldest live task of this kind; zero when there is none. Reads all of them.
    pub fn oldest(&self, kind: Kind) -> Duration {
        let sites = slab::survey(|| self.account(kind).slab());
        let live = sites.iter().filter(|site| 0 < site.live);
        let oldest_ms = live.map(|site| site.oldest_ms).min();
        oldest_ms.map_or(Duration::ZERO, |start_ms| self.age(start_ms))
    }

    /// The live tasks by kind and spawn site; sites without a live task are left out.
    pub fn sites(&self) -> Vec<SiteReport> {
        let mut reports = Vec::new();
        for kind in Kind::ALL {
            let sites = slab::survey(|| self.account(kind).slab());
            reports.extend(
                sites
                    .into_iter()
                    .filter(|site| 0 < site.live)
                    .map(|site| SiteReport {
                        kind,
                        location: site.location,
                        live: site.live,
                        oldest: self.age(site.oldest_ms),
                    }),
            );
        }
        reports
    }

    /// Brings the gauges that are read at a scrape (`pushgate_tasks`,
    /// `pushgate_task_oldest_seconds`) up to date.
    pub fn publish(&self) {
        for report in self.kinds() {
            let account = self.account(report.kind);
            account
                .live_gauge
                .set(i64::try_from(report.live).unwrap_or(i64::MAX));
            account.oldest_gauge.set(report.oldest.as_secs_f64());
        }
    }

    fn kind(&self, kind: Kind) -> KindReport {
        let account = self.account(kind);
        let oldest = self.oldest(kind);
        // The counters move under the slab's lock, so these four belong to one moment.
        let slab = account.slab();
        KindReport {
            kind,
            live: slab.live(),
            started: account.started.get(),
            ended: account.ended.get(),
            panicked: account.panicked.get(),
            oldest,
        }
    }

    fn guard(&self, kind: Kind, location: &'static Location<'static>) -> Guard {
        let account = self.account(kind);
        let now_ms = self.now_ms();
        let mut slab = account.slab();
        let slot = slab.insert(now_ms, location);
        account.started.inc();
        drop(slab);
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Guard::new(self.clone(), kind, slot)
    }

    fn ended(&self, kind: Kind, slot: u32) {
        let account = self.account(kind);
        let mut slab = account.slab();
        slab.remove(slot);
        account.ended.inc();
        if std::thread::panicking() {
            account.panicked.inc();
        }
        drop(slab);
        if self.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drained.notify_waiters();
        }
    }

    fn account(&self, kind: Kind) -> &Account {
        &self.0.kinds[kind.index()]
    }

    /// Milliseconds since this ledger began.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn age(&self, start_ms: u64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(start_ms))
    }
}

//! The watch for leaks: are there tasks that nothing explains?
//!
//! The ledger counts tasks and does not know what they are for; who does says, at each look, how
//! many of a kind are explained and how old one may be. A kind that has more, or an older one, at
//! several looks in a row is suspected of a leak: a metric, one line in the log, and a verdict for
//! whoever shows it. It is cleared in the same way. Nothing is ended by it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{error, info};

use super::{Kind, Ledger};
use crate::metrics::GaugeFamily;

/// Looks in a row, good or bad, before the verdict on a kind changes: what a storm leaves in the
/// middle of its end at one look is gone at the next.
const LOOKS: u8 = 3;
/// Tasks of any kind that may be about to begin or to end, beyond those that are explained.
const SLACK: u64 = 16;

/// What explains the live tasks of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The kind.
    pub kind: Kind,
    /// Tasks that there is a reason for; sixteen more are not a leak yet.
    pub live: u64,
    /// How old the oldest may be; `None` where it may live as long as the process.
    pub age: Option<Duration>,
}

/// A kind whose tasks have outgrown what explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// The kind.
    pub kind: Kind,
    /// Its tasks at the last look.
    pub live: u64,
    /// Those that there was a reason for.
    pub explained: u64,
    /// Age of the oldest; zero where it does not matter.
    pub oldest: Duration,
}

/// What the watch holds now, for whoever shows it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Leaks(Arc<Mutex<Vec<Suspicion>>>);

impl Leaks {
    /// The kinds that are suspected of a leak, in the order of [`Kind::ALL`]; mostly none.
    pub fn verdict(&self) -> Vec<Suspicion> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, verdict: Vec<Suspicion>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }
}

/// Looks again and again. Whoever owns it decides how often.
#[derive(Debug)]
pub struct LeakWatch {
    ledger: Ledger,
    leaks: Leaks,
    suspected: GaugeFamily,
    kinds: [State; Kind::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_suspected: bool,
    /// Looks in a row that spoke against it.
    against: u8,
}

impl LeakWatch {
    /// Over these tasks, with the verdict in `leaks` and in the gauges `pushgate_leak_suspected`.
    pub fn new(ledger: Ledger, leaks: Leaks, suspected: GaugeFamily) -> Self {
        Self {
            ledger,
            leaks,
            suspected,
            kinds: Default::default(),
        }
    }

    /// One look. `explain` is asked before and after the tasks of each kind are counted, and the
    /// larger answer holds: what ends meanwhile is no leak. `None` is a kind that is not watched.
    pub fn look(&mut self, explain: impl Fn(Kind) -> Option<Explained>) {
        let mut verdict = Vec::new();
        for kind in Kind::ALL {
            let Some(before) = explain(kind) else {
                continue;
            };
            let live = self.ledger.live(kind);
            let oldest = match before.age {
                Some(_) => self.ledger.oldest(kind),
                None => Duration::ZERO,
            };
            let explained = explain(kind).map_or(before.live, |after| after.live.max(before.live));
            let is_outgrown = live > explained.saturating_add(SLACK);
            let is_too_old = before.age.is_some_and(|age| oldest > age);
            let suspicion = Suspicion {
                kind,
                live,
                explained,
                oldest,
            };
            if self.judge(&suspicion, is_outgrown || is_too_old) {
                verdict.push(suspicion);
            }
        }
        self.leaks.set(verdict);
    }

    /// Whether the kind is suspected, now that it was found like this.
    fn judge(&mut self, found: &Suspicion, is_bad: bool) -> bool {
        let state = &mut self.kinds[found.kind.index()];
        if is_bad == state.is_suspected {
            state.against = 0;
            return state.is_suspected;
        }
        state.against += 1;
        if state.against < LOOKS {
            return state.is_suspected;
        }
        *state = State {
            is_suspected: is_bad,
            against: 0,
        };
        self.suspected.at(found.kind.index()).set(is_bad.into());
        let Suspicion {
            kind,
            live,
            explained,
            oldest,
        } = found;
        let (kind, oldest_s) = (kind.word(), oldest.as_secs());
        if is_bad {
            error!(
                kind,
                live,
                explained,
                oldest_s,
                "a leak is suspected: tasks outgrow what explains them; \
                 /debug/pprof/tasks?debug=1 names where they were spawned"
            );
        } else {
            info!(kind, live, explained, "a leak is no longer suspected");
        }
        is_bad
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinHandle;

    use super::*;
    use crate::metrics::Metrics;

    struct Watched {
        ledger: Ledger,
        metrics: Metrics,
        leaks: Leaks,
        watch: LeakWatch,
    }

    impl Watched {
        fn new() -> Self {
            let metrics = Metrics::new();
            let (ledger, leaks) = (Ledger::new(&metrics), Leaks::default());
            let suspected = metrics.leak_suspected.clone();
            Self {
                watch: LeakWatch::new(ledger.clone(), leaks.clone(), suspected),
                ledger,
                metrics,
                leaks,
            }
        }

        fn spawn(&self, kind: Kind, count: u64) -> Vec<JoinHandle<()>> {
            (0..count)
                .map(|_| self.ledger.spawn(kind, pending()))
                .collect()
        }

        /// Looks so often, with so many sessions that are explained.
        fn look(&mut self, times: u8, sessions: u64) {
            for _ in 0..times {
                self.watch.look(|kind| {
                    let (live, age) = match kind {
                        Kind::Session => (sessions, None),
                        Kind::PushHandler => (1_000, Some(Duration::from_secs(40))),
                        _ => return None,
                    };
                    Some(Explained { kind, live, age })
                });
            }
        }

        /// The kinds of the verdict, which the gauges bear out.
        fn suspected(&self) -> Vec<Kind> {
            let verdict = self.leaks.verdict();
            for kind in Kind::ALL {
                let is_in = verdict.iter().any(|suspicion| suspicion.kind == kind);
                let gauge = self.metrics.leak_suspected.at(kind.index()).get();
                assert_eq!(gauge, i64::from(is_in), "{kind:?}");
            }
            verdict.iter().map(|suspicion| suspicion.kind).collect()
        }
    }

    #[tokio::test]
    async fn tasks_that_outgrow_what_explains_them_are_suspected() {
        let mut watched = Watched::new();
        let tasks = watched.spawn(Kind::Session, 117);
        watched.look(LOOKS - 1, 100);
        assert_eq!(watched.suspected(), [], "not at once");
        watched.look(1, 100);
        assert_eq!(watched.suspected(), [Kind::Session]);
        let Suspicion {
            live, explained, ..
        } = watched.leaks.verdict()[0];
        assert_eq!((live, explained), (117, 100));
        for task in &tasks[..1] {
            task.abort();
        }
        tokio::task::yield_now().await;
        watched.look(LOOKS - 1, 100);
        assert_eq!(watched.suspected(), [Kind::Session], "nor cleared at once");
        watched.look(1, 100);
        assert_eq!(watched.suspected(), []);
    }

    #[tokio::test]
    async fn what_is_explained_is_none() {
        let mut watched = Watched::new();
        let _tasks = watched.spawn(Kind::Session, 116);
        // A kind that is not watched, and one that is within its bounds.
        let _others = watched.spawn(Kind::Client, 500);
        let _handlers = watched.spawn(Kind::PushHandler, 500);
        watched.look(10, 100);
        assert_eq!(watched.suspected(), []);
    }

    #[tokio::test]
    async fn a_storm_that_passes_is_none() {
        let mut watched = Watched::new();
        for _ in 0..5 {
            let tasks = watched.spawn(Kind::Session, 5_000);
            watched.look(LOOKS - 1, 100);
            for task in tasks {
                task.abort();
            }
            watched.ledger.wait().await;
            watched.look(1, 100);
        }
        assert_eq!(watched.suspected(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_too_old_is_suspected() {
        let mut watched = Watched::new();
        let handler = watched.spawn(Kind::PushHandler, 1);
        tokio::time::advance(Duration::from_secs(40)).await;
        watched.look(LOOKS, 0);
        assert_eq!(watched.suspected(), [], "it has its time");
        tokio::time::advance(Duration::from_secs(1)).await;
        watched.look(LOOKS, 0);
        assert_eq!(watched.suspected(), [Kind::PushHandler]);
        let oldest = watched.leaks.verdict()[0].oldest;
        assert_eq!(oldest, Duration::from_secs(41));
        handler[0].abort();
        watched.ledger.wait().await;
        watched.look(LOOKS, 0);
        assert_eq!(watched.suspected(), []);
    }

    #[tokio::test]
    async fn who_ends_while_the_watch_looks_is_none() {
        let watched = &mut Watched::new();
        let _tasks = watched.spawn(Kind::Session, 500);
        let asked = std::cell::Cell::new(0);
        for _ in 0..5 {
            watched.watch.look(|kind| {
                asked.set(asked.get() + 1);
                // At one of the two moments they are explained.
                let live = if asked.get() % 2 == 0 { 500 } else { 0 };
                let of = |age| Explained { kind, live, age };
                (kind == Kind::Session).then(|| of(None))
            });
        }
        assert_eq!(watched.suspected(), []);
    }
}

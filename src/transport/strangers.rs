//! Connections whose client has not been let in: how many may wait, and who goes when more come.
//!
//! Whoever says a good HELLO at once never comes here. Who has to be waited for (for HELLO, for a
//! delayed answer, for the end of a farewell) takes a seat, and there are few. When all are taken,
//! the oldest one of the source that holds the most goes in favour of the new one, so that a single
//! source that opens connections and says nothing pushes out only its own. Where the new one's own
//! source holds the most, its oldest goes only after [`PATIENCE`], and otherwise the new one does:
//! in a storm from one address those who are about to say HELLO are not cut by those behind them.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::failures::Failures;
use super::source::Source;
use crate::metrics::Metrics;
use crate::throttle::Throttle;

/// One log line in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// Seats where an eighth of all connections would be fewer: for a handshake or two from each of a
/// handful of far places at once.
const SEATS_MIN: usize = 64;
/// Seats at most, however many connections there may be: two seconds' worth of the default pace of
/// accepts. It bounds the memory that strangers can cause; see README.md.
const SEATS_MAX: usize = 4096;
/// What a seat is good for against others of the same source: a few round trips of a bad network.
const PATIENCE: Duration = Duration::from_secs(1);

/// The seats of those who have not been let in, and what is known of failures. Its locks are
/// leaves, held for a few look-ups.
#[derive(Debug)]
pub struct Strangers {
    seats: Mutex<Seats>,
    failures: Mutex<Failures>,
    born: Instant,
    cut_total: IntCounter,
    cut_lines: Throttle,
}

/// This one is cut in favour of others: it is told so and goes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut;

impl Strangers {
    /// Seats for a gateway of so many connections: an eighth of them, but at least 64 and at most
    /// 4,096, and never more than half of them.
    pub fn new(max_connections: usize, metrics: &Metrics) -> Self {
        Self {
            seats: Mutex::new(Seats::new(seats(max_connections))),
            failures: Mutex::default(),
            born: Instant::now(),
            cut_total: metrics.unauthenticated_cut.clone(),
            cut_lines: Throttle::new(LOG_PERIOD, metrics),
        }
    }

    /// Another number of connections from now on. Where fewer seats are left than are taken, the
    /// next one who comes has those who are too many cut.
    pub fn set_max_connections(&self, max_connections: usize) {
        self.seats().max = seats(max_connections);
    }

    /// Seats taken now.
    pub fn len(&self) -> usize {
        self.seats().taken.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One from this source, without a seat yet.
    pub(super) const fn stranger(&self, source: Source) -> Stranger<'_> {
        Stranger {
            strangers: self,
            source,
            seat: Seat::NotYet,
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sit_down(&self, source: Source) -> Result<Seat, Cut> {
        let (result, gone, taken) = {
            let mut seats = self.seats();
            let (result, gone) = seats.admit(source, Instant::now());
            (result, gone, seats.taken.len())
        };
        let cut = gone.len() + usize::from(result.is_err());
        if cut > 0 {
            self.cut_total.inc_by(cut as u64);
            if let Some(suppressed) = self.cut_lines.admit(Instant::now()) {
                warn!(
                    suppressed,
                    taken, "connections that have not been let in were cut in favour of others"
                );
            }
        }
        result
    }
}

/// How many of so many connections may be those of strangers.
fn seats(max_connections: usize) -> usize {
    let eighth = (max_connections / 8).clamp(SEATS_MIN, SEATS_MAX);
    eighth.min(max_connections.div_ceil(2)).max(1)
}

/// One connection whose client has not been let in. Its seat, if it has one, is given back when it
/// is dropped.
#[derive(Debug)]
pub(super) struct Stranger<'a> {
    strangers: &'a Strangers,
    source: Source,
    seat: Seat,
}

#[derive(Debug)]
enum Seat {
    NotYet,
    /// Its number, and what ends when it is taken away.
    Taken(u64, oneshot::Receiver<Infallible>),
    Lost,
}

impl Stranger<'_> {
    /// Waits for this, on a seat: the only way to wait for somebody who has not been let in.
    ///
    /// # Errors
    /// There is no seat, or it was taken away before the wait was over.
    pub(super) async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Cut> {
        if let Seat::NotYet = self.seat {
            self.seat = self
                .strangers
                .sit_down(self.source)
                .inspect_err(|_| self.seat = Seat::Lost)?;
        }
        let Seat::Taken(_, lost) = &mut self.seat else {
            return Err(Cut);
        };
        tokio::select! {
            biased;
            done = what => Ok(done),
            _ = lost => {
                self.seat = Seat::Lost;
                Err(Cut)
            }
        }
    }

    /// Counts it as one of this source from now on: a proxy has said for whom it connects.
    pub(super) fn set_source(&mut self, source: Source) {
        self.leave();
        self.source = source;
    }

    /// Notes that its HELLO was no good, and returns how long the answer has to wait.
    pub(super) fn failed(&self) -> Duration {
        let Strangers { failures, born, .. } = self.strangers;
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.note(self.source, born.elapsed())
    }

    fn leave(&mut self) {
        if let Seat::Taken(number, _) = std::mem::replace(&mut self.seat, Seat::NotYet) {
            self.strangers.seats().leave(number);
        }
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// At most `max` connections, the oldest first.
#[derive(Debug)]
struct Seats {
    max: usize,
    next: u64,
    taken: BTreeMap<u64, Taken>,
    /// How many each source holds: at most as many entries as there are seats.
    held: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Taken {
    source: Source,
    since: Instant,
    /// Dropped when the seat is taken away.
    _keep: oneshot::Sender<Infallible>,
}

impl Seats {
    fn new(max: usize) -> Self {
        Self {
            max,
            next: 0,
            taken: BTreeMap::new(),
            held: HashMap::new(),
        }
    }

    /// A seat for one from `source`, and those who lost theirs for it.
    fn admit(&mut self, source: Source, now: Instant) -> (Result<Seat, Cut>, Vec<Taken>) {
        let mut gone = Vec::new();
        while self.taken.len() >= self.max {
            let own = self.held.get(&source).copied().unwrap_or(0);
            let Some((number, most)) = self.oldest_of_the_most() else {
                break;
            };
            let since = self.taken.get(&number).map_or(now, |taken| taken.since);
            let is_young = now.saturating_duration_since(since) < PATIENCE;
            if own + 1 >= most && is_young && self.taken.len() == self.max {
                return (Err(Cut), gone);
            }
            gone.extend(self.leave(number));
        }
        let (keep, lost) = oneshot::channel();
        let (number, since) = (self.next, now);
        self.next += 1;
        *self.held.entry(source).or_default() += 1;
        let taken = Taken {
            source,
            since,
            _keep: keep,
        };
        self.taken.insert(number, taken);
        (Ok(Seat::Taken(number, lost)), gone)
    }

    /// The oldest seat of the sources that hold the most, and how many that is. Only looked for
    /// when every seat is taken.
    fn oldest_of_the_most(&self) -> Option<(u64, usize)> {
        let most = self.held.values().copied().max()?;
        let mut taken = self.taken.iter();
        let oldest = taken.find(|(_, taken)| self.held.get(&taken.source) == Some(&most));
        oldest.map(|(number, _)| (*number, most))
    }

    fn leave(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        if let Some(count) = self.held.get_mut(&taken.source) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&taken.source);
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests;

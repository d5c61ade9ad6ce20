//! Storms: seconds in which more clients come or go, or more datagrams are rejected, than is
//! usual. Each such second is one summary (who, why, how many), and each storm is kept.
//!
//! What happened is in the counters already; once a second it is seen by how much they rose. Only
//! from where it came has to be noted as it comes: in a table of bounded size, emptied each second.

mod tally;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::source::Source;
use crate::metrics::Metrics;
use crate::wire::reason::{CloseReason, RejectCause};
use tally::Tally;

/// Events of a kind in one second from which on it is a storm: many times what the machines of a
/// small installation do, and few lines of a log.
const LOUD_MIN: u64 = 50;
/// Of many connections one in so many may come or go in a second: that is a heartbeat's worth of
/// coming and going, and no storm.
const USUAL_SHARE: u64 = 100;
/// Quiet seconds after which a storm is over.
const QUIET: u32 = 5;
/// Storms that are kept; the oldest goes first. A few hundred bytes each.
const KEPT: usize = 100;
/// Sources that are named, those of the most events.
const NAMED: usize = 3;

/// What is known of storms. Its locks are leaves, held for a look-up.
#[derive(Debug, Default)]
pub struct Storms {
    /// From where the events of this second came.
    sources: Mutex<Tally>,
    state: Mutex<State>,
}

/// A number of events under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The word of a reason or a cause, or an address.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// What happened in a second, or in a storm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Client connections accepted.
    pub opened: u64,
    /// Client connections that ended.
    pub closed: u64,
    /// Those by reason, the most frequent first.
    pub reasons: Vec<Named>,
    /// Datagrams dropped without an answer.
    pub rejected: u64,
    /// Those by cause.
    pub causes: Vec<Named>,
    /// From how many sources all this came: IPv4 addresses and IPv6 /64.
    pub sources: usize,
    /// There were more of them than are told apart.
    pub more_sources: bool,
    /// Those that did the most. A network of 256 IPv4 addresses, where these together did twice as
    /// much as any of them.
    pub top: Vec<Named>,
}

/// A storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storm {
    /// When it began, in unix milliseconds.
    pub started_ms: u64,
    /// How long it was, or is so far.
    pub seconds: u64,
    /// It is not over.
    pub ongoing: bool,
    /// The most events in one second.
    pub peak: u64,
    /// All of it.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What a look has found to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing out of the ordinary.
    Quiet,
    /// This second was part of a storm: which of its seconds, and what happened in it.
    Second(u64, Summary),
    /// The storm is over.
    Over(Storm),
}

#[derive(Debug, Default)]
struct State {
    before: Counts,
    current: Option<Current>,
    /// Newest last.
    past: VecDeque<Storm>,
}

/// The storm that is going on.
#[derive(Debug)]
struct Current {
    started_ms: u64,
    seconds: u64,
    /// Seconds since the last loud one.
    quiet: u32,
    peak: u64,
    counts: Counts,
    sources: Tally,
}

impl Current {
    fn storm(&self, ongoing: bool) -> Storm {
        Storm {
            started_ms: self.started_ms,
            seconds: self.seconds,
            ongoing,
            peak: self.peak,
            summary: self.counts.summary(&self.sources),
        }
    }
}

/// Counters as they stand, or by how much they rose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    opened: u64,
    closed: [u64; CloseReason::ALL.len()],
    rejected: [u64; RejectCause::ALL.len()],
}

impl Counts {
    fn of(metrics: &Metrics) -> Self {
        Self {
            opened: metrics.connections_opened.get(),
            closed: std::array::from_fn(|index| metrics.connections_closed.at(index).get()),
            rejected: std::array::from_fn(|index| metrics.datagrams_rejected.at(index).get()),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            opened: self.opened - before.opened,
            closed: std::array::from_fn(|index| self.closed[index] - before.closed[index]),
            rejected: std::array::from_fn(|index| self.rejected[index] - before.rejected[index]),
        }
    }

    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        let pairs = self.closed.iter_mut().zip(other.closed);
        let pairs = pairs.chain(self.rejected.iter_mut().zip(other.rejected));
        pairs.for_each(|(sum, count)| *sum += count);
    }

    fn all_closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    fn all_rejected(&self) -> u64 {
        self.rejected.iter().sum()
    }

    fn is_loud(&self, connections: u64) -> bool {
        let usual = LOUD_MIN.max(connections / USUAL_SHARE);
        self.opened > usual || self.all_closed() > usual || self.all_rejected() > LOUD_MIN
    }

    fn summary(&self, sources: &Tally) -> Summary {
        let reasons = CloseReason::ALL.iter().map(|reason| reason.word());
        let causes = RejectCause::ALL.iter().map(|cause| cause.word());
        Summary {
            opened: self.opened,
            closed: self.all_closed(),
            reasons: named(reasons.zip(self.closed)),
            rejected: self.all_rejected(),
            causes: named(causes.zip(self.rejected)),
            sources: sources.len(),
            more_sources: sources.is_full(),
            top: sources.top(NAMED),
        }
    }
}

/// Those that happened at all, the most frequent first.
fn named<'w>(counts: impl Iterator<Item = (&'w str, u64)>) -> Vec<Named> {
    let happened = counts.filter(|(_, count)| *count > 0);
    let named = happened.map(|(word, count)| Named {
        name: word.to_owned(),
        count,
    });
    let mut named: Vec<_> = named.collect();
    named.sort_by_key(|named| std::cmp::Reverse(named.count));
    named
}

impl Storms {
    /// Notes from where events came: a connection that was opened or that ended, datagrams that
    /// were rejected.
    pub fn note(&self, source: Source, events: u64) {
        self.sources().add(source, events);
    }

    /// To be called once a second: what the second was like, while `connections` are held.
    pub fn look(&self, metrics: &Metrics, connections: u64, now_ms: u64) -> Told {
        let sources = std::mem::take(&mut *self.sources());
        let counts = Counts::of(metrics);
        let mut state = self.state();
        let second = counts.since(&state.before);
        state.before = counts;
        let is_loud = second.is_loud(connections);
        if state.current.is_none() && !is_loud {
            return Told::Quiet;
        }
        let current = state.current.get_or_insert_with(|| Current {
            started_ms: now_ms.saturating_sub(1_000),
            seconds: 0,
            quiet: 0,
            peak: 0,
            counts: Counts::default(),
            sources: Tally::default(),
        });
        if is_loud {
            // The quiet ones between two loud ones are part of it.
            current.seconds += 1 + u64::from(std::mem::take(&mut current.quiet));
            let events = second.opened + second.all_closed() + second.all_rejected();
            current.peak = current.peak.max(events);
            current.counts.add(&second);
            current.sources.merge(&sources);
            return Told::Second(current.seconds, second.summary(&sources));
        }
        current.quiet += 1;
        if current.quiet < QUIET {
            current.counts.add(&second);
            current.sources.merge(&sources);
            return Told::Quiet;
        }
        let over = current.storm(false);
        state.current = None;
        if state.past.len() >= KEPT {
            state.past.pop_front();
        }
        state.past.push_back(over.clone());
        Told::Over(over)
    }

    /// Up to `max` storms, newest first: the one that is going on, and the last 100.
    pub fn last(&self, max: usize) -> Vec<Storm> {
        let state = self.state();
        let current = state.current.iter().map(|current| current.storm(true));
        let past = state.past.iter().rev().cloned();
        current.chain(past).take(max).collect()
    }

    fn sources(&self) -> MutexGuard<'_, Tally> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `reset 512, eof 3`, for a line of the log.
pub fn list(named: &[Named]) -> String {
    let mut text = String::new();
    for Named { name, count } in named {
        let gap = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{gap}{name} {count}");
    }
    text
}

#[cfg(test)]
mod tests;

//! The last five minutes, a sample a second: what the charts begin with, whoever opens them when.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

use super::quantile::Buckets;
use crate::metrics::{Metrics, Outcome};
use crate::transport::admin::inspect::Pulse;
use crate::wire::datagram::Op;
use crate::wire::reason::{CloseReason, RejectCause, Status};

/// Samples that are kept: five minutes, in 30 KB.
const KEPT: usize = 300;

/// How things stood at one moment, and what happened in the second before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Unix milliseconds.
    pub(super) time_ms: u64,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    pub(super) sessions_behind: u64,
    pub(super) log_bytes: u64,
    pub(super) jobs: u64,
    /// Connections accepted and ended, a second.
    pub(super) opened: f64,
    pub(super) closed: f64,
    /// Datagrams received and rejected, a second.
    pub(super) datagrams: f64,
    pub(super) rejected: f64,
    /// Authentic pushes, whatever came of them, a second.
    pub(super) pushes: f64,
    /// Messages that the kernel took for a session, a second.
    pub(super) deliveries: f64,
    /// Milliseconds from a push to the kernel having it for one client, for half of the deliveries
    /// of the second and for 99 of a hundred. None without deliveries.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// What is read each second.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    opened: u64,
    closed: u64,
    datagrams: u64,
    rejected: u64,
    pushes: u64,
    deliveries: u64,
    latency: Buckets,
}

impl Counters {
    /// Those of this moment.
    pub(super) fn read(metrics: &Metrics) -> Self {
        let closed = CloseReason::ALL.map(|reason| metrics.connections_closed.at(reason.index()));
        let rejected = RejectCause::ALL.map(|cause| metrics.datagrams_rejected.at(cause.index()));
        let pushes = Status::ALL.map(|status| metrics.requests_that(Op::Push, status));
        let sum = |counters: &[&prometheus::IntCounter]| {
            counters.iter().map(|counter| counter.get()).sum::<u64>()
        };
        Self {
            opened: metrics.connections_opened.get(),
            closed: sum(&closed),
            datagrams: metrics.datagrams_received.get(),
            rejected: sum(&rejected),
            pushes: sum(&pushes),
            deliveries: metrics.deliveries.at(Outcome::Written as usize).get(),
            latency: Buckets::read(&metrics.delivery_latency),
        }
    }
}

/// The samples, the newest last.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    samples: VecDeque<Sample>,
    /// What was read last, and when.
    before: Option<(Instant, Counters)>,
}

/// The samples as a chart takes them: a row for each of their numbers.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Columns {
    time_ms: Vec<u64>,
    connections: Vec<u64>,
    sessions_behind: Vec<u64>,
    log_bytes: Vec<u64>,
    opened: Vec<f64>,
    closed: Vec<f64>,
    datagrams: Vec<f64>,
    rejected: Vec<f64>,
    pushes: Vec<f64>,
    deliveries: Vec<f64>,
    p50_ms: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
}

impl History {
    /// Notes what was read now, a moment by both clocks. The first look is only what the second is
    /// compared with.
    pub(super) fn note(&self, (now, time_ms): (Instant, u64), pulse: &Pulse, counters: Counters) {
        let mut inner = self.lock();
        if let Some((at, before)) = &inner.before {
            let seconds = now.saturating_duration_since(*at).as_secs_f64().max(1e-3);
            let rate = |now: u64, before: u64| {
                let rate = now.saturating_sub(before) as f64 / seconds;
                // What is read to three digits need not be sent in fifteen.
                (rate * 10.0).round() / 10.0
            };
            let latency = counters.latency.since(&before.latency);
            let millis = |q| latency.quantile(q).map(|s| (s * 1e5).round() / 1e2);
            let sample = Sample {
                time_ms,
                connections: pulse.connections,
                sessions: pulse.sessions,
                sessions_behind: pulse.sessions_behind,
                log_bytes: pulse.log_bytes,
                jobs: pulse.jobs,
                opened: rate(counters.opened, before.opened),
                closed: rate(counters.closed, before.closed),
                datagrams: rate(counters.datagrams, before.datagrams),
                rejected: rate(counters.rejected, before.rejected),
                pushes: rate(counters.pushes, before.pushes),
                deliveries: rate(counters.deliveries, before.deliveries),
                p50_ms: millis(0.5),
                p99_ms: millis(0.99),
            };
            if inner.samples.len() >= KEPT {
                inner.samples.pop_front();
            }
            inner.samples.push_back(sample);
        }
        inner.before = Some((now, counters));
    }

    /// The newest sample; `None` in the first seconds.
    pub(super) fn last(&self) -> Option<Sample> {
        self.lock().samples.back().copied()
    }

    /// All of them.
    pub(super) fn columns(&self) -> Columns {
        let inner = self.lock();
        let mut columns = Columns::default();
        for sample in &inner.samples {
            columns.time_ms.push(sample.time_ms);
            columns.connections.push(sample.connections);
            columns.sessions_behind.push(sample.sessions_behind);
            columns.log_bytes.push(sample.log_bytes);
            columns.opened.push(sample.opened);
            columns.closed.push(sample.closed);
            columns.datagrams.push(sample.datagrams);
            columns.rejected.push(sample.rejected);
            columns.pushes.push(sample.pushes);
            columns.deliveries.push(sample.deliveries);
            columns.p50_ms.push(sample.p50_ms);
            columns.p99_ms.push(sample.p99_ms);
        }
        columns
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Seconds {
        history: History,
        metrics: Metrics,
        start: Instant,
    }

    impl Seconds {
        fn new() -> Self {
            Self {
                history: History::default(),
                metrics: Metrics::new(),
                start: Instant::now(),
            }
        }

        fn note(&self, at_ms: u64) {
            let moment = (self.start + Duration::from_millis(at_ms), at_ms);
            let pulse = Pulse {
                connections: 7,
                ..Pulse::default()
            };
            let counters = Counters::read(&self.metrics);
            self.history.note(moment, &pulse, counters);
        }
    }

    #[test]
    fn a_sample_is_what_happened_since_the_one_before() {
        let seconds = Seconds::new();
        let metrics = &seconds.metrics;
        metrics.connections_opened.inc_by(1_000);
        seconds.note(0);
        assert_eq!(seconds.history.last(), None, "nothing to compare with");
        metrics.connections_opened.inc_by(30);
        metrics.connection_closed(CloseReason::Eof);
        metrics.connection_closed(CloseReason::Bye);
        metrics.request(Op::Push, Status::Done);
        metrics.request(Op::Push, Status::Busy);
        metrics.request(Op::Ping, Status::Done);
        metrics.deliveries(Outcome::Written, 500);
        metrics.deliveries(Outcome::Slow, 9);
        metrics.delivery_latency.observe(0.01);
        seconds.note(2_000);
        let sample = seconds.history.last().expect("is there");
        assert_eq!((sample.connections, sample.time_ms), (7, 2_000));
        assert_eq!((sample.opened, sample.closed), (15.0, 1.0));
        assert_eq!((sample.pushes, sample.deliveries), (1.0, 250.0));
        let p50_ms = sample.p50_ms.expect("one was delivered");
        assert!((2.5..=10.0).contains(&p50_ms), "{p50_ms}");
        seconds.note(3_000);
        let quiet = seconds.history.last().expect("is there");
        assert_eq!(
            (quiet.opened, quiet.p50_ms, quiet.p99_ms),
            (0.0, None, None)
        );
    }

    #[test]
    fn five_minutes_are_kept() {
        let seconds = Seconds::new();
        for second in 0..=400 {
            seconds.note(second * 1_000);
        }
        let columns = seconds.history.columns();
        assert_eq!(columns.time_ms.len(), KEPT);
        assert_eq!(columns.p99_ms.len(), KEPT);
        assert_eq!(columns.time_ms.last(), Some(&400_000));
        assert_eq!(columns.time_ms.first(), Some(&101_000));
    }
}

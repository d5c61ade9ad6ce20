//! How late messages were, each counted from when it was due and not from when it was sent.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::crowd::Arrival;

/// Marks the paced message among those of a burst.
pub const PACED: u32 = u32::MAX;
/// The longest latency that is told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// Latencies, to 0.1 %, in nanoseconds.
pub type Latencies = Histogram<u64>;

/// What a measurement notes of each message.
pub struct Recorder {
    /// From due to arrived, of every message and client.
    pub messages: Latencies,
    /// The same of the paced messages alone, which are not in `messages`.
    pub paced: Latencies,
    /// From due to arrived at the last client, of every broadcast.
    pub last: Latencies,
    /// From sent to answered, of every push.
    pub answers: Latencies,
    /// The latest arrival so far of each broadcast of this round, by its mark.
    latest_ns: Vec<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        let empty = || {
            let max = nanos(LATENCY_MAX);
            Latencies::new_with_bounds(1, max, 3).expect("constants that the crate takes")
        };
        Self {
            messages: empty(),
            paced: empty(),
            last: empty(),
            answers: empty(),
            latest_ns: Vec::new(),
        }
    }
}

impl Recorder {
    /// A round of broadcasts begins, marked 0 to `count` - 1.
    pub fn begin(&mut self, count: usize) {
        self.latest_ns.clear();
        self.latest_ns.resize(count, 0);
    }

    /// The round is over, and everybody has what arrives.
    pub fn end(&mut self) {
        for latest in self.latest_ns.drain(..).filter(|latest| *latest != 0) {
            self.last.saturating_record(latest);
        }
    }

    /// A message has arrived; `epoch` is what its stamp counts from.
    pub fn arrived(&mut self, epoch: Instant, arrival: &Arrival) {
        let at = nanos(arrival.at.saturating_duration_since(epoch));
        let late = at.saturating_sub(arrival.due_ns).max(1);
        if arrival.mark == PACED {
            self.paced.saturating_record(late);
            return;
        }
        self.messages.saturating_record(late);
        if let Some(latest) = self.latest_ns.get_mut(arrival.mark as usize) {
            *latest = late.max(*latest);
        }
    }

    /// A push was answered.
    pub fn answered(&mut self, took: Duration) {
        self.answers.saturating_record(nanos(took).max(1));
    }
}

/// Whole nanoseconds; 584 years at most.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_from_when_it_was_due() {
        let epoch = Instant::now();
        let mut recorder = Recorder::default();
        recorder.begin(2);
        for (late_ms, mark) in [(1, 0), (4, 0), (2, PACED)] {
            let arrival = Arrival {
                client: 0,
                due_ns: 10_000_000,
                mark,
                at: epoch + Duration::from_millis(10 + late_ms),
            };
            recorder.arrived(epoch, &arrival);
        }
        recorder.end();
        let near = |latencies: &Latencies, ms: u64| latencies.max().abs_diff(ms * 1_000_000) < 4096;
        assert_eq!(recorder.messages.len(), 2);
        assert!(near(&recorder.messages, 4) && near(&recorder.paced, 2));
        // The second broadcast has reached nobody.
        assert_eq!(recorder.last.len(), 1);
        assert!(near(&recorder.last, 4));
    }
}

//! How late messages were, each counted from when it was due and not from when it was sent.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::crowd::Arrival;

/// Marks the paced message among those of a burst.
pub const PACED: u32 = u32::MAX;
/// Marks a paced message without anything else.
pub const PACED_ALONE: u32 = u32::MAX - 1;
/// Marks a paced message while bursts come with pauses.
pub const PACED_AMID: u32 = u32::MAX - 2;
/// Marks what only keeps the gateway busy.
pub const UNNOTED: u32 = u32::MAX - 3;
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
    /// Those that were alone.
    pub paced_alone: Latencies,
    /// Those amid bursts with pauses.
    pub paced_amid: Latencies,
    /// From due to arrived at the last client, of every broadcast.
    pub last: Latencies,
    /// From due to answered, of every push.
    pub answers: Latencies,
    /// From sent to answered: without how late the load was itself.
    pub turns: Latencies,
    /// From due to sent, of messages by the clock: how late the load itself is.
    pub sent_late: Latencies,
    /// How long the load read what was there, each time: so late is what comes next.
    pub passes: Latencies,
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
            paced_alone: empty(),
            paced_amid: empty(),
            last: empty(),
            answers: empty(),
            turns: empty(),
            sent_late: empty(),
            passes: empty(),
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
        let paced = match arrival.mark {
            PACED => &mut self.paced,
            PACED_ALONE => &mut self.paced_alone,
            PACED_AMID => &mut self.paced_amid,
            UNNOTED => return,
            _ => return self.broadcast(late, arrival.mark),
        };
        paced.saturating_record(late);
    }

    fn broadcast(&mut self, late: u64, mark: u32) {
        self.messages.saturating_record(late);
        if let Some(latest) = self.latest_ns.get_mut(mark as usize) {
            *latest = late.max(*latest);
        }
    }

    /// A push was answered.
    pub fn answered(&mut self, since_due: Duration, since_sent: Duration) {
        self.answers.saturating_record(nanos(since_due).max(1));
        self.turns.saturating_record(nanos(since_sent).max(1));
    }

    /// A message that was due was sent so late.
    pub fn sent(&mut self, late: Duration) {
        self.sent_late.saturating_record(nanos(late).max(1));
    }

    /// Reading what was there took so long.
    pub fn passed(&mut self, took: Duration) {
        self.passes.saturating_record(nanos(took).max(1));
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
        let marks = [
            (1, 0),
            (4, 0),
            (2, PACED),
            (3, PACED_ALONE),
            (5, PACED_AMID),
            (9, UNNOTED),
        ];
        for (late_ms, mark) in marks {
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
        assert!(near(&recorder.paced_alone, 3) && near(&recorder.paced_amid, 5));
        // The second broadcast has reached nobody.
        assert_eq!(recorder.last.len(), 1);
        assert!(near(&recorder.last, 4));
    }
}

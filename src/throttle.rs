//! A flood of events is one log line a period. The counters have the rest.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

/// Lets one line a period through, and counts those held back.
///
/// ```
/// # use std::time::Duration;
/// # use pushgate::{metrics::Metrics, throttle::Throttle};
/// # let metrics = Metrics::new();
/// let throttle = Throttle::new(Duration::from_secs(10), &metrics);
/// if let Some(suppressed) = throttle.admit(tokio::time::Instant::now()) {
///     tracing::warn!(suppressed, "accept failed");
/// }
/// ```
#[derive(Debug)]
pub struct Throttle {
    period: Duration,
    born: Instant,
    /// When the next line may pass, in milliseconds after `born`.
    next_ms: AtomicU64,
    /// Held back since the last line.
    held: AtomicU64,
    suppressed_total: IntCounter,
}

impl Throttle {
    /// A throttle whose first line passes. The lines it holds back count into
    /// `pushgate_log_lines_suppressed_total`.
    pub fn new(period: Duration, metrics: &crate::metrics::Metrics) -> Self {
        Self {
            period,
            born: Instant::now(),
            next_ms: AtomicU64::new(0),
            held: AtomicU64::new(0),
            suppressed_total: metrics.log_lines_suppressed.clone(),
        }
    }

    /// `Some` when a line may be written now, with the number of those held back since the last
    /// one, which belongs into it; `None` when this one is to be held back.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let now_ms = millis(now.saturating_duration_since(self.born));
        let next_ms = self.next_ms.load(Relaxed);
        let due = next_ms <= now_ms;
        // Of several that find it due at once, the one whose exchange succeeds writes the line.
        let later_ms = now_ms.saturating_add(millis(self.period).max(1));
        if due
            && self
                .next_ms
                .compare_exchange(next_ms, later_ms, Relaxed, Relaxed)
                .is_ok()
        {
            return Some(self.held.swap(0, Relaxed));
        }
        self.held.fetch_add(1, Relaxed);
        self.suppressed_total.inc();
        None
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn one_line_a_period_passes_with_the_number_of_those_held_back() {
        let metrics = Metrics::new();
        let throttle = Throttle::new(Duration::from_secs(10), &metrics);
        let start = throttle.born;
        let at = |secs| throttle.admit(start + Duration::from_secs(secs));
        assert_eq!(at(0), Some(0), "the first passes");
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(19), None);
        assert_eq!(at(500), Some(1));
        assert_eq!(metrics.log_lines_suppressed.get(), 3);
    }

    #[test]
    fn of_many_at_once_one_passes() {
        let metrics = Metrics::new();
        let throttle = Throttle::new(Duration::from_secs(10), &metrics);
        let now = throttle.born;
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..100).filter(|_| throttle.admit(now).is_some()).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("does not panic"))
                .sum()
        });
        assert_eq!(passed, 1);
        assert_eq!(metrics.log_lines_suppressed.get(), 799);
    }
}

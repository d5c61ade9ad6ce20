//! Is the runtime late? How long a task that is ready waits for its turn, and what is done when
//! that is too long: new connections are let in at a trickle, so that the handshakes of a storm do
//! not take the time of those who are connected.
//!
//! ```text
//!             LATE_LOOKS looks in a row over LATE
//!     at ease ----------------------------------> overloaded
//!             <----------------------------------
//!              GOOD_LOOKS looks in a row under GOOD
//! ```

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// From one look to the next; a look that is late begins the next one later.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A ready task that waits for longer is late: 500 times the step of a walk, after which others
/// have their turn, and what a person begins to notice.
const LATE: Duration = Duration::from_millis(250);
/// So many looks in a row, about two seconds: what stops a process for once (a suspended machine, a
/// page fault, a profile) is over before that.
const LATE_LOOKS: u8 = 4;
/// A ready task that waits for less is in time again; lower than [`LATE`], so that it does not
/// swing.
const GOOD: Duration = Duration::from_millis(100);
/// So many looks in a row: two seconds.
const GOOD_LOOKS: u8 = 8;

/// What the looks so far come to.
#[derive(Debug, Default)]
pub struct Overload {
    is_overloaded: bool,
    /// Looks in a row that spoke for a change.
    against: u8,
}

impl Overload {
    /// One look has found the runtime so late. `Some` when that changes whether it is overloaded.
    pub fn note(&mut self, lag: Duration) -> Option<bool> {
        let (speaks_against, looks) = match self.is_overloaded {
            false => (lag > LATE, LATE_LOOKS),
            true => (lag < GOOD, GOOD_LOOKS),
        };
        if !speaks_against {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < looks {
            return None;
        }
        self.against = 0;
        self.is_overloaded = !self.is_overloaded;
        Some(self.is_overloaded)
    }
}

/// Looks how late the runtime is, again and again.
#[derive(Debug)]
pub struct Lag(Instant);

impl Default for Lag {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Lag {
    /// Waits for the next look: for how long a task of this runtime was ready and had no turn, once
    /// by a timer and once through the queue of a worker. Cancel-safe.
    pub async fn look(&mut self) -> Duration {
        let due = self.0.max(Instant::now()) + LOOK_EVERY;
        sleep_until(due).await;
        tokio::task::yield_now().await;
        let now = Instant::now();
        self.0 = now;
        now.saturating_duration_since(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(300);
    const FAST: Duration = Duration::from_millis(3);
    const BETWEEN: Duration = Duration::from_millis(150);

    #[test]
    fn only_a_runtime_that_stays_late_is_overloaded() {
        let mut overload = Overload::default();
        for _ in 0..20 {
            for _ in 1..LATE_LOOKS {
                assert_eq!(overload.note(Duration::from_secs(60)), None);
            }
            assert_eq!(overload.note(BETWEEN), None);
        }
        for _ in 1..LATE_LOOKS {
            assert_eq!(overload.note(SLOW), None);
        }
        assert_eq!(overload.note(SLOW), Some(true));
        assert_eq!(overload.note(SLOW), None, "it is so already");
    }

    #[test]
    fn only_a_runtime_that_stays_in_time_is_not_any_more() {
        let mut overload = Overload::default();
        let changes: Vec<_> = (0..LATE_LOOKS)
            .filter_map(|_| overload.note(SLOW))
            .collect();
        assert_eq!(changes, [true]);
        for _ in 0..20 {
            for _ in 1..GOOD_LOOKS {
                assert_eq!(overload.note(FAST), None);
            }
            assert_eq!(overload.note(BETWEEN), None);
        }
        for _ in 1..GOOD_LOOKS {
            assert_eq!(overload.note(FAST), None);
        }
        assert_eq!(overload.note(FAST), Some(false));
        assert_eq!(overload.note(FAST), None, "it is so already");
    }

    #[tokio::test]
    async fn what_keeps_the_worker_is_seen() {
        let mut lag = Lag::default();
        let hog = async {
            tokio::task::yield_now().await;
            // The one worker of this runtime does nothing else meanwhile.
            std::thread::sleep(LOOK_EVERY + SLOW);
        };
        let (late, ()) = tokio::join!(lag.look(), hog);
        assert!(late >= SLOW - Duration::from_millis(50), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_keeps_it_nothing_is() {
        let mut lag = Lag::default();
        for _ in 0..10 {
            assert!(lag.look().await <= Duration::from_millis(1));
        }
    }
}

//! The wall clock: unix milliseconds that never run backwards. The only place that reads the
//! system's idea of the date; durations and deadlines use the runtime's own clock instead.
//!
//! A gateway that saw its clock set back would take old datagrams for new ones after it had
//! forgotten their request ids. So the distance between the wall clock and the monotonic one is a
//! high-water mark: a step forward is followed, after a step back time goes on from where it was.
//! A sender whose clock then differs is told the gateway's time with STALE, and corrects itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System {
        born: Instant,
        /// The largest (wall - monotonic) seen, in milliseconds.
        offset_ms: AtomicU64,
    },
    Fixed {
        now_ms: AtomicU64,
    },
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self(Arc::new(Source::System {
            born: Instant::now(),
            offset_ms: AtomicU64::new(0),
        }))
    }

    /// A clock for tests, that stands at this unix time until it is moved with
    /// [`advance`](Self::advance).
    pub fn at(ms: u64) -> Self {
        Self(Arc::new(Source::Fixed {
            now_ms: AtomicU64::new(ms),
        }))
    }

    /// Unix time in milliseconds; never less than what an earlier call on this clock gave.
    pub fn now_ms(&self) -> u64 {
        match &*self.0 {
            Source::System { born, offset_ms } => {
                let monotonic_ms = millis(born.elapsed());
                monotonic_ms + raise(offset_ms, wall_ms().saturating_sub(monotonic_ms))
            }
            Source::Fixed { now_ms } => now_ms.load(Relaxed),
        }
    }

    /// How far this clock is ahead of the machine's, in milliseconds: more than a few only after
    /// that one was set back. Always 0 for a clock of [`at`](Self::at).
    pub fn ahead_ms(&self) -> u64 {
        match &*self.0 {
            Source::System { .. } => self.now_ms().saturating_sub(wall_ms()),
            Source::Fixed { .. } => 0,
        }
    }

    /// Moves a clock of [`at`](Self::at) forward; the system's clock goes on by itself and is left
    /// alone.
    pub fn advance(&self, ms: u64) {
        if let Source::Fixed { now_ms } = &*self.0 {
            now_ms.fetch_add(ms, Relaxed);
        }
    }
}

/// Raises the mark to `seen` if that is higher, and returns the mark.
fn raise(mark: &AtomicU64, seen: u64) -> u64 {
    // The plain load first: the mark moves about never, and a write would share its cache line
    // between all workers.
    let high = mark.load(Relaxed);
    if seen <= high {
        high
    } else {
        mark.fetch_max(seen, Relaxed).max(seen)
    }
}

fn wall_ms() -> u64 {
    // Before 1970 is a machine without a battery: 0 until somebody sets its clock.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_is_close_to_the_machine_and_does_not_fall() {
        let clock = Clock::system();
        let first = clock.now_ms();
        assert!(first.abs_diff(wall_ms()) < 1_000);
        assert!(first <= clock.now_ms());
        assert!(clock.ahead_ms() < 1_000);
    }

    #[test]
    fn after_a_step_back_time_goes_on_from_where_it_was() {
        let mark = AtomicU64::new(0);
        assert_eq!(raise(&mark, 5_000), 5_000);
        assert_eq!(raise(&mark, 1_000), 5_000, "a step back is not followed");
        assert_eq!(raise(&mark, 6_000), 6_000, "a step forward is");
    }

    #[test]
    fn a_test_clock_moves_only_when_it_is_told_to() {
        let clock = Clock::at(7);
        let same = clock.clone();
        clock.advance(3);
        assert_eq!(same.now_ms(), 10);
    }
}

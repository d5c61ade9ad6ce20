//! The wall clock: unix milliseconds that never run backwards. The only place that reads the
//! system's idea of the date; durations and deadlines use the runtime's own clock instead.
//!
//! # Steps of the wall clock
//!
//! The distance between the wall clock and the monotonic one is a high-water mark: a step forward
//! is followed, after a step back time goes on from where it was. So this clock runs at least as
//! fast as the monotonic one, and that is what keeps a request from being carried out twice:
//!
//! A request is carried out only when its time is at most `udp.future` ahead of this clock. Its id
//! is remembered for window + future + 10 s of the monotonic clock. When it is forgotten, this
//! clock has gone on by as much or more, and the request's time is more than the window past:
//! STALE, then and ever after. With the machine's own clock, one step back of more than 10 s would
//! make requests fresh again whose ids are forgotten.
//!
//! A step back that mends an earlier step forward is not followed either. Requests of that time
//! bear times that the machine has yet to reach, and following it would carry out a recorded one a
//! second time when it gets there. The price is that this clock stays ahead until the process ends:
//! senders are told its time with STALE and correct themselves, and operators by
//! `pushgate_clock_ahead_seconds`. A restart follows the machine again. It forgets the ids too, so
//! whoever recorded a datagram in the time ahead could have it carried out again when that time
//! comes: wait it out before the restart, or change the keys.
//!
//! A step forward of more than the window makes what senders have just signed STALE. That is the
//! safe side; [`Watch`] finds both, for the alarm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System {
        wall: Wall,
        born: Instant,
        /// The largest (wall - monotonic) seen, in milliseconds.
        offset_ms: AtomicU64,
    },
    Fixed {
        now_ms: AtomicU64,
    },
}

/// What tells the date.
#[derive(Debug)]
enum Wall {
    Machine,
    /// For tests: unix milliseconds, until somebody sets them.
    Set(AtomicU64),
}

impl Clock {
    /// The clock of this machine.
    pub fn system() -> Self {
        Self::over(Wall::Machine)
    }

    /// A clock for tests: like the machine's, over a wall clock that stands at this unix time until
    /// [`set_wall`](Self::set_wall) is called.
    pub fn with_wall(ms: u64) -> Self {
        Self::over(Wall::Set(AtomicU64::new(ms)))
    }

    fn over(wall: Wall) -> Self {
        Self(Arc::new(Source::System {
            wall,
            born: monotonic(),
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
            Source::System {
                wall,
                born,
                offset_ms,
            } => {
                let monotonic_ms = millis(monotonic() - *born);
                monotonic_ms + raise(offset_ms, wall.now_ms().saturating_sub(monotonic_ms))
            }
            Source::Fixed { now_ms } => now_ms.load(Relaxed),
        }
    }

    /// How far this clock is ahead of the machine's, in milliseconds: more than a few only after
    /// that one was set back. Always 0 for a clock of [`at`](Self::at).
    pub fn ahead_ms(&self) -> u64 {
        match &*self.0 {
            Source::System { wall, .. } => self.now_ms().saturating_sub(wall.now_ms()),
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

    /// Sets the wall clock under a clock of [`with_wall`](Self::with_wall), in either direction;
    /// any other clock is left alone.
    pub fn set_wall(&self, ms: u64) {
        if let Source::System {
            wall: Wall::Set(now_ms),
            ..
        } = &*self.0
        {
            now_ms.store(ms, Relaxed);
        }
    }

    /// Wall minus monotonic clock, in milliseconds: changes only by steps, and by a little.
    fn offset_ms(&self) -> i64 {
        match &*self.0 {
            Source::System { wall, born, .. } => {
                let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
                signed(wall.now_ms()) - signed(millis(monotonic() - *born))
            }
            Source::Fixed { .. } => 0,
        }
    }
}

/// What is a step of the clock rather than its going a little fast or slow, in milliseconds.
const STEP_MS: u64 = 1_000;

/// Finds steps of the machine's clock, by looking again and again.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    offset_ms: i64,
}

impl Watch {
    /// From now on.
    pub fn new(clock: Clock) -> Self {
        let offset_ms = clock.offset_ms();
        Self { clock, offset_ms }
    }

    /// The clock that is watched.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// By how many milliseconds the clock was set since the last look, if by a second or more:
    /// forward above zero, back below. A suspended machine has seen a step forward too.
    pub fn look(&mut self) -> Option<i64> {
        let offset_ms = self.clock.offset_ms();
        let step_ms = offset_ms - self.offset_ms;
        self.offset_ms = offset_ms;
        (step_ms.unsigned_abs() >= STEP_MS).then_some(step_ms)
    }
}

/// The runtime's monotonic clock, which tests can pause.
pub fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
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

impl Wall {
    fn now_ms(&self) -> u64 {
        match self {
            Self::Machine => machine_ms(),
            Self::Set(ms) => ms.load(Relaxed),
        }
    }
}

fn machine_ms() -> u64 {
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
        assert!(first.abs_diff(machine_ms()) < 1_000);
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

    /// Lets the paused monotonic clock, and the wall clock with it, go on by so many milliseconds.
    async fn pass(clock: &Clock, ms: u64) {
        tokio::time::advance(std::time::Duration::from_millis(ms)).await;
        let Source::System { wall, .. } = &*clock.0 else {
            panic!("a clock over a wall clock");
        };
        clock.set_wall(wall.now_ms() + ms);
    }

    /// The argument above, with the defaults: a request that was fresh when it was carried out is
    /// stale once its id is forgotten, whatever the wall clock did.
    #[tokio::test(start_paused = true)]
    async fn no_step_makes_a_forgotten_request_fresh_again() {
        let (window, future, remembered) = (15_000, 1_000, 26_000);
        for step in [-3_600_000_i64, -26_000, -11_000, -1, 0, 5_000, 86_400_000] {
            let clock = Clock::with_wall(1_790_000_000_000);
            let carried_out = clock.now_ms();
            let latest_fresh = carried_out + future;
            pass(&clock, 13_000).await;
            let stepped = 1_790_000_013_000_u64.saturating_add_signed(step);
            clock.set_wall(stepped);
            assert!(clock.now_ms() >= carried_out + 13_000, "step {step}");
            pass(&clock, remembered - 13_000).await;
            assert!(clock.now_ms() >= carried_out + remembered, "step {step}");
            assert!(latest_fresh + window < clock.now_ms(), "step {step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_says_how_far_it_is_ahead() {
        let clock = Clock::with_wall(1_790_000_000_000);
        assert_eq!(clock.now_ms(), 1_790_000_000_000);
        clock.set_wall(1_790_000_000_000 - 60_000);
        assert_eq!(
            (clock.now_ms(), clock.ahead_ms()),
            (1_790_000_000_000, 60_000)
        );
        pass(&clock, 40_000).await;
        assert_eq!(clock.now_ms(), 1_790_000_040_000);
        assert_eq!(
            clock.ahead_ms(),
            60_000,
            "it does not wait for the machine's"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_tells_steps_from_the_passing_of_time() {
        let clock = Clock::with_wall(1_790_000_000_000);
        let mut watch = Watch::new(clock.clone());
        pass(&clock, 3_600_000).await;
        assert_eq!(watch.look(), None);
        let base = clock.now_ms();
        for (wall, step) in [
            (base - 999, None),
            (base - 2_999, Some(-2_000)),
            (base - 1_999, Some(1_000)),
            (base - 1_999, None),
            (base + 86_400_000, Some(86_401_999)),
            (0, Some(-1_790_090_000_000)),
        ] {
            clock.set_wall(wall);
            assert_eq!(watch.look(), step, "{wall}");
        }
    }

    #[test]
    fn a_test_clock_moves_only_when_it_is_told_to() {
        let clock = Clock::at(7);
        let same = clock.clone();
        clock.advance(3);
        assert_eq!(same.now_ms(), 10);
    }
}

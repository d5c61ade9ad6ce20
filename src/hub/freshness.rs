//! Which times of a request are fresh, while window and tolerance may change under way.
//!
//! A request is carried out at most once because its id is remembered for longer than its time is
//! fresh. A wider window would break that for what was carried out under the narrower one: its id
//! is forgotten after the old window, and then its time would be fresh again. So whatever can have
//! been carried out before a change stays under the narrower of the two windows; its ids keep the
//! lifetime that they were remembered with.

/// The largest step between reading the wall clock for a batch and judging the last of it, and
/// between two threads that do so, in milliseconds.
const SLACK_MS: u64 = 1_000;

/// The rule for times. All in unix milliseconds, or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    window_ms: u64,
    future_ms: u64,
    /// Earlier than this is stale: an earlier process may have carried it out.
    from_ms: u64,
    /// A time up to this one may have been carried out under an earlier rule,
    earlier_until_ms: u64,
    /// and is fresh for no longer than this.
    earlier_window_ms: u64,
}

impl Freshness {
    /// Times from `window_ms` ago to `future_ms` ahead, none of them before `from_ms`.
    pub const fn new(window_ms: u64, future_ms: u64, from_ms: u64) -> Self {
        Self {
            window_ms,
            future_ms,
            from_ms,
            earlier_until_ms: 0,
            earlier_window_ms: window_ms,
        }
    }

    /// The rule from `now_ms` on with another window and tolerance.
    #[must_use]
    pub fn changed(&self, window_ms: u64, future_ms: u64, now_ms: u64) -> Self {
        let until = now_ms
            .saturating_add(self.future_ms)
            .saturating_add(SLACK_MS);
        // What an earlier change has left behind counts until all of it is stale by this rule.
        let is_over = now_ms
            > self
                .earlier_until_ms
                .saturating_add(self.window_ms)
                .saturating_add(SLACK_MS);
        let left = if is_over {
            self.window_ms
        } else {
            self.earlier_window_ms.min(self.window_ms)
        };
        Self {
            window_ms,
            future_ms,
            from_ms: self.from_ms,
            earlier_until_ms: self.earlier_until_ms.max(until),
            earlier_window_ms: left.min(window_ms),
        }
    }

    /// Whether a request of this time may be carried out now.
    pub const fn holds(&self, time_ms: u64, now_ms: u64) -> bool {
        let window_ms = if time_ms <= self.earlier_until_ms {
            self.earlier_window_ms
        } else {
            self.window_ms
        };
        time_ms.saturating_add(window_ms) >= now_ms
            && time_ms <= now_ms.saturating_add(self.future_ms)
            && time_ms >= self.from_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_fresh_from_the_window_ago_to_the_tolerance_ahead() {
        let rule = Freshness::new(15_000, 1_000, 0);
        for (time, fresh) in [
            (84_999, false),
            (85_000, true),
            (101_000, true),
            (101_001, false),
        ] {
            assert_eq!(rule.holds(time, 100_000), fresh, "{time}");
        }
        assert!(!Freshness::new(15_000, 1_000, 99_000).holds(98_999, 100_000));
    }

    #[test]
    fn a_wider_window_holds_for_what_comes_after_the_change() {
        let rule = Freshness::new(5_000, 1_000, 0).changed(60_000, 1_000, 100_000);
        // Carried out before the change, and forgotten after 16 s.
        assert!(!rule.holds(99_000, 120_000));
        assert!(rule.holds(99_000, 104_000));
        assert!(rule.holds(102_001, 160_000));
    }

    proptest! {
        /// However often the rule changes: what was carried out is either remembered or stale.
        #[test]
        fn nothing_is_fresh_once_its_id_is_forgotten(
            rules in prop::collection::vec((0..60_000_u64, 0..20_000_u64, 0..90_000_u64), 1..6),
            carried_out in 0..6_usize,
            ahead in any::<prop::sample::Index>(),
            wait in 0..400_000_u64,
        ) {
            let (mut now, mut rule) = (1_000_000, Freshness::new(15_000, 1_000, 0));
            let (mut window, mut future) = (15_000, 1_000);
            let mut done: Option<(u64, u64)> = None;
            for (number, (next_window, next_future, pause)) in rules.into_iter().enumerate() {
                if number == carried_out {
                    // Any time that is fresh now; remembered for window + future + 10 s.
                    let span = usize::try_from(window + future + 1).unwrap();
                    let time = now - window + ahead.index(span) as u64;
                    if rule.holds(time, now) {
                        done = Some((time, now + window + future + 10_000));
                    }
                }
                rule = rule.changed(next_window, next_future, now);
                (window, future) = (next_window, next_future);
                if let Some((time, forgotten)) = done {
                    prop_assert!(now <= forgotten || !rule.holds(time, now));
                }
                now += pause;
                if let Some((time, forgotten)) = done {
                    prop_assert!(now <= forgotten || !rule.holds(time, now));
                }
            }
            now += wait;
            if let Some((time, forgotten)) = done {
                prop_assert!(now <= forgotten || !rule.holds(time, now));
            }
        }
    }
}

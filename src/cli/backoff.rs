//! When a client that lost its connection comes back: full jitter, so that a fleet that was cut at
//! one moment does not return at one moment.

use std::time::Duration;

use rand::Rng;

/// The longest first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait of all.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that held this long was a good one: the next loss counts as the first.
const SETTLED: Duration = Duration::from_secs(30);

/// The losses in a row, and the wait that follows from them.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    losses: u32,
}

impl Backoff {
    /// Tells how long the connection that was just lost had been up (zero: it never was).
    pub(crate) fn lost_after(&mut self, connected: Duration) {
        if connected >= SETTLED {
            self.losses = 0;
        }
    }

    /// How long to wait now: anything from nothing to 1 s after the first loss, to 2 s after the
    /// second, to 60 s from the seventh on.
    pub(crate) fn wait(&mut self, random: &mut impl Rng) -> Duration {
        let bound = bound(self.losses);
        self.losses = self.losses.saturating_add(1);
        random.random_range(Duration::ZERO..=bound)
    }
}

/// The upper end of the jitter after `losses` earlier losses in a row.
fn bound(losses: u32) -> Duration {
    let doubled = 1_u32
        .checked_shl(losses)
        .map_or(LONGEST, |factor| FIRST.saturating_mul(factor));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_bound_doubles_from_one_second_to_a_minute() {
        let bounds: Vec<u64> = (0..9).map(|losses| bound(losses).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(bound(31), LONGEST);
        assert_eq!(bound(u32::MAX), LONGEST);
    }

    #[test]
    fn every_wait_lies_under_its_bound_and_the_whole_span_is_used() {
        let mut random = StdRng::seed_from_u64(7);
        for losses in 0..9 {
            let mut waits = (0..500)
                .map(|_| Backoff { losses }.wait(&mut random))
                .collect::<Vec<_>>();
            waits.sort();
            assert!(waits[499] <= bound(losses), "{losses}: {:?}", waits[499]);
            assert!(waits[0] < bound(losses) / 10, "{losses}: {:?}", waits[0]);
            assert!(
                waits[499] > bound(losses) * 9 / 10,
                "{losses}: {:?}",
                waits[499]
            );
        }
    }

    #[test]
    fn only_a_connection_that_held_resets_the_wait() {
        let mut random = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.lost_after(Duration::from_secs(29));
            backoff.wait(&mut random);
        }
        assert_eq!(backoff.losses, 5);
        backoff.lost_after(Duration::from_secs(30));
        assert_eq!(backoff.losses, 0);
        assert!(backoff.wait(&mut random) <= FIRST);
    }
}

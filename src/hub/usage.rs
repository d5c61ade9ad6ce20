//! What a key has been used for, and how much more of its rate is left.
//!
//! Atomics without a lock: the loop that verifies datagrams writes them, a scrape reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A key's use at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key; 0 stands for unsigned requests.
    pub id: u32,
    /// Authentic datagrams under it, repeats and refused ones too.
    pub datagrams: u64,
    /// Unix milliseconds of the last of them; 0: none yet.
    pub last_used_ms: u64,
}

/// What one key has been used for since the process began.
#[derive(Debug, Default)]
pub(super) struct Usage {
    datagrams: AtomicU64,
    last_used_ms: AtomicU64,
    /// When the token bucket would be full again, in nanoseconds of the caller's clock.
    full_at_ns: AtomicU64,
}

impl Usage {
    /// Counts an authentic datagram at this unix time, in milliseconds.
    pub(super) fn note(&self, unix_ms: u64) {
        self.datagrams.fetch_add(1, Relaxed);
        self.last_used_ms.fetch_max(unix_ms, Relaxed);
    }

    /// The use so far, of the key `id`.
    pub(super) fn of(&self, id: u32) -> KeyUse {
        KeyUse {
            id,
            datagrams: self.datagrams.load(Relaxed),
            last_used_ms: self.last_used_ms.load(Relaxed),
        }
    }

    /// Takes one token of a bucket that `rate` tokens a second flow into and that holds those of
    /// one second; false where none is left. A rate of 0 is no bound.
    ///
    /// One number is the whole bucket (GCRA, the virtual scheduling of ITU-T I.371), and it means
    /// the same whatever the rate: with another one, the bucket is as full as before.
    pub(super) fn take(&self, rate: u32, now: Duration) -> bool {
        const SECOND_NS: u64 = 1_000_000_000;
        if rate == 0 {
            return true;
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let token = (SECOND_NS / u64::from(rate)).max(1);
        let taken = self.full_at_ns.fetch_update(Relaxed, Relaxed, |full_at| {
            let full_at = full_at.max(now) + token;
            (full_at - now <= SECOND_NS).then_some(full_at)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `wanted` tokens are there at once.
    fn taken(usage: &Usage, rate: u32, now_ms: u64, wanted: u32) -> u32 {
        let now = Duration::from_millis(now_ms);
        (0..wanted).map(|_| u32::from(usage.take(rate, now))).sum()
    }

    #[test]
    fn a_second_of_requests_at_once_and_then_the_rate() {
        for rate in [1, 3, 7, 1_000] {
            let usage = Usage::default();
            assert_eq!(taken(&usage, rate, 0, 2 * rate), rate, "a full bucket");
            assert_eq!(taken(&usage, rate, 999, 1), u32::from(rate > 1), "{rate}");
            let usage = Usage::default();
            taken(&usage, rate, 0, rate);
            assert_eq!(taken(&usage, rate, 1_000, 2 * rate), rate, "after a second");
            assert_eq!(taken(&usage, rate, 90_000, 2 * rate), rate, "after many");
        }
    }

    #[test]
    fn without_a_rate_there_is_no_bound() {
        assert_eq!(taken(&Usage::default(), 0, 0, 5_000), 5_000);
    }

    #[test]
    fn another_rate_finds_the_bucket_as_full_as_it_was() {
        let usage = Usage::default();
        assert_eq!(taken(&usage, 10, 0, 5), 5, "half of it");
        assert_eq!(taken(&usage, 1_000, 0, 1_000), 500);
    }

    #[test]
    fn the_last_use_never_goes_back() {
        let usage = Usage::default();
        usage.note(5);
        usage.note(3);
        let used = usage.of(7);
        assert_eq!((used.datagrams, used.last_used_ms), (2, 5));
    }
}

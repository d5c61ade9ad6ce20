//! How long a HELLO that failed waits for its answer.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::source::Source;

/// The answer to the first failure of a source waits this long; each further one twice as long,
const FIRST: Duration = Duration::from_millis(125);
/// at most this long: less than a handshake may take, and a program that tries again at once is
/// down to fifteen attempts a minute,
const LONGEST: Duration = Duration::from_secs(4);
/// until there was none for this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Entries that a source may be in: the set that its hash names.
const WAYS: usize = 4;
/// Sets; with four entries of 16 bytes each, 64 KiB for ever. Only who fails from thousands of
/// sources at once is forgotten early, and gains no more than the shorter waits.
const SETS: usize = 1024;

/// The sources whose HELLOs failed lately, in memory of a fixed size. Nobody who succeeds meets it.
#[derive(Debug)]
pub(super) struct Failures {
    sets: Box<[[Entry; WAYS]]>,
    /// Seeded by chance, so that nobody can choose whom to push out.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    source: Option<Source>,
    /// Seconds since the table began.
    last_s: u32,
    count: u8,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            sets: vec![[Entry::default(); WAYS]; SETS].into(),
            hasher: RandomState::new(),
        }
    }
}

impl Failures {
    /// Notes a failure at `now`, the time since the table began, and returns how long its answer
    /// has to wait.
    pub(super) fn note(&mut self, source: Source, now: Duration) -> Duration {
        let now_s = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let hash = self.hasher.hash_one(source) % SETS as u64;
        let set = &mut self.sets[usize::try_from(hash).unwrap_or(0)];
        let known = set.iter().position(|entry| entry.source == Some(source));
        let index = known.unwrap_or_else(|| {
            // The place of the one that has been good for longest; an empty one before all.
            let ages = set.iter().map(|entry| entry.source.map(|_| entry.last_s));
            let oldest = ages.enumerate().min_by_key(|(_, last_s)| *last_s);
            oldest.map_or(0, |(index, _)| index)
        });
        let entry = &mut set[index];
        let silent_s = u64::from(now_s.saturating_sub(entry.last_s));
        if known.is_none() || silent_s >= FORGOTTEN_AFTER.as_secs() {
            entry.count = 0;
        }
        let wait = FIRST.saturating_mul(1 << entry.count.min(16)).min(LONGEST);
        *entry = Entry {
            source: Some(source),
            last_s: now_s,
            count: entry.count.saturating_add(1),
        };
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn the_wait_doubles_with_each_failure_of_a_source_and_is_bounded() {
        let mut failures = Failures::default();
        let now = Duration::from_secs(5);
        let waits: Vec<_> = (0..300)
            .map(|_| failures.note(source(1), now).as_millis())
            .collect();
        assert_eq!(waits[..7], [125, 250, 500, 1_000, 2_000, 4_000, 4_000]);
        assert_eq!(waits[299], 4_000);
        assert_eq!(failures.note(source(2), now), FIRST, "another source");
    }

    #[test]
    fn a_minute_without_a_failure_is_a_new_beginning() {
        let mut failures = Failures::default();
        let mut at = |s| failures.note(source(1), Duration::from_secs(s)).as_millis();
        assert_eq!([at(0), at(59), at(118)], [125, 250, 500]);
        assert_eq!(at(178), 125);
    }

    #[test]
    fn who_takes_the_place_of_another_begins_anew() {
        let mut failures = Failures::default();
        let now = Duration::from_secs(5);
        for number in 0..20_000 {
            assert_eq!(failures.note(source(number), now), FIRST, "{number}");
        }
    }

    #[test]
    fn the_table_does_not_grow_and_the_latest_are_known() {
        let mut failures = Failures::default();
        assert!(size_of::<Entry>() <= 16);
        for number in 0..100_000 {
            failures.note(source(number), Duration::from_secs(u64::from(number)));
        }
        assert_eq!(failures.sets.len(), SETS);
        let now = Duration::from_secs(100_000);
        let again = failures.note(source(99_999), now);
        assert_eq!(again, FIRST * 2);
    }
}

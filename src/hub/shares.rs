//! How much of the memory for request ids each key holds, and may hold.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;

/// The shares of all keys in a memory of `max` ids.
pub(super) struct Shares {
    max: AtomicUsize,
    keys: ArcSwap<Keys>,
}

#[derive(Default)]
struct Keys {
    /// Ids held under each key.
    held: HashMap<u32, Arc<AtomicUsize>>,
    /// Whether there are two or more: then one may hold half of the memory.
    several: bool,
}

impl Shares {
    pub(super) fn new(max: usize, key_ids: impl IntoIterator<Item = u32>) -> Self {
        let (max, keys) = (AtomicUsize::new(max), ArcSwap::default());
        let shares = Self { max, keys };
        shares.set_keys(key_ids);
        shares
    }

    /// From now on these are the keys. One that is gone keeps its count as long as ids of it are
    /// remembered, or those would be missing in it when the key comes back.
    pub(super) fn set_keys(&self, key_ids: impl IntoIterator<Item = u32>) {
        let old = self.keys.load();
        let count = |id| (id, old.held.get(&id).cloned().unwrap_or_default());
        let mut held: HashMap<_, _> = key_ids.into_iter().map(count).collect();
        let several = held.len() > 1;
        // An operator is of no key either, and is heard where unsigned requests are not.
        held.entry(0).or_default();
        for (id, count) in &old.held {
            if count.load(Relaxed) > 0 {
                held.entry(*id).or_insert_with(|| Arc::clone(count));
            }
        }
        self.keys.store(Arc::new(Keys { held, several }));
    }

    /// The memory has room for `max` ids from now on; what is over it is given back by and by.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// Counts one more id of the key, unless its share is full.
    pub(super) fn take(&self, key_id: u32) -> bool {
        let keys = self.keys.load();
        let Some(held) = keys.held.get(&key_id) else {
            return false;
        };
        let max = self.max.load(Relaxed);
        let share = if keys.several { max / 2 } else { max };
        let fits = held.fetch_add(1, Relaxed) < share;
        if !fits {
            held.fetch_sub(1, Relaxed);
        }
        fits
    }

    /// Counts one less.
    pub(super) fn give_back(&self, key_id: u32) {
        if let Some(held) = self.keys.load().held.get(&key_id) {
            // Never below zero: a key that left at the moment of its last request came back with a
            // new count.
            let _ = held.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(shares: &Shares, key_id: u32) -> usize {
        (0..100).take_while(|_| shares.take(key_id)).count()
    }

    #[test]
    fn one_key_has_all_and_one_of_two_has_half() {
        assert_eq!(taken(&Shares::new(10, [7]), 7), 10);
        let shares = Shares::new(10, [7, 8]);
        assert_eq!((taken(&shares, 7), taken(&shares, 8)), (5, 5));
        assert_eq!(taken(&shares, 9), 0, "a key that is not known");
    }

    #[test]
    fn a_key_that_comes_back_finds_its_ids_counted() {
        let shares = Shares::new(10, [7, 8]);
        assert_eq!(taken(&shares, 7), 5);
        shares.set_keys([8]);
        assert_eq!(taken(&shares, 8), 10, "alone it may hold all");
        shares.set_keys([7, 8]);
        assert!(!shares.take(7) && !shares.take(8), "both are over half");
        shares.set_keys([8]);
        (0..5).for_each(|_| shares.give_back(7));
        shares.set_keys([8]);
        shares.set_keys([7, 8]);
        assert_eq!(taken(&shares, 7), 5);
    }

    #[test]
    fn another_size_of_the_memory_is_another_share() {
        let shares = Shares::new(10, [7, 8]);
        assert_eq!(taken(&shares, 7), 5);
        shares.set_max(12);
        assert_eq!(taken(&shares, 7), 1);
        shares.set_max(4);
        assert!(!shares.take(7));
        assert_eq!(taken(&shares, 8), 2);
    }

    #[test]
    fn what_was_not_counted_is_not_given_back() {
        let shares = Shares::new(4, [7]);
        shares.give_back(7);
        assert_eq!(taken(&shares, 7), 4);
    }
}

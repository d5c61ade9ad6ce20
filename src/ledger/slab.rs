//! When and where each live task of a kind began: eight bytes a task, slots reused.
//!
//! ```text
//! a live slot  | 44 bits: start, ms since the ledger began (557 years) | 20 bits: site + 1 |
//! a free slot  | 44 bits: the next free slot + 1, 0 for none           | 20 bits: 0        |
//! ```

use std::panic::Location;
use std::sync::MutexGuard;

const SITE_BITS: u32 = 20;
const SITE_MASK: u64 = (1 << SITE_BITS) - 1;
const START_MAX: u64 = u64::MAX >> SITE_BITS;

/// Slots that a survey reads before it lets the lock go, about 10 us: a report over a million
/// sessions must not hold up those who connect.
const SURVEY_CHUNK: usize = 8_192;

/// The live tasks of one kind. It holds as many slots as tasks were ever live at once.
#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<u64>,
    /// The first free slot + 1, 0 for none.
    free: u64,
    live: u64,
    sites: Vec<&'static Location<'static>>,
}

/// The live tasks of one spawn site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) location: &'static Location<'static>,
    pub(super) live: u64,
    /// The earliest start; meaningless without a live task.
    pub(super) oldest_ms: u64,
}

impl Slab {
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn insert(&mut self, start_ms: u64, location: &'static Location<'static>) -> u32 {
        let word = (start_ms.min(START_MAX) << SITE_BITS) | self.site_tag(location);
        self.live += 1;
        if let Some(slot) = self.free.checked_sub(1) {
            let index = usize::try_from(slot).expect("a free slot is an index");
            self.free = self.slots[index] >> SITE_BITS;
            self.slots[index] = word;
            return u32::try_from(slot).expect("a free slot was handed out before");
        }
        self.slots.push(word);
        u32::try_from(self.slots.len() - 1).expect("2^32 tasks do not fit in memory")
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.slots[slot as usize] = self.free << SITE_BITS;
        self.free = u64::from(slot) + 1;
        self.live -= 1;
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The number of this site, from 1. A kind is spawned at one to three places, so a search is
    /// cheaper than a hash; by value, since one line may have several addresses.
    fn site_tag(&mut self, location: &'static Location<'static>) -> u64 {
        let known = self.sites.iter().position(|site| *site == location);
        let index = known.unwrap_or_else(|| {
            self.sites.push(location);
            self.sites.len() - 1
        });
        (index as u64 + 1) & SITE_MASK
    }
}

/// Counts the live tasks by site. The lock is taken anew for each chunk, so tasks that start or end
/// meanwhile may or may not be in it.
pub(super) fn survey<'a>(lock: impl Fn() -> MutexGuard<'a, Slab>) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    let mut from = 0;
    loop {
        let slab = lock();
        for &location in &slab.sites[sites.len()..] {
            sites.push(Site {
                location,
                live: 0,
                oldest_ms: u64::MAX,
            });
        }
        let to = slab.slots.len().min(from + SURVEY_CHUNK);
        for word in &slab.slots[from..to] {
            let Some(index) = (word & SITE_MASK).checked_sub(1) else {
                continue;
            };
            let site = &mut sites[index as usize];
            site.live += 1;
            site.oldest_ms = site.oldest_ms.min(word >> SITE_BITS);
        }
        if to == slab.slots.len() {
            return sites;
        }
        from = to;
    }
}

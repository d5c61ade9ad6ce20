//! Which requests were carried out, and with what result: a repeat is answered, not carried out
//! again.
//!
//! Nothing is evicted before its time: where memory for ids is full the answer is BUSY. The ids
//! are found by many small maps, so that none is ever rehashed for long while a datagram waits;
//! what is known of them stands in one book, in the order in which they came.

mod book;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};

use self::book::{Book, Entry, State};
use super::shares::Shares;
use crate::sync::{Mutex, lock};
use crate::wire::reason::Status;
use crate::wire::reply::Counts;

/// A key id and the request id under it.
pub type Id = (u32, [u8; 16]);

/// Maps that the ids are spread over: at 4 M ids each holds 16,000, and grows in a fraction of a
/// millisecond.
const SHARDS: usize = 256;
/// Expired ids that an insertion clears away: more than one, so that memory falls behind no rate.
const PURGE: usize = 4;
/// The same of the sweep.
const SWEEP: usize = 1024 * 1024;

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub status: Status,
    /// The counts of that moment.
    pub counts: Counts,
    /// Milliseconds from its acceptance to its end.
    pub elapsed_ms: u32,
    /// The number of a kept message; else 0.
    pub number: u64,
}

impl Ended {
    /// Refused: nothing was done.
    pub fn refused(status: Status) -> Self {
        Self::so_far(status, &Progress::default())
    }

    /// The counts so far of what goes on.
    pub fn so_far(status: Status, progress: &Progress) -> Self {
        Self {
            status,
            counts: progress.counts(),
            elapsed_ms: 0,
            number: progress.number(),
        }
    }
}

/// The counts of a job that runs, for repeats that ask meanwhile, and how far it has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of one moment, so that they add up: a job notes them once a step. A leaf among the locks.
    counts: Mutex<Counts>,
    visited: AtomicUsize,
    number: AtomicU64,
}

impl Progress {
    /// For a message with this number; 0 for a live one.
    pub fn of(number: u64) -> Self {
        Self {
            number: AtomicU64::new(number),
            ..Self::default()
        }
    }

    /// The number of the message, as far as it has one.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// The message has got its number.
    pub fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// Notes the counts and the visits so far.
    pub fn set(&self, counts: Counts, visited: usize) {
        self.visited.store(visited, Ordering::Relaxed);
        *lock(&self.counts) = counts;
    }

    /// Members visited so far, also those whom the push was not for.
    pub fn visited(&self) -> usize {
        self.visited.load(Ordering::Relaxed)
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.counts)
    }
}

/// What is known of a request id.
#[derive(Clone, Debug)]
pub enum Known {
    /// It ended so.
    Ended(Ended),
    /// Its job runs.
    Running(Arc<Progress>),
    /// The id was used for other bytes.
    OtherBytes,
}

/// Where the entry of an id stands.
struct Slot {
    hash: u32,
    number: u32,
}

impl Slot {
    /// For the map, which uses the bits at both ends.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

type Shard = HashTable<Slot>;

/// The memory for request ids.
pub struct Remembered {
    shards: Box<[Mutex<Shard>]>,
    /// Taken after a shard's lock, never before.
    book: Mutex<Book>,
    /// For ids: they are authentic, so a fast hash is enough.
    hasher: DefaultHashBuilder,
    /// For what bears no MAC: unsigned datagrams, and what comes through other doors.
    pub(super) digests: RandomState,
    max: AtomicUsize,
    len: AtomicUsize,
    shares: Shares,
    /// Seconds for which the next id is remembered.
    lifetime: AtomicU32,
}

/// Room for one id, given back when it is dropped unused.
pub struct Room<'a> {
    remembered: &'a Remembered,
    key_id: u32,
    used: bool,
}

impl Remembered {
    /// Room for `max` ids of the keys `key_ids`, each for `lifetime` seconds.
    pub fn new(max: usize, key_ids: impl IntoIterator<Item = u32>, lifetime: u32) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (hasher, digests) = (DefaultHashBuilder::default(), RandomState::new());
        let (len, shares) = (AtomicUsize::new(0), Shares::new(max, key_ids));
        Self {
            shards,
            book: Mutex::default(),
            hasher,
            digests,
            max: AtomicUsize::new(max),
            len,
            shares,
            lifetime: AtomicU32::new(lifetime),
        }
    }

    /// Room for `max` ids, each of the next for `lifetime` seconds. Nothing is forgotten early:
    /// over a lower `max` there is no room until enough are over.
    pub fn set_bounds(&self, max: usize, lifetime: u32) {
        self.max.store(max, Ordering::Relaxed);
        self.lifetime.store(lifetime, Ordering::Relaxed);
        self.shares.set_max(max);
    }

    /// From now on these are the keys, and no room is set aside under any other. What is remembered
    /// stays until its time is over.
    pub fn set_keys(&self, key_ids: impl IntoIterator<Item = u32>) {
        self.shares.set_keys(key_ids);
    }

    /// Ids remembered now.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A digest of unsigned bytes; of signed ones their MAC serves.
    pub fn digest(&self, bytes: &[u8]) -> u64 {
        self.digests.hash_one(bytes)
    }

    /// What is known of `id`, whose datagram has `digest`.
    pub fn recall(&self, id: &Id, digest: u64) -> Option<Known> {
        self.with(id, |entry| match &entry.state {
            _ if entry.digest != digest => Known::OtherBytes,
            State::Ended(ended) => Known::Ended(*ended),
            State::Running(progress) => Known::Running(Arc::clone(progress)),
        })
    }

    /// What `look` says to the entry of `id`.
    fn with<T>(&self, id: &Id, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let hash = self.hash(id);
        let (mut look, mut seen) = (Some(look), None);
        // Another id has the same hash about once in a thousand times that the memory is full.
        lock(self.shard(hash)).find(Slot::spread(hash), |slot| {
            if slot.hash == hash
                && let Some(entry) = lock(&self.book).get(slot.number)
                && entry.id == *id
            {
                seen = look.take().map(|look| look(entry));
            }
            seen.is_some()
        });
        seen
    }

    /// Sets room aside for one id of `key_id`; `None` when the memory, or the key's share of it, is
    /// full.
    pub fn reserve(&self, key_id: u32) -> Option<Room<'_>> {
        if !self.shares.take(key_id) {
            return None;
        }
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.max.load(Ordering::Relaxed) {
            self.forget(key_id);
            return None;
        }
        Some(Room {
            remembered: self,
            key_id,
            used: false,
        })
    }

    fn forget(&self, key_id: u32) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.shares.give_back(key_id);
    }

    fn hash(&self, id: &Id) -> u32 {
        let hash = self.hasher.hash_one(id);
        u32::try_from(hash >> 32).unwrap_or(0)
    }

    /// By its upper bits: where a map begins to look depends on the lower ones alone.
    fn shard(&self, hash: u32) -> &Mutex<Shard> {
        &self.shards[(hash >> 24) as usize % SHARDS]
    }

    fn insert(&self, id: Id, digest: u64, state: State, now: u32) {
        let expires = now + self.lifetime.load(Ordering::Relaxed);
        let entry = Entry {
            id,
            digest,
            due: expires,
            expires,
            state,
        };
        let (number, is_due) = {
            let mut book = lock(&self.book);
            (book.push(entry), book.due(now).is_some())
        };
        let hash = self.hash(&id);
        let rehash = |slot: &Slot| Slot::spread(slot.hash);
        let slot = Slot { hash, number };
        lock(self.shard(hash)).insert_unique(Slot::spread(hash), slot, rehash);
        if is_due {
            self.purge(now, PURGE);
        }
    }

    /// Notes the end of a job that was noted as running; remembered for `at_least` more seconds.
    pub fn finish(&self, id: &Id, ended: Ended, now: u32, at_least: u32) {
        self.with(id, |entry| {
            entry.state = State::Ended(ended);
            entry.expires = entry.expires.max(now + at_least);
        });
    }

    /// Looks at up to `max` entries that are due, and forgets those whose time is over. What is
    /// not (it runs, or ran for long) goes to the book's end, so that nothing waits behind it.
    fn purge(&self, now: u32, max: usize) {
        for _ in 0..max {
            let Some((number, id)) = lock(&self.book)
                .due(now)
                .map(|(number, entry)| (number, entry.id))
            else {
                return;
            };
            let hash = self.hash(&id);
            let mut shard = lock(self.shard(hash));
            let mut book = lock(&self.book);
            // Somebody else was faster.
            let Some(mut entry) = book.take(number) else {
                continue;
            };
            let slot = shard.find_entry(Slot::spread(hash), |slot| slot.number == number);
            if entry.is_over(now) {
                if let Ok(slot) = slot {
                    slot.remove();
                }
                self.forget(id.0);
            } else {
                let again = now + self.lifetime.load(Ordering::Relaxed);
                entry.due = match entry.state {
                    State::Ended(_) => entry.expires.min(again),
                    State::Running(_) => again,
                };
                let number = book.push(entry);
                if let Ok(mut slot) = slot {
                    slot.get_mut().number = number;
                }
            }
            drop(book);
            // After a flood the tables go back, not one by one but when they are nearly empty.
            if shard.capacity() > 1024 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to_fit(|slot| Slot::spread(slot.hash));
            }
        }
    }

    /// Clears away what is over; for a caller once a second, so that memory falls also when nothing
    /// comes in.
    pub fn sweep(&self, now: u32) {
        self.purge(now, SWEEP);
    }
}

impl Room<'_> {
    /// Remembers the result of a request that was carried out at once.
    pub fn ended(mut self, id: Id, digest: u64, ended: Ended, now: u32) {
        self.used = true;
        self.remembered.insert(id, digest, State::Ended(ended), now);
    }

    /// Remembers a request whose job runs; `finish` follows.
    pub fn running(mut self, id: Id, digest: u64, progress: Arc<Progress>, now: u32) {
        self.used = true;
        self.remembered
            .insert(id, digest, State::Running(progress), now);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.remembered.forget(self.key_id);
        }
    }
}

#[cfg(test)]
mod tests;

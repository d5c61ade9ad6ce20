//! Which requests were carried out, and with what result: a repeat is answered, not carried out
//! again.
//!
//! Nothing is evicted before its time: where memory for ids is full the answer is BUSY. The ids
//! live in many small maps, so that none is ever rehashed for long while a datagram waits.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::shares::Shares;
use crate::sync::{Mutex, lock};
use crate::wire::reason::Status;
use crate::wire::reply::Counts;

/// A key id and the request id under it.
pub type Id = (u32, [u8; 16]);

/// Maps that the ids are spread over: at 4 M ids each holds 16,000, and grows in about a
/// millisecond.
const SHARDS: usize = 256;
/// Expired ids that an insertion clears away: more than one, so that memory falls behind no rate.
const PURGE: usize = 4;

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
    counts: [AtomicU32; 4],
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
        let values = [
            counts.matched,
            counts.written,
            counts.waiting,
            counts.refused,
        ];
        for (cell, value) in self.counts.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Members visited so far, also those whom the push was not for.
    pub fn visited(&self) -> usize {
        self.visited.load(Ordering::Relaxed)
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let [matched, written, waiting, refused] =
            [0, 1, 2, 3].map(|index: usize| self.counts[index].load(Ordering::Relaxed));
        Counts {
            matched,
            written,
            waiting,
            refused,
        }
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

struct Entry {
    id: Id,
    digest: u64,
    /// Seconds on the caller's clock after which it is forgotten.
    expires: u32,
    state: State,
}

enum State {
    Ended(Ended),
    Running(Arc<Progress>),
}

#[derive(Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// When each is over, in that order.
    queue: VecDeque<(u32, Id)>,
    /// The same of ended jobs, which are remembered for longer: a queue of their own, so that none
    /// of the others waits behind them.
    ended_jobs: VecDeque<(u32, Id)>,
}

/// The memory for request ids.
pub struct Remembered {
    shards: Box<[Mutex<Shard>]>,
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
        let hash = self.hash(id);
        let shard = lock(self.shard(hash));
        let entry = shard.entries.find(hash, |entry| entry.id == *id)?;
        Some(match &entry.state {
            _ if entry.digest != digest => Known::OtherBytes,
            State::Ended(ended) => Known::Ended(*ended),
            State::Running(progress) => Known::Running(Arc::clone(progress)),
        })
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

    fn hash(&self, id: &Id) -> u64 {
        self.hasher.hash_one(id)
    }

    /// By bits from the middle: the tables use those at both ends.
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        let middle = usize::try_from((hash >> 32) & 0xffff_ffff).unwrap_or(0);
        &self.shards[middle % SHARDS]
    }

    fn insert(&self, id: Id, digest: u64, state: State, now: u32) {
        let expires = now + self.lifetime.load(Ordering::Relaxed);
        let hash = self.hash(&id);
        let mut shard = lock(self.shard(hash));
        self.purge(&mut shard, now, PURGE);
        shard.queue.push_back((expires, id));
        let entry = Entry {
            id,
            digest,
            expires,
            state,
        };
        shard
            .entries
            .insert_unique(hash, entry, |entry| self.hash(&entry.id));
    }

    /// Notes the end of a job that was noted as running; remembered for `at_least` more seconds.
    pub fn finish(&self, id: &Id, ended: Ended, now: u32, at_least: u32) {
        let hash = self.hash(id);
        let mut shard = lock(self.shard(hash));
        let Some(entry) = shard.entries.find_mut(hash, |entry| entry.id == *id) else {
            return;
        };
        entry.state = State::Ended(ended);
        entry.expires = entry.expires.max(now + at_least);
        let expires = entry.expires;
        shard.ended_jobs.push_back((expires, *id));
    }

    /// Forgets up to `max` ids of this shard whose time is over. A running one stays.
    fn purge(&self, shard: &mut Shard, now: u32, max: usize) {
        let Shard {
            entries,
            queue,
            ended_jobs,
        } = shard;
        for queue in [queue, ended_jobs] {
            for _ in 0..max {
                let Some((_, id)) = queue.pop_front_if(|(due, _)| *due < now) else {
                    break;
                };
                let is_over = |entry: &Entry| {
                    entry.id == id && entry.expires < now && matches!(entry.state, State::Ended(_))
                };
                if let Ok(over) = entries.find_entry(self.hash(&id), is_over) {
                    over.remove();
                    self.forget(id.0);
                }
            }
        }
        // After a flood the tables go back, not one by one but when they are nearly empty.
        if shard.entries.capacity() > 1024 && shard.entries.len() < shard.entries.capacity() / 8 {
            shard.entries.shrink_to_fit(|entry| self.hash(&entry.id));
            shard.queue.shrink_to_fit();
        }
    }

    /// Clears away what is over; for a caller once a second, so that memory falls also when nothing
    /// comes in.
    pub fn sweep(&self, now: u32) {
        for shard in &self.shards {
            self.purge(&mut lock(shard), now, 4096);
        }
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

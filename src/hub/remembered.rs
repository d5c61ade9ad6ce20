//! Which requests were carried out, and with what result: a repeat is answered, not carried out
//! again.
//!
//! Nothing is evicted before its time: where memory for ids is full the answer is BUSY. The ids
//! live in many small maps, so that none is ever rehashed for long while a datagram waits.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashTable};

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
}

/// The counts of a job that runs, for repeats that ask meanwhile.
#[derive(Debug, Default)]
pub struct Progress([AtomicU32; 4]);

impl Progress {
    /// Notes the counts so far.
    pub fn set(&self, counts: Counts) {
        let values = [
            counts.matched,
            counts.written,
            counts.waiting,
            counts.refused,
        ];
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let [matched, written, waiting, refused] =
            [0, 1, 2, 3].map(|index: usize| self.0[index].load(Ordering::Relaxed));
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
    /// For the bytes of unsigned datagrams.
    digests: RandomState,
    max: AtomicUsize,
    len: AtomicUsize,
    by_key: ArcSwap<ByKey>,
    /// Seconds for which the next id is remembered.
    lifetime: AtomicU32,
}

/// Ids held under each key; a key may hold half of the memory when there are two keys or more.
#[derive(Default)]
struct ByKey {
    /// Those of removed keys too, as long as ids of theirs are remembered.
    held: HashMap<u32, Arc<AtomicUsize>>,
    /// Keys there are now.
    keys: usize,
}

impl ByKey {
    fn of(&self, ids: impl IntoIterator<Item = u32>) -> Self {
        let in_use = |held: &Arc<AtomicUsize>| held.load(Ordering::Relaxed) > 0;
        let left = self.held.iter().filter(|(_, held)| in_use(held));
        let mut held: HashMap<_, _> = left.map(|(id, held)| (*id, Arc::clone(held))).collect();
        let mut keys = 0;
        for id in ids {
            keys += 1;
            let earlier = self.held.get(&id).map(Arc::clone);
            held.entry(id)
                .or_insert_with(|| earlier.unwrap_or_default());
        }
        Self { held, keys }
    }
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
        let by_key = ArcSwap::from_pointee(ByKey::default().of(key_ids));
        let (hasher, digests) = (DefaultHashBuilder::default(), RandomState::new());
        let len = AtomicUsize::new(0);
        Self {
            shards,
            hasher,
            digests,
            max: AtomicUsize::new(max),
            len,
            by_key,
            lifetime: AtomicU32::new(lifetime),
        }
    }

    /// Room for `max` ids, each of the next for `lifetime` seconds. Nothing is forgotten early: over
    /// a lower `max` there is no room until enough are over.
    pub fn set_bounds(&self, max: usize, lifetime: u32) {
        self.max.store(max, Ordering::Relaxed);
        self.lifetime.store(lifetime, Ordering::Relaxed);
    }

    /// Room for ids of these keys from now on. What was carried out under another stays remembered.
    pub fn set_keys(&self, key_ids: impl IntoIterator<Item = u32>) {
        self.by_key.store(Arc::new(self.by_key.load().of(key_ids)));
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
        let (max, by_key) = (self.max.load(Ordering::Relaxed), self.by_key.load());
        let share = if by_key.keys > 1 { max / 2 } else { max };
        let held = by_key.held.get(&key_id)?;
        let fits = |count: &AtomicUsize, max: usize| count.fetch_add(1, Ordering::Relaxed) < max;
        if !fits(held, share) {
            held.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if !fits(&self.len, max) {
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
        if let Some(held) = self.by_key.load().held.get(&key_id) {
            // Not below none: a key may have been away while this id's room was taken.
            let less = |held: usize| held.checked_sub(1);
            let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
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
mod tests {
    use super::*;

    const ENDED: Ended = Ended {
        status: Status::Done,
        counts: Counts {
            matched: 3,
            written: 2,
            waiting: 1,
            refused: 0,
        },
        elapsed_ms: 17,
    };

    fn id(number: u8) -> Id {
        (7, [number; 16])
    }

    #[test]
    fn a_repeat_gets_the_result_and_other_bytes_do_not() {
        let remembered = Remembered::new(10, [7], 26);
        remembered
            .reserve(7)
            .expect("room")
            .ended(id(1), 5, ENDED, 100);
        assert!(matches!(
            remembered.recall(&id(1), 5),
            Some(Known::Ended(ENDED))
        ));
        assert!(matches!(
            remembered.recall(&id(1), 6),
            Some(Known::OtherBytes)
        ));
        assert!(remembered.recall(&id(2), 5).is_none());
    }

    #[test]
    fn full_memory_refuses_and_never_forgets_early() {
        let remembered = Remembered::new(3, [7], 26);
        for number in 0..3 {
            remembered
                .reserve(7)
                .expect("room")
                .ended(id(number), 5, ENDED, 100);
        }
        assert!(remembered.reserve(7).is_none());
        remembered.sweep(126);
        assert!(remembered.recall(&id(0), 5).is_some());
        remembered.sweep(127);
        assert!(remembered.recall(&id(0), 5).is_none());
        assert!(remembered.is_empty());
        assert!(remembered.reserve(7).is_some());
    }

    #[test]
    fn one_of_two_keys_holds_half_at_most() {
        let remembered = Remembered::new(4, [7, 8], 26);
        let rooms: Vec<_> = (0..3).map(|_| remembered.reserve(7)).collect();
        assert_eq!(rooms.iter().filter(|room| room.is_some()).count(), 2);
        assert!(remembered.reserve(8).is_some());
        drop(rooms);
        assert!(remembered.is_empty());
    }

    #[test]
    fn keys_come_and_go_and_their_ids_stay() {
        let remembered = Remembered::new(4, [7], 26);
        remembered
            .reserve(7)
            .expect("room")
            .ended(id(1), 5, ENDED, 100);
        assert!(remembered.reserve(8).is_none());
        remembered.set_keys([8]);
        assert!(remembered.reserve(8).is_some());
        assert!(remembered.recall(&id(1), 5).is_some());
        // Back while its id is remembered: that one counts, and is given back once.
        remembered.set_keys([7, 8]);
        let room = remembered.reserve(7).expect("one of two is left");
        assert!(remembered.reserve(7).is_none());
        drop(room);
        remembered.sweep(127);
        assert!(remembered.is_empty());
        let rooms: Vec<_> = (0..3).map(|_| remembered.reserve(7)).collect();
        assert_eq!(rooms.iter().filter(|room| room.is_some()).count(), 2);
    }

    #[test]
    fn a_running_job_is_known_until_long_after_its_end() {
        let remembered = Remembered::new(4, [7], 26);
        let progress = Arc::new(Progress::default());
        remembered
            .reserve(7)
            .expect("room")
            .running(id(1), 5, Arc::clone(&progress), 0);
        progress.set(ENDED.counts);
        remembered.sweep(1000);
        match remembered.recall(&id(1), 5) {
            Some(Known::Running(running)) => assert_eq!(running.counts(), ENDED.counts),
            other => panic!("{other:?}"),
        }
        remembered.finish(&id(1), ENDED, 1000, 60);
        remembered.sweep(1060);
        assert!(matches!(
            remembered.recall(&id(1), 5),
            Some(Known::Ended(ENDED))
        ));
        remembered.sweep(1061);
        assert!(remembered.recall(&id(1), 5).is_none());
        assert!(remembered.is_empty());
    }
}

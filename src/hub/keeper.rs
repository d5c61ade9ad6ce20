//! Kept pushes on their way through the store: one thread that writes them in the order in which
//! they came, gives them their place in the log when the store has taken them, and syncs.
//!
//! A push waits for the thread in a bounded queue, and the job that was made for it waits for what
//! the thread tells over a oneshot: nobody waits for one who may have left. While pushes of a
//! source are in the queue its later ones go through it as well, so that they keep their order.
//! Where the store takes nothing (a full disk), a push goes out as a live one, and is answered so.

mod thread;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::history::Erased;
use super::log::{Appended, Push, Target};
use super::requests::split;
use super::{Hub, Placed};
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::store::{Floor, Record, Store, Synced};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};
use crate::wire::datagram::Targets;
use thread::Thread;

/// Pushes that wait for their place, in the queue or with the thread; past it a sender is told
/// BUSY. At 64 KB each 64 MiB.
const QUEUE: usize = 1024;
/// When a kept push counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk.
    Always,
    /// When the store has taken it; it is on disk at most so long after.
    Every(Duration),
}

/// Where pushes are handed to the thread.
pub struct Keeper {
    items: SyncSender<Item>,
    /// How many have no place yet: a thread that waits for the disk holds some of them itself.
    unplaced: AtomicUsize,
    waiting: Waiting,
    /// The number up to which everything is on disk, where somebody waits for that.
    synced: Option<watch::Receiver<u64>>,
    is_over: AtomicBool,
}

/// Whose pushes are in the queue.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    sources: Mutex<HashMap<SocketAddr, usize>>,
}

enum Item {
    Push(Incoming),
    Erase(Erasing),
    Synced(Synced),
    Stop,
}

/// What the disk is to forget, and who waits for that: `false` where the disk failed.
pub(super) type Erasing = (Vec<Erased>, oneshot::Sender<bool>);

/// A push as it waits for the store.
pub(super) struct Incoming {
    /// As they stand in a datagram.
    pub(super) targets: Vec<u8>,
    pub(super) payload: Box<[u8]>,
    /// Unix milliseconds of its end; `None` for a live one that must not overtake.
    pub(super) expires_ms: Option<u64>,
    pub(super) collapse: Box<[u8]>,
    pub(super) key_id: u32,
    pub(super) accepted: Instant,
    pub(super) accepted_ms: u64,
    pub(super) source: Option<SocketAddr>,
    pub(super) placed: oneshot::Sender<Placed>,
}

impl Keeper {
    /// The handle, and the thread's work.
    pub fn new(
        store: Store,
        sync: Durability,
        (hub, ledger, clock): (Arc<Hub>, Ledger, Clock),
    ) -> (Arc<Self>, impl FnOnce() + Send + 'static) {
        let (items, received) = sync_channel(QUEUE);
        let (synced, seen) = watch::channel(0);
        let keeper = Arc::new(Self {
            items,
            unplaced: AtomicUsize::new(0),
            waiting: Waiting::default(),
            synced: (sync == Durability::Always).then_some(seen),
            is_over: AtomicBool::new(false),
        });
        hub.watch_history();
        let of_this = (hub, ledger, clock);
        let thread = Thread::new(Arc::clone(&keeper), store, sync, of_this, synced);
        (keeper, move || thread.run(&received))
    }

    /// Whether a push of this source is in the queue.
    pub(super) fn is_waiting_for(&self, source: Option<SocketAddr>) -> bool {
        self.waiting.count.load(Ordering::Acquire) > 0
            && source.is_some_and(|source| lock(&self.waiting.sources).contains_key(&source))
    }

    /// Hands a push over; `false` when too many wait.
    pub(super) fn offer(&self, push: Incoming) -> bool {
        let source = push.source;
        self.waiting.add(source);
        let fits = self.unplaced.fetch_add(1, Ordering::Relaxed) < QUEUE;
        let is_taken = fits && self.items.try_send(Item::Push(push)).is_ok();
        if !is_taken {
            self.settled(source);
        }
        is_taken
    }

    /// A push of this source has its place, or gets none.
    fn settled(&self, source: Option<SocketAddr>) {
        self.unplaced.fetch_sub(1, Ordering::Relaxed);
        self.waiting.remove(source);
    }

    /// Hands over what the disk is to forget; it comes back while the queue is full. Where the
    /// thread has ended nobody is told anything.
    pub(super) fn erase(&self, erasing: Erasing) -> Result<(), Erasing> {
        match self.items.try_send(Item::Erase(erasing)) {
            Err(TrySendError::Full(Item::Erase(back))) => Err(back),
            _ => Ok(()),
        }
    }

    /// To wait for a number to be on disk; `None` where nobody has to.
    pub(super) fn synced(&self) -> Option<watch::Receiver<u64>> {
        self.synced.clone()
    }

    /// Lets the thread finish what is in the queue, close the store and end. To be called when
    /// nobody offers any more.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        // It looks within a tick; this wakes it before.
        let _ = self.items.try_send(Item::Stop);
    }
}

impl Waiting {
    fn add(&self, source: Option<SocketAddr>) {
        let Some(source) = source else { return };
        let mut sources = lock(&self.sources);
        *sources.entry(source).or_default() += 1;
        self.count.store(sources.len(), Ordering::Release);
    }

    fn remove(&self, source: Option<SocketAddr>) {
        let Some(source) = source else { return };
        let mut sources = lock(&self.sources);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
        self.count.store(sources.len(), Ordering::Release);
    }
}

impl Incoming {
    fn record(&self, number: u64) -> Record<'_> {
        Record {
            number,
            accepted_ms: self.accepted_ms,
            expires_ms: self.expires_ms.unwrap_or(0),
            key_id: self.key_id,
            collapse: &self.collapse,
            targets: &self.targets,
            payload: &self.payload,
        }
    }
}

impl Hub {
    /// Gives a push its place, as a kept one where the store has it.
    fn place_stored(&self, incoming: &Incoming, is_kept: bool) -> Placed {
        let Some(targets) = Targets::from_bytes(&incoming.targets) else {
            return Placed::nowhere();
        };
        let (targets, exceptions) = split(targets);
        let ttl_ms = incoming
            .expires_ms
            .map(|at| at.saturating_sub(incoming.accepted_ms));
        let push = Push {
            targets: &targets,
            exceptions: &exceptions,
            payload: &incoming.payload,
            ttl: ttl_ms.filter(|_| is_kept).map(Duration::from_millis),
            collapse: (!incoming.collapse.is_empty())
                .then_some((incoming.key_id, &*incoming.collapse)),
        };
        Placed {
            appended: self.append_unasked(&push, incoming.accepted),
            is_kept: is_kept || incoming.expires_ms.is_none(),
        }
    }

    /// Takes a message in that the store has read, when nobody is connected yet.
    pub fn restore(&self, record: &Record<'_>, now: Instant, now_ms: u64) {
        let Some(targets) = Targets::from_bytes(record.targets) else {
            return;
        };
        let (targets, exceptions): (Vec<Target<'_>>, Vec<_>) = {
            let (targets, exceptions) = split(targets);
            (targets.into_vec(), exceptions)
        };
        let age = Duration::from_millis(now_ms.saturating_sub(record.accepted_ms));
        let left = Duration::from_millis(record.expires_ms.saturating_sub(now_ms));
        let accepted = now.checked_sub(age).unwrap_or(now);
        let push = Push {
            targets: &targets,
            exceptions: &exceptions,
            payload: record.payload,
            ttl: Some(now + left - accepted),
            collapse: (!record.collapse.is_empty()).then_some((record.key_id, record.collapse)),
        };
        self.log.still().number = record.number.saturating_sub(1);
        let restored: Appended = self.append_unasked(&push, accepted);
        drop(restored);
    }

    /// What the store says of the time before this start; when everything is restored.
    pub fn begin_history(&self, next_number: u64, floor: Floor, now: Instant, now_ms: u64) {
        let left = Duration::from_millis(floor.until_ms.saturating_sub(now_ms));
        self.go_on_from(next_number, (floor.upto, now + left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(source: Option<SocketAddr>) -> Incoming {
        Incoming {
            targets: Vec::new(),
            payload: Box::default(),
            expires_ms: Some(1),
            collapse: Box::default(),
            key_id: 0,
            accepted: Instant::now(),
            accepted_ms: 0,
            source,
            placed: oneshot::channel().0,
        }
    }

    /// A thread that waits for the disk empties the queue into what it holds itself.
    #[test]
    fn what_the_thread_holds_counts_as_what_waits_in_the_queue() {
        const HELD: usize = 10;
        let (items, received) = sync_channel(QUEUE);
        let keeper = Keeper {
            items,
            unplaced: AtomicUsize::new(0),
            waiting: Waiting::default(),
            synced: None,
            is_over: AtomicBool::new(false),
        };
        for _ in 0..HELD {
            assert!(keeper.offer(incoming(None)));
            received.try_recv().unwrap();
        }
        for _ in HELD..QUEUE {
            assert!(keeper.offer(incoming(None)));
        }
        let source = Some(SocketAddr::from(([127, 0, 0, 1], 9)));
        assert!(
            !keeper.offer(incoming(source)),
            "there is room in the queue"
        );
        assert!(!keeper.is_waiting_for(source), "it is turned away whole");
        keeper.settled(None);
        assert!(keeper.offer(incoming(source)));
        assert!(keeper.is_waiting_for(source));
        assert!(!keeper.offer(incoming(None)));
    }
}

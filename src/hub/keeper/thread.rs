//! The thread that has the store.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::{Durability, Erasing, Incoming, Item, Keeper};
use crate::clock::{Clock, monotonic};
use crate::hub::Hub;
use crate::hub::history::Erased;
use crate::ledger::{Kind, Ledger};
use crate::store::{Erase, Store, Synced};
use crate::sync::atomic::Ordering;

/// What is written in one call: more would make the first of them wait for the last.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// Bytes that are taken before the sync of those before them has ended: the store holds them, too.
const UNSYNCED_MAX: u64 = 24 << 20;
/// How often the thread looks at what has left the history, and after what pause it tries a disk
/// again that failed.
const TICK: Duration = Duration::from_secs(1);
/// What a purge that is under way gets when the process ends. What it has not come to is there
/// again at the next start.
const PURGE_AT_END: Duration = Duration::from_secs(5);

/// What a sync that is under way gets then: less than the daemon waits for all of it.
const SYNC_AT_END: Duration = Duration::from_secs(8);
/// Said where the store is left as it is.
const NOT_CLOSED: &str = "the history is not closed: the next start finds it as after a kill";

/// The store, and how far it is.
pub(super) struct Thread {
    keeper: Arc<Keeper>,
    store: Store,
    sync: Durability,
    hub: Arc<Hub>,
    ledger: Ledger,
    clock: Clock,
    synced: watch::Sender<u64>,
    /// The number of the last record written.
    written: u64,
    /// The last number that a sync which is under way brings to disk.
    syncing: Option<u64>,
    last_sync: Instant,
    last_tidy: Instant,
    is_failing: bool,
    /// The same of a purge, which the disk may refuse while it takes what is new.
    is_purge_failing: bool,
    /// A purge that the disk has yet to carry out.
    purge: Option<Purge>,
}

/// What is to be erased, as the store knows it already.
struct Purge {
    waiting: Vec<oneshot::Sender<bool>>,
    /// After a failure: when it is tried again.
    again_at: Instant,
}

impl Thread {
    pub(super) fn new(
        keeper: Arc<Keeper>,
        store: Store,
        sync: Durability,
        (hub, ledger, clock): (Arc<Hub>, Ledger, Clock),
        synced: watch::Sender<u64>,
    ) -> Self {
        Self {
            keeper,
            store,
            sync,
            hub,
            ledger,
            clock,
            synced,
            written: 0,
            syncing: None,
            last_sync: monotonic(),
            last_tidy: monotonic(),
            is_failing: false,
            is_purge_failing: false,
            purge: None,
        }
    }

    pub(super) fn run(mut self, received: &Receiver<Item>) {
        loop {
            let mut batch = Vec::new();
            let mut next = match received.recv_timeout(self.pause()) {
                Ok(item) => Some(item),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut bytes = 0;
            while let Some(item) = next.take() {
                match item {
                    Item::Push(push) => {
                        bytes += push.payload.len() + push.targets.len();
                        batch.push(push);
                    }
                    Item::Erase(erasing) => self.begin_purge(erasing),
                    Item::Synced(synced) => self.end_sync(synced),
                    Item::Stop => {}
                }
                if batch.len() < BATCH && bytes < BATCH_BYTES {
                    next = received.try_recv().ok();
                }
            }
            self.make_room(received, bytes, &mut batch);
            let is_over = batch.is_empty() && self.keeper.is_over.load(Ordering::Acquire);
            self.place(batch);
            // Before the next sync begins, or under load it would never have its turn.
            self.step_purge();
            self.begin_sync();
            self.tidy();
            if is_over {
                break;
            }
        }
        let began = monotonic();
        while self.syncing.is_some() {
            if since(began) >= SYNC_AT_END {
                let error = "the disk does not end a sync";
                return error!(target: "pushgate", error, "{NOT_CLOSED}");
            }
            if let Ok(Item::Synced(synced)) = received.recv_timeout(TICK) {
                self.end_sync(synced);
            }
        }
        self.finish_purge();
        if let Err(error) = self.store.close() {
            error!(target: "pushgate", %error, "{NOT_CLOSED}");
        }
    }

    /// Waits for a sync that is under way where the store could take no more before its end.
    fn make_room(
        &mut self,
        received: &Receiver<Item>,
        mut bytes: usize,
        batch: &mut Vec<Incoming>,
    ) {
        while self.syncing.is_some()
            && self.store.stats().unsynced_bytes + bytes as u64 > UNSYNCED_MAX
        {
            match received.recv() {
                Ok(Item::Synced(synced)) => self.end_sync(synced),
                Ok(Item::Push(push)) => {
                    bytes += push.payload.len() + push.targets.len();
                    batch.push(push);
                }
                Ok(Item::Erase(erasing)) => self.begin_purge(erasing),
                Ok(Item::Stop) => {}
                Err(_) => return,
            }
        }
    }

    fn pause(&self) -> Duration {
        let pause = match self.sync {
            Durability::Every(every) => every.min(TICK),
            Durability::Always => TICK,
        };
        match &self.purge {
            // The end of a sync that is under way wakes the thread.
            Some(purge) if self.syncing.is_none() => {
                let left = purge.again_at.saturating_duration_since(monotonic());
                left.min(pause)
            }
            _ => pause,
        }
    }

    /// Tells the store what has left the history.
    fn note_gone(&mut self) {
        let (now, now_ms) = (monotonic(), self.clock.now_ms());
        for (number, until) in self.hub.take_gone() {
            let until = until.map(|until| {
                let left = until.saturating_duration_since(now).as_millis();
                now_ms + u64::try_from(left).unwrap_or(u64::MAX / 2)
            });
            self.store.gone(number, until);
        }
    }

    /// Takes in what is to be erased. One that is under way is joined by it.
    fn begin_purge(&mut self, (erased, tell): Erasing) {
        // What was superseded a moment ago goes too, or it would come back in place of what goes.
        self.note_gone();
        let erase: Vec<_> = erased
            .iter()
            .map(|Erased { number, targets }| Erase {
                number: *number,
                targets: targets.as_deref(),
            })
            .collect();
        self.store.begin_scrub(&erase);
        let again_at = monotonic();
        let purge = self.purge.get_or_insert(Purge {
            waiting: Vec::new(),
            again_at,
        });
        purge.waiting.push(tell);
        purge.again_at = again_at;
    }

    /// Writes one segment without what is to be erased: a fraction of a second, in which pushes
    /// wait. Who waits for a purge is told when it is over, or that the disk failed: then it goes
    /// on by itself once a second, until the disk takes it.
    fn step_purge(&mut self) {
        let now = monotonic();
        let is_due = self.purge.as_ref().is_some_and(|it| it.again_at <= now);
        if self.syncing.is_some() || !is_due {
            return;
        }
        let result = self.store.step_scrub();
        match &result {
            Ok(left) => {
                // It has synced what was written.
                self.synced.send_replace(self.written);
                if *left == 0
                    && let Some(mut purge) = self.purge.take()
                {
                    tell(&mut purge.waiting, true);
                }
            }
            Err(_) => {
                if let Some(purge) = &mut self.purge {
                    tell(&mut purge.waiting, false);
                    purge.again_at = now + TICK;
                }
            }
        }
        self.note_purge(result.map(drop));
    }

    /// What is left of a purge when the process ends, as far as there is time for it.
    fn finish_purge(&mut self) {
        let began = monotonic();
        while self.purge.is_some() && !self.is_purge_failing && since(began) < PURGE_AT_END {
            self.step_purge();
        }
    }

    /// Writes what is to be kept, and gives everything its place.
    fn place(&mut self, batch: Vec<Incoming>) {
        if batch.is_empty() {
            return;
        }
        let first = self.hub.next_number();
        let kept = batch.iter().filter(|push| push.expires_ms.is_some());
        let records: Vec<_> = (first..)
            .zip(kept)
            .map(|(number, push)| push.record(number))
            .collect();
        let result = match records.is_empty() {
            true => Ok(()),
            false => self.store.write(&records),
        };
        let is_kept = result.is_ok();
        if is_kept {
            self.written = self.written.max(first + records.len() as u64 - 1);
        }
        if !records.is_empty() {
            drop(records);
            self.note(result, "write");
        }
        for push in batch {
            let placed = self.hub.place_stored(&push, is_kept);
            self.keeper.settled(push.source);
            // Its job may be gone with the runtime.
            let _ = push.placed.send(placed);
        }
    }

    fn begin_sync(&mut self) {
        let is_due = match self.sync {
            Durability::Always => !self.is_failing || since(self.last_sync) >= TICK,
            Durability::Every(every) => since(self.last_sync) >= every,
        };
        if self.syncing.is_some() || !is_due || self.store.stats().unsynced_bytes == 0 {
            return;
        }
        self.last_sync = monotonic();
        match self.store.begin_sync() {
            Ok(Some(syncing)) => {
                self.syncing = Some(self.written);
                let items = self.keeper.items.clone();
                let work = move || {
                    // The thread takes everything until this has come.
                    let _ = items.send(Item::Synced(syncing.run()));
                };
                self.ledger.spawn_blocking(Kind::Store, work);
            }
            Ok(None) => {}
            Err(error) => self.note(Err(error), "sync"),
        }
    }

    fn end_sync(&mut self, synced: Synced) {
        let upto = self.syncing.take().unwrap_or(0);
        let result = self.store.end_sync(synced);
        if result.is_ok() {
            let took = since(self.last_sync);
            self.hub.metrics().store_sync.observe(took.as_secs_f64());
            self.synced.send_replace(upto);
        }
        self.note(result, "sync");
    }

    fn tidy(&mut self) {
        if since(self.last_tidy) < TICK {
            return;
        }
        self.last_tidy = monotonic();
        self.note_gone();
        if self.syncing.is_none() {
            let result = self.store.tidy();
            self.note(result.map(drop), "tidy");
        }
        let (stats, metrics) = (self.store.stats(), self.hub.metrics());
        metrics
            .store_bytes
            .set(i64::try_from(stats.bytes).unwrap_or(i64::MAX));
    }

    /// One line when the disk begins to fail, and one when it is well again.
    fn note(&mut self, result: io::Result<()>, what: &str) {
        let metrics = self.hub.metrics();
        match result {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                info!(target: "pushgate", "the history is kept on disk again");
            }
            Ok(()) => {}
            Err(error) => {
                metrics.store_failures.inc();
                if !std::mem::replace(&mut self.is_failing, true) {
                    let means = "the disk fails: kept pushes go out as live ones";
                    error!(target: "pushgate", %error, what, "{means}");
                }
            }
        }
        self.show_failing();
    }

    /// The same of a purge.
    fn note_purge(&mut self, result: io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.is_purge_failing, result.is_err());
        match result {
            Ok(()) if was_failing => info!(target: "pushgate", "the purge goes on"),
            Ok(()) => {}
            Err(error) => {
                self.hub.metrics().store_failures.inc();
                if !was_failing {
                    let means = "the disk fails: not all that was purged is gone from it yet";
                    error!(target: "pushgate", %error, "{means}");
                }
            }
        }
        self.show_failing();
    }

    fn show_failing(&self) {
        let is_failing = self.is_failing || self.is_purge_failing;
        self.hub.metrics().store_failing.set(is_failing.into());
    }
}

fn since(moment: Instant) -> Duration {
    monotonic().saturating_duration_since(moment)
}

/// Nobody waits for one who may have left.
fn tell(waiting: &mut Vec<oneshot::Sender<bool>>, is_erased: bool) {
    for tell in waiting.drain(..) {
        let _ = tell.send(is_erased);
    }
}

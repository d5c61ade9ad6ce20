//! Kept messages: how many there may be, and how they go.
//!
//! Each stands on the [`shelf`](super::shelf) of every target that it was pushed to, so a replay
//! costs what it replays. Here is what they have in common: the one order in which the oldest go
//! out, the bounds, and the moments at which they expire. All of it under the log's lock.

mod look;
mod purge;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::Hub;
use super::lane::Lane;
use super::log::Still;
use super::message::Message;
use super::shelf::Floor;
use crate::metrics::Gone;
use crate::sync::atomic::Ordering;

pub use look::{Kept, KeptMessage, Place, Row};
pub use purge::Whose;
pub(super) use purge::{Erased, Purge};

/// What one kept message costs besides its frames, in bytes: itself, its place in the order and in
/// the expiries, its allocations. With the next three, but for the head of another encoding, the
/// process took 1.19 to 1.30 times what is counted so: payloads of 16, 128 and 1,024 B, 1 to 2,000
/// of them for each of 50 to 15,000 users, the memory of their request ids included
/// (`pushgate bench resume`, 2026-11-27).
const OVERHEAD: u64 = 352 + OTHER_HEAD;
/// The head of one encoding beside the native one, once the message has gone out so.
const OTHER_HEAD: u64 = 128;
/// What each of its targets adds: an entry of a shelf, and the header's allocation.
const OVERHEAD_TARGET: u64 = 64;
/// What a target costs for which anything is kept: its lane may stand for that alone.
const OVERHEAD_LANE: u64 = 512;
/// Stale notes of expiries that are not worth a pass.
const STALE_MIN: u64 = 1024;

/// Everything that is kept.
#[derive(Default)]
pub(crate) struct History {
    /// By place; what went early leaves a hole.
    order: VecDeque<Slot>,
    messages: u64,
    bytes: u64,
    /// Targets for which something is kept.
    lanes: u64,
    /// Places by the second in which they expire. Those of messages that went early are stale.
    expiries: BTreeMap<u64, Vec<u64>>,
    noted: u64,
    /// The number of the newest.
    pub(super) number: u64,
    /// What was dropped for targets whose lanes are gone.
    pub(super) floor: Floor,
    /// Numbers that are kept no longer, for the store; with when one would have expired that was
    /// dropped before. Taken once a second.
    gone: Option<Vec<(u64, Option<Instant>)>>,
}

struct Slot {
    seq: u64,
    number: u64,
    entry: Option<Entry>,
}

struct Entry {
    message: Arc<Message>,
    lanes: SmallVec<[Arc<Lane>; 1]>,
    weight: u64,
}

impl History {
    /// Messages, and bytes with what each costs besides its frames.
    pub(super) const fn totals(&self) -> (u64, u64) {
        (self.messages, self.bytes + OVERHEAD_LANE * self.lanes)
    }

    /// The place before the first kept message whose number is above `cursor`; `None` when there
    /// is none.
    pub(super) fn before(&self, cursor: u64) -> Option<u64> {
        let first = self.order.partition_point(|slot| slot.number <= cursor);
        self.order.get(first).map(|slot| slot.seq - 1)
    }

    /// Takes in a message that stands on the shelves of `lanes`. `second` is the one in which it
    /// expires.
    fn insert(&mut self, message: Arc<Message>, lanes: SmallVec<[Arc<Lane>; 1]>, second: u64) {
        let weight = weight(&message, lanes.len() as u64);
        self.messages += 1;
        self.bytes += weight;
        self.expiries.entry(second).or_default().push(message.seq);
        self.noted += 1;
        self.order.push_back(Slot {
            seq: message.seq,
            number: message.number(),
            entry: Some(Entry {
                message,
                lanes,
                weight,
            }),
        });
        if self.noted > 2 * self.messages + STALE_MIN {
            self.forget_stale();
        }
    }

    fn slot(&self, seq: u64) -> Option<usize> {
        self.order.binary_search_by_key(&seq, |slot| slot.seq).ok()
    }

    fn take(&mut self, seq: u64) -> Option<Entry> {
        let at = self.slot(seq)?;
        let entry = self.order[at].entry.take()?;
        self.messages -= 1;
        self.bytes -= entry.weight;
        while self
            .order
            .pop_front_if(|slot| slot.entry.is_none())
            .is_some()
        {}
        if self.order.len() as u64 > 2 * self.messages + STALE_MIN {
            self.order.retain(|slot| slot.entry.is_some());
        }
        Some(entry)
    }

    fn forget_stale(&mut self) {
        let mut expiries = std::mem::take(&mut self.expiries);
        for places in expiries.values_mut() {
            places.retain(|seq| {
                self.slot(*seq)
                    .is_some_and(|at| self.order[at].entry.is_some())
            });
        }
        expiries.retain(|_, places| !places.is_empty());
        self.noted = expiries.values().map(|places| places.len() as u64).sum();
        self.expiries = expiries;
    }

    /// Up to `max` places of messages that have expired by `second`.
    fn expired(&mut self, second: u64, max: usize) -> Vec<u64> {
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some(mut first) = self.expiries.first_entry()
            && *first.key() <= second
        {
            let places = first.get_mut();
            let rest = places.len().saturating_sub(max - expired.len());
            expired.extend(places.drain(rest..));
            if places.is_empty() {
                first.remove();
            }
        }
        self.noted -= expired.len() as u64;
        expired
    }

    /// The number of the oldest; one above the newest where nothing is kept.
    pub(super) fn oldest_number(&self) -> u64 {
        self.order
            .front()
            .map_or(self.number + 1, |slot| slot.number)
    }

    fn oldest(&self) -> Option<u64> {
        self.order.front().map(|slot| slot.seq)
    }

    /// The message of a number, while it is kept.
    fn find(&self, number: u64) -> Option<&Entry> {
        let at = self.order.binary_search_by_key(&number, |slot| slot.number);
        self.order[at.ok()?].entry.as_ref()
    }

    /// Shows what is kept among the next `max` places behind `after` and up to `upto`; returns up
    /// to where that was, `None` at the end.
    fn step(
        &self,
        (after, upto): (u64, u64),
        max: usize,
        mut show: impl FnMut(&Entry),
    ) -> Option<u64> {
        let first = self.order.partition_point(|slot| slot.seq <= after);
        let rest = self.order.range(first..);
        let mut rest = rest.take_while(|slot| slot.seq <= upto);
        let mut last = after;
        for slot in rest.by_ref().take(max) {
            last = slot.seq;
            slot.entry.iter().for_each(&mut show);
        }
        rest.next().map(|_| last)
    }
}

/// What a kept message counts for.
fn weight(message: &Message, lanes: u64) -> u64 {
    message.weight() + OVERHEAD + OVERHEAD_TARGET * lanes
}

impl Hub {
    /// Messages that are kept, and the bytes that they cost.
    pub fn kept(&self) -> (u64, u64) {
        self.log.still().totals()
    }

    /// Puts a message that has its place on the shelves of its targets, and lets the oldest go
    /// where a bound is passed.
    pub(super) fn keep(
        &self,
        still: &mut Still<'_>,
        message: &Arc<Message>,
        lanes: SmallVec<[(u16, Arc<Lane>); 1]>,
        now: Instant,
    ) {
        let Some(kept) = message.kept() else { return };
        // Rounded up: it is looked at when it is over.
        let second = self.age(kept.expires).as_secs() + 1;
        let mut useless = Vec::new();
        for (index, lane) in &lanes {
            let mut state = lane.lock();
            let shelf = state.shelf.get_or_insert_default();
            still.lanes += u64::from(shelf.is_empty());
            useless.extend(shelf.push(*index, message));
        }
        let lanes = lanes.into_iter().map(|(_, lane)| lane).collect();
        still.insert(Arc::clone(message), lanes, second);
        for seq in useless {
            self.drop_kept(still, seq, Gone::Superseded);
        }
        self.keep_within_bounds(still, now);
    }

    fn keep_within_bounds(&self, still: &mut Still<'_>, now: Instant) {
        let options = self.options();
        let is_over = |(messages, bytes)| {
            options.history_messages < messages || options.history_bytes < bytes
        };
        while is_over(still.totals()) {
            let Some(seq) = still.oldest() else { return };
            let oldest = still
                .slot(seq)
                .and_then(|at| still.order[at].entry.as_ref());
            let expired = oldest.is_some_and(|entry| entry.message.is_expired(now));
            let why = if expired {
                Gone::Expired
            } else {
                Gone::Dropped
            };
            self.drop_kept(still, seq, why);
        }
    }

    /// Takes a message off every shelf.
    fn drop_kept(&self, still: &mut Still<'_>, seq: u64, why: Gone) {
        let Some(Entry { message, lanes, .. }) = still.take(seq) else {
            return;
        };
        let floor = Floor {
            number: message.number(),
            seq,
            until: message.kept().map(|kept| kept.expires),
        };
        let raised = Some(floor).filter(|_| why == Gone::Dropped);
        for lane in &lanes {
            self.take_from(still, lane, seq, raised);
        }
        if let Some(gone) = &mut still.gone {
            let until = floor.until.filter(|_| why == Gone::Dropped);
            gone.push((floor.number, until));
        }
        self.metrics.history_removed(why);
        message.leave_history(Arc::strong_count(&message) > 1);
    }

    /// Takes a message off one shelf; with `floor`, as one that was dropped before its time.
    fn take_from(&self, still: &mut Still<'_>, lane: &Arc<Lane>, seq: u64, floor: Option<Floor>) {
        let mut state = lane.lock();
        if let Some(shelf) = &mut state.shelf {
            still.lanes -= u64::from(shelf.remove(seq));
            if let Some(floor) = floor {
                shelf.floor.raise(floor);
            }
        }
        drop(state);
        self.registry.remove_if_empty(still, lane);
    }

    /// From now on it is noted what is kept no longer.
    pub(super) fn watch_history(&self) {
        self.log.still().gone = Some(Vec::new());
    }

    /// What is kept no longer, since the last call.
    pub(super) fn take_gone(&self) -> Vec<(u64, Option<Instant>)> {
        self.log
            .still()
            .gone
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Lets go of up to `max` messages that have expired; true when none is left. Once a second is
    /// meant.
    pub fn expire(&self, max: usize, now: Instant) -> bool {
        self.latest_tick.store(self.tick(now), Ordering::Relaxed);
        let mut still = self.log.still();
        self.keep_within_bounds(&mut still, now);
        let expired = still.expired(self.age(now).as_secs(), max);
        for seq in &expired {
            self.drop_kept(&mut still, *seq, Gone::Expired);
        }
        let oldest = still.oldest_number();
        drop(still);
        self.devices.expire(self.remembered_since(now), oldest, max);
        expired.len() < max
    }
}

//! Looks at what is kept: target by target, and message by message.
//!
//! Targets are listed in the order of their oldest messages, which needs no list of its own: the
//! order of everything is walked, and a target comes up where its oldest message stands. Whoever
//! looks does so in steps, between which every lock is free.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Entry;
use crate::hub::lane::Lane;
use crate::hub::{Hub, Target};
use crate::wire::frame::Scope;

/// From where a list goes on: a message, and which of its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    seq: u64,
    index: u16,
}

/// Bits of a written place that tell the target: a message has 512 of them at most.
const INDEX_BITS: u32 = 10;

impl Place {
    /// As one number, for whoever asks for what follows.
    pub fn to_number(self) -> u64 {
        self.seq << INDEX_BITS | u64::from(self.index)
    }

    /// The place of a number, whichever: what follows it is told.
    pub fn from_number(number: u64) -> Self {
        let index = number & ((1 << INDEX_BITS) - 1);
        Self {
            seq: number >> INDEX_BITS,
            index: u16::try_from(index).unwrap_or(u16::MAX),
        }
    }
}

/// A target for which something was kept when it was found.
pub struct Kept {
    lane: Arc<Lane>,
    /// Where it stands in the list.
    place: Place,
    /// Up to where the ends of ttl were looked at, how many entries that were, and the first end.
    after: u64,
    looked: usize,
    expires: Option<Instant>,
}

/// What is kept for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is,
    pub scope: Scope,
    /// and its name; empty for all.
    pub name: Arc<str>,
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The number of the oldest,
    pub oldest_number: u64,
    /// and milliseconds since its acceptance.
    pub oldest_age_ms: u64,
    /// The same of the newest.
    pub newest_number: u64,
    /// As above.
    pub newest_age_ms: u64,
    /// Milliseconds until the first of them expires; `None` where not all were looked at.
    pub expires_in_ms: Option<u64>,
}

impl Kept {
    /// What it is, and its name.
    pub fn target(&self) -> (Scope, &str) {
        (self.lane.scope, &self.lane.name)
    }

    /// From where a list goes on that is to begin with it.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Messages that were looked at, those among them that others have superseded.
    pub const fn looked(&self) -> usize {
        self.looked
    }

    /// Looks at the ttl of up to `max` further messages; true when there are no more.
    pub fn step(&mut self, max: usize) -> bool {
        let state = self.lane.lock();
        let Some(shelf) = &state.shelf else {
            return true;
        };
        let (expires, mut shown) = (&mut self.expires, 0);
        let end = shelf.step((self.after, u64::MAX), max, |message| {
            shown += 1;
            let ends = message.kept().map(|kept| kept.expires);
            *expires = match (*expires, ends) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            };
        });
        // At the end there may have been fewer.
        self.looked += end.map_or(shown, |_| max);
        self.after = end.unwrap_or(u64::MAX);
        end.is_none()
    }

    /// What is kept for it now; `None` where nothing is any more.
    pub fn row(&self, now: Instant) -> Option<Row> {
        let state = self.lane.lock();
        let shelf = state.shelf.as_ref()?;
        let mut messages = shelf.messages();
        let oldest = messages.next()?;
        let newest = messages.next_back().unwrap_or(oldest);
        let age = |accepted| millis(now.saturating_duration_since(accepted));
        let left = |expires: Instant| millis(expires.saturating_duration_since(now));
        Some(Row {
            scope: self.lane.scope,
            name: Arc::clone(&self.lane.name),
            messages: shelf.len() as u64,
            bytes: shelf.bytes(),
            oldest_number: oldest.number(),
            oldest_age_ms: age(oldest.accepted),
            newest_number: newest.number(),
            newest_age_ms: age(newest.accepted),
            expires_in_ms: self.expires.filter(|_| self.after == u64::MAX).map(left),
        })
    }
}

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// Its number.
    pub number: u64,
    /// Whom it is kept for.
    pub targets: Vec<(Scope, Arc<str>)>,
    /// Who does not receive it all the same.
    pub exceptions: Vec<(Scope, Box<str>)>,
    /// Bytes of its payload.
    pub bytes: u64,
    /// Its collapse key.
    pub collapse: Option<Box<[u8]>>,
    /// Devices that have confirmed it, since this process began.
    pub confirmed: u32,
    /// Milliseconds since its acceptance,
    pub age_ms: u64,
    /// and until it expires.
    pub expires_in_ms: u64,
}

impl KeptMessage {
    /// Whom it is kept for.
    pub fn targets(&self) -> Vec<Target<'_>> {
        let targets = self.targets.iter();
        targets
            .map(|(scope, name)| Target::of(*scope, name))
            .collect()
    }
}

impl Hub {
    /// Finds targets that `is_wanted`, each where its oldest message stands, from `place` on: up to
    /// `rows` in all, in `found`, and among about `max` messages. Returns from where it goes on;
    /// `None` at the end.
    pub fn list_kept(
        &self,
        place: Place,
        (rows, max): (usize, usize),
        is_wanted: impl Fn(Scope, &str) -> bool,
        found: &mut Vec<Kept>,
    ) -> Option<Place> {
        let still = self.log.still();
        let first = still.order.partition_point(|slot| slot.seq < place.seq);
        let mut looked = 0;
        for slot in still.order.range(first..) {
            let seq = slot.seq;
            if looked >= max {
                return Some(Place { seq, index: 0 });
            }
            looked += 1;
            let Some(Entry { lanes, .. }) = &slot.entry else {
                continue;
            };
            let skipped = if seq == place.seq { place.index } else { 0 };
            for (index, lane) in (0..).zip(lanes).skip(usize::from(skipped)) {
                if found.len() >= rows {
                    return Some(Place { seq, index });
                }
                looked += 1;
                if is_wanted(lane.scope, &lane.name) && is_oldest_of(lane, seq) {
                    found.push(Kept::of(lane, Place { seq, index }));
                }
            }
        }
        None
    }

    /// What is kept for one target.
    pub fn kept_of(&self, target: Target<'_>) -> Option<Kept> {
        let (scope, name) = target.key();
        let lane = self.registry.find(scope, name)?;
        Some(Kept::of(&lane, Place::default()))
    }

    /// The message of a number, as long as it is kept.
    pub fn kept_message(&self, number: u64, now: Instant) -> Option<KeptMessage> {
        let still = self.log.still();
        let Entry { message, lanes, .. } = still.find(number)?;
        let kept = message.kept()?;
        let exceptions = message.exceptions().iter();
        Some(KeptMessage {
            number,
            targets: lanes
                .iter()
                .map(|lane| (lane.scope, Arc::clone(&lane.name)))
                .collect(),
            exceptions: exceptions
                .map(|named| (named.scope, named.name.clone()))
                .collect(),
            bytes: message.payload_len() as u64,
            collapse: message.collapse().map(|key| key.bytes.clone()),
            confirmed: kept.confirmed(),
            age_ms: millis(now.saturating_duration_since(message.accepted)),
            expires_in_ms: millis(kept.expires.saturating_duration_since(now)),
        })
    }
}

impl Kept {
    fn of(lane: &Arc<Lane>, place: Place) -> Self {
        Self {
            lane: Arc::clone(lane),
            place,
            after: 0,
            looked: 0,
            expires: None,
        }
    }
}

fn is_oldest_of(lane: &Lane, seq: u64) -> bool {
    let state = lane.lock();
    let oldest = state
        .shelf
        .as_ref()
        .and_then(|shelf| shelf.messages().next());
    oldest.is_some_and(|oldest| oldest.seq == seq)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

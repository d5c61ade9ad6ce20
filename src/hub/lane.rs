//! One target's part of the log: its messages in order, its members, and those of them that are
//! behind.
//!
//! A lane never touches a session: it holds handles to them, and what a session must know of itself
//! under the lane's lock (where it stands when it is behind) is written here by whoever holds that
//! session's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::collapse::Collapse;
use super::message::Message;
use super::session::Session;
use super::shelf::{Floor, Shelf};
use super::sink::Due;
use super::slots::Slots;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wire::encoding::Encoding;
use crate::wire::frame::Scope;

/// All, one user, or one group.
pub(crate) struct Lane {
    /// What the lane is for.
    pub(crate) scope: Scope,
    /// The user's or the group's name; empty for all.
    pub(crate) name: Arc<str>,
    /// The place of the newest message. A session that stands there or later passes this lane by
    /// without its lock.
    last: AtomicU64,
    /// Held for a few lines, never over a system call.
    state: Mutex<State>,
}

/// What stands under a lane's lock.
pub(crate) struct State {
    entries: VecDeque<Entry>,
    /// Bytes of all frames ever appended here; with an entry's `bytes_before` it gives the bytes
    /// behind a place without a walk.
    bytes: u64,
    /// Every member has passed this place, is in `behind`, or was never owed anything before it.
    walked: u64,
    /// Who sits in this lane. Slots never move, so that a walk can go on from a slot number.
    pub(crate) members: Slots<Arc<Session>>,
    /// Position and id of each member that is behind, with its slot: the first is the one for which
    /// the most is kept.
    behind: BTreeMap<(u64, u64), u32>,
    /// How many members are behind by half of a bound.
    pub(crate) half_behind: u32,
    /// What supersedes what, while messages with collapse keys are here.
    collapse: Option<Box<Collapse>>,
    /// The kept messages of this target, once there were some.
    pub(crate) shelf: Option<Box<Shelf>>,
}

struct Entry {
    seq: u64,
    bytes_before: u64,
    /// Under which of the message's targets this lane stands.
    index: u16,
    /// For every member.
    superseded: bool,
    message: Arc<Message>,
}

/// A message on its way to one session.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) index: u16,
    /// How it is written for that session; its sink says so when it is about to go out.
    pub(crate) encoding: Encoding,
    /// A later message for this session stands in for it.
    pub(crate) superseded: bool,
    pub(crate) message: Arc<Message>,
}

impl Taken {
    /// As its sink is asked about it.
    pub(crate) fn due(&self) -> Due<'_> {
        Due::new(&self.message, self.index)
    }

    /// The frame as the session receives it, in two parts of which the second may be empty.
    pub(crate) fn frame(&self) -> [&[u8]; 2] {
        self.message.frame(self.encoding, self.index)
    }

    /// Bytes of that frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.message.frame_len(self.encoding, self.index)
    }
}

/// Tells whether a message passes a session by, as one of its exceptions.
pub(crate) type IsExcepted<'a> = &'a dyn Fn(&Message) -> bool;

/// How far behind a place is, in one lane or over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Acceptance of the oldest message that is still ahead.
    pub(crate) oldest: Option<Instant>,
}

impl Lag {
    pub(crate) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.oldest = match (self.oldest, other.oldest) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}

impl Lane {
    pub(crate) fn new(scope: Scope, name: Arc<str>) -> Self {
        let state = State {
            entries: VecDeque::new(),
            bytes: 0,
            walked: 0,
            members: Slots::new(),
            behind: BTreeMap::new(),
            half_behind: 0,
            collapse: None,
            shelf: None,
        };
        Self {
            scope,
            name,
            last: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether the lane may hold something after `place`. Exact for every place up to a head that
    /// was read before.
    pub(crate) fn has_after(&self, place: u64) -> bool {
        self.last.load(Ordering::Acquire) > place
    }

    /// Appends, under the log's lock: places rise. Returns the newest place before.
    pub(crate) fn append(&self, index: u16, message: &Arc<Message>) -> u64 {
        let mut state = self.lock();
        let entry = Entry {
            seq: message.seq,
            bytes_before: state.bytes,
            index,
            superseded: false,
            message: Arc::clone(message),
        };
        state.bytes += message.frame_len(Encoding::Native, index) as u64;
        state.entries.push_back(entry);
        if message.collapse().is_some() {
            state.collapse(message, false);
        }
        self.last.swap(message.seq, Ordering::AcqRel)
    }

    /// Copies up to `max` messages in (`after`, `head`] to `out`; false when there are more.
    pub(crate) fn take(
        &self,
        (after, head): (u64, u64),
        max: usize,
        is_excepted: IsExcepted<'_>,
        out: &mut Vec<Taken>,
    ) -> bool {
        let state = self.lock();
        let first = state.first_after(after);
        let mut rest = state
            .entries
            .range(first..)
            .take_while(|entry| entry.seq <= head);
        for entry in rest.by_ref().take(max) {
            out.push(Taken {
                index: entry.index,
                encoding: Encoding::Native,
                superseded: entry.superseded || state.stands_in_for(&entry.message, is_excepted),
                message: Arc::clone(&entry.message),
            });
        }
        rest.next().is_none()
    }

    /// A spread message begins, under the log's lock: from now on it stands in for others.
    pub(crate) fn begin_spread(&self, message: &Arc<Message>) {
        if message.collapse().is_some() {
            self.lock().collapse(message, true);
        }
    }

    /// Its spread is over.
    pub(crate) fn end_spread(&self, message: &Message) {
        self.lock().forget_collapse(message);
    }

    /// Whether a later message of this lane stands in for `message` at a session.
    pub(crate) fn supersedes(&self, message: &Message, is_excepted: IsExcepted<'_>) -> bool {
        self.lock().stands_in_for(message, is_excepted)
    }

    /// The same of what is kept here for those who come back.
    pub(crate) fn take_kept(
        &self,
        range: (u64, u64),
        max: usize,
        is_excepted: IsExcepted<'_>,
        out: &mut Vec<Taken>,
    ) -> bool {
        let state = self.lock();
        let shelf = state.shelf.as_ref();
        shelf.is_none_or(|shelf| shelf.take(range, max, is_excepted, out))
    }

    /// Up to `max` kept messages, each with its target, whose numbers lie in `range`, behind the
    /// first and up to the second, and whose places are behind `since`.
    pub(crate) fn numbered(
        &self,
        range: (u64, u64),
        since: u64,
        max: usize,
        out: &mut Vec<(u16, Arc<Message>)>,
    ) {
        if let Some(shelf) = &self.lock().shelf {
            out.extend(shelf.numbered(range, since).take(max));
        }
    }

    /// Whether something is kept here that came after `place`.
    pub(crate) fn keeps_after(&self, place: u64) -> bool {
        let state = self.lock();
        state
            .shelf
            .as_ref()
            .is_some_and(|shelf| shelf.keeps_after(place))
    }

    /// Up to where something was dropped here.
    pub(crate) fn floor(&self) -> Floor {
        let state = self.lock();
        state
            .shelf
            .as_ref()
            .map_or_else(Floor::default, |shelf| shelf.floor)
    }

    /// How far `place` is behind the end of this lane.
    pub(crate) fn lag(&self, place: u64) -> Lag {
        if !self.has_after(place) {
            return Lag::default();
        }
        let state = self.lock();
        let first = state.first_after(place);
        state
            .entries
            .get(first)
            .map_or_else(Lag::default, |entry| Lag {
                messages: (state.entries.len() - first) as u64,
                bytes: state.bytes - entry.bytes_before,
                oldest: Some(entry.message.accepted),
            })
    }

    /// A walk for the message at `seq` has been to every member.
    pub(crate) fn complete(&self, seq: u64) {
        let mut state = self.lock();
        state.walked = state.walked.max(seq);
        state.trim();
    }

    /// Moves a member's place among those behind, or takes it in or out (`None`: it is level).
    pub(crate) fn note_behind(&self, id: u64, slot: u32, old: Option<u64>, new: Option<u64>) {
        if old == new {
            return;
        }
        let mut state = self.lock();
        if let Some(position) = old {
            state.behind.remove(&(position, id));
        }
        if let Some(position) = new {
            state.behind.insert((position, id), slot);
        }
        state.trim();
    }
}

impl State {
    fn first_after(&self, place: u64) -> usize {
        // Most often one message is asked for, and it is the newest.
        match self.entries.back() {
            Some(last) if last.seq <= place => self.entries.len(),
            _ => self.entries.partition_point(|entry| entry.seq <= place),
        }
    }

    /// A message with a collapse key has come.
    fn collapse(&mut self, message: &Arc<Message>, spreading: bool) {
        let collapse = self.collapse.get_or_insert_default();
        for seq in collapse.push(message, spreading) {
            if let Ok(at) = self.entries.binary_search_by_key(&seq, |entry| entry.seq) {
                self.entries[at].superseded = true;
            }
        }
    }

    fn stands_in_for(&self, message: &Message, is_excepted: IsExcepted<'_>) -> bool {
        message.collapse().is_some()
            && self
                .collapse
                .as_ref()
                .is_some_and(|collapse| collapse.is_superseded(message, is_excepted))
    }

    fn forget_collapse(&mut self, message: &Message) {
        let (Some(key), Some(collapse)) = (message.collapse(), &mut self.collapse) else {
            return;
        };
        collapse.remove(key, message.seq);
        if collapse.is_empty() {
            self.collapse = None;
        }
    }

    /// Drops what every member has passed.
    fn trim(&mut self) {
        let floor = match self.behind.first_key_value() {
            Some(((position, _), _)) => self.walked.min(*position),
            None => self.walked,
        };
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.seq <= floor) {
            self.forget_collapse(&entry.message);
        }
        // A user's lane is idle for most of its life: its buffer goes back.
        if self.entries.is_empty() && self.entries.capacity() > 0 && self.members.len() <= 8 {
            self.entries = VecDeque::new();
        }
    }

    /// The last member is gone: nobody is owed anything.
    pub(crate) fn clear(&mut self) {
        while let Some(entry) = self.entries.pop_front() {
            self.forget_collapse(&entry.message);
        }
        self.entries = VecDeque::new();
    }

    /// Whether nothing is kept for this target, so that its lane may go with its last member.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.shelf.as_ref().is_none_or(|shelf| shelf.is_empty())
    }

    /// The slot of the member for which this lane keeps the most, and its id.
    pub(crate) fn furthest_behind(&self) -> Option<(u32, u64)> {
        self.behind
            .first_key_value()
            .map(|((_, id), slot)| (*slot, *id))
    }

    /// Everybody who is behind in this lane.
    pub(crate) fn all_behind(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.behind.iter().filter_map(|((_, id), slot)| {
            self.members.at(*slot).filter(|session| session.id() == *id)
        })
    }

    pub(crate) fn behind_len(&self) -> usize {
        self.behind.len()
    }

    /// What was appended and no walk has come for yet: messages, and bytes of frames.
    fn unwalked(&self) -> (u64, u64) {
        let first = self.first_after(self.walked);
        self.entries.get(first).map_or((0, 0), |entry| {
            (
                (self.entries.len() - first) as u64,
                self.bytes - entry.bytes_before,
            )
        })
    }

    /// Whether half of a client's bound lies here before its members were even visited: a healthy
    /// client that meets it all at once shall still be inside its bound.
    pub(crate) fn is_flooded(&self, queue_messages: u64, queue_bytes: u64) -> bool {
        let (messages, bytes) = self.unwalked();
        messages * 2 > queue_messages || bytes * 2 > queue_bytes
    }

    /// Whether so many are behind by half a bound that the sender, not the clients, is at fault:
    /// more than a quarter and more than 8.
    pub(crate) fn is_congested(&self) -> bool {
        let half_behind = self.half_behind as usize;
        half_behind > 8 && half_behind > self.members.len() / 4
    }
}

//! The visit that a message owes to every member of its lanes, in steps of a size that the caller
//! chooses.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Hub;
use super::lane::Lane;
use super::message::Message;
use super::pump::{By, Pump};
use super::session::Session;
use super::sink::Due;
use crate::wire::frame::Scope;
use crate::wire::reply::Counts;

/// A message on its way through its lanes. Dropped early, it lets go of what its lanes hold for it.
pub struct Walk {
    message: Arc<Message>,
    reached: SmallVec<[Reached; 1]>,
    /// The lane that is being walked, and the slot to go on from.
    at: usize,
    slot: u32,
    counts: Counts,
    visited: usize,
    /// With several lanes, the sessions that were met: each counts once.
    met: HashSet<u64>,
}

/// A lane that a message was appended to.
pub(super) struct Reached {
    pub(super) lane: Arc<Lane>,
    /// Under which of the message's targets it stands.
    pub(super) index: u16,
    /// The newest place in the lane before this message.
    pub(super) previous: u64,
}

impl Walk {
    pub(super) fn new(message: Arc<Message>, reached: SmallVec<[Reached; 1]>) -> Self {
        let (counts, met) = (Counts::default(), HashSet::new());
        Self {
            message,
            reached,
            at: 0,
            slot: 0,
            counts,
            visited: 0,
            met,
        }
    }

    /// Members of all lanes together, at this moment: how long the walk will be.
    pub fn size(&self) -> usize {
        self.reached
            .iter()
            .map(|reached| reached.lane.lock().members.len())
            .sum()
    }

    /// What the walk has met so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The number of its message; 0 for a live one.
    pub fn number(&self) -> u64 {
        self.message.number()
    }

    /// Members visited so far, also those whom the message was not for.
    pub const fn visited(&self) -> usize {
        self.visited
    }

    /// The place of its message in the log.
    pub(super) fn seq(&self) -> u64 {
        self.message.seq
    }

    /// The first of the lanes that it walks.
    pub(super) fn target(&self) -> Option<(Scope, Arc<str>)> {
        let lane = &self.reached.first()?.lane;
        Some((lane.scope, Arc::clone(&lane.name)))
    }

    /// How many lanes it walks.
    pub(super) fn targets(&self) -> usize {
        self.reached.len()
    }

    /// Visits up to `max` members; true when all have been visited.
    pub fn step(&mut self, hub: &Hub, max: usize, cx: &mut Pump) -> bool {
        let Some(reached) = self.reached.get(self.at) else {
            return true;
        };
        let mut members = std::mem::take(&mut cx.members);
        let next = reached
            .lane
            .lock()
            .members
            .batch(self.slot, max, &mut members);
        let reached = self.at;
        self.visited += members.len();
        for session in members.drain(..) {
            self.visit(hub, reached, &session, cx);
        }
        cx.members = members;
        match next {
            Some(slot) => self.slot = slot,
            None => {
                self.reached[self.at].lane.complete(self.message.seq);
                (self.at, self.slot) = (self.at + 1, 0);
            }
        }
        self.at == self.reached.len()
    }

    /// Walks to the end at once: for a push to few.
    pub fn finish(&mut self, hub: &Hub, cx: &mut Pump) -> Counts {
        while !self.step(hub, 128, cx) {}
        self.counts
    }

    fn visit(&mut self, hub: &Hub, at: usize, session: &Arc<Session>, cx: &mut Pump) {
        let reached = &self.reached[at];
        let seq = self.message.seq;
        let mut inner = session.lock();
        let is_addressed = inner
            .handle(&reached.lane)
            .is_some_and(|handle| handle.is_for(seq))
            && !inner.is_excepted(self.message.exceptions(), seq);
        cx.look_for(seq);
        let came_before = inner.position >= seq;
        // Addressed or not: that the walk has been everywhere lets the lane drop what came before
        // this message, too.
        if is_addressed && self.reached.len() == 1 {
            hub.pump_walked(session, &mut inner, (&self.message, reached), cx);
        } else {
            hub.pump_locked(session, &mut inner, By::Other, cx);
        }
        if !is_addressed || (self.reached.len() > 1 && !self.met.insert(session.id())) {
            return;
        }
        self.counts.matched += 1;
        let in_part = inner
            .unsent
            .as_ref()
            .is_some_and(|unsent| unsent.taken.message.seq == seq);
        // Expired, superseded, not for its door, or live behind a replay: it is not sent, and that
        // is counted.
        let is_live = self.message.kept().is_none();
        let is_let_go = cx.has_passed
            || (came_before && self.was_let_go(reached.index, session))
            || (is_live && inner.replay().is_some_and(|replay| seq <= replay.until));
        if is_let_go {
            self.counts.refused += 1;
        } else if inner.position >= seq && !in_part {
            self.counts.written += 1;
        } else if inner.closing.is_none() && hub.check_bounds(session, &mut inner, cx.now) {
            self.counts.waiting += 1;
        } else {
            self.counts.refused += 1;
        }
    }

    /// Of a session that passed the message before this walk came, as for a later one: whether it
    /// was not sent. What was expired or superseded is noted; what is not for its door is so for
    /// ever, where the message is live.
    fn was_let_go(&self, index: u16, session: &Arc<Session>) -> bool {
        let due = Due::new(&self.message, index);
        self.message.is_passed_over(session.id())
            || (self.message.kept().is_none() && session.sink().encoding(&due).is_none())
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        // A walk that was cut off (the process ends, or a bug) must not keep messages alive that
        // nobody will come for.
        for reached in self.reached.get(self.at..).unwrap_or_default() {
            reached.lane.complete(self.message.seq);
        }
        self.message.walk_is_over();
    }
}

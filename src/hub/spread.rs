//! A live push whose deliveries are spread over a time, so that what it sets off does not come from
//! everybody at once.
//!
//! It stands in no lane of its targets: each member gets it at a moment of its own, and there it
//! takes its place in the log, in a lane that is this session's alone until it is level. Who is a
//! member is decided at its acceptance, and so is what it supersedes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Hub;
use super::handle::Handle;
use super::lane::Lane;
use super::log::{Push, Refused};
use super::message::{Draft, Message, More, Origin};
use super::pump::{By, Pump};
use super::session::{Inner, Session};
use super::walk::Reached;
use crate::metrics::Outcome;
use crate::wire::encoding::Encoding;
use crate::wire::frame::Scope;
use crate::wire::reply::Counts;

/// A spread message on its way. Dropped early, it lets go of what its lanes hold for it.
pub struct Spread {
    message: Arc<Message>,
    reached: SmallVec<[Reached; 1]>,
    over: Duration,
    /// Members at the acceptance, and how many were visited.
    size: usize,
    visited: usize,
    at: usize,
    slot: u32,
    counts: Counts,
    met: HashSet<u64>,
}

impl Hub {
    /// Accepts `push`, to be delivered over the time `over`; `None` when none of the targets has a
    /// session.
    ///
    /// # Errors
    /// When the sender is too fast: nothing was done.
    pub fn spread(
        &self,
        push: &Push<'_>,
        over: Duration,
        now: Instant,
    ) -> Result<Option<Spread>, Refused> {
        let draft = Draft::new(push.targets, push.payload);
        let mut still = self.log.still();
        let reached = self.reach(push)?;
        if reached.is_empty() {
            return Ok(None);
        }
        let message = self.message(push, draft, &mut still, now);
        for reached in &reached {
            reached.lane.begin_spread(&message);
        }
        self.log.publish(&still);
        drop(still);
        let members = reached
            .iter()
            .map(|reached| reached.lane.lock().members.len());
        Ok(Some(Spread {
            size: members.sum(),
            message,
            reached,
            over,
            visited: 0,
            at: 0,
            slot: 0,
            counts: Counts::default(),
            met: HashSet::new(),
        }))
    }

    /// Gives one session a message of its own, at this moment.
    fn deliver_alone(
        &self,
        session: &Arc<Session>,
        inner: &mut Inner,
        (spread, reached): (&Spread, &Reached),
        cx: &mut Pump,
    ) -> u64 {
        let draft = Draft::whole(spread.message.frame(Encoding::Native, reached.index));
        let origin = spread.message.collapse().map(|_| Origin {
            lane: Arc::clone(&reached.lane),
            message: Arc::clone(&spread.message),
        });
        let more = origin.map(More::of_spread);
        let still = self.log.still();
        let lane = Arc::new(Lane::new(Scope::All, "".into()));
        let slot = lane.lock().members.insert(Arc::clone(session));
        let (seq, totals) = (self.log.head() + 1, Arc::clone(&self.log.totals));
        let message = Message::new(seq, cx.now, draft, Box::default(), more, totals);
        lane.append(0, &Arc::new(message));
        if let Some(position) = inner.behind_at() {
            lane.note_behind(session.id(), slot, None, Some(position));
        }
        inner.handles.push(Handle {
            lane: Arc::clone(&lane),
            from: seq - 1,
            slot,
            own: true,
            muted: false,
        });
        inner.aside.get_or_insert_default().has_own_lanes = true;
        self.log.publish(&still);
        drop(still);
        cx.look_for(seq);
        self.pump_locked(session, inner, By::Other, cx);
        lane.complete(seq);
        seq
    }

    /// Takes the lanes away that are a session's alone, when nothing waits there.
    pub(super) fn leave_own_lanes(&self, inner: &mut Inner) {
        let Some(aside) = inner.aside.as_mut().filter(|aside| aside.has_own_lanes) else {
            return;
        };
        aside.has_own_lanes = false;
        inner.handles.retain(|handle| {
            if handle.own {
                // It holds the session, and the session holds it.
                let mut state = handle.lane.lock();
                state.members.remove_if(handle.slot, |_| true);
                state.clear();
            }
            !handle.own
        });
    }
}

impl Spread {
    /// Members that have had their turn, and all of them at the acceptance.
    pub const fn progress(&self) -> (usize, usize) {
        (self.visited, self.size)
    }

    /// The place of its acceptance in the log.
    pub(super) fn seq(&self) -> u64 {
        self.message.seq
    }

    /// The first of its targets.
    pub(super) fn target(&self) -> Option<(Scope, Arc<str>)> {
        let lane = &self.reached.first()?.lane;
        Some((lane.scope, Arc::clone(&lane.name)))
    }

    /// How many lanes it is for.
    pub(super) fn targets(&self) -> usize {
        self.reached.len()
    }

    /// What it has met so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Over which time it goes.
    pub const fn over(&self) -> Duration {
        self.over
    }

    /// How many members are due `elapsed` after its beginning and have not been visited.
    pub fn due(&self, elapsed: Duration) -> usize {
        if elapsed >= self.over {
            return usize::MAX;
        }
        let share = elapsed.as_secs_f64() / self.over.as_secs_f64();
        let due = (self.size as f64 * share).ceil() as usize;
        due.saturating_sub(self.visited)
    }

    /// Visits up to `max` members; true when all have been visited.
    pub fn step(&mut self, hub: &Hub, max: usize, cx: &mut Pump) -> bool {
        let Some(reached) = self.reached.get(self.at) else {
            return true;
        };
        let mut members = std::mem::take(&mut cx.members);
        let lane = Arc::clone(&reached.lane);
        let next = lane.lock().members.batch(self.slot, max, &mut members);
        for session in members.drain(..) {
            self.visited += 1;
            self.visit(hub, &session, cx);
        }
        cx.members = members;
        match next {
            Some(slot) => self.slot = slot,
            None => (self.at, self.slot) = (self.at + 1, 0),
        }
        self.at == self.reached.len()
    }

    fn visit(&mut self, hub: &Hub, session: &Arc<Session>, cx: &mut Pump) {
        let reached = &self.reached[self.at];
        let accepted = self.message.seq;
        let mut inner = session.lock();
        let is_addressed = inner
            .handle(&reached.lane)
            .is_some_and(|handle| handle.is_for(accepted))
            && !inner.passes_by(&self.message);
        if !is_addressed || (self.reached.len() > 1 && !self.met.insert(session.id())) {
            return;
        }
        self.counts.matched += 1;
        let is_superseded = self.message.collapse().is_some()
            && self.reached.iter().any(|reached| {
                inner.handle(&reached.lane).is_some()
                    && reached
                        .lane
                        .supersedes(&self.message, &|message| inner.passes_by(message))
            });
        if is_superseded {
            hub.metrics().deliveries(Outcome::Superseded, 1);
            self.counts.refused += 1;
            return;
        }
        let seq = hub.deliver_alone(session, &mut inner, (self, reached), cx);
        let in_part = inner
            .unsent
            .as_ref()
            .is_some_and(|unsent| unsent.taken.message.seq == seq);
        if cx.has_passed {
            self.counts.refused += 1;
        } else if inner.position >= seq && !in_part {
            self.counts.written += 1;
        } else if inner.closing.is_none() && hub.check_bounds(session, &mut inner, cx.now) {
            self.counts.waiting += 1;
        } else {
            self.counts.refused += 1;
        }
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        for reached in &self.reached {
            reached.lane.end_spread(&self.message);
        }
    }
}

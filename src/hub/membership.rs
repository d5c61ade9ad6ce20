//! The ways in and out of groups, and out of everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Hub;
use super::handle::Handle;
use super::log::Still;
use super::pump::{By, Pump};
use super::session::{Inner, Session, Sink};
use crate::metrics::Outcome;
use crate::wire::frame::{GatewayFrame, Scope};

/// Why a client is cut that is behind and changes its groups all the time.
const TOO_MANY_DEPARTED: &str = "slow consumer: too many changes of groups while it is behind";

impl Hub {
    /// Joins a group unless the session is in it.
    pub(super) fn enter_group(
        &self,
        still: &Still<'_>,
        session: &Arc<Session>,
        inner: &mut Inner,
        name: &str,
    ) {
        let lane = self.registry.find_or_make(still, Scope::Group, name);
        if inner.handle(&lane).is_some() {
            return;
        }
        let mut state = lane.lock();
        let slot = state.members.insert(Arc::clone(session));
        if inner.half_behind {
            state.half_behind += 1;
        }
        drop(state);
        if let Some(position) = inner.behind_at() {
            lane.note_behind(session.id(), slot, None, Some(position));
        }
        inner.handles.push(Handle {
            lane,
            from: self.log.head(),
            slot,
            own: false,
            muted: !session.sink().has_name_for(name),
        });
    }

    /// Joins `group` from now on and leaves JOINED with the session, also when it is in it already.
    /// Like every answer, JOINED goes out with the next pump.
    ///
    /// # Errors
    /// The number of groups that it is in, when that is the bound.
    pub fn join(&self, session: &Arc<Session>, group: &str) -> Result<(), usize> {
        self.join_locked(session, &mut session.lock(), group)
    }

    /// The same for a service: the device keeps the group over a disconnect.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn give(&self, session: &Arc<Session>, group: &str) -> Result<(), usize> {
        let mut inner = session.lock();
        self.join_locked(session, &mut inner, group)?;
        // Under the session's lock, so that it is still there.
        if let Some(user) = inner.user()
            && !self.options().remember_groups.is_zero()
        {
            self.devices
                .give(user, session.device(), session.id(), group);
        }
        Ok(())
    }

    /// What a service gives to a user, for those devices that are gone and remembered.
    pub(super) fn give_to_gone(&self, user: &str, group: &str, now: Instant) {
        let options = self.options();
        if !options.remember_groups.is_zero() {
            let since = self.remembered_since(now);
            let forgotten = self
                .devices
                .give_to_gone(user, since, group, options.max_groups);
            self.metrics.devices_forgotten.inc_by(forgotten);
        }
    }

    /// What a service takes from a user, of devices that are gone.
    pub(super) fn take_from_gone(&self, user: &str, group: &str) {
        self.devices.take_away(user, None, group);
    }

    /// A user is kicked: the groups that services gave to the device, or to all where it is empty,
    /// are not remembered any more.
    pub(super) fn forget_given(&self, user: &str, device: &str) {
        self.devices.forget(user, device);
    }

    fn join_locked(
        &self,
        session: &Arc<Session>,
        inner: &mut Inner,
        group: &str,
    ) -> Result<(), usize> {
        if !inner.is_attached() {
            return Ok(());
        }
        let is_in = self.registry.find(Scope::Group, group);
        let is_in = is_in.is_some_and(|lane| inner.handle(&lane).is_some());
        let groups = inner.groups();
        if !is_in && groups >= self.options().max_groups {
            return Err(groups);
        }
        if !is_in {
            let still = self.log.still();
            self.enter_group(&still, session, inner, group);
        }
        self.answer_locked(session, inner, &GatewayFrame::Joined { group });
        Ok(())
    }

    /// Leaves `group` and leaves LEFT with the session, also when it was not in it. What was
    /// accepted before is sent first, as far as the socket takes it; what still waits then because
    /// of this group alone is not delivered any more. Returns whether it was in it.
    pub fn leave(&self, session: &Arc<Session>, group: &str, cx: &mut Pump) -> bool {
        let mut inner = session.lock();
        self.pump_locked(session, &mut inner, By::Other, cx);
        if !inner.is_attached() {
            return false;
        }
        // Also where it is cut for it.
        if let Some(user) = inner.user() {
            self.devices.take_away(user, Some(session.device()), group);
        }
        let lane = self.registry.find(Scope::Group, group);
        let place = lane.and_then(|lane| {
            inner
                .handles
                .iter()
                .position(|handle| Arc::ptr_eq(&handle.lane, &lane))
        });
        if let Some(place) = place {
            let mut still = self.log.still();
            let before = self.ahead(&inner);
            let handle = inner.handles.remove(place);
            let lane = Arc::clone(&handle.lane);
            let fits = inner.depart(lane, (handle.from, self.log.head()));
            let left = before.saturating_sub(self.ahead(&inner));
            self.metrics.deliveries(Outcome::Left, left);
            self.exit(&mut still, session.id(), &handle, &inner);
            drop(still);
            if !fits {
                self.close_locked(session, &mut inner, self.slow(TOO_MANY_DEPARTED));
                return true;
            }
        }
        self.answer_locked(session, &mut inner, &GatewayFrame::Left { group });
        place.is_some()
    }

    pub(super) fn exit(&self, still: &mut Still<'_>, id: u64, handle: &Handle, inner: &Inner) {
        handle
            .lane
            .note_behind(id, handle.slot, inner.behind_at(), None);
        let mut state = handle.lane.lock();
        state
            .members
            .remove_if(handle.slot, |member| member.id() == id);
        if inner.half_behind {
            state.half_behind = state.half_behind.saturating_sub(1);
        }
        drop(state);
        self.registry.remove_if_empty(still, &handle.lane);
    }

    /// Has what is pushed to its user, or to everyone, come to the session from now on.
    pub fn unmute<S: Sink + ?Sized>(&self, session: &Session<S>, scope: Scope) {
        let mut inner = session.lock();
        let still = self.log.still();
        let head = self.log.head();
        let Some(handle) = inner.standing(scope).filter(|handle| handle.muted) else {
            return;
        };
        let (lane, from) = (Arc::clone(&handle.lane), handle.from);
        (handle.muted, handle.from) = (false, head);
        drop(still);
        // What is ahead of it may except it as what it was all along.
        if !inner.depart(lane, (from, head)) {
            self.close_locked(session, &mut inner, self.slow(TOO_MANY_DEPARTED));
        }
    }

    /// Has that come no more. As when it leaves a group, what was accepted before is sent first, as
    /// far as the socket takes it.
    pub fn mute<S: Sink + ?Sized>(&self, session: &Session<S>, scope: Scope, cx: &mut Pump) {
        let mut inner = session.lock();
        self.pump_locked(session, &mut inner, By::Other, cx);
        let before = self.ahead(&inner);
        let Some(handle) = inner.standing(scope) else {
            return;
        };
        handle.muted = true;
        let left = before.saturating_sub(self.ahead(&inner));
        self.metrics.deliveries(Outcome::Left, left);
    }

    /// Takes the session out of every lane; what was ahead of it ends as `outcome`.
    pub(super) fn leave_all<S: ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        outcome: Outcome,
    ) {
        let id = session.id();
        let mut still = self.log.still();
        self.metrics.deliveries(outcome, self.ahead(inner));
        let user = inner.user().map(Box::<str>::from);
        for handle in std::mem::take(&mut inner.handles) {
            self.exit(&mut still, id, &handle, inner);
        }
        inner.take_replay();
        inner.set_behind(None);
        inner.half_behind = false;
        inner.forget_departed();
        drop(still);
        if let Some(user) = user {
            let device = (&*user, session.device());
            let confirmed = session.confirmed.load(Ordering::Relaxed);
            let forgotten = self
                .devices
                .leave(device, id, confirmed, self.latest_tick());
            self.metrics.devices_forgotten.inc_by(forgotten);
        }
    }
}

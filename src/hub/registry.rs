//! Lanes by name, and the ways in and out of them: attach, join, leave, detach.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::DashMap;

use super::lane::Lane;
use super::log::Still;
use super::pump::{By, Pump};
use super::session::{CONTROL_MAX, Departed, Handle, Inner, Session, Sink};
use super::{Closing, Hub};
use crate::metrics::Outcome;
use crate::wire::frame::{GatewayFrame, Scope, Welcome};
use crate::wire::reason::{CloseCode, RETRY_NEVER};

/// Who is connected. A lane stands here while it has members.
pub(super) struct Registry {
    pub(super) all: Arc<Lane>,
    users: DashMap<Arc<str>, Arc<Lane>>,
    groups: DashMap<Arc<str>, Arc<Lane>>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let all = Arc::new(Lane::new(Scope::All, "".into()));
        Self {
            all,
            users: DashMap::new(),
            groups: DashMap::new(),
        }
    }

    const fn map(&self, scope: Scope) -> &DashMap<Arc<str>, Arc<Lane>> {
        match scope {
            Scope::Group => &self.groups,
            Scope::User | Scope::All => &self.users,
        }
    }

    pub(super) fn find(&self, scope: Scope, name: &str) -> Option<Arc<Lane>> {
        match scope {
            Scope::All => Some(Arc::clone(&self.all)),
            _ => self.map(scope).get(name).map(|lane| Arc::clone(&lane)),
        }
    }

    fn find_or_make(&self, _: &Still<'_>, scope: Scope, name: &str) -> Arc<Lane> {
        if let Some(lane) = self.find(scope, name) {
            return lane;
        }
        let name: Arc<str> = name.into();
        let lane = Arc::new(Lane::new(scope, Arc::clone(&name)));
        self.map(scope).insert(name, Arc::clone(&lane));
        lane
    }

    fn remove_if_empty(&self, _: &Still<'_>, lane: &Arc<Lane>) {
        let mut state = lane.lock();
        if !state.members.is_empty() {
            return;
        }
        state.clear();
        drop(state);
        if lane.scope != Scope::All {
            // Only this very lane: another may stand under the name by now.
            let map = self.map(lane.scope);
            map.remove_if(&lane.name, |_, held| Arc::ptr_eq(held, lane));
        }
    }

    pub(super) fn lanes(&self) -> usize {
        self.users.len() + self.groups.len()
    }
}

/// A client that has said HELLO and may come in.
pub struct Attach<'a> {
    /// Who it is.
    pub user: &'a str,
    /// Which of the user's devices.
    pub device: &'a str,
    /// The groups to be in from the first message on, valid and allowed.
    pub groups: &'a [&'a str],
    /// Frames to send after WELCOME and JOINED.
    pub refused: &'a [GatewayFrame<'a>],
    /// The heartbeat interval agreed on, in seconds.
    pub heartbeat_s: u16,
}

/// Why a client did not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// A newer connection of the same device was faster.
    #[error("a newer connection of the same device is attached")]
    Replaced,
    /// The user has as many devices as allowed.
    #[error("the user has {0} devices connected")]
    TooManyDevices(usize),
}

impl AttachError {
    /// The code of the CLOSE that tells it.
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Replaced => CloseCode::Replaced,
            Self::TooManyDevices(_) => CloseCode::TooMany,
        }
    }
}

impl Hub {
    /// Lets a client in, in place of an older connection of the same user and device, which gets
    /// CLOSE 2. WELCOME, JOINED for each group and CURRENT wait in the session for its first pump.
    ///
    /// # Errors
    /// When a newer connection is there or the user has too many devices; the sink comes back.
    pub fn attach<S: Sink>(
        &self,
        attach: &Attach<'_>,
        sink: S,
        cx: &Pump,
    ) -> Result<Arc<Session<S>>, (AttachError, S)> {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let (device, since) = (attach.device, self.tick(cx.now));
        let session = Session::new(id, device, attach.heartbeat_s, since, sink);
        let session = Arc::new(session);
        let shared: Arc<Session> = Arc::clone(&session) as _;
        let entered = {
            let mut inner = session.lock();
            self.enter(&shared, &mut inner, attach).inspect(|_| {
                session.received.store(self.tick(cx.now), Ordering::Relaxed);
                inner.sent = self.tick(cx.now);
                self.greet(id, &mut inner, attach);
            })
        };
        drop(shared);
        match entered {
            Ok(replaced) => {
                if let Some(old) = replaced {
                    let why = "replaced by a newer connection of the same device";
                    let close = Closing::code(CloseCode::Replaced, RETRY_NEVER, why);
                    self.close::<dyn Sink>(&old, close);
                }
                Ok(session)
            }
            Err(error) => {
                let sink = Arc::into_inner(session)
                    .expect("no lane has seen it")
                    .into_sink();
                Err((error, sink))
            }
        }
    }

    /// Puts the session into its lanes; what it returns was replaced by it, and is out of the lanes
    /// of all and of its user already.
    fn enter(
        &self,
        session: &Arc<Session>,
        inner: &mut Inner,
        attach: &Attach<'_>,
    ) -> Result<Option<Arc<Session>>, AttachError> {
        let still = self.log.still();
        let head = self.log.head();
        let user = self.registry.find_or_make(&still, Scope::User, attach.user);
        let mut state = user.lock();
        let twin = state
            .members
            .iter()
            .find(|(_, other)| other.device() == attach.device);
        let twin = twin.map(|(slot, other)| (slot, Arc::clone(other)));
        match &twin {
            Some((_, other)) if other.id() > session.id() => return Err(AttachError::Replaced),
            None if state.members.len() >= self.options().max_devices => {
                return Err(AttachError::TooManyDevices(state.members.len()));
            }
            Some((slot, other)) => {
                state
                    .members
                    .remove_if(*slot, |member| Arc::ptr_eq(member, other));
            }
            None => {}
        }
        let user_slot = state.members.insert(Arc::clone(session));
        drop(state);
        let mut all = self.registry.all.lock();
        if let Some((_, other)) = &twin {
            all.members
                .remove_if(other.all_slot(), |member| Arc::ptr_eq(member, other));
        }
        let all_slot = all.members.insert(Arc::clone(session));
        drop(all);
        session.all_slot.store(all_slot, Ordering::Relaxed);
        inner.position = head;
        inner.handles.reserve_exact(2 + attach.groups.len());
        let lane = Arc::clone(&self.registry.all);
        inner.handles.push(Handle {
            lane,
            from: head,
            slot: all_slot,
        });
        inner.handles.push(Handle {
            lane: user,
            from: head,
            slot: user_slot,
        });
        for name in attach.groups {
            self.enter_group(&still, session, inner, name);
        }
        Ok(twin.map(|(_, other)| other))
    }

    fn greet(&self, id: u64, inner: &mut Inner, attach: &Attach<'_>) {
        inner.control.push(&GatewayFrame::Welcome(Welcome {
            version: 1,
            resumed: false,
            heartbeat_s: attach.heartbeat_s,
            max_frame: self.options().max_frame,
            session: id,
            epoch: self.epoch,
            cursor: 0,
        }));
        for handle in inner.handles.iter().skip(2) {
            let joined = GatewayFrame::Joined {
                group: &handle.lane.name,
            };
            inner.control.push(&joined);
        }
        for frame in attach.refused {
            inner.control.push(frame);
        }
        inner.control.push(&GatewayFrame::Current { cursor: 0 });
    }

    /// Joins a group unless the session is in it.
    fn enter_group(
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
        });
    }

    /// Joins `group` from now on and leaves JOINED with the session, also when it is in it already.
    /// Like every answer, JOINED goes out with the next pump.
    ///
    /// # Errors
    /// The number of groups that it is in, when that is the bound.
    pub fn join(&self, session: &Arc<Session>, group: &str) -> Result<(), usize> {
        let mut inner = session.lock();
        if !inner.is_attached() {
            return Ok(());
        }
        let is_in = self.registry.find(Scope::Group, group);
        let is_in = is_in.is_some_and(|lane| inner.handle(&lane).is_some());
        let groups = inner.handles.len() - 2;
        if !is_in && groups >= self.options().max_groups {
            return Err(groups);
        }
        if !is_in {
            let still = self.log.still();
            self.enter_group(&still, session, &mut inner, group);
        }
        self.answer_locked(session, &mut inner, &GatewayFrame::Joined { group });
        Ok(())
    }

    /// Leaves `group` and leaves LEFT with the session, also when it was not in it. What was
    /// accepted before is sent first, as far as the socket takes it; what still waits then because
    /// of this group alone is not delivered any more.
    pub fn leave(&self, session: &Arc<Session>, group: &str, cx: &mut Pump) {
        let mut inner = session.lock();
        self.pump_locked(session, &mut inner, By::Other, cx);
        if !inner.is_attached() {
            return;
        }
        let lane = self.registry.find(Scope::Group, group);
        let place = lane.and_then(|lane| {
            inner
                .handles
                .iter()
                .position(|handle| Arc::ptr_eq(&handle.lane, &lane))
        });
        if let Some(place) = place {
            let still = self.log.still();
            let before = self.ahead(&inner);
            let handle = inner.handles.remove(place);
            if inner.position < self.log.head() {
                let (lane, from) = (Arc::clone(&handle.lane), handle.from);
                let aside = inner.aside.get_or_insert_default();
                let (until, earlier) = (self.log.head(), aside.departed.take());
                aside.departed = Some(Box::new(Departed {
                    lane,
                    from,
                    until,
                    earlier,
                }));
            }
            let left = before.saturating_sub(self.ahead(&inner));
            self.metrics.deliveries(Outcome::Left, left);
            self.exit(&still, session.id(), &handle, &inner);
        }
        self.answer_locked(session, &mut inner, &GatewayFrame::Left { group });
    }

    fn exit(&self, still: &Still<'_>, id: u64, handle: &Handle, inner: &Inner) {
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

    /// Takes the session out of every lane; what was ahead of it ends as `outcome`.
    pub(super) fn leave_all(&self, id: u64, inner: &mut Inner, outcome: Outcome) {
        let still = self.log.still();
        self.metrics.deliveries(outcome, self.ahead(inner));
        for handle in std::mem::take(&mut inner.handles) {
            self.exit(&still, id, &handle, inner);
        }
        inner.set_behind(None);
        inner.half_behind = false;
        inner.forget_departed();
    }

    /// Leaves an answer with the session, to go out with the next pump.
    pub fn answer<S: ?Sized>(&self, session: &Session<S>, frame: &GatewayFrame<'_>) {
        self.answer_locked(session, &mut session.lock(), frame);
    }

    fn answer_locked<S: ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        frame: &GatewayFrame<'_>,
    ) {
        if inner.closing.is_some() {
            return;
        }
        if inner.control.rest().len() > CONTROL_MAX {
            self.close_locked(session, inner, self.slow("slow consumer: reads no answers"));
            return;
        }
        inner.control.push(frame);
    }

    /// The sessions of a user.
    pub fn sessions_of(&self, user: &str) -> Vec<Arc<Session>> {
        self.members(Scope::User, user)
    }

    /// Every session; a copy, for shutdown and sweeps.
    pub fn everyone(&self) -> Vec<Arc<Session>> {
        self.members(Scope::All, "")
    }

    fn members(&self, scope: Scope, name: &str) -> Vec<Arc<Session>> {
        let lane = self.registry.find(scope, name);
        lane.map_or_else(Vec::new, |lane| {
            lane.lock()
                .members
                .iter()
                .map(|(_, session)| Arc::clone(session))
                .collect()
        })
    }
}

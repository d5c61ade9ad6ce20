//! Lanes by name, and how a client comes in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dashmap::DashMap;

use super::attach::{Attach, AttachError};
use super::control::CONTROL_MAX;
use super::handle::Handle;
use super::lane::Lane;
use super::log::Still;
use super::pump::Pump;
use super::replay::Resumed;
use super::session::{Inner, Session, Sink};
use super::{Closing, Hub};
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

    pub(super) fn find_or_make(&self, _: &Still<'_>, scope: Scope, name: &str) -> Arc<Lane> {
        if let Some(lane) = self.find(scope, name) {
            return lane;
        }
        let name: Arc<str> = name.into();
        let lane = Arc::new(Lane::new(scope, Arc::clone(&name)));
        self.map(scope).insert(name, Arc::clone(&lane));
        lane
    }

    /// Takes a lane away that has neither members nor kept messages.
    pub(super) fn remove_if_empty(&self, still: &mut Still<'_>, lane: &Arc<Lane>) {
        let mut state = lane.lock();
        if !state.members.is_empty() {
            return;
        }
        state.clear();
        if lane.scope == Scope::All || !state.keeps_nothing() {
            return;
        }
        if let Some(shelf) = state.shelf.take() {
            still.floor.raise(shelf.floor);
        }
        drop(state);
        // Only this very lane: another may stand under the name by now.
        let map = self.map(lane.scope);
        map.remove_if(&lane.name, |_, held| Arc::ptr_eq(held, lane));
    }

    pub(super) fn lanes(&self) -> usize {
        self.users.len() + self.groups.len()
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
        let since = self.remembered_since(cx.now);
        let recalled = self.devices.recall(attach.user, attach.device, id, since);
        let (device, now) = (attach.device, self.tick(cx.now));
        let session = Session::new(id, device, attach.heartbeat_s, now, sink);
        let session = Arc::new(session);
        let shared: Arc<Session> = Arc::clone(&session) as _;
        let entered = {
            let mut inner = session.lock();
            let entered = self.enter(&shared, &mut inner, attach, &recalled.groups, cx.now);
            entered.map(|(replaced, resumed)| {
                session.received.store(self.tick(cx.now), Ordering::Relaxed);
                inner.sent = self.tick(cx.now);
                self.of_door(session.sink()).fetch_add(1, Ordering::Relaxed);
                self.greet(&session, &mut inner, attach, &resumed);
                let twin = replaced
                    .as_ref()
                    .map(|old| old.confirmed.load(Ordering::Relaxed));
                let known = recalled.confirmed.max(twin.unwrap_or(0));
                let handled = if resumed.handled { resumed.cursor } else { 0 };
                session
                    .confirmed
                    .store(known.max(handled), Ordering::Relaxed);
                if handled > known {
                    self.note_confirmed(session.sink(), &inner, (known, handled), None);
                }
                if let Some(replay) = resumed.replay {
                    inner.aside.get_or_insert_default().replay = Some(Box::new(replay));
                    // From now on only its own task writes to it.
                    self.list_behind(id, &mut inner);
                }
                replaced
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
                let device = (attach.user, attach.device);
                self.devices.leave(device, id, 0, self.tick(cx.now));
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
        given: &[Box<str>],
        now: Instant,
    ) -> Result<(Option<Arc<Session>>, Resumed), AttachError> {
        let mut still = self.log.still();
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
            own: false,
            muted: attach.muted.all,
        });
        inner.handles.push(Handle {
            lane: user,
            from: head,
            slot: user_slot,
            own: false,
            muted: attach.muted.user,
        });
        let given = given.iter().map(|group| &**group);
        let max_groups = self.options().max_groups;
        for name in attach.groups.iter().copied().chain(given) {
            if inner.groups() < max_groups {
                self.enter_group(&still, session, inner, name);
            }
        }
        let staying = inner.handles.len();
        for name in attach.resumed_groups {
            if inner.groups() < max_groups {
                self.enter_group(&still, session, inner, name);
            }
        }
        // It does not go on without a group that it had.
        let is_in = |name: &&str| {
            let mut handles = inner.handles.iter().skip(2);
            handles.any(|handle| *handle.lane.name == **name)
        };
        let is_whole = attach.resumed_groups.iter().all(is_in);
        let resume = attach.resume.filter(|_| is_whole);
        let at = (head, now);
        let resumed = Resumed::decide(resume, self.epoch(), inner, &still, at);
        if attach.or_anew && !resumed.promised {
            self.begin_anew(&mut still, session.id(), inner, staying);
        }
        inner.position = resumed.position;
        for handle in &mut inner.handles {
            handle.from = resumed.position;
        }
        Ok((twin.map(|(_, other)| other), resumed))
    }

    /// A session that has lost what it was to go on from keeps nothing of it.
    fn begin_anew(&self, still: &mut Still<'_>, id: u64, inner: &mut Inner, staying: usize) {
        for handle in inner.handles.split_off(staying) {
            self.exit(still, id, &handle, inner);
        }
        for handle in inner.handles.iter_mut().take(2) {
            handle.muted = true;
        }
    }

    fn greet<S: Sink>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        attach: &Attach<'_>,
        resumed: &Resumed,
    ) {
        let (id, sink) = (session.id(), session.sink());
        let cursor = resumed.cursor;
        inner.shown = cursor;
        let welcome = GatewayFrame::Welcome(Welcome {
            version: 1,
            resumed: resumed.promised,
            heartbeat_s: attach.heartbeat_s,
            max_frame: self.options().max_frame,
            session: id,
            epoch: self.epoch(),
            cursor,
        });
        inner.say(sink, &welcome);
        for handle in inner.handles.iter().skip(2) {
            let group = &handle.lane.name;
            let joined = GatewayFrame::Joined { group };
            inner.control.push(|out| sink.answer(&joined, out));
        }
        for frame in attach.refused {
            inner.say(sink, frame);
        }
        // Behind what is replayed, if anything is.
        if resumed.replay.is_none() {
            let cursor = cursor.max(resumed.upto);
            inner.shown = cursor;
            inner.say(sink, &GatewayFrame::Current { cursor });
        }
    }

    /// Leaves an answer with the session, to go out with the next pump.
    pub fn answer<S: Sink + ?Sized>(&self, session: &Session<S>, frame: &GatewayFrame<'_>) {
        self.answer_locked(session, &mut session.lock(), frame);
    }

    /// The same with an answer that only the client's protocol knows, in its own bytes.
    pub fn answer_with<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        self.put_answer(session, &mut session.lock(), put);
    }

    pub(super) fn answer_locked<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        frame: &GatewayFrame<'_>,
    ) {
        self.put_answer(session, inner, |out| session.sink().answer(frame, out));
    }

    fn put_answer<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        if inner.closing.is_some() {
            return;
        }
        if inner.control.rest().len() > CONTROL_MAX {
            self.close_locked(session, inner, self.slow("slow consumer: reads no answers"));
            return;
        }
        inner.control.push(put);
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

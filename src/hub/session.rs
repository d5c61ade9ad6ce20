//! One attached client: a position in the log, the lanes it reads, and a sink.
//!
//! ```text
//!            pump: everything taken                pump: would block
//!   level ───────────────────────────► level ─────────────────────────► behind ──► (its task waits
//!   for writable)
//!     ▲                                                                   │ │
//!     └────────────── the task's pump reaches the head ───────────────────┘ │
//!   level, behind ── a cause to end ──► closing: detached from every lane ◄─┘ over a bound
//! ```

use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::control::{CONTROL_FULL, Control};
use super::end::Ahead;
use super::grant::Grant;
use super::handle::{DEPARTED_MAX, Departed, Handle};
use super::lane::{Lag, Lane, Taken};
use super::message::{Message, Named};
use super::replay::Replay;
pub use super::sink::Sink;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wire::encoding::Encoding;
use crate::wire::frame::{GatewayFrame, Scope};
use crate::wire::reason::CloseReason;

/// A session: what the registry, the lanes and the client's own task share.
pub struct Session<S: ?Sized = dyn Sink> {
    id: u64,
    device: Box<str>,
    heartbeat_s: u16,
    /// When it came in, in the hub's ticks.
    since: u32,
    /// The slot in the lane of all. Read and written under the log's lock: a takeover frees it
    /// without this session's lock.
    pub(super) all_slot: AtomicU32,
    /// When the last whole frame came in, in the hub's ticks.
    pub(super) received: AtomicU32,
    /// The highest number that the device is known to have handled; 0 when nothing is.
    pub(super) confirmed: AtomicU64,
    /// Held while a pump writes; the socket does not block. Taken before the log's lock, never
    /// after.
    inner: Mutex<Inner>,
    sink: S,
}

/// What stands under the session's lock.
#[derive(Default)]
pub(super) struct Inner {
    /// Everything up to here that addresses the session has been handed to the sink (but for
    /// `unsent`).
    pub(super) position: u64,
    /// All, the user, the groups; empty once it is detached.
    pub(super) handles: Vec<Handle>,
    /// What few sessions have, behind one pointer: an idle session shall hold no more for it.
    pub(super) aside: Option<Box<Aside>>,
    /// The rest of the message at `position` that the sink took in part.
    pub(super) unsent: Option<Box<Unsent>>,
    /// Answers, which go between messages.
    pub(super) control: Control,
    /// The place under which the lanes list the session as behind. While it is one of those, only
    /// its own task writes.
    /// One more than it, so that a level session needs no word to say so.
    behind: Option<NonZeroU64>,
    /// Behind by half of a bound, and counted so in its lanes.
    pub(super) half_behind: bool,
    /// What comes next has to wait for the client's acknowledgements.
    pub(super) is_held: bool,
    /// Why it ends. Set once.
    pub(super) closing: Option<CloseReason>,
    /// When something was last written, in the hub's ticks.
    pub(super) sent: u32,
    waker: Option<Waker>,
    /// The highest number that the client was told of: WELCOME's cursor, a message's, CURRENT's.
    pub(super) shown: u64,
}

/// What few sessions have.
#[derive(Default)]
pub(super) struct Aside {
    /// What its token grants; none without tokens.
    pub(super) grant: Option<Grant>,
    /// Groups that it left while something was ahead of it, which those may be exceptions of. Gone
    /// when it is level. At most [`DEPARTED_MAX`].
    pub(super) departed: Vec<Departed>,
    /// What is kept for it from before it came, until it has been sent.
    pub(super) replay: Option<Box<Replay>>,
    /// Some of its handles are for shares of spread messages.
    pub(super) has_own_lanes: bool,
    /// What was ahead of it when it got its cause to end, if something was.
    pub(super) at_end: Option<Box<Ahead>>,
}

impl Aside {
    const fn is_empty(&self) -> bool {
        let Self {
            grant,
            departed,
            replay,
            has_own_lanes,
            at_end,
        } = self;
        let is_bare = grant.is_none() && departed.is_empty() && at_end.is_none();
        is_bare && replay.is_none() && !*has_own_lanes
    }
}

pub(super) struct Unsent {
    pub(super) taken: Taken,
    pub(super) offset: usize,
}

impl Inner {
    /// Nothing waits here beside what the lanes hold.
    pub(super) fn is_idle(&self) -> bool {
        self.unsent.is_none() && self.control.rest().is_empty()
    }

    /// The place under which the lanes list it as behind.
    pub(super) fn behind_at(&self) -> Option<u64> {
        self.behind.map(|behind| behind.get() - 1)
    }

    pub(super) const fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    pub(super) fn set_behind(&mut self, place: Option<u64>) {
        self.behind = place.and_then(|place| NonZeroU64::new(place + 1));
    }

    pub(super) fn is_attached(&self) -> bool {
        !self.handles.is_empty()
    }

    /// How many groups it is in.
    pub(super) fn groups(&self) -> usize {
        let lanes = self.handles.iter().filter(|handle| !handle.own);
        lanes.count().saturating_sub(2)
    }

    /// Whose session it is; nobody's once it is detached.
    pub(super) fn user(&self) -> Option<&str> {
        self.handles.get(1).map(|handle| &*handle.lane.name)
    }

    /// The handle of `lane`, if the session is in it.
    pub(super) fn handle(&self, lane: &Arc<Lane>) -> Option<&Handle> {
        self.handles
            .iter()
            .find(|handle| Arc::ptr_eq(&handle.lane, lane))
    }

    /// The place after which what stands in a lane counts.
    pub(super) fn after(&self, handle: &Handle) -> u64 {
        if handle.muted {
            return u64::MAX;
        }
        self.needs_after().max(handle.from)
    }

    /// Everything that its lanes hold for it, unordered.
    pub(super) fn take_waiting(&self, out: &mut Vec<Taken>) {
        for handle in &self.handles {
            let range = (self.after(handle), u64::MAX);
            handle
                .lane
                .take(range, usize::MAX, &|message| self.passes_by(message), out);
        }
    }

    /// Whether an exception of the message at `seq` is about this session.
    pub(super) fn is_excepted(&self, exceptions: &[Named], seq: u64) -> bool {
        exceptions.iter().any(|named| {
            let is_meant = |lane: &Lane| lane.scope == named.scope && *lane.name == *named.name;
            let mut handles = self.handles.iter();
            handles.any(|handle| handle.from < seq && is_meant(&handle.lane))
                || self.departed().any(|departed| {
                    (departed.from + 1..=departed.until).contains(&seq) && is_meant(&departed.lane)
                })
        })
    }

    /// The same of a message.
    pub(super) fn passes_by(&self, message: &Message) -> bool {
        let exceptions = message.exceptions();
        !exceptions.is_empty() && self.is_excepted(exceptions, message.seq)
    }

    fn departed(&self) -> impl Iterator<Item = &Departed> {
        let aside = self.aside.as_ref();
        aside.into_iter().flat_map(|aside| &aside.departed)
    }

    /// The handle of the lane of all, or of its user's.
    pub(super) fn standing(&mut self, scope: Scope) -> Option<&mut Handle> {
        match scope {
            Scope::All => self.handles.first_mut(),
            Scope::User => self.handles.get_mut(1),
            Scope::Group => None,
        }
    }

    /// Notes a membership that has ended while something was ahead of the session. False when there
    /// are too many of them.
    pub(super) fn depart(&mut self, lane: Arc<Lane>, (from, until): (u64, u64)) -> bool {
        if until <= from || until <= self.position {
            return true;
        }
        let departed = &mut self.aside.get_or_insert_default().departed;
        departed.push(Departed { lane, from, until });
        departed.len() <= DEPARTED_MAX
    }

    /// Lets go of the groups that it has left: nothing is ahead of it any more.
    pub(super) fn forget_departed(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.departed = Vec::new();
            if aside.is_empty() {
                self.aside = None;
            }
        }
    }

    /// What it replays.
    pub(super) fn replay(&self) -> Option<&Replay> {
        self.aside.as_ref()?.replay.as_deref()
    }

    /// Its replay is over, or does not matter any more.
    pub(super) fn take_replay(&mut self) -> Option<Box<Replay>> {
        let aside = self.aside.as_mut()?;
        let replay = aside.replay.take();
        if aside.is_empty() {
            self.aside = None;
        }
        replay
    }

    /// The place up to which its lanes hold nothing for it.
    pub(super) fn needs_after(&self) -> u64 {
        self.replay()
            .map_or(self.position, |replay| replay.until.max(self.position))
    }

    /// The kernel has taken a whole message.
    pub(super) fn progress(&mut self, now: Instant) {
        if let Some(replay) = self.aside.as_mut().and_then(|aside| aside.replay.as_mut()) {
            replay.progress = now;
        }
    }

    /// A message has begun to go out.
    pub(super) fn show<S: Sink + ?Sized>(
        &mut self,
        sink: &S,
        message: &Message,
        encoding: Encoding,
    ) {
        let number = message.number();
        self.shown = self.shown.max(number);
        if number != 0 && encoding != Encoding::Native {
            sink.sent(number, encoding);
        }
    }

    /// Leaves an answer, to go out with the next pump.
    pub(super) fn say<S: Sink + ?Sized>(&mut self, sink: &S, frame: &GatewayFrame<'_>) {
        self.control.push(|out| sink.answer(frame, out));
    }

    /// What its token grants.
    pub(super) fn grant(&self) -> Option<&Grant> {
        self.aside.as_ref()?.grant.as_ref()
    }

    /// How far behind the session is, over its lanes.
    pub(super) fn lag(&self) -> Lag {
        let mut lag = Lag::default();
        for handle in &self.handles {
            lag.add(handle.lane.lag(self.after(handle)));
        }
        // What is replayed counts in no bound.
        if let (Some(unsent), None) = (&self.unsent, self.replay()) {
            lag.add(Lag {
                messages: 1,
                bytes: (unsent.taken.frame_len() - unsent.offset) as u64,
                oldest: Some(unsent.taken.message.accepted),
            });
        }
        lag
    }

    /// Wakes the client's own task.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl<S> Session<S> {
    pub(super) fn new(id: u64, device: &str, heartbeat_s: u16, since: u32, sink: S) -> Self {
        Self {
            id,
            device: device.into(),
            heartbeat_s,
            since,
            all_slot: AtomicU32::new(0),
            received: AtomicU32::new(0),
            confirmed: AtomicU64::new(0),
            inner: Mutex::new(Inner::default()),
            sink,
        }
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }
}

impl<S: ?Sized> Session<S> {
    /// Unique in this process, and higher than that of every session attached before: the
    /// generation of a takeover.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The device's name; may be empty.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The heartbeat interval agreed on, in seconds.
    pub const fn heartbeat_s(&self) -> u16 {
        self.heartbeat_s
    }

    /// When it came in, in the hub's ticks.
    pub(super) const fn since(&self) -> u32 {
        self.since
    }

    /// The sink, for the task that reads from the same socket.
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Leaves the waker of the client's own task, and tells what that task has to wait for.
    pub fn poll_wants(&self, waker: &Waker) -> Wants {
        let mut inner = self.lock();
        if !inner.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            inner.waker = Some(waker.clone());
        }
        Wants {
            closing: inner.closing,
            writable: match inner.is_idle() {
                true => inner.is_behind() && !inner.is_held,
                false => inner.is_behind() || inner.closing.is_some(),
            },
            readable: inner.control.rest().len() < CONTROL_FULL,
        }
    }

    /// Whether the client reads its answers, so that the gateway reads from it.
    pub fn is_read_from(&self) -> bool {
        self.lock().control.rest().len() < CONTROL_FULL
    }

    /// Whether nothing was begun or answered that has not been written.
    pub fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// The slot in the lane of all.
    pub(super) fn all_slot(&self) -> u32 {
        self.all_slot.load(Ordering::Relaxed)
    }
}

/// What a client's task has to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// The cause to end, once there is one.
    pub closing: Option<CloseReason>,
    /// Something waits for the socket.
    pub writable: bool,
    /// The client reads its answers, so it may ask for more.
    pub readable: bool,
}

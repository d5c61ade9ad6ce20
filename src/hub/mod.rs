//! Who is connected, and what goes to whom. Synchronous: nothing here waits for a client, and no
//! clock is read here.
//!
//! There are no queues for clients. An accepted push is one immutable [`message`], appended under
//! the log's lock to the [`lane`]s that it addresses: one for all, one for each user, one for each
//! group. A [`session`] holds a handle to each of its lanes and one integer, its position. To
//! [`pump`] it is to take, under its own lock, what its lanes hold after that position, in order,
//! and to write it at once. A [`walk`] pumps the members of the lanes that a message was appended
//! to; a session whose sink would block is listed as *behind* in its lanes and is served by its own
//! task from then on. A message is dropped when a walk that came later than it has been everywhere
//! and nobody who is behind stands before it.
//!
//! - Lock order: session, then log, then lane. A shard of the registry is let go before any other
//!   lock is asked for.
//! - No system call under the log's lock or a lane's; the only one under a session's is a write
//!   that does not wait.
//! - Members join, leave, attach and detach under the log's lock, where the head stands still: a
//!   handle's `from` is exact.
//! - Nothing here spawns but [`job`], and it does so through the ledger.

pub mod access;
mod attach;
mod batch;
mod behind;
mod bounds;
mod collapse;
pub mod command;
mod confirm;
mod control;
mod devices;
mod end;
pub mod freshness;
pub mod grant;
mod handle;
mod history;
pub mod holds;
pub mod inspect;
pub mod intake;
pub mod job;
pub mod keeper;
pub mod kept;
pub(crate) mod lane;
mod log;
mod membership;
pub(crate) mod message;
pub mod pump;
mod registry;
pub mod remembered;
mod replay;
mod requests;
pub mod session;
mod shares;
mod shelf;
mod sink;
mod slots;
pub mod spread;
mod strangers;
mod sweep;
mod usage;
pub mod walk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{Metrics, Outcome};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::wire::encoding::Protocol;
use crate::wire::frame::{GatewayFrame, Scope};
use crate::wire::reason::{CloseCode, CloseReason};
use bounds::Bounds;
use devices::Devices;
use log::Log;
use registry::Registry;
use session::{Inner, Session};

pub use attach::{Attach, AttachError, Muted};
pub use confirm::NeverSent;
pub use end::Ahead;
pub use history::{Kept, KeptMessage, Place, Row, Whose};
pub use log::{Appended, Placed, Push, Refused, Target};

pub use replay::Resume;
pub use session::Wants;
pub use sink::{Begun, Due, Sink};
pub use sweep::Sweep;
pub use usage::KeyUse;

#[cfg(test)]
mod tests;

/// The bounds of the hub. They can be replaced while it works; a lower one cuts nobody off: it is
/// what the next client, and the next message, is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sessions of one user.
    pub max_devices: usize,
    /// Groups of one session.
    pub max_groups: usize,
    /// How far one client may be behind in the log: messages,
    pub queue_messages: u64,
    /// bytes of frames,
    pub queue_bytes: u64,
    /// and the age of the oldest.
    pub queue_age: Duration,
    /// Bytes of messages held for clients that are behind, together.
    pub memory_budget: u64,
    /// Over which time clients that are cut together are told to come back.
    pub retry_spread: Duration,
    /// The largest frame that a client is sent, told in WELCOME.
    pub max_frame: u32,
    /// Messages that are kept for who is not connected,
    pub history_messages: u64,
    /// and the bytes that they may cost.
    pub history_bytes: u64,
    /// How long the groups that services gave to a device outlive its disconnect.
    pub remember_groups: Duration,
}

/// The least that a client is asked to wait before it comes back, in milliseconds.
const RETRY_MIN_MS: u32 = 500;

/// A random moment of `spread`, in milliseconds: not before 500, where it has as many.
pub fn retry_within(spread: Duration) -> u32 {
    let spread = u32::try_from(spread.as_millis()).unwrap_or(u32::MAX / 2);
    rand::random_range(RETRY_MIN_MS.min(spread)..=spread)
}

/// Why a session ends, and what its client is told.
#[derive(Clone, Copy, Debug)]
pub struct Closing<'a> {
    /// The cause.
    pub reason: CloseReason,
    /// When to come back, for a cause with a code.
    pub retry_after_ms: u32,
    /// A text for people, for a cause with a code; at most 255 bytes.
    pub text: &'a str,
}

impl<'a> Closing<'a> {
    /// A cause that the client is told.
    pub const fn code(code: CloseCode, retry_after_ms: u32, text: &'a str) -> Self {
        Self {
            reason: CloseReason::Code(code),
            retry_after_ms,
            text,
        }
    }

    /// A cause that nobody is there to be told.
    pub const fn silent(reason: CloseReason) -> Self {
        Self {
            reason,
            retry_after_ms: 0,
            text: "",
        }
    }

    /// The CLOSE that tells it, for a cause with a code.
    pub const fn frame(&self) -> Option<GatewayFrame<'a>> {
        match self.reason {
            CloseReason::Code(code) => Some(GatewayFrame::Close {
                code,
                retry_after_ms: self.retry_after_ms,
                reason: self.text,
            }),
            _ => None,
        }
    }
}

/// The registry, the log, and what they are bounded by.
pub struct Hub {
    bounds: Bounds,
    metrics: Arc<Metrics>,
    log: Log,
    registry: Registry,
    devices: Devices,
    /// Sessions by what is spoken at their doors.
    by_door: [AtomicU64; Protocol::ALL.len()],
    next_session: AtomicU64,
    /// The moment from which ticks count.
    started: Instant,
    /// Told in WELCOME; another one at every start without a store.
    epoch: AtomicU64,
    /// The tick of the last look at what expires, for those who have no clock at hand.
    latest_tick: AtomicU32,
}

impl Hub {
    /// An empty hub. `epoch` is any number but 0.
    pub fn new(options: Options, metrics: Arc<Metrics>, epoch: u64, now: Instant) -> Self {
        Self {
            bounds: Bounds::new(&options),
            metrics,
            log: Log::new(),
            registry: Registry::new(),
            devices: Devices::default(),
            by_door: Default::default(),
            next_session: AtomicU64::new(1),
            started: now,
            epoch: AtomicU64::new(epoch),
            latest_tick: AtomicU32::new(0),
        }
    }

    /// The epoch of the numbers, before anybody is told another.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// The bounds of this moment.
    pub fn options(&self) -> Options {
        self.bounds.load()
    }

    /// Replaces the bounds. Who is connected stays; how far one may be behind holds for everybody
    /// from the next look at who is.
    pub fn set_options(&self, options: &Options) {
        self.bounds.store(options);
    }

    /// What the hub counts in.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Sessions that are attached.
    pub fn sessions(&self) -> usize {
        self.registry.all.lock().members.len()
    }

    /// The same by what is spoken at their doors. A session that is being replaced is in here until
    /// it has been told so.
    pub fn sessions_by_door(&self) -> [u64; Protocol::ALL.len()] {
        self.by_door
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    fn of_door<S: Sink + ?Sized>(&self, sink: &S) -> &AtomicU64 {
        &self.by_door[sink.protocol().index()]
    }

    /// Sessions for which something waits.
    pub fn sessions_behind(&self) -> usize {
        self.registry.all.lock().behind_len()
    }

    /// Users and groups that have a lane.
    pub fn lanes(&self) -> usize {
        self.registry.lanes()
    }

    /// Messages and bytes that the log holds.
    pub fn held(&self) -> (u64, u64) {
        (self.log.totals.messages(), self.log.totals.bytes())
    }

    /// Deliveries that wait for clients which are behind. One that two of a client's lanes hold
    /// counts twice: to tell them apart would cost a scrape all that waits.
    pub fn deliveries_waiting(&self) -> u64 {
        let behind: Vec<_> = self.registry.all.lock().all_behind().cloned().collect();
        behind
            .iter()
            .map(|session| session.lock().lag().messages)
            .sum()
    }

    /// Ends a session: it is detached at once, the CLOSE (if there is one) goes behind what was
    /// begun, and its task is woken. False when it had a cause to end already.
    pub fn close<S: Sink + ?Sized>(&self, session: &Session<S>, closing: Closing<'_>) -> bool {
        self.close_locked(session, &mut session.lock(), closing)
    }

    fn close_locked<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        closing: Closing<'_>,
    ) -> bool {
        if inner.closing.is_some() {
            return false;
        }
        let reason = closing.reason;
        let outcome = match reason {
            CloseReason::Code(CloseCode::Slow) => Outcome::Slow,
            _ => Outcome::Closed,
        };
        inner.closing = Some(reason);
        if inner.is_attached() {
            let ahead = inner.lag();
            self.leave_all(session, inner, outcome);
            self.of_door(session.sink()).fetch_sub(1, Ordering::Relaxed);
            if ahead.messages > 0 {
                inner.aside.get_or_insert_default().at_end = Some(Box::new(ahead.into()));
            }
        }
        let mut is_told = false;
        inner
            .control
            .push(|out| is_told = session.sink().close(&closing, out));
        if !is_told {
            // The peer is gone, or said BYE: there is nobody to finish for.
            inner.unsent = None;
            inner.control.clear();
        }
        inner.wake();
        true
    }

    fn slow<'a>(&self, text: &'a str) -> Closing<'a> {
        Closing::code(CloseCode::Slow, self.retry_after_ms(), text)
    }

    /// When to come back, differently for each client: those that are cut together shall not return
    /// together.
    pub fn retry_after_ms(&self) -> u32 {
        retry_within(self.options().retry_spread)
    }

    /// Whole seconds since the hub began: precise enough for heartbeats, of which the shortest is 5
    /// s.
    pub(crate) fn tick(&self, now: Instant) -> u32 {
        u32::try_from(self.age(now).as_secs()).unwrap_or(u32::MAX)
    }

    /// The tick of the last look at what expires: a second old at most.
    fn latest_tick(&self) -> u32 {
        self.latest_tick.load(Ordering::Relaxed)
    }

    /// How long ago the hub began.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The tick since when those who are gone are remembered.
    fn remembered_since(&self, now: Instant) -> u32 {
        let remember = self.options().remember_groups.as_secs();
        let remember = u32::try_from(remember).unwrap_or(u32::MAX);
        self.tick(now).saturating_sub(remember)
    }

    /// Devices that are not connected and of which something is remembered.
    pub fn devices_gone(&self) -> usize {
        self.devices.gone()
    }

    /// How many sessions `target` has.
    pub fn presence(&self, target: Target<'_>) -> usize {
        let lane = match target {
            Target::All => return self.sessions(),
            Target::User(name) => self.registry.find(Scope::User, name),
            Target::Group(name) => self.registry.find(Scope::Group, name),
        };
        lane.map_or(0, |lane| lane.lock().members.len())
    }
}

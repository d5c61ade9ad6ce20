//! What time alone brings about: heartbeats, the end of tokens, and the age of what waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pump::{By, Pump, Pumped};
use super::session::{Inner, Session, Sink};
use super::{Closing, Hub};
use crate::wire::frame::GatewayFrame;
use crate::wire::reason::{CloseCode, RETRY_NEVER};

/// One round over everybody, in steps, so that the caller can yield. A round a second is meant.
#[derive(Default)]
pub struct Sweep {
    slot: u32,
    members: Vec<Arc<Session>>,
}

impl Sweep {
    /// Looks at up to `max` sessions, at `wall_ms` (unix milliseconds); true at the end of the
    /// round.
    pub fn step(&mut self, hub: &Hub, max: usize, wall_ms: u64, cx: &mut Pump) -> bool {
        let next = hub
            .registry
            .all
            .lock()
            .members
            .batch(self.slot, max, &mut self.members);
        for session in self.members.drain(..) {
            hub.check_time(&*session, wall_ms, cx);
        }
        self.slot = next.unwrap_or(0);
        next.is_none()
    }
}

impl Hub {
    /// Closes whose token has ended and who has been silent for 2.5 intervals, sends PING where
    /// nothing was sent for one (or heard, of one that has to be asked), and closes who is over a
    /// bound.
    fn check_time<S: Sink + ?Sized>(&self, session: &Session<S>, wall_ms: u64, cx: &mut Pump) {
        let now = self.tick(cx.now);
        let interval = u32::from(session.heartbeat_s());
        let silent = now.saturating_sub(session.received.load(Ordering::Relaxed));
        let mut inner = session.lock();
        if inner.grant().is_some_and(|grant| grant.is_over(wall_ms)) {
            let why = "the token has expired";
            let closing = Closing::code(CloseCode::Expired, RETRY_NEVER, why);
            self.close_locked(session, &mut inner, closing);
        // In whole ticks: more than 2.5 intervals, never less.
        } else if silent > interval * 5 / 2 {
            let retry = self.retry_after_ms();
            let closing = Closing::code(CloseCode::Heartbeat, retry, "heartbeat missed");
            self.close_locked(session, &mut inner, closing);
        } else if self.check_bounds(session, &mut inner, cx.now)
            && now.saturating_sub(inner.sent) >= interval
            && inner.is_idle()
            && inner.closing.is_none()
        {
            self.tell_current(session, &mut inner, cx);
            inner.say(session.sink(), &GatewayFrame::Ping(&[]));
            // Also where a door has no word for it: once an interval is often enough.
            inner.sent = now;
            self.pump_locked(session, &mut inner, By::Other, cx);
        } else if silent >= interval
            && session.sink().has_to_be_asked()
            && inner.closing.is_none()
            && inner.control.rest().is_empty()
        {
            // What is pushed to it shows the client that the gateway lives, and not the other way
            // round. Once a round until it answers: a few bytes.
            inner.say(session.sink(), &GatewayFrame::Ping(&[]));
            self.pump_locked(session, &mut inner, By::Other, cx);
        }
    }

    /// Tells a client that has seen nothing for long how far the log is: its cursor is to be no
    /// older than it must, for what was dropped is known only by its number.
    fn tell_current<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        cx: &mut Pump,
    ) {
        // Before the head: level there, it has been sent all up to this number.
        let cursor = self.log.number();
        if cursor > inner.shown
            && self.pump_locked(session, inner, By::Other, cx) == Pumped::Level
            && inner.closing.is_none()
        {
            inner.shown = cursor;
            inner.say(session.sink(), &GatewayFrame::Current { cursor });
        }
    }

    /// Notes that a whole frame came in from the client.
    pub fn note_received<S: ?Sized>(&self, session: &Session<S>, cx: &Pump) {
        session.received.store(self.tick(cx.now), Ordering::Relaxed);
    }
}

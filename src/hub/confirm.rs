//! Acknowledgements: how many devices have handled a kept message.

use super::Hub;
use super::pump::Pump;
use super::session::{Inner, Session};
use super::sink::{Due, Sink};
use crate::sync::atomic::Ordering;
use crate::wire::frame::GatewayFrame;

/// Messages that are noted before the lane's lock is taken anew.
const STEP: usize = 256;

/// A number was confirmed that this client was never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number that was never sent")]
pub struct NeverSent;

impl Hub {
    /// The client has handled every kept message up to `number`. One that is lower than before is
    /// ignored.
    ///
    /// # Errors
    /// [`NeverSent`]: it is above WELCOME's cursor, the last number sent and the last CURRENT.
    pub fn confirm<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        number: u64,
        cx: &Pump,
    ) -> Result<(), NeverSent> {
        let inner = session.lock();
        if number > inner.shown {
            return Err(NeverSent);
        }
        let before = session.confirmed.load(Ordering::Relaxed);
        if number > before {
            session.confirmed.store(number, Ordering::Relaxed);
            self.note_confirmed(session.sink(), &inner, (before, number), Some(cx));
        }
        Ok(())
    }

    /// Leaves CURRENT with the session: everything up to the last number that it was told of has
    /// gone before.
    pub fn answer_current<S: Sink + ?Sized>(&self, session: &Session<S>) {
        let mut inner = session.lock();
        let cursor = inner.shown;
        self.answer_locked(session, &mut inner, &GatewayFrame::Current { cursor });
    }

    /// Notes the messages for this session whose numbers lie in (`after`, `upto`]; with `cx` as
    /// just confirmed, else as handled earlier.
    pub(super) fn note_confirmed<S: Sink + ?Sized>(
        &self,
        sink: &S,
        inner: &Inner,
        (after, upto): (u64, u64),
        cx: Option<&Pump>,
    ) {
        let (mut noted, mut step) = (Vec::new(), Vec::new());
        for handle in inner.handles.iter().filter(|handle| !handle.muted) {
            let mut from = after;
            loop {
                step.clear();
                // What came before the session was in this group was never sent to it.
                let since = if cx.is_some() { handle.from } else { 0 };
                handle.lane.numbered((from, upto), since, STEP, &mut step);
                let Some((_, last)) = step.last() else { break };
                from = last.number();
                let sent = step.drain(..).filter(|(index, message)| {
                    !inner.passes_by(message) && sink.answers_for(&Due::new(message, *index))
                });
                noted.extend(sent.map(|(_, message)| message));
            }
        }
        noted.sort_unstable_by_key(|message| message.seq);
        noted.dedup_by_key(|message| message.seq);
        for message in &noted {
            let Some(kept) = message.kept() else { continue };
            kept.confirm();
            if let Some(cx) = cx {
                let took = cx.now.saturating_duration_since(message.accepted);
                self.metrics.ack_latency.observe(took.as_secs_f64());
            }
        }
        self.metrics.confirmed.inc_by(noted.len() as u64);
    }
}

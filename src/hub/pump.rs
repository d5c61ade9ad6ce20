//! Bringing one session up to date: what its lanes hold after its position, in order, in one
//! vectored write.
//!
//! A pump reads the log's head first and takes only what lies in (position, head]: a message that
//! lands in one lane while another is read has a later place than that head, so it is not missed
//! but left for the next pump.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use prometheus::local::LocalHistogram;

use super::batch::{Gathered, advance, gather, pass, write};
use super::lane::Taken;
use super::message::Message;
use super::session::{Inner, Session, Unsent};
use super::sink::{Begun, Due, Sink};
use super::walk::Reached;
use super::{Closing, Hub};
use crate::metrics::{Metrics, Outcome};
use crate::wire::datagram::Op;
use crate::wire::reason::{CloseReason, Status};

/// Snapshots that one call serves before the client's own task goes on: a walk has others to serve.
const ROUNDS: usize = 4;

/// What a pumping task carries along: the moment, a buffer used again, and counts that are merged
/// when it yields.
pub struct Pump {
    /// The caller's reading of the clock: age and latency are counted to it.
    pub now: Instant,
    /// The last reading of it that anybody has made on the way.
    pub latest: Instant,
    written: u64,
    replayed: u64,
    /// Datagrams that came in, and pushes that were done at once.
    pub(super) received: u64,
    pub(super) pushed: u64,
    /// Made when the first delivery is counted: most callers have none.
    latency: Option<LocalHistogram>,
    /// The same for datagrams: how far their senders' clocks are apart, and how long pushes took.
    skew: Option<LocalHistogram>,
    took: Option<LocalHistogram>,
    pub(super) batch: Vec<Taken>,
    /// What the batch left out, and why: counted when the session has passed it.
    pub(super) passed: Vec<(Arc<Message>, Outcome)>,
    /// The place of the message that a walk brings, and whether the session that it visits does not
    /// take it.
    pub(super) walking: u64,
    pub(super) has_passed: bool,
    /// The members that a walk is about to visit.
    pub(super) members: Vec<Arc<Session>>,
}

impl Pump {
    /// For one caller, who merges its counts at the end and wherever it yields.
    pub const fn new(now: Instant) -> Self {
        Self {
            now,
            latest: now,
            written: 0,
            replayed: 0,
            received: 0,
            pushed: 0,
            latency: None,
            skew: None,
            took: None,
            batch: Vec::new(),
            passed: Vec::new(),
            walking: 0,
            has_passed: false,
            members: Vec::new(),
        }
    }

    /// From now on it is noted whether a session does not take the message at this place.
    pub(super) const fn look_for(&mut self, seq: u64) {
        (self.walking, self.has_passed) = (seq, false);
    }

    /// Merges the counts so far.
    pub fn merge(&mut self, metrics: &Metrics) {
        let pushed = metrics.requests_that(Op::Push, Status::Done);
        let written = metrics.deliveries_that(Outcome::Written);
        // Each is a line of memory that all threads write to: most callers have one, or none.
        for (counter, count) in [
            (written, &mut self.written),
            (&metrics.replayed, &mut self.replayed),
            (&metrics.datagrams_received, &mut self.received),
            (pushed, &mut self.pushed),
        ] {
            if *count > 0 {
                counter.inc_by(std::mem::take(count));
            }
        }
        for histogram in [&self.latency, &self.skew, &self.took]
            .into_iter()
            .flatten()
        {
            histogram.flush();
        }
    }

    /// A sender's clock, in seconds that ours is ahead of it.
    pub(super) fn skewed(&mut self, metrics: &Metrics, seconds: f64) {
        let skew = self.skew.get_or_insert_with(|| metrics.sender_skew.local());
        skew.observe(seconds);
    }

    /// A push that was done at once has taken until `latest`.
    pub(super) fn push_ended(&mut self, metrics: &Metrics, began: Instant) {
        let took = self.latest.saturating_duration_since(began);
        let histogram = self
            .took
            .get_or_insert_with(|| metrics.push_duration.local());
        histogram.observe(took.as_secs_f64());
    }

    /// The kernel has taken `message`, for a session that came when the log stood at `attached`.
    pub(super) fn delivered(&mut self, metrics: &Metrics, message: &Message, attached: u64) {
        if message.seq <= attached {
            self.replayed += 1;
            return;
        }
        self.written += 1;
        let age = self.now.saturating_duration_since(message.accepted);
        let latency = self
            .latency
            .get_or_insert_with(|| metrics.delivery_latency.local());
        latency.observe(age.as_secs_f64());
    }
}

/// How a pump left a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// At the head, nothing unsent.
    Level,
    /// The sink takes no more now.
    Blocked,
    /// There is more, and the sink may take it.
    More,
}

/// Who pumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The client's own task, which alone serves a session that is behind.
    Owner,
    /// A walk, or whoever left an answer.
    Other,
}

impl Hub {
    /// Brings `session` up to date as far as its sink takes it; for the client's own task.
    pub fn pump<S: Sink + ?Sized>(&self, session: &Session<S>, cx: &mut Pump) -> Pumped {
        self.pump_locked(session, &mut session.lock(), By::Owner, cx)
    }

    /// Sends what was left with `session`, unless it is behind: then its own task does.
    pub fn nudge<S: Sink + ?Sized>(&self, session: &Session<S>, cx: &mut Pump) {
        self.pump_locked(session, &mut session.lock(), By::Other, cx);
    }

    /// Brings on a session that waits for its client's acknowledgements; for the client's own task,
    /// when one has come.
    pub fn acknowledged<S: Sink + ?Sized>(&self, session: &Session<S>, cx: &mut Pump) {
        let mut inner = session.lock();
        if inner.is_held {
            self.pump_locked(session, &mut inner, By::Owner, cx);
        }
    }

    /// As a walk pumps, which brings the message that it is for. Most often that is all there is
    /// for the session, and then nothing has to be gathered.
    pub(super) fn pump_walked<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        (message, reached): (&Arc<Message>, &Reached),
        cx: &mut Pump,
    ) {
        if inner.is_behind()
            || inner.closing.is_some()
            || !inner.is_idle()
            || message.is_expired(cx.now)
            || !self.is_all_there_is(inner, message.seq, reached)
        {
            self.pump_locked(session, inner, By::Other, cx);
            return;
        }
        let (index, sink) = (reached.index, session.sink());
        let encoding = match sink.encoding(&Due::new(message, index)) {
            Some(encoding)
                if !encoding.is_acknowledged()
                    || sink.admits(message.number(), Begun::default()) =>
            {
                encoding
            }
            _ => {
                self.pump_locked(session, inner, By::Other, cx);
                return;
            }
        };
        let [head, payload] = message.frame(encoding, index);
        let written = match payload {
            [] => sink.try_write(&[IoSlice::new(head)]),
            _ => sink.try_write(&[IoSlice::new(head), IoSlice::new(payload)]),
        };
        match written {
            Ok(count) if count == head.len() + payload.len() => {
                inner.position = message.seq;
                inner.sent = self.tick(cx.now);
                inner.show(sink, message, encoding);
                cx.delivered(&self.metrics, message, 0);
            }
            Ok(offset @ 1..) => {
                inner.position = message.seq;
                inner.sent = self.tick(cx.now);
                inner.show(sink, message, encoding);
                let taken = Taken {
                    index,
                    encoding,
                    superseded: false,
                    message: Arc::clone(message),
                };
                inner.unsent = Some(Box::new(Unsent { taken, offset }));
                self.note_behind(session.id(), inner, By::Other);
            }
            Ok(0) => self.note_behind(session.id(), inner, By::Other),
            Err(error) => {
                self.write_failed(session, inner, &error, By::Other);
            }
        }
    }

    /// Whether the message at `seq`, which was appended to the one lane `reached`, is all that lies
    /// between the session's position and the head.
    fn is_all_there_is(&self, inner: &Inner, seq: u64, reached: &Reached) -> bool {
        if seq != self.log.head() || seq <= inner.position {
            return false;
        }
        inner.position + 1 == seq
            || inner.handles.iter().all(|handle| {
                let after = inner.after(handle);
                match Arc::ptr_eq(&handle.lane, &reached.lane) {
                    true => reached.previous <= after,
                    false => !handle.lane.has_after(after),
                }
            })
    }

    /// What a write that took nothing means for the session.
    fn write_failed<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        error: &io::Error,
        by: By,
    ) -> Pumped {
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.note_behind(session.id(), inner, by);
                return Pumped::Blocked;
            }
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
            _ => CloseReason::Io,
        };
        self.close_locked(session, inner, Closing::silent(reason));
        // Also when it was closing already: what is left will never be taken.
        inner.unsent = None;
        inner.control.clear();
        Pumped::Level
    }

    pub(super) fn pump_locked<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        by: By,
        cx: &mut Pump,
    ) -> Pumped {
        if by == By::Other && inner.is_behind() {
            return Pumped::Blocked;
        }
        for _ in 0..ROUNDS {
            if !self.tend_replay(session.sink(), inner, cx.now) {
                let why = "slow consumer: what it was to replay was dropped at a bound";
                self.close_locked(session, inner, self.slow(why));
            }
            let head = self.log.head();
            if inner.is_idle() && (inner.position >= head || inner.closing.is_some()) {
                self.note_level(session.id(), inner);
                self.leave_own_lanes(inner);
                inner.forget_departed();
                return Pumped::Level;
            }
            let Gathered { upto, is_held } = match inner.closing {
                // Only what was begun, and the CLOSE.
                Some(_) => Gathered {
                    upto: inner.position,
                    is_held: false,
                },
                None => gather(session.sink(), inner, head, cx),
            };
            inner.is_held = is_held;
            if inner.is_idle() && cx.batch.is_empty() {
                inner.position = upto;
                pass(&self.metrics, session.id(), inner, cx);
                if is_held {
                    self.note_behind(session.id(), inner, by);
                    return Pumped::Blocked;
                }
                continue;
            }
            let written = write(session.sink(), inner, &cx.batch);
            let all_taken = match written {
                Ok(count) => {
                    inner.sent = self.tick(cx.now);
                    let all_taken =
                        advance((&self.metrics, session.sink()), inner, count, upto, cx);
                    pass(&self.metrics, session.id(), inner, cx);
                    all_taken
                }
                Err(error) => {
                    cx.batch.clear();
                    return self.write_failed(session, inner, &error, by);
                }
            };
            cx.batch.clear();
            if !all_taken {
                self.note_behind(session.id(), inner, by);
                return Pumped::Blocked;
            }
        }
        self.note_behind(session.id(), inner, by);
        Pumped::More
    }
}

//! Bringing one session up to date: what its lanes hold after its position, in order, in one
//! vectored write.
//!
//! A pump reads the log's head first and takes only what lies in (position, head]: a message that
//! lands in one lane while another is read has a later place than that head, so it is not missed
//! but left for the next pump.

use std::io::{self, IoSlice};
use std::time::Instant;

use prometheus::local::LocalHistogram;

use super::lane::Taken;
use super::session::{Inner, Session, Sink, Unsent};
use super::{Closing, Hub};
use crate::metrics::{Metrics, Outcome};
use crate::wire::reason::CloseReason;

/// What one snapshot holds at most: past this, the lock would be held for long, and a write takes
/// no more anyway.
const SNAPSHOT_MESSAGES: usize = 64;
const SNAPSHOT_BYTES: usize = 256 * 1024;
/// Snapshots that one call serves before the client's own task goes on: a walk has others to serve.
const ROUNDS: usize = 4;

/// What a pumping task carries along: the moment, a buffer used again, and counts that are merged
/// when it yields.
pub struct Pump {
    /// The caller's reading of the clock: age and latency are counted to it.
    pub now: Instant,
    written: u64,
    latency: LocalHistogram,
    batch: Vec<Taken>,
}

impl Pump {
    /// For one caller; dropping it merges its counts.
    pub fn new(metrics: &Metrics, now: Instant) -> Self {
        Self {
            now,
            written: 0,
            latency: metrics.delivery_latency.local(),
            batch: Vec::new(),
        }
    }

    /// Merges the counts so far.
    pub fn merge(&mut self, metrics: &Metrics) {
        metrics.deliveries(Outcome::Written, std::mem::take(&mut self.written));
        self.latency.flush();
    }

    fn delivered(&mut self, taken: &Taken) {
        self.written += 1;
        let age = self.now.saturating_duration_since(taken.message.accepted);
        self.latency.observe(age.as_secs_f64());
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

    pub(super) fn pump_locked<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        by: By,
        cx: &mut Pump,
    ) -> Pumped {
        if by == By::Other && inner.behind_at.is_some() {
            return Pumped::Blocked;
        }
        for _ in 0..ROUNDS {
            let head = self.log.head();
            if inner.is_idle() && (inner.position >= head || inner.closing.is_some()) {
                self.note_level(session.id(), inner);
                return Pumped::Level;
            }
            let upto = match inner.closing {
                // Only what was begun, and the CLOSE.
                Some(_) => inner.position,
                None => gather(inner, head, &mut cx.batch),
            };
            if inner.is_idle() && cx.batch.is_empty() {
                inner.position = upto;
                continue;
            }
            let written = write(session.sink(), inner, &cx.batch);
            let all_taken = match written {
                Ok(count) => {
                    inner.sent = self.tick(cx.now);
                    advance(inner, count, upto, cx)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => {
                    cx.batch.clear();
                    let gone = matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                    );
                    let reason = if gone {
                        CloseReason::Reset
                    } else {
                        CloseReason::Io
                    };
                    self.close_locked(session, inner, Closing::silent(reason));
                    return Pumped::Level;
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

    /// Lists the session as behind in each of its lanes, at its position, and hands it to its own
    /// task.
    fn note_behind(&self, id: u64, inner: &mut Inner, by: By) {
        let (old, new) = (inner.behind_at, Some(inner.position));
        for handle in &inner.handles {
            handle.lane.note_behind(id, handle.slot, old, new);
        }
        inner.behind_at = new;
        if by == By::Other {
            inner.wake();
        }
    }

    fn note_level(&self, id: u64, inner: &mut Inner) {
        let Some(old) = inner.behind_at.take() else {
            return;
        };
        self.note_half_behind(inner, false);
        for handle in &inner.handles {
            handle.lane.note_behind(id, handle.slot, Some(old), None);
        }
    }

    /// Counts the session in its lanes among those behind by half a bound, or no more.
    fn note_half_behind(&self, inner: &mut Inner, half_behind: bool) {
        if std::mem::replace(&mut inner.half_behind, half_behind) == half_behind {
            return;
        }
        for handle in &inner.handles {
            let mut lane = handle.lane.lock();
            lane.half_behind = match half_behind {
                true => lane.half_behind + 1,
                false => lane.half_behind.saturating_sub(1),
            };
        }
    }

    /// Closes a session that is over a bound; false when it was. Called by whoever meets one that
    /// is behind.
    pub(super) fn check_bounds<S: ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        now: Instant,
    ) -> bool {
        if inner.behind_at.is_none() || inner.closing.is_some() {
            return true;
        }
        let (lag, options) = (inner.lag(), &self.options);
        let age = lag.oldest.map_or(std::time::Duration::ZERO, |at| {
            now.saturating_duration_since(at)
        });
        if lag.messages > options.queue_messages
            || lag.bytes > options.queue_bytes
            || age > options.queue_age
        {
            self.close_locked(session, inner, self.slow("slow consumer"));
            return false;
        }
        let half_behind = lag.messages * 2 > options.queue_messages
            || lag.bytes * 2 > options.queue_bytes
            || age * 2 > options.queue_age;
        self.note_half_behind(inner, half_behind);
        true
    }

    /// Deliveries that are still ahead of this session, each message once.
    pub(super) fn ahead(&self, inner: &Inner) -> u64 {
        let mut batch = Vec::new();
        for handle in &inner.handles {
            handle
                .lane
                .take(inner.after(handle), u64::MAX, usize::MAX, &mut batch);
        }
        settle(inner, u64::MAX, &mut batch);
        batch.len() as u64 + u64::from(inner.unsent.is_some())
    }
}

/// Fills `batch` with what comes next, in order, and returns the place that the session has reached
/// when all of it is written.
fn gather(inner: &Inner, head: u64, batch: &mut Vec<Taken>) -> u64 {
    batch.clear();
    let mut upto = head;
    for handle in &inner.handles {
        let after = inner.after(handle);
        if !handle.lane.has_after(after) {
            continue;
        }
        let complete = handle.lane.take(after, head, SNAPSHOT_MESSAGES, batch);
        if let (false, Some(last)) = (complete, batch.last()) {
            // Beyond the last one taken here, the other lanes' messages would overtake this lane's.
            upto = upto.min(last.message.seq);
        }
    }
    settle(inner, upto, batch);
    let mut bytes = 0;
    let fits = batch.iter().take(SNAPSHOT_MESSAGES).take_while(|taken| {
        let fits = bytes < SNAPSHOT_BYTES;
        bytes += taken.message.frame_len(taken.index);
        fits
    });
    let count = fits.count();
    if count < batch.len() {
        batch.truncate(count);
        upto = batch.last().map_or(upto, |last| last.message.seq);
    }
    upto
}

/// Orders what several lanes gave: each message once, under its first target, without those that
/// except this session.
fn settle(inner: &Inner, upto: u64, batch: &mut Vec<Taken>) {
    if batch.len() > 1 {
        batch.sort_unstable_by_key(|taken| (taken.message.seq, taken.index));
        batch.dedup_by_key(|taken| taken.message.seq);
    }
    batch.retain(|taken| {
        taken.message.seq <= upto
            && !inner.is_excepted(taken.message.exceptions(), taken.message.seq)
    });
}

fn write<S: Sink + ?Sized>(sink: &S, inner: &Inner, batch: &[Taken]) -> io::Result<usize> {
    let mut parts = [IoSlice::new(&[]); 2 * SNAPSHOT_MESSAGES + 3];
    let mut count = 0;
    let mut push = |bytes| {
        if !<[u8]>::is_empty(bytes) {
            parts[count] = IoSlice::new(bytes);
            count += 1;
        }
    };
    if let Some(unsent) = &inner.unsent {
        let [head, payload] = unsent.taken.message.frame(unsent.taken.index);
        push(head.get(unsent.offset..).unwrap_or_default());
        push(&payload[unsent.offset.saturating_sub(head.len())..]);
    }
    push(inner.control.rest());
    for taken in batch {
        let [head, payload] = taken.message.frame(taken.index);
        push(head);
        push(payload);
    }
    sink.try_write(&parts[..count])
}

/// Moves the session by `count` bytes that the sink took; false when it did not take all.
fn advance(inner: &mut Inner, mut count: usize, upto: u64, cx: &mut Pump) -> bool {
    if let Some(unsent) = &mut inner.unsent {
        let rest = unsent.taken.message.frame_len(unsent.taken.index) - unsent.offset;
        if count < rest {
            unsent.offset += count;
            return false;
        }
        count -= rest;
        if let Some(unsent) = inner.unsent.take() {
            cx.delivered(&unsent.taken);
        }
    }
    let control = inner.control.rest().len();
    inner.control.advance(count.min(control));
    if count < control {
        return false;
    }
    count -= control;
    let mut batch = std::mem::take(&mut cx.batch);
    let mut all_taken = true;
    for taken in &batch {
        let length = taken.message.frame_len(taken.index);
        if count < length {
            all_taken = false;
            if count > 0 {
                inner.position = taken.message.seq;
                inner.unsent = Some(Unsent {
                    taken: taken.clone(),
                    offset: count,
                });
            }
            break;
        }
        count -= length;
        inner.position = taken.message.seq;
        cx.delivered(taken);
    }
    if all_taken {
        inner.position = upto;
    }
    batch.clear();
    cx.batch = batch;
    all_taken
}

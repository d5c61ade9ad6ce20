//! The batch of one pump: gathered from the lanes, written, and the session moved by what was
//! taken.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::lane::Taken;
use super::pump::Pump;
use super::replay;
use super::session::{Inner, Sink, Unsent};
use crate::metrics::{Metrics, Outcome};

/// What one snapshot holds at most: past this, the lock would be held for long, and a write takes
/// no more anyway.
const SNAPSHOT_MESSAGES: usize = 64;
const SNAPSHOT_BYTES: usize = 256 * 1024;

/// Fills the batch of `cx` with what comes next, in order, and returns the place that the session
/// has reached when all of it is written.
pub(super) fn gather<S: Sink + ?Sized>(sink: &S, inner: &Inner, head: u64, cx: &mut Pump) -> u64 {
    let batch = &mut cx.batch;
    batch.clear();
    let mut upto = head;
    match inner.replay() {
        Some(replay) if inner.position < replay.until => {
            let range = (inner.position, replay.until);
            upto = replay::take(inner, range, SNAPSHOT_MESSAGES, batch);
        }
        _ => {
            for handle in &inner.handles {
                let after = inner.after(handle);
                if !handle.lane.has_after(after) {
                    continue;
                }
                let range = (after, head);
                let passes_by = |message: &_| inner.passes_by(message);
                let complete = handle
                    .lane
                    .take(range, SNAPSHOT_MESSAGES, &passes_by, batch);
                if let (false, Some(last)) = (complete, batch.last()) {
                    // Beyond the last one taken here, the other lanes' messages would overtake this
                    // lane's.
                    upto = upto.min(last.message.seq);
                }
            }
        }
    }
    settle(inner, upto, batch);
    cx.passed.clear();
    cx.batch.retain(|taken| {
        let passes_by = |message: &_| inner.passes_by(message);
        let outcome = if taken.superseded || taken.message.is_share_superseded(&passes_by) {
            Outcome::Superseded
        } else if taken.message.is_expired(cx.now) {
            Outcome::Expired
        } else {
            return true;
        };
        cx.passed.push((Arc::clone(&taken.message), outcome));
        false
    });
    let (mut bytes, mut count) = (0, 0);
    for taken in cx.batch.iter_mut().take(SNAPSHOT_MESSAGES) {
        if bytes >= SNAPSHOT_BYTES {
            break;
        }
        taken.encoding = sink.encoding(taken.message.number(), taken.message.scope(taken.index));
        bytes += taken.frame_len();
        count += 1;
    }
    if count < cx.batch.len() {
        cx.batch.truncate(count);
        upto = cx.batch.last().map_or(upto, |last| last.message.seq);
    }
    upto
}

/// Orders what several lanes gave: each message once, under its first target, without those that
/// except this session.
pub(super) fn settle(inner: &Inner, upto: u64, batch: &mut Vec<Taken>) {
    if batch.len() > 1 {
        batch.sort_unstable_by_key(|taken| (taken.message.seq, taken.index));
        // One that is superseded under one target is so under all.
        batch.dedup_by(|next, first| {
            let same = next.message.seq == first.message.seq;
            first.superseded |= same && next.superseded;
            same
        });
    }
    batch.retain(|taken| taken.message.seq <= upto && !inner.passes_by(&taken.message));
}

/// Counts what the session at `position` has passed without sending it.
pub(super) fn pass(metrics: &Metrics, id: u64, inner: &Inner, cx: &mut Pump) {
    let attached = inner.replay().map_or(0, |replay| replay.attached);
    for (message, outcome) in cx.passed.drain(..) {
        // What was in the log before the session came was never due as a delivery.
        if (attached + 1..=inner.position).contains(&message.seq) {
            metrics.deliveries(outcome, 1);
            message.pass_over(id);
        }
    }
}

/// Offers the sink all there is, in one call.
pub(super) fn write<S: Sink + ?Sized>(
    sink: &S,
    inner: &Inner,
    batch: &[Taken],
) -> io::Result<usize> {
    let mut parts = [IoSlice::new(&[]); 2 * SNAPSHOT_MESSAGES + 3];
    let mut count = 0;
    let mut push = |bytes| {
        if !<[u8]>::is_empty(bytes) {
            parts[count] = IoSlice::new(bytes);
            count += 1;
        }
    };
    if let Some(unsent) = &inner.unsent {
        let [head, payload] = unsent.taken.frame();
        push(head.get(unsent.offset..).unwrap_or_default());
        push(&payload[unsent.offset.saturating_sub(head.len())..]);
    }
    push(inner.control.rest());
    for taken in batch {
        let [head, payload] = taken.frame();
        push(head);
        push(payload);
    }
    sink.try_write(&parts[..count])
}

/// Moves the session by `count` bytes that the sink took; false when it did not take all.
pub(super) fn advance(
    metrics: &Metrics,
    inner: &mut Inner,
    mut count: usize,
    upto: u64,
    cx: &mut Pump,
) -> bool {
    let attached = inner.replay().map_or(0, |replay| replay.attached);
    if let Some(unsent) = &mut inner.unsent {
        let rest = unsent.taken.frame_len() - unsent.offset;
        if count < rest {
            unsent.offset += count;
            return false;
        }
        count -= rest;
        let is_open = inner.closing.is_none();
        // At the close it was counted among what was not delivered.
        if let Some(unsent) = inner.unsent.take().filter(|_| is_open) {
            cx.delivered(metrics, &unsent.taken.message, attached);
            inner.progress(cx.now);
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
        let length = taken.frame_len();
        if count < length {
            all_taken = false;
            if count > 0 {
                inner.position = taken.message.seq;
                inner.show(&taken.message);
                inner.unsent = Some(Box::new(Unsent {
                    taken: taken.clone(),
                    offset: count,
                }));
            }
            break;
        }
        count -= length;
        inner.position = taken.message.seq;
        inner.show(&taken.message);
        inner.progress(cx.now);
        cx.delivered(metrics, &taken.message, attached);
    }
    if all_taken {
        inner.position = upto;
    }
    batch.clear();
    cx.batch = batch;
    all_taken
}

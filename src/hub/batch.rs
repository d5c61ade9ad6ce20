//! The batch of one pump: gathered from the lanes, written, and the session moved by what was
//! taken.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::lane::Taken;
use super::pump::Pump;
use super::replay;
use super::session::{Inner, Unsent};
use super::sink::{Begun, Sink};
use crate::metrics::{Metrics, Outcome};

/// What one snapshot holds at most: past this, the lock would be held for long, and a write takes
/// no more anyway.
const SNAPSHOT_MESSAGES: usize = 64;
const SNAPSHOT_BYTES: usize = 256 * 1024;

/// Fills the batch of `cx` with what comes next, in order.
pub(super) fn gather<S: Sink + ?Sized>(
    sink: &S,
    inner: &Inner,
    head: u64,
    cx: &mut Pump,
) -> Gathered {
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
    choose(sink, upto, cx)
}

/// Keeps of the batch what goes out at once: as much as a snapshot holds, and as the client's
/// acknowledgements allow.
fn choose<S: Sink + ?Sized>(sink: &S, upto: u64, cx: &mut Pump) -> Gathered {
    let (mut bytes, mut count, mut begun) = (0, 0, Begun::default());
    let mut cut = None;
    let (batch, passed) = (&mut cx.batch, &mut cx.passed);
    batch.retain_mut(|taken| {
        if cut.is_some() {
            return false;
        }
        let seq = taken.message.seq;
        if count >= SNAPSHOT_MESSAGES || bytes >= SNAPSHOT_BYTES {
            cut = Some((seq, false));
            return false;
        }
        let Some(encoding) = sink.encoding(&taken.due()) else {
            passed.push((Arc::clone(&taken.message), Outcome::Skipped));
            return false;
        };
        if encoding.is_acknowledged() {
            let number = taken.message.number();
            if !sink.admits(number, begun) {
                cut = Some((seq, true));
                return false;
            }
            begun.add(number);
        }
        taken.encoding = encoding;
        bytes += taken.frame_len();
        count += 1;
        true
    });
    match cut {
        Some((seq, is_held)) => Gathered {
            upto: seq - 1,
            is_held,
        },
        None => Gathered {
            upto,
            is_held: false,
        },
    }
}

/// How far a batch goes.
pub(super) struct Gathered {
    /// The place that the session has reached when all of it is written.
    pub(super) upto: u64,
    /// What comes next has to wait for the client's acknowledgements.
    pub(super) is_held: bool,
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
            cx.has_passed |= message.seq == cx.walking;
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
pub(super) fn advance<S: Sink + ?Sized>(
    (metrics, sink): (&Metrics, &S),
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
                inner.show(sink, &taken.message, taken.encoding);
                inner.unsent = Some(Box::new(Unsent {
                    taken: taken.clone(),
                    offset: count,
                }));
            }
            break;
        }
        count -= length;
        inner.position = taken.message.seq;
        inner.show(sink, &taken.message, taken.encoding);
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

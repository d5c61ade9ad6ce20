//! Lines on their way to standard error. Whoever logs leaves a line here and goes on; one thread
//! writes. When nobody reads, lines are dropped and counted, and it is said once somebody does.
//!
//! `tracing-appender` has a queue of this kind. Its thread would stand outside the ledger, its
//! bound counts lines and not bytes, and at the end of the process it waits for a reader.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::pipe;

/// Lines that wait: seconds of them at debug, in a storm.
pub(super) const LINES_MAX: usize = 16_384;
/// Their bytes.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// What is kept for the next lines once the thread has caught up.
const BYTES_KEPT: usize = 64 << 10;
/// A reader that stalls holds up the end of the process for no longer than this.
const FLUSH_MAX: Duration = Duration::from_millis(500);
/// How often the thread looks whether the process ends while nobody reads.
const LOOK: Duration = Duration::from_millis(100);

/// The queue. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held to append a line or to take all of them, never while something is written.
    state: Mutex<State>,
    /// Told when there is something to write, and when the writing ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    lines: usize,
    /// Lines ever dropped.
    dropped: u64,
    /// As many of them have been told of.
    told: u64,
    /// Who writes.
    writer: Option<ThreadId>,
    /// By when the thread has to be through; it ends then, or when nothing is left.
    until: Option<Instant>,
}

impl Queue {
    /// Leaves a line, which ends with a line feed, behind `prefix`. Waits for nobody.
    pub(super) fn push(&self, prefix: &str, line: &[u8]) {
        let mut state = self.lock();
        let bytes = prefix.len() + line.len();
        let is_full = state.lines >= LINES_MAX || state.bytes.len() + bytes > BYTES_MAX;
        // That of how many were dropped shall not be among them.
        if is_full && state.writer != Some(thread::current().id()) {
            state.dropped += 1;
            return;
        }
        state.bytes.extend_from_slice(prefix.as_bytes());
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        // One event is one line, whatever is in it.
        for (number, part) in text.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                state.bytes.extend_from_slice(b"\\n");
            }
            state.bytes.extend_from_slice(part);
        }
        state.bytes.push(b'\n');
        state.lines += 1;
        drop(state);
        self.0.changed.notify_one();
    }

    /// Lines dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Writes what comes to `out`, until [`release`](Self::release). `lost` is told, at most once a
    /// second, how many lines were dropped before what was just written.
    pub(super) fn write_to(&self, out: impl AsFd, mut lost: impl FnMut(u64)) {
        self.lock().writer = Some(thread::current().id());
        let mut spare = Vec::new();
        let mut quiet_until = Instant::now();
        while let Some(lines) = self.take(&mut spare, quiet_until) {
            let deadline = || self.lock().until;
            if !self.write(&out, &mut spare, lines, deadline) {
                break;
            }
            let now = Instant::now();
            if quiet_until <= now
                && let Some(dropped) = self.untold()
            {
                quiet_until = now + Duration::from_secs(1);
                lost(dropped);
            }
        }
        self.lock().writer = None;
        self.0.changed.notify_all();
    }

    /// Has the thread write what is there, and end.
    pub(super) fn release(&self) {
        self.lock().until.get_or_insert(Instant::now() + FLUSH_MAX);
        self.0.changed.notify_all();
    }

    /// The end of the process: waits until the thread has ended, and writes what is left, each for
    /// half a second at most.
    pub(super) fn flush(&self, out: impl AsFd) {
        self.release();
        let state = self.lock();
        let ended = |state: &mut State| state.writer.is_some();
        let waited = self
            .0
            .changed
            .wait_timeout_while(state, FLUSH_MAX + LOOK, ended);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (mut bytes, lines) = (std::mem::take(&mut state.bytes), state.lines);
        state.lines = 0;
        drop(state);
        let until = Instant::now() + FLUSH_MAX;
        self.write(&out, &mut bytes, lines, || Some(until));
    }

    /// Waits for lines and swaps them into `spare`; how many. It is 0 when it is time to tell of
    /// those that were dropped, and `None` when the thread is to end.
    fn take(&self, spare: &mut Vec<u8>, quiet_until: Instant) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.lines > 0 {
                if spare.capacity() > BYTES_KEPT {
                    *spare = Vec::new();
                }
                std::mem::swap(&mut state.bytes, spare);
                return Some(std::mem::take(&mut state.lines));
            }
            if state.until.is_some() {
                return None;
            }
            if state.told == state.dropped {
                let waited = self.0.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let rest = quiet_until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Some(0);
            }
            let waited = self.0.changed.wait_timeout(state, rest);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes `bytes` until the deadline, if there is one by then; false when that came first. What
    /// could not be written is counted as dropped.
    fn write(
        &self,
        out: &impl AsFd,
        bytes: &mut Vec<u8>,
        lines: usize,
        deadline: impl Fn() -> Option<Instant>,
    ) -> bool {
        let mut rest = &bytes[..];
        let (mut in_time, mut is_gone) = (true, false);
        while !rest.is_empty() && in_time && !is_gone {
            match pipe::write(out, rest, LOOK) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    in_time = deadline().is_none_or(|deadline| Instant::now() < deadline);
                }
                // The reader is gone, or the disk full: the next lines may fare better.
                Err(_) => is_gone = true,
            }
        }
        if !rest.is_empty() {
            let ends = rest.iter().filter(|byte| **byte == b'\n').count();
            let (mut state, ends) = (self.lock(), ends.min(lines) as u64);
            state.dropped += ends;
            if is_gone {
                // There is nobody to tell.
                state.told += ends;
            }
        }
        bytes.clear();
        in_time
    }

    /// How many lines were dropped since it was last asked; `None` for none.
    fn untold(&self) -> Option<u64> {
        let mut state = self.lock();
        let dropped = state.dropped - state.told;
        state.told = state.dropped;
        (dropped > 0).then_some(dropped)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

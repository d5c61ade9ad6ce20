//! Sessions that are behind: listed in their lanes, measured by their bounds, and counted when they
//! end.

use std::time::Instant;

use super::Hub;
use super::batch::settle;
use super::pump::By;
use super::replay;
use super::session::{Inner, Session};
use super::sink::Sink;

impl Hub {
    /// Lists the session as behind in each of its lanes, at its position, and hands it to its own
    /// task.
    pub(super) fn note_behind(&self, id: u64, inner: &mut Inner, by: By) {
        self.list_behind(id, inner);
        if by == By::Other {
            inner.wake();
        }
    }

    /// The same for whoever is that task, or has just made the session.
    pub(super) fn list_behind(&self, id: u64, inner: &mut Inner) {
        let (old, new) = (inner.behind_at(), Some(inner.needs_after()));
        for handle in &inner.handles {
            handle.lane.note_behind(id, handle.slot, old, new);
        }
        inner.set_behind(new);
    }

    pub(super) fn note_level(&self, id: u64, inner: &mut Inner) {
        let Some(old) = inner.behind_at() else { return };
        inner.set_behind(None);
        inner.is_held = false;
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
    pub(super) fn check_bounds<S: Sink + ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        now: Instant,
    ) -> bool {
        if !inner.is_behind() || inner.closing.is_some() {
            return true;
        }
        if inner.replay().is_some() {
            let within = self.check_replay(session, inner, now);
            if !within {
                let why = "slow consumer: takes nothing of its replay";
                self.close_locked(session, inner, self.slow(why));
            }
            return within;
        }
        let (lag, options) = (inner.lag(), self.options());
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

    /// Deliveries that are still ahead of this session, each message once; what was in the log
    /// before it came is none.
    pub(super) fn ahead(&self, inner: &Inner) -> u64 {
        let (mut batch, mut attached) = (Vec::new(), 0);
        if let Some(replay) = inner.replay() {
            attached = replay.attached;
            let range = (attached.max(inner.position), replay.until);
            replay::take(inner, range, usize::MAX, &mut batch);
        }
        inner.take_waiting(&mut batch);
        settle(inner, u64::MAX, &mut batch);
        let unsent = inner.unsent.as_ref();
        let in_part = unsent.is_some_and(|unsent| unsent.taken.message.seq > attached);
        batch.len() as u64 + u64::from(in_part)
    }
}

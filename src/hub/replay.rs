//! A session that comes back: what is kept for it from before it came goes out first.
//!
//! A resume is a position. The session starts at the place of its cursor, and up to `until` (the
//! head when it came) it is served from the shelves of its targets, kept messages only; behind it,
//! from its lanes like everybody. A session that does not reach the live messages behind `until`
//! in time lets them go, and takes the kept ones among them into its replay.

use std::time::Instant;

use super::batch::settle;
use super::history::History;
use super::lane::Taken;
use super::session::{Inner, Session, Sink};
use super::{Hub, Options};
use crate::metrics::Outcome;
use crate::wire::frame::GatewayFrame;

/// What one session replays.
pub(super) struct Replay {
    /// The head when it came: what stands before was in the log at WELCOME.
    pub(super) attached: u64,
    /// Up to here it is served from the shelves.
    pub(super) until: u64,
    /// The number up to which it has everything when it is there.
    cursor: u64,
    /// RESUMED was said: what is dropped before it is sent breaks the promise.
    promised: bool,
    /// When the kernel last took a whole message.
    pub(super) progress: Instant,
}

/// Where a client says that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The epoch that it knows; 0: it knows none and wants everything that is kept for it.
    pub epoch: u64,
    /// The last number that it has handled.
    pub cursor: u64,
}

/// What becomes of a client that comes in.
pub(super) struct Resumed {
    /// Said in WELCOME.
    pub(super) promised: bool,
    /// WELCOME's cursor.
    pub(super) cursor: u64,
    /// The client has handled everything up to it.
    pub(super) handled: bool,
    /// The number of the newest kept message.
    pub(super) upto: u64,
    /// The place at which it begins.
    pub(super) position: u64,
    pub(super) replay: Option<Replay>,
}

impl Resumed {
    /// Decides, where the session has its handles and the log stands still.
    pub(super) fn decide(
        resume: Option<Resume>,
        epoch: u64,
        inner: &Inner,
        history: &History,
        (head, now): (u64, Instant),
    ) -> Self {
        let anew = Self {
            promised: false,
            cursor: history.number,
            handled: false,
            upto: history.number,
            position: head,
            replay: None,
        };
        let Some(resume) = resume else { return anew };
        let wants_all = resume.epoch == 0;
        let cursor = if wants_all { 0 } else { resume.cursor };
        if !wants_all && (resume.epoch != epoch || cursor > history.number) {
            return anew;
        }
        let heard = || inner.handles.iter().filter(|handle| !handle.muted);
        let lanes = || heard().map(|handle| &handle.lane);
        let is_hidden =
            history.floor.hides(cursor, now) || lanes().any(|lane| lane.floor().hides(cursor, now));
        if is_hidden && !wants_all {
            return anew;
        }
        let promised = !is_hidden;
        let before = history.before(cursor);
        let before = before.filter(|before| lanes().any(|lane| lane.keeps_after(*before)));
        Self {
            promised,
            cursor,
            handled: true,
            upto: history.number,
            position: before.unwrap_or(head),
            replay: before.map(|_| Replay {
                attached: head,
                until: head,
                cursor: history.number,
                promised,
                progress: now,
            }),
        }
    }
}

/// Up to `max` kept messages of every lane of a session in (`after`, `until`], unordered; returns
/// up to where that is everything.
pub(super) fn take(
    inner: &Inner,
    (after, until): (u64, u64),
    max: usize,
    out: &mut Vec<Taken>,
) -> u64 {
    let mut upto = until;
    for handle in inner.handles.iter().filter(|handle| !handle.muted) {
        let range = (after.max(handle.from), until);
        let complete = handle
            .lane
            .take_kept(range, max, &|message| inner.passes_by(message), out);
        if let (false, Some(last)) = (complete, out.last()) {
            upto = upto.min(last.message.seq);
        }
    }
    upto
}

impl Hub {
    /// Looks after a session's replay before its next batch: false when the session has to be
    /// closed, since what it was promised is not kept any more.
    pub(super) fn tend_replay<S: Sink + ?Sized>(
        &self,
        sink: &S,
        inner: &mut Inner,
        now: Instant,
    ) -> bool {
        let Some(replay) = inner.replay() else {
            return true;
        };
        if inner.position < replay.until {
            // What came after the session did is owed to it whatever was promised.
            let owed = if replay.promised { 0 } else { replay.attached };
            let owed = inner.position.max(owed);
            let is_broken = inner.handles.iter().any(|handle| {
                let floor = handle.lane.floor();
                !handle.muted && floor.seq > owed && !floor.is_over(now)
            });
            return !is_broken;
        }
        if inner.unsent.is_none() {
            let cursor = replay.cursor;
            inner.take_replay();
            inner.shown = inner.shown.max(cursor);
            inner.say(sink, &GatewayFrame::Current { cursor });
        }
        true
    }

    /// Keeps a replaying session within its bounds: what is live and waits behind the replay for
    /// too long, or is too much, is not sent to it. False when the kernel takes nothing of it.
    pub(super) fn check_replay<S: ?Sized>(
        &self,
        session: &Session<S>,
        inner: &mut Inner,
        now: Instant,
    ) -> bool {
        let options = self.options();
        let stalled =
            |replay: &Replay| now.saturating_duration_since(replay.progress) > options.queue_age;
        if inner.replay().is_some_and(stalled) {
            return false;
        }
        let (head, lag) = (self.log.head(), inner.lag());
        if lag.messages == 0 {
            // What came meanwhile is not for it, and is not to wait for it in lanes that it has
            // muted: those do not count in its lag.
            self.replay_until(session.id(), inner, head, 0);
        }
        let age = lag.oldest.map(|at| now.saturating_duration_since(at));
        let too_old = age.is_some_and(|age| age > options.queue_age);
        if too_old || lag.messages > options.queue_messages || lag.bytes > options.queue_bytes {
            self.let_live_go(session.id(), inner, &options, (too_old, now));
        }
        true
    }

    fn let_live_go(
        &self,
        id: u64,
        inner: &mut Inner,
        options: &Options,
        (only_old, now): (bool, Instant),
    ) {
        let mut waiting = Vec::new();
        inner.take_waiting(&mut waiting);
        settle(inner, u64::MAX, &mut waiting);
        let stays = |taken: &Taken| {
            let age = now.saturating_duration_since(taken.message.accepted);
            only_old && age <= options.queue_age
        };
        let count = waiting.iter().position(stays).unwrap_or(waiting.len());
        let gone = &waiting[..count];
        let Some(last) = gone.last() else { return };
        let skipped = gone.iter().filter(|taken| taken.message.kept().is_none());
        self.metrics
            .deliveries(Outcome::Skipped, skipped.count() as u64);
        let newest = gone.iter().map(|taken| taken.message.number()).max();
        self.replay_until(id, inner, last.message.seq, newest.unwrap_or(0));
    }

    /// Has the session served from the shelves up to `until`, with everything up to the number
    /// `cursor`, where that is further than before.
    fn replay_until(&self, id: u64, inner: &mut Inner, until: u64, cursor: u64) {
        let replay = inner.aside.as_mut().and_then(|aside| aside.replay.as_mut());
        let Some(replay) = replay else { return };
        replay.cursor = replay.cursor.max(cursor);
        if replay.until < until {
            replay.until = until;
            self.list_behind(id, inner);
        }
    }
}

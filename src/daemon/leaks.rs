//! What there are tasks for, at each look of the watch for leaks.

use std::time::Duration;

use super::Parts;
use crate::ledger::{Explained, Kind, LeakWatch, Leaks, Ledger};
use crate::transport::admin;
use crate::transport::listener::REFUSALS_MAX;

/// From one look to the next, in seconds: a leak is suspected ten to fifteen seconds after it
/// shows.
pub(super) const LOOK_S: u64 = 5;
/// How long a connection's task may be between its places: spawned and not yet heard, or detached
/// and on its way through a farewell of a second. In seconds, and generous.
const PASSING_S: u64 = 3;
/// A farewell to one who was turned away is a second; so much later it hangs.
const REFUSAL_AGE: Duration = Duration::from_secs(10);
/// What a handler may be late by when everything is slow.
const HANDLER_SLACK: Duration = Duration::from_secs(10);
/// A job may well outlive its deadline, and goes on; but not for ever.
const JOB_DEADLINES: u32 = 4;
const JOB_AGE_MIN: Duration = Duration::from_secs(60);

/// The watch for leaks, over the tasks of a gateway.
pub(super) struct Tasks {
    parts: Parts,
    watch: LeakWatch,
    /// Connections that had come and gone at the last look.
    passed: u64,
    /// The longest deadline that there was, since handlers keep theirs.
    deadline: Duration,
}

impl Tasks {
    pub(super) fn new(parts: Parts, ledger: Ledger, leaks: Leaks) -> Self {
        let suspected = parts.hub.metrics().leak_suspected.clone();
        Self {
            watch: LeakWatch::new(ledger, leaks, suspected),
            parts,
            passed: 0,
            deadline: Duration::ZERO,
        }
    }

    /// One look; to be called each [`LOOK_S`] seconds.
    pub(super) fn look(&mut self) {
        let Self {
            parts,
            watch,
            passed,
            deadline,
        } = self;
        let metrics = parts.hub.metrics();
        let closed = metrics.connections_closed.sum();
        let now_passed = metrics.connections_opened.get() + closed;
        let passing = (now_passed - *passed) * PASSING_S / LOOK_S;
        *passed = now_passed;
        *deadline = (*deadline).max(parts.udp.deadline());
        watch.look(|kind| explain(kind, parts, passing, *deadline));
    }
}

fn explain(kind: Kind, parts: &Parts, passing: u64, deadline: Duration) -> Option<Explained> {
    let jobs = parts.jobs.len() as u64;
    // A push that is spread takes so much longer.
    let spread = parts.intake.options().max_spread;
    let (live, age) = match kind {
        Kind::Session => {
            let known = parts.hub.sessions() + parts.clients.strangers.len();
            (known as u64 + passing, None)
        }
        Kind::Refusal => (REFUSALS_MAX as u64, Some(REFUSAL_AGE)),
        Kind::PushJob => (
            jobs,
            Some(deadline.saturating_mul(JOB_DEADLINES).max(JOB_AGE_MIN) + spread),
        ),
        Kind::PushHandler => (jobs, Some(deadline.saturating_add(HANDLER_SLACK) + spread)),
        Kind::Listener => (parts.entrances.len() as u64, None),
        Kind::Admin => (admin::TASKS_MAX as u64, None),
        // Loops, one or two of each.
        Kind::Udp | Kind::Heartbeat | Kind::Signal | Kind::Log => (1, None),
        // The thread, and a sync that is under way.
        Kind::Store => (2, None),
        // Of the command line.
        Kind::Client => return None,
    };
    Some(Explained { kind, live, age })
}

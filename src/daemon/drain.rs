//! The end of the process: tell everybody, finish what was begun, and leave nothing behind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::settings::Settings;
use super::systemd::{Notify, STEP_MAX};
use super::{Drained, Parts};
use crate::hub::{Closing, retry_within};
use crate::ledger::Ledger;
use crate::wire::reason::CloseCode;

/// How often a drain looks whether what it waits for has happened.
const LOOK: Duration = Duration::from_millis(10);
/// What clients have to take their CLOSE and close, and what the tasks have to end.
const FAREWELL: Duration = Duration::from_millis(1500);
/// How often the service manager hears how far a drain is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Clients that are told before others get their turn.
const STEP: usize = 128;

/// Turns away what is new, finishes what is accepted, and tells every client when to come back.
pub(super) async fn drain(parts: &Parts, settings: &Settings, notify: &Notify) -> Drained {
    let (started, drain) = (Instant::now(), &settings.drain);
    // First, so that nobody comes in at a passed socket only to be sent away.
    parts.doors.hand_over();
    parts.clients.draining.store(true, Ordering::Relaxed);
    parts.intake.drain();
    parts.jobs.hurry();
    let sessions = parts.hub.sessions();
    info!(target: "pushgate", sessions, jobs = parts.jobs.len(), "draining");
    notify.stopping(&progress(parts));
    let is_flushed = || parts.jobs.is_empty() && parts.hub.sessions_behind() == 0;
    let mut told = Instant::now();
    while started.elapsed() < drain.linger
        || (!is_flushed() && started.elapsed() < drain.linger.max(drain.grace))
    {
        sleep(LOOK).await;
        if TELL_EVERY <= told.elapsed() {
            told = Instant::now();
            notify.extend(STEP_MAX, &progress(parts));
        }
    }
    let mut drained = Drained::Full;
    if !is_flushed() {
        drained = Drained::CutShort;
        let (jobs, behind) = (parts.jobs.len(), parts.hub.sessions_behind());
        warn!(target: "pushgate", jobs, behind, "the grace is over");
    }
    // No faster than a gateway lets them in again.
    let rate = settings.clients.accept_rate;
    let at_least = Duration::from_secs(sessions as u64)
        .checked_div(rate)
        .unwrap_or_default();
    let spread = drain.spread.max(at_least);
    notify.extend(STEP_MAX, "tells the clients when to come back");
    parts.clients.leaving.cancel();
    for batch in parts.hub.everyone().chunks(STEP) {
        for session in batch {
            let retry = retry_within(spread);
            let close = Closing::code(CloseCode::Draining, retry, "draining");
            parts.hub.close(&**session, close);
        }
        tokio::task::yield_now().await;
    }
    let all_gone = async {
        while parts.doors.admitted() > 0 {
            sleep(LOOK).await;
        }
    };
    if timeout(FAREWELL, all_gone).await.is_err() {
        drained = Drained::CutShort;
        warn!(target: "pushgate", connections = parts.doors.admitted(), "cut off");
    }
    drained
}

/// What is left to do, for people.
fn progress(parts: &Parts) -> String {
    let (jobs, behind) = (parts.jobs.len(), parts.hub.sessions_behind());
    let sessions = parts.hub.sessions();
    format!("drains: {jobs} pushes under way, {behind} of {sessions} sessions behind")
}

/// Ends every task that is left.
pub(super) async fn stop(ledger: &Ledger) {
    ledger.stop_token().cancel();
    if timeout(FAREWELL, ledger.wait()).await.is_err() {
        let left = ledger.kinds().into_iter().filter(|kind| kind.live > 0);
        for kind in left {
            warn!(target: "pushgate", kind = kind.kind.word(), live = kind.live, "still running");
        }
    }
    info!(target: "pushgate", "stopped");
}

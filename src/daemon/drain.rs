//! The end of the process: tell everybody, finish what was begun, and leave nothing behind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::settings::Settings;
use super::{Drained, Parts};
use crate::hub::Closing;
use crate::ledger::Ledger;
use crate::wire::reason::CloseCode;

/// How often a drain looks whether what it waits for has happened.
const LOOK: Duration = Duration::from_millis(10);
/// What clients have to take their CLOSE and close, and what the tasks have to end.
const FAREWELL: Duration = Duration::from_millis(1500);
/// Clients that are told before others get their turn.
const STEP: usize = 128;

/// Turns away what is new, finishes what is accepted, and tells every client when to come back.
pub(super) async fn drain(parts: &Parts, settings: &Settings) -> Drained {
    let (started, drain) = (Instant::now(), &settings.drain);
    parts.clients.draining.store(true, Ordering::Relaxed);
    parts.intake.drain();
    parts.jobs.hurry();
    let sessions = parts.hub.sessions();
    info!(target: "pushgate", sessions, jobs = parts.jobs.len(), "draining");
    let is_flushed = || parts.jobs.is_empty() && parts.hub.sessions_behind() == 0;
    while started.elapsed() < drain.linger
        || (!is_flushed() && started.elapsed() < drain.linger.max(drain.grace))
    {
        sleep(LOOK).await;
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
    parts.clients.leaving.cancel();
    for batch in parts.hub.everyone().chunks(STEP) {
        for session in batch {
            let retry = rand::random_range(0..=spread.as_millis());
            let retry = 500_u32.saturating_add(u32::try_from(retry).unwrap_or(u32::MAX / 2));
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

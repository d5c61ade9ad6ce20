//! What the admin door shows of the gateway, and asks of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use super::logging::Log;
use crate::ledger::{Leaks, Ledger};
use crate::metrics::Live;
use crate::transport::admin::reload::Reloads;
use crate::transport::admin::services::Services;
use crate::transport::admin::{AdminState, log};
use crate::transport::kernel::Kernel;
use crate::transport::phase::PhaseCell;

/// A loop that has not turned for this long is stuck: it turns once a second when nothing happens.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What the door is given at its start.
pub(super) fn state(
    parts: &Parts,
    ledger: &Ledger,
    phase: &PhaseCell,
    kernel: Kernel,
    (reloads, leaks, log): (Reloads, Leaks, Option<Log>),
    address: SocketAddr,
) -> AdminState {
    let (doors, udp) = (Arc::clone(&parts.doors), Arc::clone(&parts.udp));
    let (waited, clock) = (Arc::clone(&parts.udp), parts.clients.clock.clone());
    let services = Services::new(
        Arc::clone(&parts.hub),
        Arc::clone(&parts.intake),
        ledger.clone(),
        clock,
        move || waited.deadline(),
    );
    let (shown, level) = (parts.clone(), log.as_ref().map(Log::level).cloned());
    AdminState {
        metrics: Arc::clone(parts.hub.metrics()),
        ledger: ledger.clone(),
        live: Arc::new(move || Live {
            log_lines_dropped: log.as_ref().map_or(0, Log::dropped),
            ..shown.live(&kernel)
        }),
        inspect: Arc::new(parts.clone()),
        board: Arc::default(),
        phase: phase.clone(),
        health: Arc::new(move || {
            for (name, idle) in [("accept", doors.idle_for()), ("datagram", udp.idle_for())] {
                if idle > STUCK_AFTER {
                    return Err(format!("the {name} loop has not turned for {idle:?}"));
                }
            }
            Ok(())
        }),
        leaks,
        gate: Arc::clone(&parts.gate),
        reloads,
        services: Arc::new(services),
        storms: Arc::clone(&parts.clients.storms),
        log: level.map(|level| Arc::new(level) as Arc<dyn log::Level>),
        address,
    }
}

//! Watches how late the runtime is, and holds newcomers back while it is too late.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::transport::listener::Doors;
use crate::transport::overload::{Lag, Overload};

/// Until `stop`.
pub(super) async fn watch(doors: Arc<Doors>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let (mut lag, mut overload) = (Lag::default(), Overload::default());
    loop {
        let late = tokio::select! {
            () = stop.cancelled() => return,
            late = lag.look() => late,
        };
        metrics.loop_lag.observe(late.as_secs_f64());
        let Some(is_overloaded) = overload.note(late) else {
            continue;
        };
        doors.set_overloaded(is_overloaded);
        metrics.overloaded.set(is_overloaded.into());
        let lag_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        let connections = doors.connections();
        if is_overloaded {
            warn!(
                lag_ms,
                connections, "overloaded: new handshakes wait, those who are connected are served"
            );
        } else {
            info!(
                lag_ms,
                connections, "no longer overloaded: new handshakes go on"
            );
        }
    }
}

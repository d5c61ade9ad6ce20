//! What is looked at once a second for the log alone: storms, clients that were cut as slow, and
//! whether a level that somebody asked for is over.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Parts;
use super::logging::Log;
use crate::clock::{Clock, monotonic};
use crate::metrics::Metrics;
use crate::transport::storms::{Named, Summary, Told, list};
use crate::wire::reason::{CloseCode, CloseReason};

/// One line on slow clients in this time.
const SLOW_PERIOD: Duration = Duration::from_secs(10);

/// Until `stop`.
pub(super) async fn watch(parts: Parts, clock: Clock, log: Option<Log>, stop: CancellationToken) {
    let mut looks = interval(Duration::from_secs(1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = parts.hub.metrics();
    let mut slow = Slow::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let connections = parts.doors.connections() as u64;
        let told = parts
            .clients
            .storms
            .look(metrics, connections, clock.now_ms());
        tell(&told, connections, metrics);
        if let Some(cut) = slow.look(metrics, Instant::now()) {
            let behind = parts.hub.sessions_behind();
            info!(target: "pushgate", cut, behind, "slow clients were cut: too far behind");
        }
        let expired = log.as_ref().and_then(|log| log.level().expire(monotonic()));
        if let Some(level) = expired {
            info!(target: "pushgate", %level, "the level of the log is the configured one again");
        }
    }
}

fn tell(told: &Told, connections: u64, metrics: &Metrics) {
    let sources = |summary: &Summary| {
        let more = if summary.more_sources { "+" } else { "" };
        format!("{}{more}", summary.sources)
    };
    match told {
        Told::Quiet => {}
        Told::Second(second, summary) => {
            if *second == 1 {
                metrics.storms.inc();
                metrics.storm.set(1);
            }
            let Summary {
                opened,
                closed,
                rejected,
                ..
            } = *summary;
            info!(
                target: "pushgate",
                second,
                opened,
                closed,
                reasons = words(&summary.reasons),
                rejected = (rejected > 0).then_some(rejected),
                causes = words(&summary.causes),
                sources = sources(summary),
                top = list(&summary.top),
                connections,
                "storm"
            );
        }
        Told::Over(storm) => {
            metrics.storm.set(0);
            let summary = &storm.summary;
            info!(
                target: "pushgate",
                seconds = storm.seconds,
                peak = storm.peak,
                opened = summary.opened,
                closed = summary.closed,
                reasons = words(&summary.reasons),
                rejected = (summary.rejected > 0).then_some(summary.rejected),
                causes = words(&summary.causes),
                sources = sources(summary),
                top = list(&summary.top),
                connections,
                "the storm is over"
            );
        }
    }
}

/// What did not happen is no field of a line.
fn words(named: &[Named]) -> Option<String> {
    (!named.is_empty()).then(|| list(named))
}

/// Clients that were cut as slow, told now and then.
#[derive(Debug, Default)]
struct Slow {
    /// As many have been told of.
    told: u64,
    quiet_until: Option<Instant>,
}

impl Slow {
    /// How many were cut since the last line, where one is due.
    fn look(&mut self, metrics: &Metrics, now: Instant) -> Option<u64> {
        let slow = CloseReason::Code(CloseCode::Slow).index();
        let cut = metrics.connections_closed.at(slow).get() - self.told;
        if cut == 0 || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.told += cut;
        self.quiet_until = Some(now + SLOW_PERIOD);
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_clients_are_a_line_a_period_with_all_of_them() {
        let (mut slow, metrics) = (Slow::default(), Metrics::new());
        let cut = |count: usize| {
            (0..count).for_each(|_| metrics.connection_closed(CloseCode::Slow.into()));
        };
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(slow.look(&metrics, at(0)), None);
        cut(3);
        assert_eq!(slow.look(&metrics, at(1)), Some(3));
        cut(2);
        assert_eq!(slow.look(&metrics, at(2)), None);
        cut(1);
        assert_eq!(slow.look(&metrics, at(10)), None);
        assert_eq!(slow.look(&metrics, at(11)), Some(3));
        assert_eq!(slow.look(&metrics, at(60)), None);
    }
}

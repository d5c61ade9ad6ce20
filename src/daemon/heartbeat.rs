//! What time alone brings about, once a second: at each whole second of the gateway's clock, since
//! that is when most tokens end.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Parts;
use super::leaks::{LOOK_S, Tasks};
use super::systemd::Supervision;
use crate::clock::{Watch, monotonic};
use crate::hub::Sweep;
use crate::hub::pump::Pump;
use crate::metrics::Metrics;
use crate::transport::admin::AdminState;

/// Sessions that the sweep looks at before it yields.
const SWEEP_STEP: usize = 512;
/// Kept messages that go under one hold of the log's lock: about 50 us.
const EXPIRE_STEP: usize = 128;

/// Until `stop`.
pub(super) async fn heartbeat(
    parts: Parts,
    (admin, mut supervision): (AdminState, Supervision),
    (mut watch, mut tasks): (Watch, Tasks),
    stop: CancellationToken,
) {
    let clock = parts.clients.clock.clone();
    let (mut sweep, hub) = (Sweep::default(), &parts.hub);
    let mut turns = 0;
    loop {
        let rest = 1_000 - clock.now_ms() % 1_000;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(Duration::from_millis(rest)) => {}
        }
        let mut cx = Pump::new(monotonic());
        while !sweep.step(hub, SWEEP_STEP, clock.now_ms(), &mut cx) {
            tokio::task::yield_now().await;
        }
        cx.merge(hub.metrics());
        while !hub.expire(EXPIRE_STEP, cx.now) {
            tokio::task::yield_now().await;
        }
        while !parts.clients.sessions.expire(EXPIRE_STEP, cx.now) {
            tokio::task::yield_now().await;
        }
        parts.remembered.sweep(hub.tick(cx.now));
        look_at_the_clock(&mut watch, hub.metrics());
        supervision.tick(&parts, admin.phase.now());
        turns += 1;
        if turns % LOOK_S == 0 {
            tasks.look();
        }
        admin.turn();
    }
}

/// A step of the machine's clock is rare, and of what is signed around it one side may be STALE:
/// each is a line.
fn look_at_the_clock(watch: &mut Watch, metrics: &Metrics) {
    let ahead = Duration::from_millis(watch.clock().ahead_ms()).as_secs_f64();
    metrics.clock_ahead.set(ahead);
    let Some(step_ms) = watch.look() else { return };
    metrics.clock_step(step_ms);
    let step_s = step_ms as f64 / 1e3;
    if step_ms < 0 {
        warn!(
            step_s,
            ahead_s = ahead,
            "the machine's clock was set back: the gateway's goes on, ahead of it"
        );
    } else {
        warn!(
            step_s,
            "the machine's clock was set forward: what was signed before may be STALE"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_clock_that_is_set_raises_the_alarm() {
        let (clock, metrics) = (Clock::with_wall(1_790_000_000_000), Metrics::new());
        let mut watch = Watch::new(clock.clone());
        let alarm = |metrics: &Metrics| {
            let steps = [0, 1].map(|index| metrics.clock_steps.at(index).get());
            (steps, metrics.clock_ahead.get() >= 59.0)
        };
        clock.now_ms();
        look_at_the_clock(&mut watch, &metrics);
        assert_eq!(alarm(&metrics), ([0, 0], false));
        clock.set_wall(1_789_999_940_000);
        look_at_the_clock(&mut watch, &metrics);
        assert_eq!(alarm(&metrics), ([1, 0], true));
        clock.set_wall(1_790_000_100_000);
        look_at_the_clock(&mut watch, &metrics);
        assert_eq!(alarm(&metrics), ([1, 1], false));
    }
}

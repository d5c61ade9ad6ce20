//! The watchdog: the service manager hears that the process lives each time the accept loops and
//! the datagram loop have all gone round since it heard so last. A loop that is stuck, or has
//! ended, ends the messages, and the service manager starts the process anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Notify;
use crate::daemon::Parts;
use crate::transport::phase::Phase;

/// How often people are told how it is.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// A start or an end that has not moved for this long is stuck. Told once a second.
pub(in crate::daemon) const STEP_MAX: Duration = Duration::from_secs(10);
/// The loops turn once a second when nothing happens: what asks for more would cut those that work.
const LEAST: Duration = Duration::from_secs(4);

/// What the service manager hears once a second, or more seldom.
#[derive(Debug)]
pub(in crate::daemon) struct Supervision {
    notify: Arc<Notify>,
    rounds: Option<Rounds>,
    /// When people were told, and the pushes until then.
    told: (Instant, u64),
}

impl Supervision {
    /// With the watchdog that the environment asks for, if it does.
    pub(in crate::daemon) fn from_env(notify: Arc<Notify>) -> Self {
        let limit = sd_notify::watchdog_enabled();
        if let Some(limit) = limit {
            if limit < LEAST {
                let (limit, least) = (limit.as_secs_f64(), LEAST.as_secs());
                let text = "WatchdogSec= is so short that it ends a process which works";
                warn!(target: "pushgate", limit, least, "{text}");
            }
            info!(target: "pushgate", limit = limit.as_secs_f64(), "watchdog");
        }
        let now = Instant::now();
        Self {
            notify,
            rounds: limit.map(|limit| Rounds::new(limit, now)),
            told: (now, 0),
        }
    }

    /// Once a second.
    pub(in crate::daemon) fn tick(&mut self, parts: &Parts, phase: Phase) {
        let now = Instant::now();
        self.notify.retry();
        if let Some(rounds) = &mut self.rounds {
            let idle = parts.doors.idle_for().max(parts.udp.idle_for());
            if rounds.is_over(now, idle) {
                self.notify.alive();
            }
        }
        match phase {
            Phase::Starting => {
                let status = "starts: requests are STALE until their time can be believed";
                self.notify.extend(STEP_MAX, status);
            }
            Phase::Ready => {
                let since = now.saturating_duration_since(self.told.0);
                if STATUS_EVERY <= since {
                    let pushes = parts.hub.metrics().pushes();
                    let rate = pushes.saturating_sub(self.told.1) as f64 / since.as_secs_f64();
                    self.told = (now, pushes);
                    self.notify.status(&status(parts, rate));
                }
            }
            // The drain tells how far it is.
            Phase::Draining => {}
        }
    }
}

/// How it is: one line of `systemctl status`.
fn status(parts: &Parts, rate: f64) -> String {
    let (sessions, behind) = (parts.hub.sessions(), parts.hub.sessions_behind());
    let plural = if sessions == 1 { "" } else { "s" };
    format!("{sessions} session{plural}, {behind} of them behind; {rate:.1} pushes/s")
}

/// Rounds through all loops, for a watchdog with this limit.
#[derive(Debug)]
struct Rounds {
    /// Two messages are at least this far apart; well under the limit, since one may be late.
    pause: Duration,
    began: Instant,
}

impl Rounds {
    fn new(limit: Duration, now: Instant) -> Self {
        let (pause, began) = (limit / 4, now);
        Self { pause, began }
    }

    /// Whether the round is over, and the next one begins: every loop has turned since it began,
    /// the one that turned least recently `idle` ago.
    fn is_over(&mut self, now: Instant, idle: Duration) -> bool {
        let age = now.saturating_duration_since(self.began);
        let is_over = self.pause <= age && idle < age;
        if is_over {
            self.began = now;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;
    use crate::daemon::settings::Settings;
    use crate::ledger::{Kind, Ledger};
    use crate::metrics::Metrics;
    use crate::transport::beat::Beat;
    use crate::transport::listener::Listening;
    use crate::transport::socket;

    /// The seconds of `seconds` at which a round is over; at each the loops turn first that `turns`
    /// says so of.
    async fn rounds(seconds: u64, limit: u64, turns: impl Fn(u64, usize) -> bool) -> Vec<u64> {
        let loops = [Beat::default(), Beat::default()];
        let mut rounds = Rounds::new(Duration::from_secs(limit), Instant::now());
        let mut over = Vec::new();
        for second in 1..=seconds {
            tokio::time::advance(Duration::from_millis(500)).await;
            for (index, beat) in loops.iter().enumerate() {
                if turns(second, index) {
                    beat.note();
                }
            }
            tokio::time::advance(Duration::from_millis(500)).await;
            let idle = loops.iter().map(Beat::idle_for).max().unwrap();
            if rounds.is_over(Instant::now(), idle) {
                over.push(second);
            }
        }
        over
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_is_over_when_every_loop_has_turned() {
        assert_eq!(rounds(5, 4, |_, _| true).await, [1, 2, 3, 4, 5]);
        assert_eq!(rounds(9, 12, |_, _| true).await, [3, 6, 9]);
        // One of both that turns at every other second only.
        let slow = |second, index| index == 0 || second % 2 == 0;
        assert_eq!(rounds(6, 4, slow).await, [2, 4, 6]);
        // One that stops at the third, whichever it is, and one that goes on later.
        for stuck in [0, 1] {
            let stops = |second, index| index != stuck || second < 3;
            assert_eq!(rounds(30, 4, stops).await, [1, 2]);
            let resumes = |second, index| index != stuck || !(3..8).contains(&second);
            assert_eq!(rounds(9, 4, resumes).await, [1, 2, 8, 9]);
        }
    }

    /// A gateway whose accept loops, each with an end of its own, and whose datagram loop turn.
    fn serving(ledger: &Ledger, metrics: &Arc<Metrics>) -> (Parts, [CancellationToken; 3]) {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = socket::bind_udp(any, 1 << 16).unwrap();
        let own = (Arc::clone(metrics), ledger, &Clock::system());
        let parts = Parts::new(&Settings::default(), own, socket, 0).unwrap();
        let stops = [0; 3].map(|_| ledger.stop_token().child_token());
        for stop in &stops[..2] {
            let listening = Listening::new(socket::listen(any).unwrap(), false).unwrap();
            let doors = Arc::clone(&parts.doors);
            let serve = doors.serve(listening, Arc::clone(&parts.entrances[0]), stop.clone());
            ledger.spawn(Kind::Listener, serve);
        }
        let (main, receiving) = (Handle::current(), parts.udp.receiving().unwrap());
        let stop = stops[2].clone();
        ledger.spawn_blocking(Kind::Udp, move || receiving.serve(&main, stop));
        (parts, stops)
    }

    /// The rest of the process goes on, this look among it: nobody but the loop that has ended
    /// keeps the sign of life back.
    #[tokio::test]
    async fn a_loop_that_has_ended_ends_the_signs_of_life_although_the_rest_goes_on() {
        let ended = async |which: usize| {
            let metrics = Arc::new(Metrics::new());
            let ledger = Ledger::new(&metrics);
            // Also where it fails: a thread that receives would hold the test up.
            let _end = ledger.stop_token().clone().drop_guard();
            let (parts, stops) = serving(&ledger, &metrics);
            let (notify, manager) = Notify::pair();
            let now = Instant::now();
            let mut supervision = Supervision {
                notify: Arc::new(notify),
                rounds: Some(Rounds::new(Duration::from_secs(2), now)),
                told: (now, 0),
            };
            let mut lives_within = async |looks: u32| {
                let (mut buffer, mut lives) = ([0; 256], 0);
                for _ in 0..looks {
                    sleep(Duration::from_millis(100)).await;
                    supervision.tick(&parts, Phase::Ready);
                    while let Ok(count) = manager.recv(&mut buffer) {
                        lives += u32::from(buffer[..count].starts_with(b"WATCHDOG=1"));
                    }
                    if lives > 0 {
                        break;
                    }
                }
                lives
            };
            assert_eq!((lives_within(200).await, lives_within(200).await), (1, 1));
            stops[which].cancel();
            // It may have turned since the last sign of life.
            lives_within(30).await;
            assert_eq!(lives_within(40).await, 0, "loop {which} has ended");
            ledger.stop_token().cancel();
            ledger.wait().await;
        };
        tokio::join!(ended(0), ended(1), ended(2));
    }
}

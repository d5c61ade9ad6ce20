//! Messages that are kept, and clients that come back for them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Cost, GatewayLoad, ROOM_AFTER, hello_again, user};
use crate::cli::bench::crowd::SILENCE_MAX;
use crate::cli::bench::recorder::{Recorder, UNNOTED};
use crate::wire::datagram::Target;

/// For how long what is kept is kept, in seconds: longer than any run.
const TTL_S: u32 = 24 * 3600;

/// What all clients that came back did.
#[derive(Debug, Default)]
pub struct Returned {
    /// The server's CPU time, what was replayed and what was missed of it.
    pub cost: Cost,
    /// How often all of them came.
    pub storms: u64,
    /// Sessions that were granted what they asked for.
    pub resumed: u64,
    /// Those that the gateway did not let go.
    pub stuck: u64,
    /// From the first one's connect to the last one's last message, each time.
    pub took: Vec<Duration>,
}

impl Returned {
    /// Adds another round's; of a warm-up only what went wrong counts.
    pub(in super::super) fn add(&mut self, other: &Self, is_warm_up: bool) {
        self.cost.missed += other.cost.missed;
        self.stuck += other.stuck;
        self.storms += other.storms;
        self.resumed += other.resumed;
        if !is_warm_up {
            self.cost.add(&other.cost);
            self.took.extend(&other.took);
        }
    }
}

impl GatewayLoad {
    /// Pushes `each` messages to every one of `clients` users, who are not there, `window` of them
    /// without an answer at a time. `progress` hears of each push.
    ///
    /// # Errors
    /// When the gateway is gone, or does not answer any more.
    pub fn keep(
        &mut self,
        (clients, each): (usize, usize),
        size: usize,
        window: usize,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<()> {
        let mut recorder = Recorder::default();
        let users: Vec<String> = (0..clients).map(user).collect();
        self.stamp(Instant::now(), UNNOTED, size);
        let mut heard = Instant::now();
        for number in 0..clients * each {
            let target = Target::User(&users[number % clients]);
            loop {
                let open = self.pusher.unanswered();
                if open < window && self.pusher.keep(target, &self.payload, TTL_S)? {
                    break;
                }
                let wait = if open < window {
                    ROOM_AFTER
                } else {
                    SILENCE_MAX
                };
                if self.hear(wait, &mut recorder)? {
                    heard = Instant::now();
                }
                anyhow::ensure!(heard.elapsed() < SILENCE_MAX, "the gateway answers no more");
            }
            progress(1);
        }
        let missing = self.settle(0, &mut recorder)?;
        let open = self.pusher.unanswered();
        anyhow::ensure!(missing == 0 && open == 0, "{open} pushes are not answered");
        Ok(())
    }

    /// All clients come back at once, are sent the `each` messages that are kept for them, and
    /// leave; again and again for so long. The last time may go on for longer.
    ///
    /// # Errors
    /// When one is turned away.
    pub fn come_back(
        &mut self,
        native: SocketAddr,
        (clients, each): (usize, usize),
        time: Duration,
    ) -> anyhow::Result<Returned> {
        let (begin, mut returned, mut recorder) =
            (Instant::now(), Returned::default(), Recorder::default());
        while returned.storms == 0 || begin.elapsed() < time {
            let (resumed, start) = (self.crowd.tally.resumed, Instant::now());
            let cost = self.measured(|load| {
                let expected = load.crowd.tally.pushes + (clients * each) as u64;
                load.crowd
                    .connect(clients, native, Some(&hello_again), &|_| {})?;
                load.settle(expected, &mut recorder)
            })?;
            returned.took.push(start.elapsed());
            returned.cost.add(&cost);
            returned.cost.missed += cost.missed;
            returned.storms += 1;
            returned.resumed += self.crowd.tally.resumed - resumed;
            returned.stuck += self.crowd.leave()? as u64;
        }
        Ok(returned)
    }
}

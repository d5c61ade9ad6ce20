//! Messages by the clock, amid others.

use std::time::{Duration, Instant};

use super::{Cost, GatewayLoad, Shape, user};
use crate::cli::bench::crowd::SILENCE_MAX;
use crate::cli::bench::recorder::{PACED, PACED_AMID, Recorder, UNNOTED};
use crate::wire::datagram::Target;

/// The part of the time that bursts take, where no rate says how often they come.
const BUSY: f64 = 0.2;
/// Paced messages from one burst's begin to the next one's.
pub const PACED_EACH: usize = 10;
/// Moves them by another part of the time between two of them in every cycle: the golden ratio's
/// multiples come near to none of those before.
const GOLDEN: f64 = 0.618_034;
/// How often a figure is looked at while a burst is on its way.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Broadcasts for as long as others are measured.
#[derive(Clone, Copy, Debug)]
pub struct Amid {
    /// How long.
    pub time: Duration,
    /// Which part of the time, 0 to 1, nothing is to do between two of them; of no use with a rate.
    pub pause: f64,
}

impl GatewayLoad {
    /// Pushes to one user, whose only session is this load's, each due by the shape's rate whatever
    /// has come back, and counted from then; so is the answer. Returns how many did not arrive.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn singles(
        &mut self,
        count: usize,
        shape: &Shape,
        number: usize,
        recorder: &mut Recorder,
    ) -> anyhow::Result<u64> {
        let name = user(number);
        let start = Instant::now();
        let before = recorder.paced.len();
        recorder.begin(0);
        for number in 0..count {
            let due = shape.due(start, number);
            self.until(due, recorder)?;
            self.stamp(due, PACED, shape.size);
            recorder.sent(due.elapsed());
            while !self
                .pusher
                .push_due(Target::User(&name), &self.payload, due)?
            {
                self.hear(super::ROOM_AFTER, recorder)?;
            }
        }
        // Broadcasts go on arriving: only what was sent here says that something comes.
        let (mut heard, mut open) = (Instant::now(), u64::MAX);
        loop {
            let missing = (before + count as u64).saturating_sub(recorder.paced.len());
            let now_open = missing + self.pusher.unanswered() as u64;
            if now_open == 0 || SILENCE_MAX < heard.elapsed() {
                return Ok(missing);
            }
            if now_open != open {
                (heard, open) = (Instant::now(), now_open);
            }
            self.hear(Duration::from_millis(100), recorder)?;
        }
    }

    /// Broadcasts for a time: by the shape's rate, or the next one when everybody has the last one
    /// and a pause is over.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn amid(
        &mut self,
        amid: &Amid,
        shape: &Shape,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        let start = Instant::now();
        let end = start + amid.time;
        recorder.begin(0);
        self.measured(|load| {
            let (mut expected, mut missed, mut number) = (load.crowd.tally.pushes, 0, 0);
            while Instant::now() < end {
                let due = shape.due(start, number);
                if end <= due {
                    break;
                }
                load.until(due, recorder)?;
                load.broadcast(due, 0, shape.size, recorder)?;
                expected += load.crowd.readers() as u64;
                number += 1;
                if shape.rate.is_none() {
                    missed += load.settle(expected - missed, recorder)?;
                    let pause = due.elapsed().mul_f64(amid.pause / (1.0 - amid.pause));
                    load.until(end.min(Instant::now() + pause), recorder)?;
                }
            }
            missed += load.settle(expected - missed, recorder)?;
            Ok(missed)
        })
    }

    /// Bursts with pauses, so that they take a fifth of the time, or by the shape's rate; and amid
    /// them paced messages that are due at moments spread evenly over all of it.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn paced(
        &mut self,
        count: usize,
        shape: &Shape,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        recorder.begin(0);
        self.measured(|load| {
            let mut expected = load.crowd.tally.pushes;
            let each = load.crowd.readers() as u64;
            // One burst by itself says how long a burst takes.
            let alone = Instant::now();
            load.burst(alone, shape, recorder)?;
            expected += each * shape.burst as u64;
            let mut missed = load.settle(expected, recorder)?;
            let cycle = match shape.rate {
                Some(rate) => Duration::from_secs_f64(1.0 / rate),
                None => alone.elapsed().div_f64(BUSY),
            };
            let start = Instant::now();
            for number in 0..count {
                let begin = start + cycle.mul_f64(number as f64);
                load.until(begin, recorder)?;
                load.burst(begin, shape, recorder)?;
                for phase in phases(number) {
                    let due = begin + cycle.mul_f64(phase);
                    load.until(due, recorder)?;
                    load.broadcast(due, PACED_AMID, shape.size, recorder)?;
                }
                expected += each * (shape.burst + PACED_EACH) as u64;
            }
            missed += load.settle(expected - missed, recorder)?;
            Ok(missed)
        })
    }

    /// One burst, and a look at something before it, right behind it, and until it has arrived.
    ///
    /// # Errors
    /// When the gateway is gone, or the look fails.
    pub fn watched(
        &mut self,
        shape: &Shape,
        look: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut recorder = Recorder::default();
        let each = self.crowd.readers() as u64;
        let expected = self.crowd.tally.pushes + each * shape.burst as u64;
        let start = Instant::now();
        look()?;
        self.burst(start, shape, &mut recorder)?;
        while self.crowd.tally.pushes < expected && start.elapsed() < SILENCE_MAX {
            look()?;
            self.until(Instant::now() + LOOK_EVERY, &mut recorder)?;
        }
        self.settle(expected, &mut recorder)
    }

    fn burst(
        &mut self,
        due: Instant,
        shape: &Shape,
        recorder: &mut Recorder,
    ) -> anyhow::Result<()> {
        for _ in 0..shape.burst {
            self.broadcast(due, UNNOTED, shape.size, recorder)?;
        }
        Ok(())
    }
}

/// When in a cycle the paced messages are due, each from 0 to below 1.
fn phases(cycle: usize) -> impl Iterator<Item = f64> {
    let first = (cycle as f64 * GOLDEN).fract();
    (0..PACED_EACH).map(move |number| (number as f64 + first) / PACED_EACH as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paced_messages_are_due_all_over_the_cycle() {
        let mut tenths = [0; 100];
        for cycle in 0..50 {
            let mut last = 0.0;
            for phase in phases(cycle) {
                assert!((last..1.0).contains(&phase), "{phase} behind {last}");
                last = phase;
                tenths[(phase * 100.0) as usize] += 1;
            }
        }
        assert!(
            tenths.iter().all(|count| (1..=10).contains(count)),
            "{tenths:?}"
        );
    }
}

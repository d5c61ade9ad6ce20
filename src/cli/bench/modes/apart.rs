//! One client that is measured by itself, in a process of its own, while others make load.

use anyhow::Context;

use super::super::aside::{Answer, Heard, Order};
use super::super::recorder::Recorder;
use super::super::rig::Rig;
use crate::cli::output;

/// Pushes that are due a second, where no rate is given.
pub(super) const RATE: f64 = 200.0;
/// How long a round takes, where no number of messages is given.
pub(super) const SECONDS: f64 = 2.0;
/// How far this process steps back for the one that measures, which shares its core.
const NICE: i32 = 10;

/// What the rounds of one kind brought.
#[derive(Default)]
pub(super) struct Kind {
    pub(super) recorder: Recorder,
    pub(super) missed: u64,
    pub(super) not_done: u64,
}

impl Kind {
    /// Of a warm-up only what it missed counts.
    pub(super) fn add(&mut self, heard: &Heard, warm_up: bool) {
        if !warm_up {
            heard.add_to(&mut self.recorder);
        }
        self.missed += heard.missed;
        self.not_done += heard.not_done;
    }
}

/// Lets the measured client go first on the core that both share.
pub(super) fn step_back() {
    if rustix::process::nice(NICE).is_err() {
        output::note("this process cannot step back for the one that measures");
    }
}

/// Lets the process of the single pushes do its round, and does `work` meanwhile.
pub(super) fn together<T>(
    rig: &mut Rig,
    order: &Order,
    work: impl FnOnce(&mut Rig) -> anyhow::Result<T>,
) -> anyhow::Result<(Heard, T)> {
    let mut apart = rig.apart.take().context("nobody measures")?;
    apart.tell(order)?;
    let done = work(rig)?;
    let answer = apart.answer(&|_| {})?;
    rig.apart = Some(apart);
    match answer {
        Answer::Heard(heard) => Ok((heard, done)),
        _ => anyhow::bail!("the load beside this one answers something else"),
    }
}

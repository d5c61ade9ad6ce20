//! The measurements, one function each.

mod account;
mod churn;
mod cycles;
mod fanout;
mod idle;
mod isolation;
mod memory;
mod storm;
mod unicast;

pub(super) use churn::churn;
pub(super) use cycles::cycles;
pub(super) use fanout::{broadcast, burst};
pub(super) use idle::idle;
pub(super) use isolation::isolation;
pub(super) use memory::memory;
pub(super) use storm::storm;
pub(super) use unicast::unicast;

use super::Bench;
use super::load::Cost;
use super::recorder::Recorder;
use super::report::Report;
use super::rig::{Rig, bar};
use super::rounds::{Series, rotation};
use crate::cli::exit::Failure;

/// One kind of load in the rotation.
type Kind<'a> = (
    &'static str,
    &'a dyn Fn(&mut Rig, &mut Recorder) -> anyhow::Result<Cost>,
);

/// Rounds of all kinds in rotation, after one of each that does not count. Fills the report's
/// costs, where there is CPU time to read, and returns what the gateway's clients got and missed,
/// and in what time.
fn rounds(
    rig: &mut Rig,
    kinds: &[Kind<'_>],
    count: usize,
    recorder: &mut Recorder,
    report: &mut Report,
) -> Result<Cost, Failure> {
    let mut series = vec![Series::default(); kinds.len()];
    let mut total = Cost::default();
    let bar = bar((count + 1) * kinds.len(), "rounds")?;
    for round in 0..=count {
        for kind in rotation(round, kinds.len()) {
            let (name, work) = kinds[kind];
            let warm_up = round == 0;
            let cost = if warm_up {
                work(rig, &mut Recorder::default())?
            } else {
                work(rig, recorder)?
            };
            bar.inc(1);
            bar.set_message(format!("{name}: {:.3} us", cost.each_us()));
            // The gateway is the last one of all.
            if kind == kinds.len() - 1 {
                total.missed += cost.missed;
                if !warm_up {
                    total.deliveries += cost.deliveries;
                    total.elapsed += cost.elapsed;
                }
            }
            if !warm_up {
                series[kind].push(cost.each_us());
            }
        }
    }
    bar.finish_and_clear();
    if rig.load.pid.is_some() {
        let names = kinds.iter().map(|(name, _)| *name);
        report.costs = names.zip(series).collect();
    }
    Ok(total)
}

/// Refuses what reads the memory of a process that it does not know.
fn needs_pid(bench: &Bench, mode: &str) -> Result<(), Failure> {
    if bench.to.is_some() && bench.server_pid.is_none() {
        return Err(Failure::usage(format!(
            "{mode} reads the memory of the gateway's process: name it with --server-pid"
        )));
    }
    Ok(())
}

/// What every run with pushes tells.
fn answers(rig: &Rig, total: &Cost, report: &mut Report) {
    let rate = total.deliveries as f64 / total.elapsed.as_secs_f64();
    report.figures.push(("deliveries a second", rate, ""));
    let (answers, tally) = (&rig.load.pusher.answers, &rig.load.crowd.tally);
    report.count("arrived", total.deliveries);
    report.count("missed", total.missed);
    report.count("connections lost", tally.lost);
    report.count("answered done", answers.done);
    report.count("answered busy", answers.busy);
    report.count("answered otherwise", answers.other);
    report.count("unanswered", rig.load.pusher.unanswered() as u64);
}

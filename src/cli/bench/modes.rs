//! The measurements, one function each.

mod account;
mod amid;
mod apart;
mod churn;
mod cycles;
mod fanout;
mod idle;
mod isolation;
mod memory;
mod resume;
mod storm;
mod unicast;

pub(super) use amid::amid;
pub(super) use churn::churn;
pub(super) use cycles::cycles;
pub(super) use fanout::{broadcast, burst};
pub(super) use idle::idle;
pub(super) use isolation::isolation;
pub(super) use memory::memory;
pub(super) use resume::resume;
pub(super) use storm::storm;
pub(super) use unicast::unicast;

use super::Bench;
use super::load::Cost;
use super::machine;
use super::recorder::Recorder;
use super::report::Report;
use super::rig::{Rig, bar};
use super::rounds::{Series, rotation};
use crate::cli::exit::Failure;

/// A loop whose rounds are further apart than this part of their median measures the machine.
const SPREAD_MAX: f64 = 0.3;

/// A round of some load.
type Work<'a> = &'a dyn Fn(&mut Rig, &mut Recorder) -> anyhow::Result<Cost>;
/// One kind of load in the rotation.
type Kind<'a> = (&'static str, Work<'a>);

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
            total.missed += cost.missed;
            // The gateway is the last one of all.
            if kind == kinds.len() - 1 && !warm_up {
                total.add(&cost);
            }
            if !warm_up {
                series[kind].push(cost.each_us());
            }
        }
    }
    bar.finish_and_clear();
    if let Some(pid) = rig.load.pid {
        report.cpu_source = Some(machine::cpu_time_source(pid));
        let names = kinds.iter().map(|(name, _)| *name);
        report.costs = names.zip(series).collect();
        unsteady(report);
    }
    Ok(total)
}

/// Says so where the machine itself varies more than what is to be told.
fn unsteady(report: &mut Report) {
    let loops = report
        .costs
        .iter()
        .filter(|(name, _)| name.starts_with("loop"));
    let spread = loops.map(|(_, series)| series.spread()).fold(0.0, f64::max);
    if SPREAD_MAX < spread {
        report.notes.push(format!(
            "the loop's own rounds are {:.0} % apart: a ratio nearer to 1 than that means little; \
             take more --rounds, or a quieter machine",
            100.0 * spread
        ));
    }
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
    report.count("sent again", rig.load.pusher.answers.repeats);
    report.count("unanswered", rig.load.pusher.unanswered() as u64);
}

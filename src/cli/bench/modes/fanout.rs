//! To everybody: one at a time, and in bursts.

use super::super::Bench;
use super::super::load::{Cost, Shape};
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::Rig;
use super::{Kind, answers, rounds};
use crate::cli::exit::Failure;

/// Deliveries of a round, about a second of the loop's CPU time: a hundred of the kernel's ticks.
const DELIVERIES: usize = 200_000;
/// A delivery of a burst costs about a tenth, and takes so many times more to measure as well.
const CHEAPER: usize = 10;
/// Messages that the better loop joins in one write.
const JOINED: usize = 64;

fn shape(bench: &Bench) -> Shape {
    Shape {
        size: bench.size(),
        burst: bench.burst,
        rate: bench.rate,
    }
}

pub(in super::super) fn broadcast(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, bench.clients)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = shape(bench);
    let count = bench.messages((DELIVERIES / bench.clients).max(1));
    let written = |rig: &mut Rig, _: &mut Recorder| floor(rig, count, 1, 1, shape.size);
    let sent =
        |rig: &mut Rig, recorder: &mut Recorder| rig.load.broadcasts(count, &shape, recorder);
    let kinds: [Kind<'_>; 2] = [("loop", &written), ("gateway", &sent)];
    let kinds = &kinds[usize::from(!bench.floor)..];
    let mut report = bench.report("broadcasts, one at a time", "delivery");
    if bench.floor {
        report.ratios.push(("gateway / loop", 1, 0));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![
        ("at a client", recorder.messages),
        ("at the last client", recorder.last),
        ("the answer", recorder.answers),
    ];
    answers(&rig, &total, &mut report);
    Ok((report, total.missed))
}

pub(in super::super) fn burst(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, bench.clients)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = shape(bench);
    let few = (DELIVERIES / bench.clients / bench.burst).max(1);
    let (few, many) = (bench.messages(few), bench.messages(CHEAPER * few));
    let (burst, size) = (shape.burst, shape.size);
    let written = |rig: &mut Rig, _: &mut Recorder| floor(rig, few, burst, 1, size);
    let joined = |rig: &mut Rig, _: &mut Recorder| floor(rig, many, burst, JOINED, size);
    let sent = |rig: &mut Rig, recorder: &mut Recorder| rig.load.bursts(many, &shape, recorder);
    let kinds: [Kind<'_>; 3] = [
        ("loop", &written),
        ("loop, 64 joined in a write", &joined),
        ("gateway", &sent),
    ];
    let kinds = if bench.floor { &kinds[..] } else { &kinds[2..] };
    let mut report = bench.report(&format!("bursts of {burst} broadcasts"), "delivery");
    if bench.floor {
        report.ratios.push(("gateway / loop", 2, 0));
        report.ratios.push(("gateway / joined loop", 2, 1));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![
        ("at a client, from burst's begin", recorder.messages),
        ("one paced message meanwhile", recorder.paced),
        ("the answer", recorder.answers),
    ];
    answers(&rig, &total, &mut report);
    Ok((report, total.missed))
}

fn floor(
    rig: &mut Rig,
    count: usize,
    messages: usize,
    joined: usize,
    size: usize,
) -> anyhow::Result<Cost> {
    match &mut rig.floor {
        Some(floor) => floor.writes(count, messages, joined, size),
        None => Ok(Cost::default()),
    }
}

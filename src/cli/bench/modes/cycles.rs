//! All clients connect, hear a broadcast and leave, again and again: what memory is left each time.

use std::time::{Duration, Instant};

use super::super::Bench;
use super::super::load::Shape;
use super::super::machine::resident_bytes;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::super::rounds::Series;
use crate::cli::exit::Failure;

/// Resident memory has settled when so many looks, four seconds of them, have not found it fallen
const STILL_LOOKS: u32 = 16;
/// by so much; and it is waited for no longer than this. The allocator gives back what is free over
/// about ten seconds.
const FALL_MIN: u64 = 256 * 1024;
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(in super::super) fn cycles(bench: &Bench) -> Result<(Report, u64), Failure> {
    super::needs_pid(bench, "cycles")?;
    let mut rig = Rig::start(bench, 0)?;
    let pid = rig.load.pid.unwrap_or_default();
    let before = resident_bytes(pid)?;
    let shape = Shape {
        size: bench.size(),
        burst: 1,
        rate: None,
    };
    let (mut with, mut left) = (Series::default(), Series::default());
    let (mut arrived, mut missed, mut stuck) = (0, 0, 0);
    let bar = bar(bench.rounds, "cycles")?;
    for _ in 0..bench.rounds {
        rig.connect(bench.clients, bench.groups)?;
        let cost = rig.load.broadcasts(1, &shape, &mut Recorder::default())?;
        arrived += cost.deliveries;
        missed += cost.missed;
        with.push(kib(resident_bytes(pid)?));
        stuck += rig.load.crowd.leave()? as u64;
        let settled = settled(LOOK_EVERY, &mut || resident_bytes(pid))?;
        left.push(kib(settled));
        bar.inc(1);
        bar.set_message(format!("{} KiB left", settled / 1024));
    }
    bar.finish_and_clear();
    let mut report = bench.report("connect, one broadcast, leave", "client");
    let (first, last) = ends(&left);
    report.figures = vec![
        ("resident without clients", kib(before), "KiB"),
        ("resident after the first", first, "KiB"),
        ("resident after the last", last, "KiB"),
        ("last / first", last / first, "x"),
    ];
    report.series = vec![
        ("with clients", "KiB", with),
        ("after they left", "KiB", left),
    ];
    report.count("cycles", bench.rounds as u64);
    report.count("arrived", arrived);
    report.count("missed", missed);
    report.count("not let go", stuck);
    report.count("connections lost", rig.load.crowd.tally.lost);
    Ok((report, missed + stuck + rig.load.crowd.tally.lost))
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn ends(series: &Series) -> (f64, f64) {
    let end = |figure: Option<&f64>| figure.copied().unwrap_or(f64::NAN);
    let values = series.values();
    (end(values.first()), end(values.last()))
}

/// What is resident when that has stopped falling.
fn settled(every: Duration, look: &mut dyn FnMut() -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let start = Instant::now();
    let mut lowest = look()?;
    let mut still = 0;
    while still < STILL_LOOKS && start.elapsed() < SETTLE_MAX {
        std::thread::sleep(every);
        still += 1;
        let now = look()?;
        if now + FALL_MIN <= lowest {
            lowest = now;
            still = 0;
        }
    }
    look()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_waited_for_while_it_falls() {
        let falling = [90, 60, 60, 60, 40, 40];
        let mut looks = 0;
        let mut look = || {
            let at = falling.get(looks).copied().unwrap_or(20);
            looks += 1;
            Ok(at * FALL_MIN)
        };
        assert_eq!(settled(Duration::ZERO, &mut look).unwrap(), 20 * FALL_MIN);
        // Those that fell, those that stayed, and the last one.
        assert_eq!(looks, falling.len() + 1 + STILL_LOOKS as usize + 1);
    }
}

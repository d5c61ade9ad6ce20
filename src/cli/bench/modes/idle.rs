//! What a connection takes that only is there, and what its heartbeats cost.

use std::time::Duration;

use super::super::Bench;
use super::super::load::{Cost, Shape};
use super::super::machine::resident_bytes;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use crate::cli::exit::Failure;

/// The longest look at a gateway without clients: nothing that it then does comes less often.
const EMPTY_MAX: Duration = Duration::from_secs(10);
/// What a broadcast leaves to do belongs to no quiet time.
const SETTLED: Duration = Duration::from_secs(1);

pub(in super::super) fn idle(bench: &Bench) -> Result<(Report, u64), Failure> {
    super::needs_pid(bench, "idle")?;
    let time = Duration::from_secs(bench.seconds as u64);
    let mut rig = Rig::start(bench, 0)?;
    rig.heartbeat_s = bench.heartbeat.unwrap_or_default();
    let pid = rig.load.pid.unwrap_or_default();
    let empty = quiet(&mut rig, time.min(EMPTY_MAX), "seconds without clients")?;
    let before = resident_bytes(pid)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = Shape {
        size: bench.size(),
        burst: 1,
        rate: None,
    };
    let mut recorder = Recorder::default();
    let heard = rig.load.broadcasts(1, &shape, &mut recorder)?;
    let after = resident_bytes(pid)?;
    rig.load.listen(SETTLED)?;
    let pings = rig.load.crowd.tally.pings;
    let with = quiet(&mut rig, time, "seconds with clients")?;
    let pings = rig.load.crowd.tally.pings - pings;
    let mut report = bench.report("idle clients after one broadcast", "client");
    let each = after.saturating_sub(before) as f64 / bench.clients as f64;
    report.figures = vec![
        ("resident without clients", before as f64 / 1024.0, "KiB"),
        ("resident with clients", after as f64 / 1024.0, "KiB"),
        ("resident a client", each, "bytes"),
        ("quiet time", with.elapsed.as_secs_f64(), "s"),
        ("CPU without clients", share(&empty), "% of a core"),
        ("CPU with clients", share(&with), "% of a core"),
    ];
    if let Some(bearer) = &rig.bearer {
        report.count("bytes of a token", bearer.token(0)?.len() as u64);
    }
    report.count("heartbeats answered", pings);
    report.count("arrived", heard.deliveries);
    report.count("missed", heard.missed);
    report.count("connections lost", rig.load.crowd.tally.lost);
    Ok((report, heard.missed + rig.load.crowd.tally.lost))
}

/// Nothing is sent for so long; PINGs are answered.
fn quiet(rig: &mut Rig, time: Duration, what: &'static str) -> anyhow::Result<Cost> {
    let seconds = usize::try_from(time.as_secs())?;
    let bar = bar(seconds, what)?;
    let mut total = Cost::default();
    for _ in 0..seconds {
        let cost = rig.load.listen(Duration::from_secs(1))?;
        total.cpu += cost.cpu;
        total.elapsed += cost.elapsed;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(total)
}

fn share(quiet: &Cost) -> f64 {
    100.0 * quiet.cpu.as_secs_f64() / quiet.elapsed.as_secs_f64()
}

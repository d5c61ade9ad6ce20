//! What a connection takes that only is there.

use std::time::Duration;

use super::super::Bench;
use super::super::load::Shape;
use super::super::machine::resident_bytes;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use crate::cli::exit::Failure;

/// How long nothing happens.
const QUIET: Duration = Duration::from_secs(10);

pub(in super::super) fn idle(bench: &Bench) -> Result<(Report, u64), Failure> {
    if bench.to.is_some() && bench.server_pid.is_none() {
        return Err(Failure::usage(
            "idle reads the memory of the gateway's process: name it with --server-pid",
        ));
    }
    let mut rig = Rig::start(bench, 0)?;
    let pid = rig.load.pid.unwrap_or_default();
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
    let bar = bar(1, "quiet")?;
    let quiet = rig.load.listen(QUIET)?;
    bar.finish_and_clear();
    let mut report = bench.report("idle clients after one broadcast", "client");
    let each = after.saturating_sub(before) as f64 / bench.clients as f64;
    let share = 100.0 * quiet.cpu.as_secs_f64() / quiet.elapsed.as_secs_f64();
    report.figures = vec![
        ("resident without clients", before as f64 / 1024.0, "KiB"),
        ("resident with clients", after as f64 / 1024.0, "KiB"),
        ("resident a client", each, "bytes"),
        ("CPU over 10 s", share, "% of a core"),
    ];
    report.count("arrived", heard.deliveries);
    report.count("missed", heard.missed);
    report.count("connections lost", rig.load.crowd.tally.lost);
    Ok((report, heard.missed))
}

//! The most memory that a gateway takes while some clients never read.

use super::super::Bench;
use super::super::load::Shape;
use super::super::machine::{peak_resident_bytes, resident_bytes};
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::account::{Account, Before};
use super::answers;
use crate::cli::exit::Failure;

/// Messages, where no number is given: several times what one client may have waiting.
const MESSAGES: usize = 400;
/// Clients that never read, where nothing else is said.
const STALLED: usize = 10;
const MIB: f64 = 1_048_576.0;

pub(in super::super) fn memory(bench: &Bench) -> Result<(Report, u64), Failure> {
    super::needs_pid(bench, "memory")?;
    let mut rig = Rig::start(bench, 0)?;
    let pid = rig.load.pid.unwrap_or_default();
    let empty = resident_bytes(pid)?;
    rig.connect(bench.clients, bench.groups)?;
    let stalled = match bench.stalled {
        Some(percent) => bench.stalled(percent),
        None => bench.stalled_count.unwrap_or(STALLED),
    };
    let stalled = stalled.min(bench.clients.saturating_sub(1));
    let connected = resident_bytes(pid)?;
    let (shape, count) = (
        Shape {
            size: bench.size(),
            burst: 1,
            rate: bench.rate,
        },
        bench.messages(MESSAGES),
    );
    let before = Before::look(&rig)?;
    for client in bench.clients - stalled..bench.clients {
        rig.load.crowd.stall(client)?;
    }
    let (mut account, mut recorder) = (Account::default(), Recorder::default());
    let bar = bar(1, "run")?;
    let cost = rig.load.broadcasts(count, &shape, &mut recorder)?;
    account.settle(&mut rig, &before, stalled, 0)?;
    bar.finish_and_clear();
    let title = format!("{count} broadcasts, {stalled} never reading");
    let mut report = bench.report(&title, "delivery");
    answers(&rig, &cost, &mut report);
    let figures = [
        ("resident without clients", empty),
        ("resident with clients", connected),
        ("resident after the messages", resident_bytes(pid)?),
        ("peak resident", peak_resident_bytes(pid)?),
    ];
    let figures = figures.map(|(name, bytes)| (name, bytes as f64 / MIB, "MiB"));
    report.figures.extend(figures);
    account.tell(stalled, &mut report);
    report.latencies = vec![
        ("at a client", recorder.messages),
        ("at the last client", recorder.last),
    ];
    Ok((report, cost.missed + account.unaccounted()))
}

//! To one user at a time, each answered.

use super::super::Bench;
use super::super::aside::Order;
use super::super::load::Shape;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::Rig;
use super::{Kind, answers, rounds};
use crate::cli::bench::load::user;
use crate::cli::exit::Failure;
use crate::wire::datagram::Target;

/// Pushes of a round, about half a second of the loop's CPU time.
const PUSHES: usize = 40_000;

pub(in super::super) fn unicast(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, bench.clients)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = Shape {
        size: bench.size(),
        burst: 1,
        rate: bench.rate,
    };
    let (count, window) = (bench.messages(PUSHES), bench.window);
    let name = user(0);
    let payload = vec![0; shape.size];
    let bytes = rig.load.pusher.push_bytes(Target::User(&name), &payload);
    let order = Order::Relays {
        count,
        bytes,
        size: shape.size,
        window,
    };
    let relayed = |rig: &mut Rig, _: &mut Recorder| rig.floor(&order);
    let sent =
        |rig: &mut Rig, recorder: &mut Recorder| rig.load.unicasts(count, &shape, window, recorder);
    let kinds: [Kind<'_>; 2] = [("loop", &relayed), ("gateway", &sent)];
    let kinds = &kinds[usize::from(!bench.floor)..];
    let title = format!("answered pushes of {bytes} B to one user each, {window} at a time");
    let mut report = bench.report(&title, "push");
    if bench.floor {
        report.ratios.push(("gateway / loop", 1, 0));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![
        ("at the client", recorder.messages),
        ("the answer", recorder.answers),
    ];
    answers(&rig, &total, &mut report);
    Ok((report, total.missed))
}

//! Clients that come, get their session, and leave.

use std::time::Duration;

use super::super::Bench;
use super::super::aside::Order;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::Rig;
use super::super::visits::visits;
use super::{Kind, rounds};
use crate::cli::exit::Failure;

/// Visits of a round.
const VISITS: usize = 4_000;
/// The loop's visits are so many times more: they cost few of the kernel's ticks.
const CHEAPER: usize = 5;
/// What a session still does when its client has seen the end: its CPU time belongs to the visit.
const TAIL: Duration = Duration::from_millis(50);

pub(in super::super) fn churn(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, 0)?;
    let count = bench.messages(VISITS);
    let window = bench.window;
    let order = Order::Visits {
        count: CHEAPER * count,
        window,
    };
    let looped = |rig: &mut Rig, _: &mut Recorder| rig.floor(&order);
    let visited = |rig: &mut Rig, recorder: &mut Recorder| {
        let server = rig.native;
        let mut cost = rig.load.measured(|_| {
            let to = (server, 0, bench.ws);
            let missed = visits(to, count, window, Some(recorder))?;
            std::thread::sleep(TAIL);
            Ok(missed)
        })?;
        cost.deliveries = count as u64 - cost.missed;
        Ok(cost)
    };
    let kinds: [Kind<'_>; 2] = [("loop", &looped), ("gateway", &visited)];
    let kinds = &kinds[usize::from(!bench.floor)..];
    let title = format!("visits, {window} at a time: connect, HELLO, WELCOME, leave");
    let mut report = bench.report(&title, "visit");
    if bench.floor {
        report.ratios.push(("gateway / loop", 1, 0));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![("from connect to WELCOME", recorder.messages)];
    let rate = total.deliveries as f64 / total.elapsed.as_secs_f64();
    report.figures.push(("visits a second", rate, ""));
    report.count("visits", total.deliveries);
    report.count("missed", total.missed);
    Ok((report, total.missed))
}

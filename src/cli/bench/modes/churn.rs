//! Clients that come, get their session, and leave; and what only their coming takes.

use std::time::Duration;

use super::super::Bench;
use super::super::aside::Order;
use super::super::machine;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::Rig;
use super::super::visits::{Host, Visitors, visits};
use super::{Kind, rounds};
use crate::cli::exit::Failure;

/// Visits of a round.
const VISITS: usize = 4_000;
/// Those who stay are there all at once, and each takes a descriptor: so many are enough to be
/// measured.
const STAY_MAX: usize = 3_000;
/// The loop's visits are so many times more: where only the kernel's ticks tell, they cost few.
const CHEAPER: usize = 5;
/// Descriptors of a process that are no visitors.
const DESCRIPTORS_BESIDE: u64 = 256;
/// What a session still does when its client has seen the end: its CPU time belongs to the visit.
const TAIL: Duration = Duration::from_millis(50);

pub(in super::super) fn churn(bench: &Bench) -> Result<(Report, u64), Failure> {
    let count = bench.messages(VISITS);
    let window = bench.window;
    let staying = count.min(STAY_MAX);
    // The servers inherit it.
    machine::raise_descriptor_limit(staying as u64 + DESCRIPTORS_BESIDE)?;
    let mut rig = Rig::start(bench, 0)?;
    let visit = Order::Visits {
        count: CHEAPER * count,
        window,
        stay: false,
    };
    let stay = Order::Visits {
        count: staying,
        window,
        stay: true,
    };
    let host = Host {
        server: rig.native,
        network: 0,
        speech: bench.speech(),
    };
    let looped = |rig: &mut Rig, _: &mut Recorder| rig.floor(&visit);
    let loop_came = |rig: &mut Rig, _: &mut Recorder| rig.floor(&stay);
    let came = |rig: &mut Rig, _: &mut Recorder| {
        let mut visitors = Visitors::default();
        let mut cost = rig.load.measured(|_| {
            visitors = Visitors::all(host, staying, window)?;
            std::thread::sleep(TAIL);
            Ok(0)
        })?;
        cost.missed = visitors.leave(host)?;
        std::thread::sleep(TAIL);
        cost.deliveries = staying as u64 - cost.missed;
        Ok(cost)
    };
    let visited = |rig: &mut Rig, recorder: &mut Recorder| {
        let mut cost = rig.load.measured(|_| {
            let missed = visits(host, count, window, Some(recorder))?;
            std::thread::sleep(TAIL);
            Ok(missed)
        })?;
        cost.deliveries = count as u64 - cost.missed;
        Ok(cost)
    };
    let kinds: [Kind<'_>; 4] = [
        ("loop, coming", &loop_came),
        ("loop", &looped),
        ("gateway, coming", &came),
        ("gateway", &visited),
    ];
    let kinds = &kinds[2 * usize::from(!bench.floor)..];
    let title = format!("visits, {window} at a time: connect, HELLO, WELCOME, and leave");
    let mut report = bench.report(&title, "visit");
    if bench.floor {
        let ratios = [("gateway / loop", 3, 1), ("coming: gateway / loop", 2, 0)];
        report.ratios.extend(ratios);
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

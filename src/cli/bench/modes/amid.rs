//! Pushes to one user while broadcasts go to everybody.

use std::time::Duration;

use super::super::Bench;
use super::super::aside::Order;
use super::super::load::{Amid, Cost, Shape};
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::super::rounds::rotation;
use super::answers;
use super::apart::{Kind, RATE, SECONDS, step_back, together};
use crate::cli::exit::Failure;

pub(in super::super) fn amid(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, 0)?;
    rig.connect(bench.clients, bench.groups)?;
    rig.connect_apart(bench.clients)?;
    step_back();
    let rate = bench.rate.unwrap_or(RATE);
    let count = bench.messages((rate * SECONDS).ceil() as usize);
    let single = Shape {
        size: bench.size(),
        burst: 1,
        rate: Some(rate),
    };
    let broadcast = Shape {
        rate: bench.broadcast_rate,
        ..single
    };
    let amid = Amid {
        time: Duration::from_secs_f64(count as f64 / rate),
        pause: bench.pause / 100.0,
    };
    let order = Order::Singles {
        count,
        shape: single,
    };
    let (mut quiet, mut busy) = (Kind::default(), Kind::default());
    let (mut crowd, mut total) = (Recorder::default(), Cost::default());
    let bar = bar(2 * (bench.rounds + 1), "rounds")?;
    for round in 0..=bench.rounds {
        // What the first round misses counts, and nothing else of it.
        let warm_up = round == 0;
        for kind in rotation(round, 2) {
            if kind == 0 {
                let (heard, ()) = together(&mut rig, &order, |_| Ok(()))?;
                quiet.add(&heard, warm_up);
            } else {
                let mut recorder = if warm_up {
                    Recorder::default()
                } else {
                    std::mem::take(&mut crowd)
                };
                let (heard, cost) = together(&mut rig, &order, |rig| {
                    rig.load.amid(&amid, &broadcast, &mut recorder)
                })?;
                busy.add(&heard, warm_up);
                total.missed += cost.missed;
                if !warm_up {
                    crowd = recorder;
                    total.add(&cost);
                }
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let title = format!("{rate} pushes a second to one user, quiet and amid broadcasts to all");
    let mut report = bench.report(&title, "delivery");
    let missed = total.missed + quiet.missed + busy.missed;
    fill(&mut report, &rig, &total, quiet, busy, crowd);
    Ok((report, missed))
}

fn fill(report: &mut Report, rig: &Rig, total: &Cost, quiet: Kind, busy: Kind, crowd: Recorder) {
    let broadcasts = crowd.answers.len() as f64;
    report.latencies = vec![
        ("quiet: at the client", quiet.recorder.paced),
        ("quiet: the answer", quiet.recorder.answers),
        ("amid: at the client", busy.recorder.paced),
        ("amid: the answer", busy.recorder.answers),
        ("amid: a broadcast, at a client", crowd.messages),
        (
            "the load itself, quiet: sent late",
            quiet.recorder.sent_late,
        ),
        ("the load itself, amid: sent late", busy.recorder.sent_late),
        ("the load itself: a pass of reads", crowd.passes),
    ];
    report.latency_ratios = vec![
        ("at the client: amid / quiet", 2, 0),
        ("the answer: amid / quiet", 3, 1),
    ];
    let share = 100.0 * total.cpu.as_secs_f64() / total.elapsed.as_secs_f64();
    if rig.load.pid.is_some() {
        report
            .figures
            .push(("amid: the server's CPU", share, "% of a core"));
    }
    let rate = broadcasts / total.elapsed.as_secs_f64();
    report.figures.push(("amid: broadcasts a second", rate, ""));
    report.count("quiet: missed", quiet.missed);
    report.count("amid: missed", busy.missed);
    report.count("not answered done", quiet.not_done + busy.not_done);
    answers(rig, total, report);
}

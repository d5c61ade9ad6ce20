//! What clients that never read do to the others.

use super::super::Bench;
use super::super::load::Shape;
use super::super::metrics::Counters;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::answers;
use crate::cli::exit::Failure;

/// Deliveries a second, where no rate is given: about half of what one core can do.
const DELIVERIES_A_SECOND: f64 = 60_000.0;
/// How long each of the two runs takes, where no number of messages is given.
const SECONDS: f64 = 20.0;

const DELIVERIES: &str = "pushgate_deliveries_total";
const CLOSED: &str = "pushgate_connections_closed_total";
const WAITING: &str = "pushgate_deliveries_waiting";

pub(in super::super) fn isolation(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, 0)?;
    rig.connect(bench.clients, bench.groups)?;
    let default = (DELIVERIES_A_SECOND / bench.clients as f64).clamp(0.5, 200.0);
    let rate = bench.rate.unwrap_or(default);
    let shape = Shape {
        size: bench.size(),
        burst: 1,
        rate: Some(rate),
    };
    let count = bench.messages((rate * SECONDS).ceil() as usize);
    let stalled = ((bench.clients as f64 * bench.stalled / 100.0).ceil() as usize)
        .min(bench.clients.saturating_sub(1));
    let (mut quiet, mut beside) = (Recorder::default(), Recorder::default());
    let bar = bar(2, "runs")?;
    let first = rig.load.broadcasts(count, &shape, &mut quiet)?;
    bar.inc(1);
    for client in bench.clients - stalled..bench.clients {
        rig.load.crowd.stall(client)?;
    }
    let before = rig.admin.map(Counters::read).transpose()?;
    let written_before = matched(&rig);
    let mut total = rig.load.broadcasts(count, &shape, &mut beside)?;
    let matched = matched(&rig) - written_before;
    let after = rig.admin.map(Counters::read).transpose()?;
    bar.finish_and_clear();
    let title = format!(
        "broadcasts, {rate:.1} a second, {stalled} of the clients never reading in the second run"
    );
    let mut report = bench.report(&title, "delivery");
    let p99 = |recorder: &Recorder| recorder.messages.value_at_quantile(0.99) as f64;
    let times = p99(&beside) / p99(&quiet);
    report.latencies = vec![
        ("quiet: at a client", quiet.messages),
        ("quiet: at the last client", quiet.last),
        ("beside them: at a client", beside.messages),
        ("beside them: at the last client", beside.last),
    ];
    total.missed += first.missed;
    answers(&rig, &total, &mut report);
    report.figures.push(("p99 beside them / quiet", times, "x"));
    if let (Some(before), Some(after)) = (before, after) {
        account(&before, &after, matched, &mut report);
    }
    Ok((report, total.missed))
}

/// Deliveries that the answers have counted.
fn matched(rig: &Rig) -> i64 {
    let answers = &rig.load.pusher.answers;
    (answers.written + answers.waiting + answers.refused).cast_signed()
}

/// Where every delivery of the second run has gone, by the gateway's own counters.
fn account(before: &Counters, after: &Counters, matched: i64, report: &mut Report) {
    let mut left = matched - (after.value(WAITING) - before.value(WAITING));
    let tell = |report: &mut Report, name: String, count: i64| {
        report.count(name, count.unsigned_abs());
    };
    tell(report, "second run: matched".to_owned(), matched);
    for (outcome, count) in after.since(before, DELIVERIES) {
        left -= count;
        tell(report, format!("second run: {outcome}"), count);
    }
    tell(
        report,
        "second run: waiting".to_owned(),
        after.value(WAITING),
    );
    tell(report, "second run: unaccounted".to_owned(), left);
    for (reason, count) in after.since(before, CLOSED) {
        tell(report, format!("closed: {reason}"), count);
    }
}

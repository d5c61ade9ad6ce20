//! All clients come back at once for what was kept for them, while one hears live pushes.

use std::time::Duration;

use super::super::Bench;
use super::super::aside::Order;
use super::super::load::{Returned, Shape};
use super::super::machine::{peak_resident_bytes, resident_bytes};
use super::super::metrics::Counters;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::super::rounds::{Series, rotation};
use super::apart::{Kind, RATE, SECONDS, step_back, together};
use crate::cli::exit::Failure;

const MIB: f64 = 1_048_576.0;

/// What the gateway's process took, in bytes, and what it says of it.
#[derive(Default)]
struct Memory {
    empty: u64,
    kept: u64,
    peak: u64,
    after: u64,
    messages: i64,
    counted: i64,
}

pub(in super::super) fn resume(bench: &Bench) -> Result<(Report, u64), Failure> {
    super::needs_pid(bench, "resume")?;
    let (clients, each) = (bench.clients, bench.kept_each());
    let mut rig = Rig::start(bench, 0)?;
    let pid = rig.load.pid.unwrap_or_default();
    let mut memory = Memory {
        empty: resident_bytes(pid)?,
        ..Memory::default()
    };
    let waiting = bar(clients * each, "messages to keep")?;
    let progress = |n| waiting.inc(n);
    let kept = rig
        .load
        .keep((clients, each), bench.size(), bench.window, &progress);
    waiting.finish_and_clear();
    kept?;
    memory.kept = resident_bytes(pid)?;
    if let Some(admin) = rig.admin {
        let counters = Counters::read(admin)?;
        memory.messages = counters.value("pushgate_history_messages");
        memory.counted = counters.value("pushgate_history_bytes");
    }
    rig.connect_apart(clients)?;
    step_back();
    let (kinds, returned) = rounds(bench, &mut rig, (clients, each))?;
    memory.peak = peak_resident_bytes(pid)?;
    memory.after = resident_bytes(pid)?;
    let [quiet, storm] = &kinds;
    let wanted = returned.storms * clients as u64;
    let unasked = wanted.saturating_sub(returned.resumed);
    let lost = rig.load.crowd.tally.lost;
    let missed =
        quiet.missed + storm.missed + returned.cost.missed + returned.stuck + unasked + lost;
    let title = format!("all come back for {each} messages each, one hears live pushes");
    let mut report = bench.report(&title, "message replayed");
    report.count("missed by who came back", returned.cost.missed);
    report.count("not resumed", unasked);
    report.count("not let go", returned.stuck);
    report.count("connections lost", lost);
    report.count("unanswered", rig.load.pusher.unanswered() as u64);
    tell(kinds, returned, &memory, &mut report);
    Ok((report, missed))
}

/// Quiet rounds and storms in rotation, after one of each that does not count.
fn rounds(
    bench: &Bench,
    rig: &mut Rig,
    crowd: (usize, usize),
) -> Result<([Kind; 2], Returned), Failure> {
    let rate = bench.rate.unwrap_or(RATE);
    let count = (rate * SECONDS).ceil() as usize;
    let shape = Shape {
        size: bench.size(),
        burst: 1,
        rate: Some(rate),
    };
    let order = Order::Singles { count, shape };
    let time = Duration::from_secs_f64(count as f64 / rate);
    let native = rig.native;
    let mut kinds = [Kind::default(), Kind::default()];
    let mut total = Returned::default();
    let bar = bar(2 * (bench.rounds + 1), "rounds")?;
    for round in 0..=bench.rounds {
        for kind in rotation(round, 2) {
            let is_warm_up = round == 0;
            let (heard, returned) = together(rig, &order, |rig| match kind {
                0 => Ok(Returned::default()),
                _ => rig.load.come_back(native, crowd, time),
            })?;
            kinds[kind].add(&heard, is_warm_up);
            total.add(&returned, is_warm_up);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok((kinds, total))
}

fn tell(kinds: [Kind; 2], returned: Returned, memory: &Memory, report: &mut Report) {
    let [quiet, storm] = kinds;
    report.count("storms", returned.storms);
    report.count("replayed", returned.cost.deliveries);
    report.count("quiet: missed", quiet.missed);
    report.count("storm: missed", storm.missed);
    report.count("not answered done", quiet.not_done + storm.not_done);
    let Memory {
        messages, counted, ..
    } = *memory;
    report.count("messages kept", messages.cast_unsigned());
    let mib = |bytes: u64| bytes as f64 / MIB;
    let grown = memory.kept.saturating_sub(memory.empty) as f64;
    report.figures = vec![
        ("resident without anything kept", mib(memory.empty), "MiB"),
        ("resident with it", mib(memory.kept), "MiB"),
        ("peak resident", mib(memory.peak), "MiB"),
        ("resident after the storms", mib(memory.after), "MiB"),
        ("counted as kept", counted as f64 / MIB, "MiB"),
        ("resident / counted", grown / counted as f64, "x"),
        ("resident a message kept", grown / messages as f64, "bytes"),
        ("CPU a message replayed", returned.cost.each_us(), "us"),
    ];
    let (mut took, mut rates) = (Series::default(), Series::default());
    let each = returned.cost.deliveries as f64 / returned.took.len() as f64;
    for time in &returned.took {
        took.push(time.as_secs_f64() * 1e3);
        rates.push(each / time.as_secs_f64());
    }
    let figures = [
        ("a storm, median", took.median(), "ms"),
        ("replayed a second, median", rates.median(), ""),
    ];
    report.figures.extend(figures);
    report.latencies = vec![
        ("quiet: at the client", quiet.recorder.paced),
        ("quiet: the answer", quiet.recorder.answers),
        ("storm: at the client", storm.recorder.paced),
        ("storm: the answer", storm.recorder.answers),
        ("quiet: from sent to answered", quiet.recorder.turns),
        ("storm: from sent to answered", storm.recorder.turns),
        (
            "the load itself, quiet: sent late",
            quiet.recorder.sent_late,
        ),
        (
            "the load itself, storm: sent late",
            storm.recorder.sent_late,
        ),
    ];
    report.latency_ratios = vec![
        ("at the client: storm / quiet", 2, 0),
        ("the answer: storm / quiet", 3, 1),
        ("from sent: storm / quiet", 5, 4),
    ];
}

//! To everybody: one at a time, and in bursts.

use std::cell::RefCell;

use super::super::Bench;
use super::super::aside::Order;
use super::super::load::{PACED_EACH, Shape};
use super::super::machine;
use super::super::metrics::Counters;
use super::super::recorder::Recorder;
use super::super::report::Report;
use super::super::rig::Rig;
use super::super::rival::RIVALS_MAX;
use super::super::speech::Speech;
use super::{Kind, Work, answers, rounds};
use crate::cli::exit::Failure;

/// Deliveries of a round, about a second of the loop's CPU time: a hundred of the kernel's ticks.
const DELIVERIES: usize = 200_000;
/// A delivery of a burst costs about a tenth, and takes so many times more to measure as well.
const CHEAPER: usize = 10;
/// Messages that the better loop joins in one write.
const JOINED: usize = 64;

/// Bursts with pauses, of a round.
const CYCLES: usize = 5;
/// Bursts during which the gateway's log is looked at.
const WATCHED: usize = 3;
const LOG_BYTES: &str = "pushgate_log_bytes";
const MEANWHILE: &str = "\"meanwhile\" it waits its turn behind a whole burst, due 1 ms before it";

fn shape(bench: &Bench) -> Shape {
    Shape {
        size: bench.size(),
        burst: bench.burst,
        rate: bench.rate,
    }
}

/// What the gateway is called that is measured.
const fn measured(bench: &Bench) -> &'static str {
    match bench.speech() {
        Speech::Web => "gateway, WebSocket",
        Speech::Mqtt => "gateway, MQTT",
        _ => "gateway",
    }
}

/// And the one that it is compared with.
const fn compared(bench: &Bench) -> &'static str {
    match bench.speech() {
        Speech::Native => "gateway without groups",
        _ => "gateway, native",
    }
}

pub(in super::super) fn broadcast(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, bench.clients)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = shape(bench);
    let count = bench.messages((DELIVERIES / bench.clients).max(1));
    let plain = Order::Broadcasts { count, shape };
    // When the last client had each message: of the second gateway, and of each other server.
    let others: Vec<RefCell<Recorder>> =
        (0..=rig.rivals.len()).map(|_| RefCell::default()).collect();
    let written = |rig: &mut Rig, _: &mut Recorder| rig.floor(&writes(count, 1, 1, shape.size));
    let sent =
        |rig: &mut Rig, recorder: &mut Recorder| rig.load.broadcasts(count, &shape, recorder);
    let without = |rig: &mut Rig, _: &mut Recorder| rig.second(&plain, &mut others[0].borrow_mut());
    let (first, next) = (
        |rig: &mut Rig, _: &mut Recorder| rig.rival(0, &plain, &mut others[1].borrow_mut()),
        |rig: &mut Rig, _: &mut Recorder| rig.rival(1, &plain, &mut others[2].borrow_mut()),
    );
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    if bench.floor {
        kinds.push(("loop", &written));
    }
    let rivals: Vec<&'static str> = rig.rivals.iter().map(|(rival, _)| rival.name()).collect();
    let works: [Work<'_>; RIVALS_MAX] = [&first, &next];
    kinds.extend(rivals.iter().copied().zip(works));
    if rig.second.is_some() {
        kinds.push((compared(bench), &without));
    }
    kinds.push((measured(bench), &sent));
    let last = kinds.len() - 1;
    let title = match bench.groups {
        0 => "broadcasts, one at a time".to_owned(),
        groups => format!("broadcasts, one at a time, all in {groups} quiet groups"),
    };
    let mut report = bench.report(&title, "delivery");
    if bench.floor {
        report.ratios.push(("gateway / loop", last, 0));
    }
    if rig.second.is_some() {
        let ratio = match bench.speech() {
            Speech::Web => "WebSocket / native",
            Speech::Mqtt => "MQTT / native",
            _ => "with groups / without",
        };
        report.ratios.push((ratio, last, last - 1));
    }
    for (place, (rival, _)) in rig.rivals.iter().enumerate() {
        let of_rival = usize::from(bench.floor) + place;
        report.ratios.push((rival.ratio(), last, of_rival));
    }
    let mut recorder = Recorder::default();
    let total = rounds(&mut rig, &kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![
        ("at a client", recorder.messages),
        ("at the last client", recorder.last),
        ("the answer", recorder.answers),
    ];
    if bench.speech() != Speech::Native {
        beside(&mut rig, others, &mut report)?;
    }
    answers(&rig, &total, &mut report);
    Ok((report, total.missed))
}

/// What was measured beside clients of another door: when the last client had each message, and the
/// memory of a client.
fn beside(
    rig: &mut Rig,
    others: Vec<RefCell<Recorder>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let lasts = ["at the last client, native"].into_iter();
    let lasts = lasts.chain(rig.rivals.iter().map(|(rival, _)| rival.last()));
    for (name, recorder) in lasts.zip(others) {
        let recorder = recorder.into_inner();
        if !recorder.last.is_empty() {
            report.latencies.push((name, recorder.last));
        }
    }
    let clients = rig.load.crowd.len().max(1) as f64;
    if let (Some(pid), Some(before)) = (rig.load.pid, rig.empty_bytes) {
        let grown = machine::resident_bytes(pid)?.saturating_sub(before);
        let each = grown as f64 / clients;
        report.figures.push(("resident a client", each, "bytes"));
    }
    if let Some(second) = &mut rig.second {
        let each = second.resident()? as f64;
        let name = "resident a client, native";
        report.figures.push((name, each, "bytes"));
    }
    for (rival, aside) in &mut rig.rivals {
        let each = aside.resident()? as f64;
        report.figures.push((rival.resident(), each, "bytes"));
    }
    Ok(())
}

pub(in super::super) fn burst(bench: &Bench) -> Result<(Report, u64), Failure> {
    let mut rig = Rig::start(bench, bench.clients)?;
    rig.connect(bench.clients, bench.groups)?;
    let shape = shape(bench);
    let few = (DELIVERIES / bench.clients / bench.burst).max(1);
    let (few, many) = (bench.messages(few), bench.messages(CHEAPER * few));
    let (burst, size) = (shape.burst, shape.size);
    let none = Shape { burst: 0, ..shape };
    let written = |rig: &mut Rig, _: &mut Recorder| rig.floor(&writes(few, burst, 1, size));
    let joined = |rig: &mut Rig, _: &mut Recorder| rig.floor(&writes(many, burst, JOINED, size));
    let alone = |rig: &mut Rig, recorder: &mut Recorder| {
        rig.load.bursts(CYCLES * PACED_EACH, &none, recorder)
    };
    let paused = |rig: &mut Rig, recorder: &mut Recorder| rig.load.paced(CYCLES, &shape, recorder);
    let sent = |rig: &mut Rig, recorder: &mut Recorder| rig.load.bursts(many, &shape, recorder);
    let kinds: [Kind<'_>; 5] = [
        ("loop", &written),
        ("loop, 64 joined in a write", &joined),
        ("gateway, paced messages alone", &alone),
        ("gateway, bursts with pauses", &paused),
        ("gateway", &sent),
    ];
    let kinds = if bench.floor { &kinds[..] } else { &kinds[2..] };
    let mut report = bench.report(&format!("bursts of {burst} broadcasts"), "delivery");
    if bench.floor {
        report.ratios.push(("gateway / loop", 4, 0));
        report.ratios.push(("gateway / joined loop", 4, 1));
    }
    let mut recorder = Recorder::default();
    let mut total = rounds(&mut rig, kinds, bench.rounds, &mut recorder, &mut report)?;
    report.latencies = vec![
        ("at a client, from burst's begin", recorder.messages),
        ("a paced message alone", recorder.paced_alone),
        ("a paced one, bursts with pauses", recorder.paced_amid),
        ("one paced message meanwhile", recorder.paced),
        ("the answer", recorder.answers),
    ];
    report.latency_ratios = vec![
        ("bursts with pauses / alone", 2, 1),
        ("meanwhile / alone", 3, 1),
    ];
    report.notes.push(match bench.rate {
        Some(rate) => format!(
            "\"bursts with pauses\" are {rate} bursts a second, and paced messages at any moment; \
             {MEANWHILE}"
        ),
        None => format!(
            "\"bursts with pauses\" take a fifth of the time, and paced messages come at any \
             moment; {MEANWHILE}"
        ),
    });
    total.missed += memory(&mut rig, &shape, &mut report)?;
    answers(&rig, &total, &mut report);
    Ok((report, total.missed))
}

/// The most memory of the gateway's process, and of its log while bursts are on their way; returns
/// what those bursts missed.
fn memory(rig: &mut Rig, shape: &Shape, report: &mut Report) -> anyhow::Result<u64> {
    let mut missed = 0;
    if let Some(admin) = rig.admin {
        let mut most = 0;
        for _ in 0..WATCHED {
            missed += rig.load.watched(shape, &mut || {
                most = Counters::read(admin)?.value(LOG_BYTES).max(most);
                Ok(())
            })?;
        }
        report.count("log bytes at most", most.unsigned_abs());
    }
    if let Some(pid) = rig.load.pid {
        let peak = machine::peak_resident_bytes(pid)? as f64 / 1024.0;
        report
            .figures
            .push(("gateway's peak resident", peak, "KiB"));
    }
    Ok(missed)
}

fn writes(count: usize, messages: usize, joined: usize, size: usize) -> Order {
    Order::Writes {
        count,
        messages,
        joined,
        size,
    }
}

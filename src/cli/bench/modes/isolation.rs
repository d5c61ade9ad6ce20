//! What clients that never read, and datagrams that have to be refused, do to the others.

use super::super::Bench;
use super::super::flood::{self, Bad, Flooded};
use super::super::load::{Cost, Shape};
use super::super::recorder::{Latencies, Recorder};
use super::super::report::Report;
use super::super::rig::{KEY_ID, Rig, bar};
use super::super::rounds::{Series, rotation};
use super::account::{Account, Before};
use super::answers;
use crate::cli::exit::Failure;

/// Deliveries a second, where no rate is given: about half of what one core can do.
const DELIVERIES_A_SECOND: f64 = 60_000.0;
/// How long a round takes, where no number of messages is given: longer than the ten seconds after
/// which the gateway cuts off those who never read.
const SECONDS: f64 = 12.0;
/// How many of a hundred never read, where nothing else is said.
const STALLED_PERCENT: f64 = 1.0;

/// What was seen in all rounds of one kind, and the percentiles of each.
#[derive(Default)]
struct Side {
    all: Recorder,
    p50: Series,
    p99: Series,
    last_p50: Series,
    last_p99: Series,
    total: Cost,
}

impl Side {
    fn add(&mut self, round: &Recorder, cost: &Cost) -> anyhow::Result<()> {
        let ms = |latencies: &Latencies, quantile| {
            latencies.value_at_quantile(quantile) as f64 / 1_000_000.0
        };
        self.p50.push(ms(&round.messages, 0.5));
        self.p99.push(ms(&round.messages, 0.99));
        self.last_p50.push(ms(&round.last, 0.5));
        self.last_p99.push(ms(&round.last, 0.99));
        self.all.messages.add(&round.messages)?;
        self.all.last.add(&round.last)?;
        self.total.deliveries += cost.deliveries;
        self.total.missed += cost.missed;
        self.total.elapsed += cost.elapsed;
        self.total.cpu += cost.cpu;
        Ok(())
    }

    fn cpu_share(&self) -> f64 {
        100.0 * self.total.cpu.as_secs_f64() / self.total.elapsed.as_secs_f64()
    }
}

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
    let percent = if bench.storm.is_some() {
        0.0
    } else {
        STALLED_PERCENT
    };
    let stalled = bench.stalled(percent);
    let (mut quiet, mut disturbed) = (Side::default(), Side::default());
    let (mut account, mut flooded) = (Account::default(), Flooded::default());
    let bar = bar(2 * bench.rounds, "rounds")?;
    // Everything is met once, and does not count.
    let first = count.min(rate.ceil() as usize);
    let warm_up = rig
        .load
        .broadcasts(first, &shape, &mut Recorder::default())?;
    for round in 0..bench.rounds {
        for kind in rotation(round, 2) {
            let mut recorder = Recorder::default();
            if kind == 0 {
                let cost = rig.load.broadcasts(count, &shape, &mut recorder)?;
                quiet.add(&recorder, &cost)?;
            } else {
                let before = Before::look(&rig)?;
                for client in bench.clients - stalled..bench.clients {
                    rig.load.crowd.stall(client)?;
                }
                let sent;
                (sent, disturbed) =
                    disturb(bench, &mut rig, count, &shape, &mut recorder, disturbed)?;
                account.settle(&mut rig, &before, stalled, sent.sent)?;
                flooded.sent += sent.sent;
                flooded.elapsed += sent.elapsed;
                rig.load.crowd.cut_stalled();
                rig.connect(stalled, bench.groups)?;
            }
            bar.inc(1);
            bar.set_message(format!(
                "p99 {:.3} ms quiet, {:.3} ms disturbed",
                quiet.p99.median(),
                disturbed.p99.median()
            ));
        }
    }
    bar.finish_and_clear();
    let storm = match bench.storm {
        Some(_) => ", a storm",
        None => "",
    };
    let title = format!("{rate:.1} broadcasts a second, {stalled} never reading{storm}");
    let mut report = bench.report(&title, "delivery");
    let mut total = quiet.total;
    total.deliveries += disturbed.total.deliveries;
    total.elapsed += disturbed.total.elapsed;
    total.missed += disturbed.total.missed + warm_up.missed;
    answers(&rig, &total, &mut report);
    ratios(&quiet, &disturbed, &mut report);
    if rig.load.pid.is_some() {
        for (name, side) in [("CPU quiet", &quiet), ("CPU disturbed", &disturbed)] {
            report.figures.push((name, side.cpu_share(), "% of a core"));
        }
    }
    account.tell(stalled * bench.rounds, &mut report);
    if bench.storm.is_some() {
        let reached = ("storm: datagrams a second", flooded.rate(), "");
        report.figures.push(reached);
        account.tell_refused(flooded.sent, &mut report);
    }
    report.latencies = vec![
        ("quiet: at a client", quiet.all.messages),
        ("quiet: at the last client", quiet.all.last),
        ("disturbed: at a client", disturbed.all.messages),
        ("disturbed: at the last client", disturbed.all.last),
    ];
    report.series = vec![
        ("p99 quiet", "ms", quiet.p99),
        ("p99 disturbed", "ms", disturbed.p99),
    ];
    let missed = total.missed + account.unaccounted() + account.unrefused(flooded.sent);
    Ok((report, missed))
}

/// A disturbed round: the broadcasts, and the storm meanwhile.
fn disturb(
    bench: &Bench,
    rig: &mut Rig,
    count: usize,
    shape: &Shape,
    recorder: &mut Recorder,
    mut side: Side,
) -> anyhow::Result<(Flooded, Side)> {
    let bad = if bench.storm_mix { Bad::Mix } else { Bad::Mac };
    let storm = match bench.storm {
        Some(rate) => {
            let gateway = rig.load.pusher.socket().peer_addr()?;
            let key_id = bench.key_id.unwrap_or(KEY_ID);
            Some(flood::start(gateway, key_id, shape.size, bad, rate)?)
        }
        None => None,
    };
    let cost = rig.load.broadcasts(count, shape, recorder)?;
    let flooded = match storm {
        Some(storm) => storm.end()?,
        None => Flooded::default(),
    };
    side.add(recorder, &cost)?;
    Ok((flooded, side))
}

/// Of medians over the rounds, so that one bad round of either kind does not make the figure.
fn ratios(quiet: &Side, disturbed: &Side, report: &mut Report) {
    let pairs = [
        ("p50 disturbed / quiet", &disturbed.p50, &quiet.p50),
        ("p99 disturbed / quiet", &disturbed.p99, &quiet.p99),
        (
            "last p50 disturbed / quiet",
            &disturbed.last_p50,
            &quiet.last_p50,
        ),
        (
            "last p99 disturbed / quiet",
            &disturbed.last_p99,
            &quiet.last_p99,
        ),
    ];
    for (name, above, below) in pairs {
        let ratio = above.median() / below.median();
        report.figures.push((name, ratio, "x"));
    }
    let medians = [
        ("p99 quiet, median", quiet.p99.median()),
        ("p99 disturbed, median", disturbed.p99.median()),
    ];
    let medians = medians.map(|(name, median)| (name, median, "ms"));
    report.figures.extend(medians);
}

//! What it does to those who are there when everybody else comes at once.

use std::time::{Duration, Instant};

use super::super::Bench;
use super::super::machine;
use super::super::recorder::Latencies;
use super::super::report::Report;
use super::super::rig::{Rig, bar};
use super::super::rounds::Series;
use super::super::watch::{HEARTBEAT_S, PINGS, Phase, Phases, Seen, Watch, Watched};
use crate::cli::exit::Failure;

/// Descriptors beside those of the clients.
const DESCRIPTORS_BESIDE: u64 = 128;
/// What belongs to neither: the gateway closes what has left, the measured ones are alone again.
const SETTLED: Duration = Duration::from_secs(1);

pub(in super::super) fn storm(bench: &Bench) -> Result<(Report, u64), Failure> {
    let all = bench.clients + 2 * bench.measured;
    machine::raise_descriptor_limit(all as u64 + DESCRIPTORS_BESIDE)?;
    let mut rig = Rig::start(bench, 0)?;
    let phases = Phases::new();
    let waiting = bar(2 * bench.measured, "clients that are measured")?;
    let native = rig.native;
    let (speaking, silent) = (bench.measured, bench.measured);
    let progress = |n| waiting.inc(n);
    let watch = Watch::connect(native, speaking, silent, phases.clone(), &progress)?;
    waiting.finish_and_clear();
    let watch = watch.start()?;
    // From now on this thread only makes load.
    machine::give_way()?;
    let quiet = Duration::from_secs(bench.seconds as u64);
    let (mut rates, mut stuck) = (Series::default(), 0);
    let (mut quiet_cpu, mut storm_cpu) = (Share::default(), Share::default());
    for _ in 0..bench.rounds {
        rig.load.listen(SETTLED)?;
        phases.begin(Phase::Quiet);
        let cost = rig.load.listen(quiet)?;
        quiet_cpu.add(cost.cpu, cost.elapsed);
        phases.begin(Phase::Storm);
        let (cpu, start) = (rig.cpu_time()?, Instant::now());
        rig.connect(bench.clients, bench.groups)?;
        let took = start.elapsed();
        phases.begin(Phase::Between);
        storm_cpu.add(rig.cpu_time()?.saturating_sub(cpu), took);
        rates.push(bench.clients as f64 / took.as_secs_f64());
        stuck += rig.load.crowd.leave()? as u64;
    }
    let watched = watch.end()?;
    let title = format!(
        "{} clients connect, {speaking} PING {PINGS} times a second, {silent} are silent",
        bench.clients
    );
    let mut report = bench.report(&title, "connect");
    report.figures = vec![("reconnects a second", rates.median(), "")];
    if rig.load.pid.is_some() {
        for (name, share) in [("CPU quiet", &quiet_cpu), ("CPU in the storm", &storm_cpu)] {
            report.figures.push((name, share.percent(), "% of a core"));
        }
    }
    report.series = vec![("reconnects a second", "1/s", rates)];
    report.count("storms", bench.rounds as u64);
    let lost = rig.load.crowd.tally.lost + watched.lost;
    report.count("connections lost", lost);
    report.count("not let go", stuck);
    let missed = lost + stuck + watched.unanswered;
    tell(watched, &mut report);
    Ok((report, missed))
}

/// CPU time of all phases of a kind, and how long they were.
#[derive(Default)]
struct Share(Duration, Duration);

impl Share {
    fn add(&mut self, cpu: Duration, elapsed: Duration) {
        self.0 += cpu;
        self.1 += elapsed;
    }

    fn percent(&self) -> f64 {
        100.0 * self.0.as_secs_f64() / self.1.as_secs_f64()
    }
}

fn tell(watched: Watched, report: &mut Report) {
    let at = |latencies: &Latencies, quantile| latencies.value_at_quantile(quantile) as f64;
    let (quiet, storm) = (&watched.quiet, &watched.storm);
    for (name, quantile) in [
        ("PONG p50 storm / quiet", 0.5),
        ("PONG p99 storm / quiet", 0.99),
    ] {
        let ratio = at(&storm.pongs, quantile) / at(&quiet.pongs, quantile);
        report.figures.push((name, ratio, "x"));
    }
    let gap = |seen: &Seen| seen.gap_max.as_secs_f64();
    report.figures.extend([
        ("heartbeat", f64::from(HEARTBEAT_S), "s"),
        ("longest gap of PINGs, quiet", gap(quiet), "s"),
        ("longest gap of PINGs, storm", gap(storm), "s"),
    ]);
    report.count("PINGs sent", watched.pings);
    report.count("PINGs unanswered", watched.unanswered);
    report.count("PINGs of the gateway, quiet", quiet.late.len());
    report.count("PINGs of the gateway, storm", storm.late.len());
    report.latencies = vec![
        ("PING to PONG, quiet", watched.quiet.pongs),
        ("PING to PONG, storm", watched.storm.pongs),
        ("this program's lag, quiet", watched.quiet.lag),
        ("this program's lag, storm", watched.storm.lag),
        ("gateway's PING late, quiet", watched.quiet.late),
        ("gateway's PING late, storm", watched.storm.late),
    ];
}

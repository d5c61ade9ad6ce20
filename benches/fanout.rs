//! The gateway's fan-out beside the floor, a bare write(2) loop, in one run and in rotation.
//!
//! Three processes: the gateway and the loop on core 0, the clients of both here, on core 1. What
//! is compared is the server's CPU time a delivery. `BENCH_CLIENTS` (1000) and `BENCH_ROUNDS` (8)
//! say how much. See `pushgate bench --help` for more.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use pushgate::cli::bench::child::Gateway;
use pushgate::cli::bench::floor::{self, Floor};
use pushgate::cli::bench::load::{self, Cost, FloorLoad, GatewayLoad, Shape};
use pushgate::cli::bench::machine;
use pushgate::cli::bench::recorder::Recorder;
use pushgate::cli::bench::rounds::{Series, rotation};
use pushgate::wire::seal::Key;

/// The argument with which this program is the loop.
const LOOP: &str = "bare-loop";
/// Deliveries of a round, about a second of the loop's CPU time: a hundred of the kernel's ticks.
const DELIVERIES: usize = 200_000;
const SIZE: usize = 128;
const BURST: usize = 100;
/// Messages that the better loop joins in one write.
const JOINED: usize = 64;
const SECRET: &str = "6f6e6c7920666f7220746869732062656e63682c206e6f7420612073656372657421";

const NAMES: [&str; 5] = [
    "loop, one broadcast",
    "gateway, one broadcast",
    "loop, burst of 100",
    "loop, burst, 64 joined",
    "gateway, burst of 100",
];

fn main() -> anyhow::Result<()> {
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == LOOP)
    {
        return Ok(floor::serve()?);
    }
    let clients = number("BENCH_CLIENTS", 1000);
    let rounds = number("BENCH_ROUNDS", 8);
    machine::raise_descriptor_limit(2 * clients as u64 + 64)?;
    let mut command = Command::new(std::env::current_exe()?);
    let floor = Floor::start(command.arg(LOOP))?;
    let gateway = Gateway::start(Path::new(env!("CARGO_BIN_EXE_pushgate")), 1, SECRET, "")?;
    if machine::has_two_cores() {
        machine::pin(machine::LOAD_CORE)?;
    }
    let mut floor = FloorLoad::connect(floor, clients, &|_| {})?;
    let key = Some((1, Key::from_hex(SECRET)?));
    let mut load = GatewayLoad::new(gateway.udp, key, Some(gateway.id()))?;
    let hello = |client: usize, out: &mut Vec<u8>| load::hello(client, &[], out);
    load.crowd
        .connect(clients, gateway.native, Some(&hello), &|_| {})?;

    let shape = Shape {
        size: SIZE,
        burst: BURST,
        rate: None,
    };
    let singles = (DELIVERIES / clients).max(1);
    let bursts = (DELIVERIES / clients / BURST).max(1);
    let mut measure = |kind: usize| -> anyhow::Result<Cost> {
        let mut recorder = Recorder::default();
        match kind {
            0 => floor.writes(singles, 1, 1, SIZE),
            1 => load.broadcasts(singles, &shape, &mut recorder),
            2 => floor.writes(bursts, BURST, 1, SIZE),
            3 => floor.writes(10 * bursts, BURST, JOINED, SIZE),
            _ => load.bursts(10 * bursts, &shape, &mut recorder),
        }
    };
    let mut series: [Series; NAMES.len()] = Default::default();
    let mut missed = 0;
    for kind in 0..NAMES.len() {
        measure(kind)?;
    }
    for round in 0..rounds {
        for kind in rotation(round, NAMES.len()) {
            let cost = measure(kind)?;
            series[kind].push(cost.each_us());
            missed += cost.missed;
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{clients} clients, {SIZE} B, {rounds} rounds; server CPU a delivery in us\n\
         {:<26}{:>9}{:>9}{:>9}",
        "", "median", "minimum", "spread"
    )?;
    for (name, series) in NAMES.iter().zip(&series) {
        let (median, minimum) = (series.median(), series.minimum());
        let spread = 100.0 * series.spread();
        writeln!(out, "{name:<26}{median:>9.3}{minimum:>9.3}{spread:>7.0} %")?;
    }
    for (name, gateway, floor) in [
        ("broadcast / loop", 1, 0),
        ("burst / loop", 4, 2),
        ("burst / joined loop", 4, 3),
    ] {
        let (gateway, floor) = (&series[gateway], &series[floor]);
        let median = gateway.median() / floor.median();
        let minimum = gateway.minimum() / floor.minimum();
        writeln!(out, "{name:<26}{median:>8.3}x{minimum:>8.3}x")?;
    }
    let answers = &load.pusher.answers;
    let (busy, other) = (answers.busy, answers.other);
    writeln!(out, "missed {missed}, busy {busy}, other answers {other}")?;
    Ok(())
}

fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

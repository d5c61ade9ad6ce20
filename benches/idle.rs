//! Resident bytes of an idle connection: what a gateway grows by when clients connect, say HELLO
//! with a device and a user of 16 bytes, and have heard one broadcast. `BENCH_CLIENTS` (5000) says
//! how many.

use std::io::Write;
use std::path::Path;

use pushgate::cli::bench::child::Gateway;
use pushgate::cli::bench::load::{self, GatewayLoad, Shape};
use pushgate::cli::bench::machine;
use pushgate::cli::bench::recorder::Recorder;
use pushgate::wire::seal::Key;

const SECRET: &str = "6f6e6c7920666f7220746869732062656e63682c206e6f7420612073656372657421";

fn main() -> anyhow::Result<()> {
    let clients = std::env::var("BENCH_CLIENTS").ok();
    let clients = clients.and_then(|text| text.parse().ok()).unwrap_or(5000);
    machine::raise_descriptor_limit(clients as u64 + 64)?;
    let gateway = Gateway::start(Path::new(env!("CARGO_BIN_EXE_pushgate")), 1, SECRET, "")?;
    if machine::has_two_cores() {
        machine::pin(machine::LOAD_CORE)?;
    }
    let key = Some((1, Key::from_hex(SECRET)?));
    let mut load = GatewayLoad::new(gateway.udp, key, Some(gateway.id()))?;
    let before = machine::resident_bytes(gateway.id())?;
    let hello = |client: usize, out: &mut Vec<u8>| load::hello(client, &[], out);
    load.crowd
        .connect(clients, gateway.native, Some(&hello), &|_| {})?;
    let shape = Shape {
        size: 128,
        burst: 1,
        rate: None,
    };
    let cost = load.broadcasts(1, &shape, &mut Recorder::default())?;
    let after = machine::resident_bytes(gateway.id())?;
    let each = after.saturating_sub(before) / clients as u64;
    writeln!(
        std::io::stdout().lock(),
        "{clients} clients, {} missed\nresident before {} KiB, with them {} KiB: {each} bytes each",
        cost.missed,
        before / 1024,
        after / 1024
    )?;
    Ok(())
}

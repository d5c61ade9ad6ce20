//! What a measurement stands on: a gateway, its own or somebody's, clients, and the loop beside it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::aside::{Aside, Order, Secret};
use super::bearer::Bearer;
use super::child::Gateway;
use super::load::{self, Cost, GatewayLoad};
use super::recorder::Recorder;
use super::rival::Rival;
use super::speech::Speech;
use super::{Bench, machine};
use crate::cli::exit::Failure;
use crate::cli::{args, output};
use crate::wire::seal::Key;

/// Descriptors of this process that are not clients.
const DESCRIPTORS_BESIDE: u64 = 64;
/// The key of a gateway that is started for the measurement.
pub(super) const KEY_ID: u32 = 1;

/// All of it. What it has started ends when it is dropped.
pub(super) struct Rig {
    /// The gateway with its clients, none at first.
    pub(super) load: GatewayLoad,
    /// The loop with its clients, with --floor.
    floor: Option<Aside>,
    /// A second gateway with clients in no group, and of native ones, to compare with.
    pub(super) second: Option<Aside>,
    /// Other servers with the same clients.
    pub(super) rivals: Vec<(Rival, Aside)>,
    /// Resident memory of the gateway before it had clients, where its process is known.
    pub(super) empty_bytes: Option<u64>,
    /// One client of the gateway that is measured by itself.
    pub(super) apart: Option<Aside>,
    /// Where the gateway takes clients.
    pub(super) native: SocketAddr,
    udp: SocketAddr,
    secret: Option<(u32, Secret)>,
    /// Where its metrics are, where that is known.
    pub(super) admin: Option<SocketAddr>,
    /// What heartbeat the clients ask for, in seconds.
    pub(super) heartbeat_s: u16,
    /// Their tokens, where these are more than names.
    pub(super) bearer: Option<Bearer>,
    /// Held for its end.
    _gateway: Option<Gateway>,
}

impl Rig {
    /// Starts or reaches the gateway, starts the loop with its clients, and moves the load to a
    /// core of its own.
    pub(super) fn start(bench: &Bench, floor_clients: usize) -> Result<Self, Failure> {
        let program = std::env::current_exe().context("cannot find this program")?;
        machine::raise_descriptor_limit(bench.clients as u64 + DESCRIPTORS_BESIDE)?;
        // These start servers on a core that this process soon leaves.
        let aside = |needed: bool| needed.then(|| Aside::start(&program)).transpose();
        let floor = aside(bench.floor)?;
        let second = aside(bench.has_second_gateway())?;
        let apart = aside(bench.has_client_apart())?;
        let mut rivals = Vec::new();
        for path in &bench.beside {
            rivals.push((Rival::of(path)?, Aside::start(&program)?));
        }
        let tokens = bench.jwt.then(secret).transpose()?;
        let bearer = tokens.as_deref().map(Bearer::new).transpose()?;
        let (gateway, doors, secret) = match &bench.to {
            None => {
                let secret = secret()?;
                let protocol = bench.speech().protocol();
                let (key, extra) = ((KEY_ID, &*secret), bench.configuration(tokens.as_deref()));
                let gateway = Gateway::start_speaking(protocol, &program, key, &extra)?;
                let key = Key::from_hex(&secret).context("the key")?;
                let (native, udp) = (gateway.native, gateway.udp);
                let (admin, pid) = (Some(gateway.admin), Some(gateway.id()));
                (
                    Some(gateway),
                    (native, udp, admin, pid, Some((KEY_ID, key))),
                    Some((KEY_ID, Secret::Hex(secret))),
                )
            }
            Some(to) => {
                output::note(format!(
                    "{to}: the clients that it has get these messages too"
                ));
                let native = args::resolve_now(to)?;
                let udp = bench.udp.as_ref().map(|udp| args::resolve_now(udp));
                let udp = udp.transpose()?.unwrap_or(native);
                let admin = bench.admin.as_ref().map(|admin| args::resolve_now(admin));
                let key = args::key(bench.key_id, bench.key_file.as_deref())?;
                (
                    None,
                    (native, udp, admin.transpose()?, bench.server_pid, key),
                    bench.key_id.zip(bench.key_file.clone().map(Secret::File)),
                )
            }
        };
        let (native, udp, admin, pid, key) = doors;
        if machine::has_two_cores() {
            machine::pin(machine::LOAD_CORE)?;
        } else {
            output::note("one core for server and load: they get into each other's way");
        }
        let mut rig = Self {
            load: GatewayLoad::new(udp, key, pid)?,
            floor,
            second,
            rivals,
            empty_bytes: pid.and_then(|pid| machine::resident_bytes(pid).ok()),
            apart,
            native,
            udp,
            admin,
            secret,
            heartbeat_s: load::HEARTBEAT_S,
            bearer,
            _gateway: gateway,
        };
        rig.load.crowd.speak(bench.speech());
        if let Some(floor) = &mut rig.floor {
            let order = Order::Loop {
                clients: floor_clients,
            };
            connect(floor, &order, floor_clients, "clients of the loop")?;
        }
        if let Some(second) = &mut rig.second {
            let clients = bench.clients;
            connect(
                second,
                &Order::Gateway { clients },
                clients,
                match bench.speech() {
                    Speech::Native => "clients without groups",
                    _ => "native clients",
                },
            )?;
        }
        let clients = bench.clients;
        for (rival, aside) in &mut rig.rivals {
            let order = Order::Rival {
                rival: rival.clone(),
                clients,
            };
            connect(aside, &order, clients, rival.name())?;
        }
        Ok(rig)
    }

    /// Lets the loop do something; it costs nothing where there is no loop.
    pub(super) fn floor(&mut self, order: &Order) -> anyhow::Result<Cost> {
        measure(self.floor.as_mut(), order)
    }

    /// The same of the second gateway, and it notes when the last client had each message.
    pub(super) fn second(
        &mut self,
        order: &Order,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        match &mut self.second {
            Some(second) => second.timed(order, recorder),
            None => Ok(Cost::default()),
        }
    }

    /// The same of another server, by its place among them.
    pub(super) fn rival(
        &mut self,
        place: usize,
        order: &Order,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        self.rivals[place].1.timed(order, recorder)
    }

    /// Connects the client apart, by this number; after the others.
    pub(super) fn connect_apart(&mut self, number: usize) -> anyhow::Result<()> {
        let order = Order::Client {
            native: self.native,
            udp: self.udp,
            key: self.secret.clone(),
            number,
        };
        match &mut self.apart {
            Some(apart) => apart.connect(&order, &|_| {}),
            None => Ok(()),
        }
    }

    /// CPU time of the gateway so far; 0 where its process is not known.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let known = self.load.pid.map(machine::cpu_time).transpose()?;
        Ok(known.unwrap_or_default())
    }

    /// Connects the clients, each in `groups` groups in which nothing is ever said.
    pub(super) fn connect(&mut self, clients: usize, groups: usize) -> Result<(), Failure> {
        let names: Vec<String> = (0..groups).map(|group| format!("quiet-{group}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let heartbeat_s = self.heartbeat_s;
        let tokens = self.bearer.as_ref().map(|bearer| {
            let made = (0..clients).map(|client| bearer.token(client));
            made.collect::<anyhow::Result<Vec<_>>>()
        });
        let tokens = tokens.transpose()?;
        let hello = |client: usize, out: &mut Vec<u8>| match &tokens {
            Some(tokens) => load::hello_of(tokens[client].as_bytes(), &names, heartbeat_s, out),
            None => load::hello_with(client, &names, heartbeat_s, out),
        };
        let bar = bar(clients, "clients")?;
        let native = self.native;
        let crowd = &mut self.load.crowd;
        let connected = crowd.connect(clients, native, Some(&hello), &|n| bar.inc(n));
        bar.finish_and_clear();
        Ok(connected?)
    }
}

fn connect(
    aside: &mut Aside,
    order: &Order,
    clients: usize,
    what: &'static str,
) -> anyhow::Result<()> {
    let bar = bar(clients, what)?;
    let connected = aside.connect(order, &|count| bar.inc(count));
    bar.finish_and_clear();
    connected
}

fn measure(aside: Option<&mut Aside>, order: &Order) -> anyhow::Result<Cost> {
    aside.map_or_else(|| Ok(Cost::default()), |aside| aside.measure(order))
}

/// A bar on standard error, and only on a terminal.
pub(super) fn bar(count: usize, what: &'static str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {prefix} {msg}");
    let style = style.context("the progress bar's template")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    Ok(bar)
}

/// 32 random bytes in hex.
pub(super) fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("the system gave no random bytes")?;
    Ok(output::hex(&bytes))
}

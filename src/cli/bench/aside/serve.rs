//! The process itself.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::super::child::Gateway;
use super::super::crowd::Crowd;
use super::super::floor::Floor;
use super::super::load::{self, Cost, FloorLoad, GatewayLoad};
use super::super::recorder::Recorder;
use super::super::rig::secret;
use super::super::rival::{RivalLoad, RivalServer};
use super::super::speech::Speech;
use super::super::visits::{Host, Visitors, visits};
use super::super::{LOOP, machine};
use super::orders::pairs;
use super::{Answer, Heard, Order};
use crate::wire::seal::Key;

/// Descriptors of this process that are not clients.
const DESCRIPTORS_BESIDE: u64 = 64;
/// The key of the gateway that it starts.
const KEY_ID: u32 = 1;
/// So many clients are told of at a time.
const TOLD_EVERY: u64 = 100;

/// What it was told to be.
enum Load {
    Nothing,
    Loop(Box<FloorLoad>),
    Gateway(Box<Clients>),
    Rival(Box<RivalLoad>),
}

/// Clients of a gateway, which goes first where it was started here.
struct Clients {
    _gateway: Option<Gateway>,
    load: GatewayLoad,
    /// The first one's.
    number: usize,
    /// Resident memory of the gateway before it had clients.
    empty_bytes: u64,
}

/// Resident bytes a client of this server has come to.
fn each(load: &Crowd, pid: u32, before: u64) -> anyhow::Result<u64> {
    let grown = machine::resident_bytes(pid)?.saturating_sub(before);
    Ok(grown / load.len().max(1) as u64)
}

/// Does what standard input says, until that ends.
pub(in super::super) fn serve() -> anyhow::Result<()> {
    machine::end_with_parent()?;
    let mut load = Load::Nothing;
    for line in io::stdin().lock().lines() {
        let order = serde_json::from_str(&line.context("an order")?).context("an order")?;
        let answer = load.obey(order);
        say(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(answer).context("an answer")?;
    line.push('\n');
    let mut out = io::stdout().lock();
    let said = out.write_all(line.as_bytes());
    said.and_then(|()| out.flush()).context("nobody listens")
}

/// Visits to the loop.
fn visited(
    load: &mut FloorLoad,
    (count, window): (usize, usize),
    stay: bool,
) -> anyhow::Result<Cost> {
    let host = Host {
        server: load.floor.native,
        network: machine::LOOP_NETWORK,
        speech: Speech::Native,
    };
    let (mut visitors, mut missed) = (Visitors::default(), 0);
    let mut cost = load.measured(|load| match stay {
        true => {
            load.floor.churn(count, count)?;
            visitors = Visitors::all(host, count, window)?;
            Ok(())
        }
        false => {
            load.floor.churn(count, window)?;
            missed = visits(host, count, window, None)?;
            load.floor.wait()
        }
    })?;
    if stay {
        missed = visitors.leave(host)?;
        load.floor.wait()?;
    }
    cost.missed = missed;
    cost.deliveries = count as u64 - missed;
    Ok(cost)
}

impl Load {
    fn obey(&mut self, order: Order) -> anyhow::Result<Answer> {
        if matches!(self, Self::Nothing) {
            *self = Self::begin(order)?;
            return Ok(Answer::Ready);
        }
        let done = match (self, order) {
            (
                Self::Loop(load),
                Order::Writes {
                    count,
                    messages,
                    joined,
                    size,
                },
            ) => load.writes(count, messages, joined, size)?,
            (
                Self::Loop(load),
                Order::Relays {
                    count,
                    bytes,
                    size,
                    window,
                },
            ) => load.relays(count, bytes, size, window)?,
            (
                Self::Loop(load),
                Order::Visits {
                    count,
                    window,
                    stay,
                },
            ) => visited(load, (count, window), stay)?,
            (Self::Gateway(clients), Order::Broadcasts { count, shape }) => {
                let mut recorder = Recorder::default();
                let cost = clients.load.broadcasts(count, &shape, &mut recorder)?;
                return Ok(Answer::Timed(cost, pairs(&recorder.last)));
            }
            (Self::Rival(load), Order::Broadcasts { count, shape }) => {
                let mut recorder = Recorder::default();
                let cost = load.broadcasts(count, shape.size, &mut recorder)?;
                return Ok(Answer::Timed(cost, pairs(&recorder.last)));
            }
            (Self::Gateway(clients), Order::Resident) => {
                let pid = clients.load.pid.context("no process of its own")?;
                let bytes = each(&clients.load.crowd, pid, clients.empty_bytes)?;
                return Ok(Answer::Bytes(bytes));
            }
            (Self::Rival(load), Order::Resident) => {
                let bytes = each(&load.crowd, load.id(), load.empty_bytes)?;
                return Ok(Answer::Bytes(bytes));
            }
            (Self::Gateway(clients), Order::Singles { count, shape }) => {
                let Clients { load, number, .. } = &mut **clients;
                let (mut recorder, before) = (Recorder::default(), load.pusher.answers.done);
                let missed = load.singles(count, &shape, *number, &mut recorder)?;
                let done = load.pusher.answers.done - before;
                let not_done = count as u64 - done;
                return Ok(Answer::Heard(Heard::of(&recorder, missed, not_done)));
            }
            (_, order) => anyhow::bail!("not for this load: {order:?}"),
        };
        Ok(Answer::Done(done))
    }

    /// Starts the server where it is told to, on the server's core, and then goes to the other.
    fn begin(order: Order) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        match order {
            Order::Loop { clients } => {
                make_room(clients)?;
                let floor = Floor::start(Command::new(&program).args(["bench", LOOP]))?;
                settle_down()?;
                let connected = Cell::new(0);
                let load = FloorLoad::connect(floor, clients, &|count| tell(&connected, count))?;
                Ok(Self::Loop(Box::new(load)))
            }
            Order::Gateway { clients } => Self::gateway(&program, clients),
            Order::Rival { rival, clients } => {
                make_room(clients)?;
                let server = RivalServer::start(&rival)?;
                settle_down()?;
                let connected = Cell::new(0);
                let load = RivalLoad::connect(server, clients, &|count| tell(&connected, count))?;
                Ok(Self::Rival(Box::new(load)))
            }
            Order::Client {
                native,
                udp,
                key,
                number,
            } => {
                settle_down()?;
                let key = key.map(|(id, secret)| secret.key().map(|key| (id, key)));
                let mut load = GatewayLoad::new(udp, key.transpose()?, None)?;
                load.crowd.come_from(machine::APART_NETWORK);
                connect(&mut load, 1, native, number)?;
                Ok(Self::Gateway(Box::new(Clients {
                    _gateway: None,
                    load,
                    number,
                    empty_bytes: 0,
                })))
            }
            order => anyhow::bail!("no load to begin with: {order:?}"),
        }
    }

    fn gateway(program: &Path, clients: usize) -> anyhow::Result<Self> {
        make_room(clients)?;
        let secret = secret()?;
        let gateway = Gateway::start(program, KEY_ID, &secret, "")?;
        settle_down()?;
        let key = Key::from_hex(&secret).context("the key")?;
        let (udp, id) = (gateway.udp, gateway.id());
        let empty_bytes = machine::resident_bytes(id)?;
        let mut load = GatewayLoad::new(udp, Some((KEY_ID, key)), Some(id))?;
        load.crowd.come_from(machine::SECOND_NETWORK);
        connect(&mut load, clients, gateway.native, 0)?;
        Ok(Self::Gateway(Box::new(Clients {
            _gateway: Some(gateway),
            load,
            number: 0,
            empty_bytes,
        })))
    }
}

fn make_room(clients: usize) -> anyhow::Result<()> {
    machine::raise_descriptor_limit(clients as u64 + DESCRIPTORS_BESIDE)
}

fn settle_down() -> anyhow::Result<()> {
    if machine::has_two_cores() {
        machine::pin(machine::LOAD_CORE)?;
    }
    Ok(())
}

/// Clients in no group, numbered from `first`.
fn connect(
    load: &mut GatewayLoad,
    clients: usize,
    native: SocketAddr,
    first: usize,
) -> anyhow::Result<()> {
    let hello = |client: usize, out: &mut Vec<u8>| load::hello(first + client, &[], out);
    let connected = Cell::new(0);
    let progress = |count| tell(&connected, count);
    load.crowd.connect(clients, native, Some(&hello), &progress)
}

/// Tells of clients in hundreds; whoever listens sees a bar, and one that is gone ends this soon.
fn tell(connected: &Cell<u64>, count: u64) {
    connected.set(connected.get() + count);
    if connected.get().is_multiple_of(TOLD_EVERY) {
        let _ = say(&Answer::Connected(TOLD_EVERY));
    }
}

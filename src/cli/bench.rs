//! `pushgate bench`: a load generator, and the loop that it measures the gateway beside.
//!
//! Server and load are separate processes on separate cores, so that the server's CPU time is its
//! own. The parts are public for the benchmarks of this crate and are no interface for others.

pub mod child;
pub mod crowd;
pub mod floor;
pub mod load;
pub mod machine;
pub mod parser;
pub mod pusher;
pub mod recorder;
pub mod rounds;

mod aside;
mod bearer;
mod beside;
mod flood;
mod foreign;
mod metrics;
mod modes;
mod report;
mod rig;
mod rival;
mod speech;
mod visits;
mod watch;
mod web;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::bearer::Bearer;
use self::load::PAYLOAD_BYTES_MIN;
use self::report::Report;
use self::speech::Speech;
use super::exit::{CommandResult, Exit, Failure};

/// The mode with which this program is the loop.
const LOOP: &str = "bare-loop";
/// The mode with which it is load beside another.
const ASIDE: &str = "aside";
/// The mode with which it becomes the gateway under test.
const GATEWAY: &str = "bare-gateway";
/// Bytes of a payload, where none are given: a short notification, and a longer one for isolation.
const SIZE: usize = 128;
const SIZE_ISOLATION: usize = 1024;
const SIZE_MEMORY: usize = 16 * 1024;
/// Messages that are kept for each client, where no number is given.
const KEPT_EACH: usize = 100;
/// More than the history counts for a message besides its payload.
const KEPT_BYTES_BESIDE: usize = 2048;

/// Measure a gateway's CPU time, latency and memory, beside a bare loop
///
/// Without --to it starts a gateway of its own as a child process on one core, and is the clients
/// and the sender on another. Latency counts from when a message was due, so that a server that
/// stops is seen in every message it delays. What arrived is counted exactly. With --floor a bare
/// loop of system calls, a process of its own too, does the same work in turns with the gateway,
/// and the ratio is printed: by the medians and by the minima of all rounds, with the spread of
/// each, (highest - lowest) / median.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate bench broadcast --floor
  pushgate bench burst --clients 5000 --floor --json
  pushgate bench broadcast --clients 5000 --rate 10
  pushgate bench broadcast --clients 15000 --floor --groups 16
  pushgate bench broadcast --clients 5000 --ws
  pushgate bench broadcast --clients 5000 --mqtt --beside mosquitto --beside nats-server
  pushgate bench amid --clients 15000
  pushgate bench isolation --clients 2000 --stalled 5
  pushgate bench isolation --storm 100000 --storm-mix
  pushgate bench idle --clients 15000 --jwt --seconds 70
  pushgate bench storm --clients 15000
  pushgate bench resume --clients 5000
  pushgate bench unicast --to 127.0.0.1:7400 --key-id 7 --key-file keys/7 --server-pid 4711

Exit codes: 0 everything arrived, 1 failed or something was missed, 2 usage, 64 the key file.")]
pub(super) struct Bench {
    /// What to measure
    #[arg(value_enum, default_value = "broadcast")]
    mode: Mode,
    /// Clients to connect, 1 to 1000000; with --floor as many again to the loop, from a process of
    /// their own. On loopback every 28000 of them come from a source address of their own
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count(1, 1_000_000))]
    clients: usize,
    /// Bytes of a payload, 12 to 65000 [default: 128; isolation: 1024; memory: 16384]
    #[arg(long, value_name = "BYTES", value_parser = count(PAYLOAD_BYTES_MIN, 65_000))]
    size: Option<usize>,
    /// Rounds of each kind, 1 to 1000, after one that does not count; isolation and storm: 3, after
    /// a second that does not; cycles: as given
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count(1, 1000))]
    #[arg(default_value_ifs = [("mode", "isolation", "3"), ("mode", "storm", "3")])]
    rounds: usize,
    /// Messages of a round: broadcasts, bursts, pushes or visits; in resume, messages that are kept
    /// for each client [default: about a second of work; isolation: 12 seconds; memory: 400;
    /// resume: 100]
    #[arg(long, value_name = "N", value_parser = count(1, 100_000_000))]
    messages: Option<usize>,
    /// Messages that are due a second, whether or not the last ones have arrived; in burst, bursts
    /// of those that come with pauses [default: the next
    /// when the last has arrived; isolation: 60000 deliveries a second; amid, resume: 200]
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rate: Option<f64>,
    /// Messages of a burst, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1, 1000))]
    burst: usize,
    /// Pushes without an answer, or visits, at a time, 1 to 4096
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count(1, 4096))]
    window: usize,
    /// Put every client into so many groups in which nothing is said, 0 to 64; broadcast measures a
    /// second gateway beside it, whose clients are in none
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count(0, 64))]
    groups: usize,
    /// Broadcasts that are due a second, in amid [default: the next after everybody has the last
    /// one and a pause]
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    broadcast_rate: Option<f64>,
    /// How much of the time is pause between broadcasts, in amid, 0 to 99; 0: back to back
    #[arg(long, value_name = "PERCENT", default_value_t = 30.0, value_parser = percent)]
    #[arg(conflicts_with = "broadcast_rate")]
    pause: f64,
    /// How many of a hundred clients never read, in isolation
    /// [default: 1, and none with --storm]
    #[arg(long, value_name = "PERCENT", value_parser = positive)]
    stalled: Option<f64>,
    /// The same as a number of clients, 0 to 1000000 [default in memory: 10]
    #[arg(long, value_name = "N", conflicts_with = "stalled", value_parser = count(0, 1_000_000))]
    stalled_count: Option<usize>,
    /// In isolation, send so many datagrams with a wrong MAC a second, each as long as a push, up
    /// to 10000000
    #[arg(long, value_name = "PER_SECOND", value_parser = storm)]
    storm: Option<f64>,
    /// Every other kind of bad datagram in it as well, in turn
    #[arg(long, requires = "storm")]
    storm_mix: bool,
    /// How long the quiet times of idle and storm are, 1 to 3600 seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = count(1, 3600))]
    #[arg(default_value_if("mode", "storm", "5"))]
    seconds: usize,
    /// The heartbeat that clients ask for in idle, 5 to 3600 seconds [default: the gateway's]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(5..=3600))]
    heartbeat: Option<u16>,
    /// Clients that PING in storm, and as many more that are silent, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1, 1000))]
    measured: usize,
    /// A running gateway's address for clients, HOST:PORT [default: start one]. Its own clients get
    /// the messages of the measurement too
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Its UDP address [default: that of --to]
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    udp: Option<String>,
    /// Its admin address, for its own counters in isolation, burst and memory
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    admin: Option<String>,
    /// Its process id on this machine, for its CPU time and memory
    #[arg(long, value_name = "PID", requires = "to")]
    server_pid: Option<u32>,
    /// Sign with the key of this id (1 to 4294967295)
    #[arg(long, value_name = "N", requires_all = ["key_file", "to"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    key_id: Option<u32>,
    /// The file with that key
    #[arg(long, value_name = "FILE", requires = "key_id")]
    key_file: Option<PathBuf>,
    /// Clients over MQTT 5, with QoS 0, where --ws goes too but for churn
    #[arg(long, conflicts_with_all = ["groups", "ws"])]
    mqtt: bool,
    /// With --mqtt, in broadcast: another server beside it, which is started too and does the same
    /// work: mosquitto or nats-server, a name in PATH or a path. May be given twice
    #[arg(long, value_name = "PROGRAM", requires = "mqtt", conflicts_with = "to")]
    beside: Vec<PathBuf>,
    /// Clients over WebSocket: in every mode but amid, storm and resume; broadcast measures a
    /// second gateway beside it, with native clients
    #[arg(long, conflicts_with = "groups")]
    ws: bool,
    /// In idle, every client shows a JSON Web Token of its own instead of its name
    #[arg(long, conflicts_with_all = ["to", "mqtt"])]
    jwt: bool,
    /// Measure the bare loop beside the gateway: in broadcast, burst, unicast and churn
    #[arg(long)]
    floor: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Broadcasts, one at a time; the loop: one write(2) a client
    Broadcast,
    /// Broadcasts back to back, and one paced message amid them; the loop: one write(2) a client
    /// and message, and again with 64 messages joined in one
    Burst,
    /// Signed pushes to one user each, answered; the loop: recvfrom, write, sendto
    Unicast,
    /// Clients that come (HELLO, WELCOME) and leave; and only come, up to 3000 of them at once; the
    /// loop: accept, read, write, and read, close
    Churn,
    /// Resident bytes a connection, and the CPU time of quiet seconds with their heartbeats
    Idle,
    /// All clients connect, hear a broadcast and leave, in rounds; resident memory after each
    Cycles,
    /// Broadcasts while some clients never read, or bad datagrams storm, beside the same in peace
    Isolation,
    /// Pushes to one user by the clock, quiet and while broadcasts go to all clients
    Amid,
    /// The most resident memory while some clients never read
    Memory,
    /// PING to PONG, and the gateway's own PINGs, in peace and while all clients connect at once
    Storm,
    /// Pushes to one user by the clock, quiet and while all clients come back at once, let in at
    /// the gateway's own pace, and are sent what was kept for them; the memory that kept messages
    /// take
    Resume,
    #[value(hide = true)]
    BareLoop,
    #[value(hide = true)]
    Aside,
    #[value(hide = true)]
    BareGateway,
}

impl Mode {
    /// Whether all its clients may come by another door than the native one.
    const fn knows_doors(self) -> bool {
        matches!(
            self,
            Self::Broadcast
                | Self::Burst
                | Self::Unicast
                | Self::Churn
                | Self::Idle
                | Self::Cycles
                | Self::Isolation
                | Self::Memory
        )
    }
}

impl Bench {
    pub(super) fn run(mut self) -> CommandResult {
        if self.speech() != Speech::Native && !self.mode.knows_doors() {
            let what = "--ws and --mqtt do not go with amid, storm and resume";
            return Err(Failure::usage(what.to_owned()));
        }
        if self.mqtt && self.mode == Mode::Churn {
            let what = "--mqtt does not go with churn";
            return Err(Failure::usage(what.to_owned()));
        }
        if self.jwt && self.mode != Mode::Idle {
            return Err(Failure::usage("--jwt goes with idle".to_owned()));
        }
        if self.mode != Mode::Broadcast && !self.beside.is_empty() {
            return Err(Failure::usage("--beside goes with broadcast".to_owned()));
        }
        self.floor &= matches!(
            self.mode,
            Mode::Broadcast | Mode::Burst | Mode::Unicast | Mode::Churn
        );
        let (report, missed) = match self.mode {
            Mode::Broadcast => modes::broadcast(&self)?,
            Mode::Burst => modes::burst(&self)?,
            Mode::Unicast => modes::unicast(&self)?,
            Mode::Churn => modes::churn(&self)?,
            Mode::Idle => modes::idle(&self)?,
            Mode::Cycles => modes::cycles(&self)?,
            Mode::Isolation => modes::isolation(&self)?,
            Mode::Amid => modes::amid(&self)?,
            Mode::Aside => {
                aside::serve().context("the load beside another")?;
                return Ok(Exit::Ok);
            }
            Mode::BareGateway => return Err(child::become_gateway().into()),
            Mode::Memory => modes::memory(&self)?,
            Mode::Storm => modes::storm(&self)?,
            Mode::Resume => modes::resume(&self)?,
            Mode::BareLoop => {
                floor::serve().context("the bare loop")?;
                return Ok(Exit::Ok);
            }
        };
        report.print(self.json)?;
        Ok(if missed == 0 { Exit::Ok } else { Exit::Failed })
    }

    fn size(&self) -> usize {
        let default = match self.mode {
            Mode::Isolation => SIZE_ISOLATION,
            Mode::Memory => SIZE_MEMORY,
            _ => SIZE,
        };
        self.size.unwrap_or(default)
    }

    /// Whether the same is measured at a gateway whose clients are in no group and are native.
    fn has_second_gateway(&self) -> bool {
        let differs = self.groups != 0 || self.speech() != Speech::Native;
        self.mode == Mode::Broadcast && differs && self.to.is_none()
    }

    /// What the clients speak.
    const fn speech(&self) -> Speech {
        match (self.ws, self.mqtt) {
            (true, _) => Speech::Web,
            (false, true) => Speech::Mqtt,
            (false, false) => Speech::Native,
        }
    }

    /// Whether one client is measured in a process of its own.
    fn has_client_apart(&self) -> bool {
        matches!(self.mode, Mode::Amid | Mode::Resume)
    }

    /// How many clients never read: as many as are said, else so many of a hundred; never all.
    fn stalled(&self, percent: f64) -> usize {
        let percent = self.stalled.unwrap_or(percent);
        let share = (self.clients as f64 * percent / 100.0).ceil() as usize;
        let most = self.clients.saturating_sub(1);
        self.stalled_count.unwrap_or(share).min(most)
    }

    /// How many messages are kept for each client.
    fn kept_each(&self) -> usize {
        self.messages(KEPT_EACH)
    }

    /// What the gateway's configuration says besides: nothing, but where more is to be kept than it
    /// would, or where clients show tokens made with this secret.
    fn configuration(&self, tokens: Option<&str>) -> String {
        if let Some(secret) = tokens {
            return child::AT_ONCE.to_owned() + &Bearer::configuration(secret);
        }
        if self.mode != Mode::Resume {
            return String::new();
        }
        let messages = self.clients * self.kept_each();
        // Behind the payload there are the frame's head and what a message costs besides.
        let bytes = messages * (self.size() + KEPT_BYTES_BESIDE);
        format!("[history]\nmessages = {messages}\nbytes = {bytes}\n")
    }

    /// How many messages a round has.
    fn messages(&self, default: usize) -> usize {
        self.messages.unwrap_or(default)
    }

    fn report(&self, what: &str, unit: &'static str) -> Report {
        let (clients, size) = (self.clients, self.size());
        let title = match self.mode {
            Mode::Churn | Mode::Storm => what.to_owned(),
            _ => format!("{clients} clients, payloads of {size} B: {what}"),
        };
        Report {
            title,
            unit,
            ..Report::default()
        }
    }
}

/// A number of a range, as clap takes it.
fn count(min: usize, max: usize) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser;
    clap::value_parser!(u64)
        .range(min as u64..=max as u64)
        .try_map(usize::try_from)
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=99.0).contains(&number) {
        Ok(number)
    } else {
        Err("not 0 to 99".to_owned())
    }
}

/// Datagrams a second that a number of them can be counted with.
fn storm(text: &str) -> Result<f64, String> {
    match positive(text)? {
        rate if rate <= 10_000_000.0 => Ok(rate),
        _ => Err("above 10000000".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && 0.0 < number {
        Ok(number)
    } else {
        Err("not above 0".to_owned())
    }
}

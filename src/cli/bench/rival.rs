//! Other servers that do the same work: each a child process on the server's core, with clients and
//! a sender of its own protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::child::Server;
use super::crowd::{Crowd, SILENCE_MAX, put_stamp};
use super::load::{self, Cost};
use super::recorder::{Recorder, nanos};
use super::speech::Speech;
use super::{foreign, machine};
use crate::cli::exit::Failure;

/// How many are measured in one run.
pub(super) const RIVALS_MAX: usize = 2;
/// How long one may take until it accepts.
const START_MAX: Duration = Duration::from_secs(10);

/// A server that is not ours.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Rival {
    /// Eclipse Mosquitto, which speaks MQTT.
    Mosquitto(PathBuf),
    /// NATS, which speaks a protocol of its own.
    Nats(PathBuf),
}

impl Rival {
    /// The one that this program is, by its name.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        let name = path.file_name().and_then(|name| name.to_str());
        match name.unwrap_or_default() {
            "mosquitto" => Ok(Self::Mosquitto(path.to_owned())),
            "nats" | "nats-server" => Ok(Self::Nats(match path.components().count() {
                // A package may call it so or so.
                1 => "nats-server".into(),
                _ => path.to_owned(),
            })),
            _ => Err(Failure::usage(format!(
                "--beside {}: neither mosquitto nor nats-server",
                path.display()
            ))),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Mosquitto(_) => "mosquitto",
            Self::Nats(_) => "nats-server",
        }
    }

    /// The name of the ratio to the gateway.
    pub(super) const fn ratio(&self) -> &'static str {
        match self {
            Self::Mosquitto(_) => "gateway / mosquitto",
            Self::Nats(_) => "gateway / nats-server",
        }
    }

    /// The name of when its last client had each message.
    pub(super) const fn last(&self) -> &'static str {
        match self {
            Self::Mosquitto(_) => "at the last client, mosquitto",
            Self::Nats(_) => "at the last client, nats-server",
        }
    }

    /// The name of what a client takes there.
    pub(super) const fn resident(&self) -> &'static str {
        match self {
            Self::Mosquitto(_) => "resident a client, mosquitto",
            Self::Nats(_) => "resident a client, nats-server",
        }
    }

    const fn speech(&self) -> Speech {
        match self {
            Self::Mosquitto(_) => Speech::Mqtt,
            Self::Nats(_) => Speech::Nats,
        }
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Mosquitto(_) => foreign::mqtt_publish(payload, out),
            Self::Nats(_) => foreign::nats_publish(payload, out),
        }
    }
}

/// One of them, running.
pub(super) struct RivalServer {
    rival: Rival,
    server: Server,
    address: SocketAddr,
    /// Its configuration, where it needs one; gone when this is dropped.
    _file: Option<Scratch>,
}

/// A file that goes with this.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is a few lines among the system's temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl RivalServer {
    /// Starts it on a port that is free, bounded by nothing but the machine, and waits until it
    /// accepts.
    pub(super) fn start(rival: &Rival) -> anyhow::Result<Self> {
        let port = free_port()?;
        let (mut command, file) = match rival {
            Rival::Mosquitto(program) => {
                let text = format!(
                    "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                     set_tcp_nodelay true\nlog_type error\nuser root\n"
                );
                let name = format!("pushgate-bench-{}-{port}.conf", std::process::id());
                let path = std::env::temp_dir().join(name);
                std::fs::write(&path, text).context("a configuration for mosquitto")?;
                let mut command = Command::new(program);
                command.arg("-c").arg(&path);
                (command, Some(Scratch(path)))
            }
            Rival::Nats(program) => {
                let mut command = Command::new(program);
                let port = port.to_string();
                command.args(["-a", "127.0.0.1", "-p", &port, "-l", "/dev/null"]);
                (command, None)
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut started = Self {
            rival: rival.clone(),
            server: Server::start(&mut command)?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _file: file,
        };
        started.await_door()?;
        Ok(started)
    }

    fn await_door(&mut self) -> anyhow::Result<()> {
        let (deadline, name) = (Instant::now() + START_MAX, self.rival.name());
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.server.pipes().try_wait() {
                anyhow::bail!("{name} has ended: {status}");
            }
            anyhow::ensure!(Instant::now() < deadline, "{name} does not accept");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// One that nobody listens at now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr().context("a port")?.port())
}

/// One of them, with clients and a sender.
pub(super) struct RivalLoad {
    server: RivalServer,
    /// Its clients.
    pub(super) crowd: Crowd,
    sender: TcpStream,
    /// Its resident memory before it had clients.
    pub(super) empty_bytes: u64,
    epoch: Instant,
    payload: Vec<u8>,
    bytes: Vec<u8>,
}

impl RivalLoad {
    /// Connects the sender and the clients, each of which waits for the answer to its subscription.
    pub(super) fn connect(
        server: RivalServer,
        clients: usize,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<Self> {
        let empty_bytes = machine::resident_bytes(server.server.id())?;
        let sender = TcpStream::connect(server.address).context("a sender")?;
        sender.set_nodelay(true).context("a sender")?;
        let opening = match server.rival {
            Rival::Mosquitto(_) => foreign::mqtt_connect("sender", 0),
            Rival::Nats(_) => foreign::NATS_SENDER.to_vec(),
        };
        (&sender).write_all(&opening).context("a sender")?;
        let mut crowd = Crowd::new()?;
        crowd.speak(server.rival.speech());
        crowd.come_from(machine::SECOND_NETWORK);
        let hello = |client: usize, out: &mut Vec<u8>| load::hello(client, &[], out);
        crowd.connect(clients, server.address, Some(&hello), progress)?;
        Ok(Self {
            server,
            crowd,
            sender,
            empty_bytes,
            epoch: Instant::now(),
            payload: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.server.server.id()
    }

    /// Broadcasts, one at a time: the next when everybody has the last one.
    pub(super) fn broadcasts(
        &mut self,
        count: usize,
        size: usize,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        let (pid, start) = (self.id(), Instant::now());
        let (before, pushes) = (machine::cpu_time(pid)?, self.crowd.tally.pushes);
        recorder.begin(count);
        let mut missed = 0;
        for number in 0..count {
            let due = Instant::now();
            self.send(due, u32::try_from(number)?, size)?;
            let expected = self.crowd.readers() as u64 * (number as u64 + 1);
            missed += self.settle(pushes + expected - missed, recorder)?;
        }
        recorder.end();
        Ok(Cost {
            cpu: machine::cpu_time(pid)?.saturating_sub(before),
            deliveries: self.crowd.tally.pushes - pushes,
            missed,
            elapsed: start.elapsed(),
        })
    }

    fn send(&mut self, due: Instant, mark: u32, size: usize) -> anyhow::Result<()> {
        self.listen()?;
        self.payload.resize(size, 0);
        let due_ns = nanos(due.saturating_duration_since(self.epoch));
        put_stamp(&mut self.payload, due_ns, mark);
        self.bytes.clear();
        self.server.rival.publish(&self.payload, &mut self.bytes);
        self.sender
            .write_all(&self.bytes)
            .context("the sender's connection")
    }

    /// Answers what the server asks the sender now and then.
    fn listen(&mut self) -> anyhow::Result<()> {
        let mut heard = [0; 1024];
        self.sender.set_nonblocking(true)?;
        let read = self.sender.read(&mut heard);
        self.sender.set_nonblocking(false)?;
        match read {
            Ok(0) => anyhow::bail!("the server has ended the sender's connection"),
            Ok(count) => {
                if heard[..count].windows(4).any(|word| word == b"PING") {
                    foreign::nats_pong(&self.sender);
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("the sender's connection"),
        }
    }

    /// Reads until so many messages have arrived in all, or nothing comes any more; returns how
    /// many are missing then.
    fn settle(&mut self, expected: u64, recorder: &mut Recorder) -> anyhow::Result<u64> {
        let (epoch, mut heard) = (self.epoch, Instant::now());
        while self.crowd.tally.pushes < expected {
            let mut arrived = |arrival| recorder.arrived(epoch, &arrival);
            // What wakes it may be no message: the server asks its clients, too.
            if self.crowd.poll(SILENCE_MAX, &mut arrived)? != 0 {
                heard = Instant::now();
            } else if SILENCE_MAX <= heard.elapsed() {
                return Ok(expected - self.crowd.tally.pushes);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_names() {
        let name = |path: &str| Rival::of(Path::new(path)).map(|rival| rival.name()).ok();
        assert_eq!(name("mosquitto"), Some("mosquitto"));
        assert_eq!(name("/usr/sbin/mosquitto"), Some("mosquitto"));
        assert_eq!(name("nats"), Some("nats-server"));
        assert_eq!(name("/opt/nats-server"), Some("nats-server"));
        assert_eq!(name("redis-server"), None);
    }
}

//! The load on a gateway and on the loop beside it: one thing at a time, with the server's CPU time
//! before and after.

mod kept;
mod paced;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::crowd::{Crowd, SILENCE_MAX, put_stamp};
use super::floor::Floor;
use super::machine;
use super::parser::STAMP_BYTES;
use super::pusher::Pusher;
use super::recorder::{PACED, PACED_ALONE, Recorder, nanos};
use crate::wire::datagram::Target;
use crate::wire::frame::{self, HelloFields, Scope, encode_hello, push_header};
use crate::wire::seal::Key;
pub use kept::Returned;
pub use paced::{Amid, PACED_EACH};

/// The shortest payload of a measurement: it says when it was due.
pub const PAYLOAD_BYTES_MIN: usize = STAMP_BYTES;
/// How long after the first of a burst the paced message is due.
const PACED_AFTER: Duration = Duration::from_millis(1);
/// A heartbeat that no run is as long as, in seconds.
pub(super) const HEARTBEAT_S: u16 = 3600;
/// When a socket that had no room for a datagram is tried again.
const ROOM_AFTER: Duration = Duration::from_micros(100);
/// What one round cost and brought.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Cost {
    /// The server's CPU time.
    pub cpu: Duration,
    /// Messages that arrived.
    pub deliveries: u64,
    /// Messages that did not arrive, and should have.
    pub missed: u64,
    /// The time it took.
    pub elapsed: Duration,
}

impl Cost {
    /// Adds another round's, without what that missed.
    pub(super) fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.deliveries += other.deliveries;
        self.elapsed += other.elapsed;
    }

    /// Microseconds of server CPU a delivery.
    pub fn each_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

/// What to send.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Shape {
    /// Bytes of a payload, at least [`PAYLOAD_BYTES_MIN`].
    pub size: usize,
    /// Messages of a burst, 0 or more.
    pub burst: usize,
    /// Broadcasts that are due a second; `None`: the next when everybody has the last one.
    pub rate: Option<f64>,
}

impl Shape {
    fn due(&self, start: Instant, number: usize) -> Instant {
        match self.rate {
            Some(rate) => start + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        }
    }
}

/// A gateway with clients and a sender.
pub struct GatewayLoad {
    /// Whose CPU time is read; without it, the costs have none.
    pub pid: Option<u32>,
    /// The clients.
    pub crowd: Crowd,
    /// The sender.
    pub pusher: Pusher,
    epoch: Instant,
    payload: Vec<u8>,
}

/// The loop with clients.
pub struct FloorLoad {
    /// The loop.
    pub floor: Floor,
    /// The clients.
    pub crowd: Crowd,
}

/// The name of a client: 16 bytes, as identifiers of users often are.
pub fn user(client: usize) -> String {
    format!("user-{client:011}")
}

/// Appends the HELLO of a client: its user, a device, the groups, a heartbeat that no run is as
/// long as.
pub fn hello(client: usize, groups: &[&str], out: &mut Vec<u8>) {
    hello_with(client, groups, HEARTBEAT_S, out);
}

/// The same with a heartbeat, in seconds; 0 leaves it to the gateway.
pub fn hello_with(client: usize, groups: &[&str], heartbeat_s: u16, out: &mut Vec<u8>) {
    hello_of(user(client).as_bytes(), groups, heartbeat_s, out);
}

/// The same with a token of one's own.
pub fn hello_of(token: &[u8], groups: &[&str], heartbeat_s: u16, out: &mut Vec<u8>) {
    say_hello(token, groups, heartbeat_s, false, out);
}

/// The HELLO of a client that comes back and asks for everything that is kept for it.
pub fn hello_again(client: usize, out: &mut Vec<u8>) {
    say_hello(user(client).as_bytes(), &[], HEARTBEAT_S, true, out);
}

fn say_hello(token: &[u8], groups: &[&str], heartbeat_s: u16, resume: bool, out: &mut Vec<u8>) {
    let fields = HelloFields {
        version: frame::PROTOCOL_VERSION,
        resume,
        heartbeat_s,
        epoch: 0,
        cursor: 0,
        device: "phone",
        groups,
        token,
    };
    encode_hello(out, &fields);
}

/// A whole PUSH, as long as the gateway writes it to everybody.
pub fn frame(size: usize, scope: Scope) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_header(&mut bytes, 0, scope, "", size);
    bytes.resize(bytes.len() + size, 0);
    bytes
}

impl GatewayLoad {
    /// Connects a sender; [`Crowd::connect`] connects the clients.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub fn new(udp: SocketAddr, key: Option<(u32, Key)>, pid: Option<u32>) -> anyhow::Result<Self> {
        let pusher = Pusher::connect(udp, key)?;
        let crowd = Crowd::new()?;
        crowd.watch(pusher.socket())?;
        Ok(Self {
            pid,
            crowd,
            pusher,
            epoch: Instant::now(),
            payload: Vec::new(),
        })
    }

    /// Broadcasts, one at a time, or by the clock with a rate: then a late one counts from when it
    /// was due, so that a server that stops is seen in every message that it delays.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn broadcasts(
        &mut self,
        count: usize,
        shape: &Shape,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        let start = Instant::now();
        recorder.begin(count);
        let cost = self.measured(|load| {
            let mut expected = load.crowd.tally.pushes;
            let mut missed = 0;
            for number in 0..count {
                let due = shape.due(start, number);
                load.until(due, recorder)?;
                load.broadcast(due, u32::try_from(number)?, shape.size, recorder)?;
                expected += load.crowd.readers() as u64;
                if shape.rate.is_none() {
                    missed += load.settle(expected - missed, recorder)?;
                }
            }
            missed += load.settle(expected - missed, recorder)?;
            Ok(missed)
        });
        recorder.end();
        cost
    }

    /// Bursts back to back, the next when everybody has the last one, each with a paced message
    /// amid it; with bursts of 0, that message alone.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn bursts(
        &mut self,
        count: usize,
        shape: &Shape,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        recorder.begin(0);
        let mark = match shape.burst {
            0 => PACED_ALONE,
            _ => PACED,
        };
        self.measured(|load| {
            let mut expected = load.crowd.tally.pushes;
            let mut missed = 0;
            for _ in 0..count {
                let start = Instant::now();
                for _ in 0..shape.burst {
                    load.broadcast(start, 0, shape.size, recorder)?;
                }
                let due = start + PACED_AFTER;
                load.until(due, recorder)?;
                load.broadcast(due, mark, shape.size, recorder)?;
                expected += (load.crowd.readers() * (shape.burst + 1)) as u64;
                missed += load.settle(expected - missed, recorder)?;
            }
            Ok(missed)
        })
    }

    /// Pushes to one user each, `window` of them without an answer at a time.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn unicasts(
        &mut self,
        count: usize,
        shape: &Shape,
        window: usize,
        recorder: &mut Recorder,
    ) -> anyhow::Result<Cost> {
        let users: Vec<String> = (0..self.crowd.len()).map(user).collect();
        recorder.begin(0);
        self.measured(|load| {
            let before = load.crowd.tally.pushes;
            let (start, mut sent, mut heard) = (Instant::now(), 0, Instant::now());
            while sent < count && heard.elapsed() < SILENCE_MAX {
                let due = shape.due(start, sent);
                if window <= load.pusher.unanswered() {
                    if load.hear(SILENCE_MAX, recorder)? {
                        heard = Instant::now();
                    }
                    continue;
                }
                load.until(due, recorder)?;
                load.stamp(due, 0, shape.size);
                let user = &users[sent % users.len()];
                if load.pusher.push(Target::User(user), &load.payload)? {
                    sent += 1;
                    heard = Instant::now();
                } else {
                    load.hear(ROOM_AFTER, recorder)?;
                }
            }
            load.settle(before + count as u64, recorder)
        })
    }

    /// Reads for so long; nothing has to come.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn listen(&mut self, time: Duration) -> anyhow::Result<Cost> {
        let (due, mut recorder) = (Instant::now() + time, Recorder::default());
        self.measured(|load| load.until(due, &mut recorder).map(|()| 0))
    }

    /// Reads until the moment has come.
    fn until(&mut self, due: Instant, recorder: &mut Recorder) -> anyhow::Result<()> {
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            self.hear(wait, recorder)?;
        }
    }

    /// Takes what has come, or comes within `wait`; whether that was anything.
    fn hear(&mut self, wait: Duration, recorder: &mut Recorder) -> anyhow::Result<bool> {
        let (epoch, open) = (self.epoch, self.pusher.unanswered());
        let mut arrived = |arrival| recorder.arrived(epoch, &arrival);
        let new = self.crowd.poll(wait, &mut arrived)?;
        recorder.passed(self.crowd.pass);
        self.pusher
            .poll(&mut |since_due, since_sent| recorder.answered(since_due, since_sent))?;
        Ok(new != 0 || self.pusher.unanswered() != open)
    }

    fn broadcast(
        &mut self,
        due: Instant,
        mark: u32,
        size: usize,
        recorder: &mut Recorder,
    ) -> anyhow::Result<()> {
        self.stamp(due, mark, size);
        while !self.pusher.push(Target::All, &self.payload)? {
            self.hear(ROOM_AFTER, recorder)?;
        }
        Ok(())
    }

    fn stamp(&mut self, due: Instant, mark: u32, size: usize) {
        self.payload.resize(size, 0);
        let due_ns = nanos(due.saturating_duration_since(self.epoch));
        put_stamp(&mut self.payload, due_ns, mark);
    }

    /// Reads until `expected` messages have arrived in all and every push is answered, or nothing
    /// comes any more; returns how many are missing then.
    fn settle(&mut self, expected: u64, recorder: &mut Recorder) -> anyhow::Result<u64> {
        let mut heard = Instant::now();
        loop {
            let arrived = self.crowd.tally.pushes;
            if expected <= arrived && self.pusher.unanswered() == 0 {
                return Ok(0);
            }
            if SILENCE_MAX < heard.elapsed() {
                return Ok(expected.saturating_sub(arrived));
            }
            if self.hear(Duration::from_secs(1), recorder)? {
                heard = Instant::now();
            }
        }
    }

    /// Does the work, which returns what it missed, between two looks at the server's CPU time.
    pub(super) fn measured(
        &mut self,
        work: impl FnOnce(&mut Self) -> anyhow::Result<u64>,
    ) -> anyhow::Result<Cost> {
        let cpu = |load: &Self| load.pid.map(machine::cpu_time).transpose();
        let (before, pushes, start) = (cpu(self)?, self.crowd.tally.pushes, Instant::now());
        let missed = work(self)?;
        let after = cpu(self)?;
        Ok(Cost {
            cpu: after
                .unwrap_or_default()
                .saturating_sub(before.unwrap_or_default()),
            deliveries: self.crowd.tally.pushes - pushes,
            missed,
            elapsed: start.elapsed(),
        })
    }
}

impl FloorLoad {
    /// Connects `clients` clients to the loop.
    ///
    /// # Errors
    /// When one cannot connect.
    pub fn connect(
        mut floor: Floor,
        clients: usize,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<Self> {
        let mut crowd = Crowd::new()?;
        crowd.come_from(machine::LOOP_NETWORK);
        floor.accept(clients)?;
        crowd.connect(clients, floor.native, None, progress)?;
        floor.wait()?;
        Ok(Self { floor, crowd })
    }

    /// Writes a message to every client, `messages` of them back to back and `joined` a write; then
    /// again, when everybody has them: `count` times.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn writes(
        &mut self,
        count: usize,
        messages: usize,
        joined: usize,
        size: usize,
    ) -> anyhow::Result<Cost> {
        let frame = frame(size, Scope::All);
        self.measured(|load| {
            for _ in 0..count {
                let expected = load.crowd.tally.pushes + (load.crowd.len() * messages) as u64;
                load.floor.write(&frame, messages, joined)?;
                load.arrive(expected)?;
                load.floor.wait()?;
            }
            Ok(())
        })
    }

    /// The loop's processing of datagrams of `bytes`, each with the frame of one client, `window`
    /// of them without an answer at a time.
    ///
    /// # Errors
    /// When the loop is gone.
    pub fn relays(
        &mut self,
        count: usize,
        bytes: usize,
        size: usize,
        window: usize,
    ) -> anyhow::Result<Cost> {
        let frame = frame(size, Scope::User);
        let mut datagram = vec![0; bytes.max(4 + frame.len())];
        let place = datagram.len() - frame.len();
        datagram[place..].copy_from_slice(&frame);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.floor.udp)?;
        socket.set_nonblocking(true)?;
        self.crowd.watch(&socket)?;
        self.measured(|load| {
            load.floor.relay(frame.len())?;
            let expected = load.crowd.tally.pushes + count as u64;
            let (mut sent, mut answered, mut buffer) = (0, 0, [0; 2048]);
            while answered < count {
                while sent < count && sent - answered < window {
                    let client = u32::try_from(sent % load.crowd.len())?;
                    datagram[..4].copy_from_slice(&client.to_be_bytes());
                    socket.send(&datagram)?;
                    sent += 1;
                }
                load.crowd.poll(SILENCE_MAX, &mut |_| {})?;
                while socket.recv(&mut buffer).is_ok() {
                    answered += 1;
                }
            }
            load.arrive(expected)?;
            socket.send(&[])?;
            load.floor.wait()
        })
    }

    fn arrive(&mut self, expected: u64) -> anyhow::Result<()> {
        while self.crowd.tally.pushes < expected {
            let new = self.crowd.poll(SILENCE_MAX, &mut |_| {})?;
            anyhow::ensure!(new != 0, "the loop's clients hear nothing more");
        }
        Ok(())
    }

    /// Does the work between two looks at the loop's CPU time.
    pub(super) fn measured(
        &mut self,
        work: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Cost> {
        let pid = self.floor.id();
        let (before, start) = (machine::cpu_time(pid)?, Instant::now());
        let pushes = self.crowd.tally.pushes;
        work(self)?;
        Ok(Cost {
            cpu: machine::cpu_time(pid)?.saturating_sub(before),
            deliveries: self.crowd.tally.pushes - pushes,
            missed: 0,
            elapsed: start.elapsed(),
        })
    }
}

//! Many clients in one thread: non-blocking sockets, one epoll, one buffer, frames counted as they
//! come.
//!
//! A client here is a few dozen bytes and no task, so that the load on its core keeps up with the
//! server on the other.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};

use super::parser::{Parser, STAMP_BYTES};
use super::speech::Speech;
use crate::wire::frame::{CLOSE, ClientFrame, GatewayFrame, PING, PUSH, RESUMED, WELCOME};

/// Connections from one source address: below the 28,232 ports that the kernel gives to one.
pub const PER_ADDRESS: usize = 28_000;
/// Source addresses that are used in turn: 127.0.0.1 to 127.0.0.254.
const HOSTS: usize = 254;
/// The receive buffer of a client that never reads, in bytes.
const STALLED_RECEIVES: usize = 4096;
/// HELLOs that wait for their WELCOME at once.
const HANDSHAKES_MAX: usize = 256;
/// Long enough for many frames of one client in one read.
const READ_BYTES: usize = 64 * 1024;
/// Events of one wait.
const EVENTS_MAX: usize = 1024;
/// How long a crowd may hear nothing while it waits for something.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Marks the event of a foreign descriptor.
const FOREIGN: u64 = u64::MAX;

/// Appends the HELLO of a client, by its number from 0.
pub type Hello<'a> = &'a dyn Fn(usize, &mut Vec<u8>);

/// A message as a client saw it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which client.
    pub client: usize,
    /// When it was due to be sent, in nanoseconds since the epoch of the measurement.
    pub due_ns: u64,
    /// What the sender marked it with.
    pub mark: u32,
    /// When the read that brought it returned.
    pub at: Instant,
}

/// What all clients have seen together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages.
    pub pushes: u64,
    /// Sessions that were granted.
    pub welcomes: u64,
    /// Those among them that go on where they were.
    pub resumed: u64,
    /// Connections that the server has ended.
    pub lost: u64,
    /// CLOSE frames.
    pub closes: u64,
    /// The server's PINGs, each answered.
    pub pings: u64,
}

/// The clients.
pub struct Crowd {
    epoll: OwnedFd,
    members: Vec<Member>,
    buffer: Box<[u8]>,
    events: Vec<epoll::Event>,
    stalled: usize,
    network: u8,
    /// What they speak.
    speech: Speech,
    /// How long the last [`poll`](Self::poll) took from what it had waited for to its end: so late
    /// is whatever comes next.
    pub pass: Duration,
    /// Client numbers that earlier crowds have used up: ports of one that has left are not free
    /// again at once, and source addresses go by these numbers.
    used: usize,
    /// What they have seen.
    pub tally: Tally,
    /// Why the first lost connection was lost.
    pub why_lost: Option<String>,
}

struct Member {
    stream: Option<TcpStream>,
    parser: Parser,
    pushes: u32,
}

impl Crowd {
    /// Nobody yet.
    ///
    /// # Errors
    /// When the kernel gives no epoll.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("no epoll")?,
            members: Vec::new(),
            buffer: vec![0; READ_BYTES].into(),
            events: Vec::with_capacity(EVENTS_MAX),
            stalled: 0,
            network: 0,
            speech: Speech::Native,
            pass: Duration::ZERO,
            used: 0,
            tally: Tally::default(),
            why_lost: None,
        })
    }

    /// From now on clients connect from 127.0.`network`.1 and so on, where the server is there; 0
    /// at first.
    pub fn come_from(&mut self, network: u8) {
        self.network = network;
    }

    /// From now on clients connect to a door where this is spoken.
    pub fn speak(&mut self, speech: Speech) {
        self.speech = speech;
    }

    /// Connects `count` clients more, from 127.0.0.1, 127.0.0.2 and so on where the server is
    /// there. With `hello`, each says what that writes, and is waited for until it is WELCOME.
    ///
    /// # Errors
    /// When one cannot connect or is turned away.
    pub fn connect(
        &mut self,
        count: usize,
        server: SocketAddr,
        hello: Option<Hello<'_>>,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let client = self.members.len();
            let stream = connect(server, self.network, self.used + client)
                .with_context(|| format!("client {} cannot connect", client + 1))?;
            if let Some(hello) = hello {
                bytes.clear();
                hello(client, &mut bytes);
                let opening = self.speech.opening(&bytes)?;
                (&stream).write_all(&opening).context("a HELLO")?;
            }
            self.add(stream)?;
            progress(1);
            if hello.is_some() {
                self.welcome(client + 1, HANDSHAKES_MAX)?;
            }
        }
        if hello.is_some() {
            self.welcome(self.members.len(), 1)?;
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nonblocking(true).context("a socket")?;
        let data = epoll::EventData::new_u64(self.members.len() as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).context("epoll")?;
        self.members.push(Member {
            stream: Some(stream),
            parser: self.speech.parser(),
            pushes: 0,
        });
        Ok(())
    }

    /// Waits until fewer than `open` of `said` HELLOs are without an answer.
    fn welcome(&mut self, said: usize, open: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + SILENCE_MAX;
        loop {
            if self.tally.lost != 0 {
                let why = self.why_lost.as_deref().unwrap_or("it was ended");
                anyhow::bail!("a client did not get its session: {why}");
            }
            if (said as u64) < self.tally.welcomes + open as u64 {
                return Ok(());
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            anyhow::ensure!(!wait.is_zero(), "no WELCOME within {SILENCE_MAX:?}");
            self.poll(wait, &mut |_| {})?;
        }
    }

    /// Also wakes [`poll`](Self::poll) when this can be read.
    ///
    /// # Errors
    /// When epoll does not take it.
    pub fn watch(&self, source: impl AsFd) -> anyhow::Result<()> {
        let data = epoll::EventData::new_u64(FOREIGN);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN).context("epoll")
    }

    /// How many clients were connected.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody was connected.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many of them read.
    pub fn readers(&self) -> usize {
        self.members.len() - self.stalled
    }

    /// How many messages a client has seen.
    pub fn pushes(&self, client: usize) -> u32 {
        self.members[client].pushes
    }

    /// From now on this client, which has not done so before, never reads: what it is sent stays in
    /// the kernels, and its end is not noticed.
    ///
    /// # Errors
    /// When epoll does not let go of it.
    pub fn stall(&mut self, client: usize) -> anyhow::Result<()> {
        self.stalled += 1;
        let Some(stream) = &self.members[client].stream else {
            return Ok(());
        };
        // Or the kernel would take in on its side what a run of seconds has for it.
        socket2::SockRef::from(stream)
            .set_recv_buffer_size(STALLED_RECEIVES)
            .context("a receive buffer")?;
        epoll::delete(&self.epoll, stream).context("epoll")
    }

    /// Cuts off those who never read, the last `stalled` ones; others may take their numbers.
    pub fn cut_stalled(&mut self) {
        let left = self.members.len() - self.stalled;
        self.members.truncate(left);
        self.tally.welcomes -= self.stalled as u64;
        self.stalled = 0;
    }

    /// Everybody leaves, every second one with BYE and the others with a FIN, and is waited for
    /// until the server has ended its side, too. Returns how many it has not let go within 10 s of
    /// silence.
    ///
    /// # Errors
    /// When epoll fails.
    pub fn leave(&mut self) -> anyhow::Result<usize> {
        let (before, why) = (self.tally.lost, self.why_lost.take());
        let bye = self.speech.bye();
        let mut open = 0;
        for (client, member) in self.members.iter().enumerate() {
            let Some(mut stream) = member.stream.as_ref() else {
                continue;
            };
            open += 1;
            // One whose server is gone already is found by its read.
            let _ = match client % 2 {
                0 => stream.write_all(&bye),
                _ => stream.shutdown(Shutdown::Write),
            };
        }
        let mut heard = Instant::now();
        while self.tally.lost < before + open && heard.elapsed() < SILENCE_MAX {
            let lost = self.tally.lost;
            self.poll(Duration::from_millis(100), &mut |_| {})?;
            if self.tally.lost != lost {
                heard = Instant::now();
            }
        }
        let left = before + open - self.tally.lost;
        self.used += self.members.len().next_multiple_of(PER_ADDRESS);
        self.members.clear();
        self.stalled = 0;
        self.tally.welcomes = 0;
        self.tally.lost = before;
        self.why_lost = why;
        Ok(usize::try_from(left)?)
    }

    /// Waits for something to read, at most `wait`, and takes all that is there in one round.
    /// Returns how many messages that brought.
    ///
    /// # Errors
    /// When epoll fails. The end of a connection is counted and no error.
    pub fn poll(
        &mut self,
        wait: Duration,
        arrived: &mut dyn FnMut(Arrival),
    ) -> anyhow::Result<u64> {
        let before = self.tally.pushes;
        let timeout = Timespec::try_from(wait).context("a wait")?;
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow::Error::new(error).context("epoll")),
        }
        let awake = Instant::now();
        for event in events.drain(..) {
            let data = event.data;
            if data.u64() != FOREIGN {
                self.read(data.u64() as usize, arrived);
            }
        }
        self.events = events;
        self.pass = awake.elapsed();
        Ok(self.tally.pushes - before)
    }

    /// One read: a buffer that is not full has emptied the socket, and a full one is told again.
    fn read(&mut self, client: usize, arrived: &mut dyn FnMut(Arrival)) {
        let Self {
            members,
            buffer,
            tally,
            why_lost,
            speech,
            ..
        } = self;
        let member = &mut members[client];
        let Some(stream) = &member.stream else {
            return;
        };
        let why = match (&*stream).read(buffer) {
            Ok(0) => "the connection was ended".to_owned(),
            Ok(count) => {
                let at = Instant::now();
                let pushes = &mut member.pushes;
                let mut frame = |body: &[u8]| match body {
                    [PUSH, fields @ ..] => {
                        tally.pushes += 1;
                        *pushes += 1;
                        let (due_ns, mark) = stamp(fields);
                        arrived(Arrival {
                            client,
                            due_ns,
                            mark,
                            at,
                        });
                    }
                    [WELCOME, fields @ ..] => {
                        tally.welcomes += 1;
                        tally.resumed += u64::from(is_resumed(fields));
                    }
                    [PING, bytes @ ..] => {
                        tally.pings += 1;
                        speech.pong(stream, bytes);
                    }
                    [CLOSE, ..] => {
                        tally.closes += 1;
                        why_lost.get_or_insert_with(|| close(body));
                    }
                    _ => {}
                };
                match member.parser.feed(&buffer[..count], &mut frame) {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => error.to_string(),
        };
        // Closing it takes it out of epoll.
        member.stream = None;
        tally.lost += 1;
        why_lost.get_or_insert(why);
    }
}

/// From a source address that still has ports, where the server is on loopback.
pub(super) fn connect(server: SocketAddr, network: u8, client: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(server),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if server.is_ipv4() && server.ip().is_loopback() {
        // Another process has left its ports in TIME_WAIT: this one begins elsewhere.
        let begin = std::process::id() as usize;
        let host = u8::try_from(1 + (begin + client / PER_ADDRESS) % HOSTS).unwrap_or(u8::MAX);
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, network, host), 0));
        socket.bind(&source.into())?;
    }
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// When the message was due and how it was marked; zeros in one that is not ours.
fn stamp(fields: &[u8]) -> (u64, u32) {
    // Behind the number, the scope and the empty name of a group.
    let stamp = fields
        .get(10..)
        .and_then(<[u8]>::first_chunk::<STAMP_BYTES>);
    stamp.map_or((0, 0), |&[a, b, c, d, e, f, g, h, i, j, k, l]| {
        (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u32::from_be_bytes([i, j, k, l]),
        )
    })
}

/// The bytes in front of a payload of a measurement.
pub fn put_stamp(payload: &mut [u8], due_ns: u64, mark: u32) {
    payload[..8].copy_from_slice(&due_ns.to_be_bytes());
    payload[8..STAMP_BYTES].copy_from_slice(&mark.to_be_bytes());
}

/// Answers a PING.
pub(super) fn pong(mut stream: &TcpStream, bytes: &[u8]) {
    let mut frame = Vec::new();
    ClientFrame::Pong(bytes).encode(&mut frame);
    // A client that cannot say it is lost anyway, which the next read tells.
    let _ = stream.write(&frame);
}

/// Whether a WELCOME grants a RESUME: the flag behind the version.
fn is_resumed(fields: &[u8]) -> bool {
    fields.get(1).is_some_and(|flags| flags & RESUMED != 0)
}

fn close(body: &[u8]) -> String {
    match GatewayFrame::decode(body) {
        Ok(GatewayFrame::Close { code, reason, .. }) => format!("{} ({reason})", code.word()),
        // The head of a longer one: the reason is cut off.
        _ => format!("CLOSE {}", body.get(2).copied().unwrap_or_default()),
    }
}

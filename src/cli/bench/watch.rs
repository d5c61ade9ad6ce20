//! Clients that are measured while others make load: in a thread of their own, whose own lag is
//! told apart.
//!
//! Some PING at a fixed pace, each PING counted from when it was due. Others are silent: they
//! answer the gateway's own PINGs, which tell by how much the gateway is late.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::beside::Beside;
use super::crowd::{self, PER_ADDRESS};
use super::load;
use super::parser::Parser;
use super::recorder::{Latencies, Recorder, nanos};
use crate::wire::frame::{ClientFrame, PING, PONG, WELCOME};

/// The heartbeat of all of them, in seconds: the shortest that the gateway takes.
pub(super) const HEARTBEAT_S: u16 = 5;
const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_S as u64);
/// PINGs a second of one client.
pub(super) const PINGS: usize = 10;
/// Their numbers are far from those of the crowd: other users, and another source address.
const FIRST: usize = 253 * PER_ADDRESS;
/// How long a WELCOME, and the last PONGs, may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the thread waits at most before it looks whether it is to stop.
const TURN: Duration = Duration::from_millis(50);
/// PINGs that are sent in one turn before what has come is read.
const BATCH: usize = 64;
const EVENTS_MAX: usize = 256;

/// What the load does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Quiet,
    /// Clients connect.
    Storm,
    /// They leave; belongs to neither.
    Between,
}

/// When which phase began; the thread that makes load writes it, the other reads.
#[derive(Clone)]
pub(super) struct Phases(Arc<Mutex<Vec<(Instant, Phase)>>>);

impl Phases {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    /// A phase begins now.
    pub(super) fn begin(&self, phase: Phase) {
        self.note(Instant::now(), phase);
    }

    fn note(&self, at: Instant, phase: Phase) {
        let mut phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.push((at, phase));
    }

    /// The phase of a moment that has been; before the first it is between.
    fn at(&self, moment: Instant) -> Phase {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = phases.iter().rev().find(|(begin, _)| *begin <= moment);
        begun.map_or(Phase::Between, |(_, phase)| *phase)
    }
}

/// What was seen in one phase.
pub(super) struct Seen {
    /// From when a PING was due to its PONG.
    pub(super) pongs: Latencies,
    /// From when a PING was due to when this thread sent it: its own lag, which is in `pongs`.
    pub(super) lag: Latencies,
    /// By how much the gateway's PINGs came later than a heartbeat after what it said before.
    pub(super) late: Latencies,
    /// The longest that the gateway said nothing to a silent client.
    pub(super) gap_max: Duration,
}

impl Default for Seen {
    fn default() -> Self {
        let Recorder {
            messages,
            paced,
            last,
            ..
        } = Recorder::default();
        Self {
            pongs: messages,
            lag: paced,
            late: last,
            gap_max: Duration::ZERO,
        }
    }
}

/// What was seen in all.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) quiet: Seen,
    pub(super) storm: Seen,
    between: Seen,
    /// PINGs that were sent.
    pub(super) pings: u64,
    /// PINGs without a PONG.
    pub(super) unanswered: u64,
    /// Connections that the gateway has ended.
    pub(super) lost: u64,
}

impl Watched {
    fn of(&mut self, phase: Phase) -> &mut Seen {
        match phase {
            Phase::Quiet => &mut self.quiet,
            Phase::Storm => &mut self.storm,
            Phase::Between => &mut self.between,
        }
    }
}

/// The clients.
pub(super) struct Watch {
    epoll: OwnedFd,
    members: Vec<Member>,
    /// The first so many of them PING, the others are silent.
    speaking: usize,
    phases: Phases,
    watched: Watched,
    ponged: u64,
}

struct Member {
    stream: Option<TcpStream>,
    parser: Parser,
    /// When the gateway last said something.
    heard: Instant,
}

impl Watch {
    /// Connects `speaking` clients that will PING and `silent` ones that will not, those spread
    /// over a heartbeat, so that at every moment some PING is due.
    pub(super) fn connect(
        server: SocketAddr,
        speaking: usize,
        silent: usize,
        phases: Phases,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<Self> {
        let mut watch = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("no epoll")?,
            members: Vec::new(),
            speaking,
            phases,
            watched: Watched::default(),
            ponged: 0,
        };
        for client in 0..speaking {
            watch.add(greeted(server, client)?)?;
            progress(1);
        }
        let start = Instant::now();
        for client in 0..silent {
            let due = start + HEARTBEAT * u32::try_from(client)? / u32::try_from(silent)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            watch.add(greeted(server, speaking + client)?)?;
            progress(1);
        }
        Ok(watch)
    }

    fn add(&mut self, (stream, parser): (TcpStream, Parser)) -> anyhow::Result<()> {
        stream.set_nonblocking(true).context("a socket")?;
        let data = epoll::EventData::new_u64(self.members.len() as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).context("epoll")?;
        self.members.push(Member {
            stream: Some(stream),
            parser,
            heard: Instant::now(),
        });
        Ok(())
    }

    /// Starts the thread.
    pub(super) fn start(self) -> anyhow::Result<Beside<Watched>> {
        Beside::start(move |stop| self.run(stop))
    }

    fn run(mut self, stop: &AtomicBool) -> anyhow::Result<Watched> {
        let pace = Pace {
            start: Instant::now(),
            each: Duration::from_secs(1) / u32::try_from(PINGS * self.speaking)?,
        };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                let (number, now) = (self.watched.pings, Instant::now());
                if now < pace.due(number) {
                    break;
                }
                self.ping(number, pace.due(number), now);
            }
            let next = pace.due(self.watched.pings);
            let wait = next.saturating_duration_since(Instant::now()).min(TURN);
            self.poll(&mut events, wait, &pace)?;
        }
        let deadline = Instant::now() + ANSWER;
        while self.ponged < self.watched.pings && Instant::now() < deadline {
            self.poll(&mut events, TURN, &pace)?;
        }
        self.watched.unanswered = self.watched.pings - self.ponged;
        Ok(self.watched)
    }

    /// The next client says PING with its number.
    fn ping(&mut self, number: u64, due: Instant, now: Instant) {
        self.watched.pings += 1;
        let late = nanos(now - due).max(1);
        let phase = self.phases.at(due);
        self.watched.of(phase).lag.saturating_record(late);
        let client = (number % self.speaking as u64) as usize;
        let mut frame = Vec::new();
        ClientFrame::Ping(&number.to_be_bytes()).encode(&mut frame);
        if let Some(mut stream) = self.members[client].stream.as_ref() {
            // One that does not go out has no answer, which is counted.
            let _ = stream.write(&frame);
        }
    }

    fn poll(
        &mut self,
        events: &mut Vec<epoll::Event>,
        wait: Duration,
        pace: &Pace,
    ) -> anyhow::Result<()> {
        let timeout = Timespec::try_from(wait).context("a wait")?;
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(anyhow::Error::new(error).context("epoll")),
        }
        for event in events.drain(..) {
            let data = event.data;
            self.read(data.u64() as usize, pace);
        }
        Ok(())
    }

    fn read(&mut self, client: usize, pace: &Pace) {
        let mut buffer = [0; 2048];
        let member = &mut self.members[client];
        let Some(mut stream) = member.stream.as_ref() else {
            return;
        };
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(count) => count,
            Err(_) => 0,
        };
        let (at, is_silent) = (Instant::now(), self.speaking <= client);
        let heard = std::mem::replace(&mut member.heard, at);
        let (watched, phases, ponged) = (&mut self.watched, &self.phases, &mut self.ponged);
        let mut frame = |body: &[u8]| match body {
            [PONG, number @ ..] => {
                let Some(due) = pace.due_of(number) else {
                    return;
                };
                let took = nanos(at.saturating_duration_since(due)).max(1);
                *ponged += 1;
                watched.of(phases.at(due)).pongs.saturating_record(took);
            }
            [PING, bytes @ ..] => {
                crowd::pong(stream, bytes);
                if is_silent {
                    let late = at.saturating_duration_since(heard + HEARTBEAT);
                    let seen = watched.of(phases.at(heard + HEARTBEAT));
                    seen.late.saturating_record(nanos(late).max(1));
                    seen.gap_max = seen.gap_max.max(at - heard);
                }
            }
            _ => {}
        };
        let fed = member.parser.feed(&buffer[..count], &mut frame);
        if count == 0 || fed.is_err() {
            member.stream = None;
            self.watched.lost += 1;
        }
    }
}

/// When each PING is due.
struct Pace {
    start: Instant,
    each: Duration,
}

impl Pace {
    fn due(&self, number: u64) -> Instant {
        let nanos = nanos(self.each).saturating_mul(number);
        self.start + Duration::from_nanos(nanos)
    }

    fn due_of(&self, number: &[u8]) -> Option<Instant> {
        let number = number.first_chunk().copied().map(u64::from_be_bytes)?;
        Some(self.due(number))
    }
}

/// A client with its session, and its place in the stream: more than the WELCOME may have come.
fn greeted(server: SocketAddr, client: usize) -> anyhow::Result<(TcpStream, Parser)> {
    let greet = || {
        let mut stream = crowd::connect(server, 0, FIRST + client)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut bytes = Vec::new();
        load::hello_with(FIRST + client, &[], HEARTBEAT_S, &mut bytes);
        stream.write_all(&bytes)?;
        let (mut parser, mut is_in) = (Parser::default(), false);
        while !is_in {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof));
            }
            let mut frame = |body: &[u8]| is_in |= body.first() == Some(&WELCOME);
            let fed = parser.feed(&bytes[..count], &mut frame);
            fed.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        }
        Ok((stream, parser))
    };
    greet().with_context(|| format!("measured client {} gets no session", client + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_belongs_to_the_phase_that_had_begun() {
        use Phase::{Between, Quiet, Storm};
        let phases = Phases::new();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        phases.note(after(10), Quiet);
        phases.note(after(20), Storm);
        phases.note(after(30), Between);
        let found = [0, 10, 19, 20, 29, 30, 99].map(|ms| phases.at(after(ms)));
        assert_eq!(
            found,
            [Between, Quiet, Quiet, Storm, Storm, Between, Between]
        );
    }

    #[test]
    fn a_ping_is_due_by_its_number() {
        let pace = Pace {
            start: Instant::now(),
            each: Duration::from_millis(2),
        };
        let due = pace.start + Duration::from_millis(14);
        assert_eq!(pace.due(7), due);
        assert_eq!(pace.due_of(&7_u64.to_be_bytes()), Some(due));
        assert!(pace.due_of(&[1, 2]).is_none());
    }
}

//! The accept loop: it never waits for a peer.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::beat::Beat;
use super::connection::{self, Clients};
use super::door::Door;
use super::ending::Ending;
use super::link::{self, Link};
use super::pace::Pace;
use super::reserve::Reserve;
use super::socket;
use super::source::Source;
use crate::ledger::{Kind, Ledger};
use crate::metrics::AcceptError;
use crate::throttle::Throttle;
use crate::wire::reason::{CloseCode, CloseReason};

/// One log line of a kind in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// Clients over the cap that are told so, in order, at a time; more are closed on the spot. They
/// take descriptors of the reserve that the cap leaves.
pub const REFUSALS_MAX: usize = 32;
/// Descriptors for everything but clients: listeners, the log, profiles, connections of operators
/// and of services by HTTP, refusals.
pub const DESCRIPTORS_RESERVED: u64 = 192;
/// Connections accepted before the loop yields to others.
const ACCEPTS_AT_ONCE: u32 = 64;

/// A socket on which connections are accepted.
#[derive(Debug)]
pub struct Listening {
    /// Bound and listening.
    pub socket: TcpListener,
    /// It was passed to this process, and outlives it: what this process does not accept any more,
    /// the next one does.
    is_passed: bool,
    /// With one spare a client that comes when there are no descriptors can be told to come later.
    reserve: Reserve,
}

impl Listening {
    /// A socket that listens, and whether it was passed to this process.
    ///
    /// # Errors
    /// There are no descriptors for the reserve: known before anybody is told that the gateway is
    /// ready.
    pub fn new(socket: TcpListener, is_passed: bool) -> io::Result<Self> {
        let reserve = Reserve::new(1)?;
        Ok(Self {
            socket,
            is_passed,
            reserve,
        })
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at one time, those that have not been let in among them.
    pub max_connections: usize,
    /// Connections of one source (an IPv4 address, an IPv6 /64) at one time; 0: no bound.
    pub max_per_address: usize,
    /// New connections a second, on all listeners together; 0: no bound.
    pub accept_rate: u32,
}

/// How many connections there are, and may be.
pub struct Doors {
    max_connections: AtomicUsize,
    max_per_address: AtomicUsize,
    /// What the clients' tasks work with.
    pub clients: Arc<Clients>,
    /// Spawns them.
    pub ledger: Ledger,
    pace: Pace,
    connections: AtomicUsize,
    refusals: AtomicUsize,
    by_source: Mutex<HashMap<Source, usize>>,
    /// One for each accept loop, for ever: one that has ended is as bad as one that is stuck.
    beats: Mutex<Vec<Arc<Beat>>>,
    /// From now on nobody is accepted at a socket that outlives the process.
    handed_over: CancellationToken,
}

/// A place among the connections, given back when it is dropped.
pub(super) struct ConnectionPermit {
    doors: Arc<Doors>,
    /// The source that it is counted under, as a number; 0 where it is counted under none.
    counted: AtomicU64,
}

impl ConnectionPermit {
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.doors.clients
    }

    /// Counts the connection under the source of this address, and no more under the one before: a
    /// proxy has said for whom it connects.
    ///
    /// # Errors
    /// That source has as many connections as it may, and the connection is counted under none: it
    /// is to be turned away with these words ([`CloseCode::TooMany`]).
    pub(super) fn set_address(&self, address: IpAddr) -> Result<(), &'static str> {
        let max = self.doors.max_per_address.load(Ordering::Relaxed);
        let before = self.counted.swap(0, Ordering::Relaxed);
        if before == 0 && max == 0 {
            return Ok(());
        }
        let mut by_source = self.doors.by_source();
        uncount(&mut by_source, before);
        if max == 0 {
            return Ok(());
        }
        let source = Source::of(address);
        let count = by_source.entry(source).or_default();
        if *count >= max {
            return Err("too many connections from this address");
        }
        *count += 1;
        self.counted.store(source.number(), Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.doors.connections.fetch_sub(1, Ordering::Relaxed);
        let counted = *self.counted.get_mut();
        if counted != 0 {
            uncount(&mut self.doors.by_source(), counted);
        }
    }
}

/// Takes one from the count of the source with this number; 0 is none.
fn uncount(by_source: &mut HashMap<Source, usize>, number: u64) {
    let Some(source) = Source::from_number(number) else {
        return;
    };
    if let Some(count) = by_source.get_mut(&source) {
        *count -= 1;
        if *count == 0 {
            by_source.remove(&source);
        }
    }
}

/// A place among the refusals.
struct RefusalPermit(Arc<Doors>);

impl Drop for RefusalPermit {
    fn drop(&mut self) {
        self.0.refusals.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Doors {
    /// The bounds, and what the connections need.
    pub fn new(bounds: Bounds, clients: Arc<Clients>, ledger: Ledger) -> Self {
        Self {
            max_connections: AtomicUsize::new(bounds.max_connections),
            max_per_address: AtomicUsize::new(bounds.max_per_address),
            clients,
            ledger,
            pace: Pace::new(bounds.accept_rate),
            connections: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            by_source: Mutex::default(),
            beats: Mutex::default(),
            handed_over: CancellationToken::new(),
        }
    }

    /// Leaves those who come at a passed socket to the next process: they wait in its queue.
    pub fn hand_over(&self) {
        self.handed_over.cancel();
    }

    /// Other bounds from now on, for those who come: nobody who is in is cut. Where there was no
    /// bound for one address before, connections from before are not counted in it.
    pub fn set_bounds(&self, bounds: Bounds) {
        let Bounds {
            max_connections,
            max_per_address,
            accept_rate,
        } = bounds;
        self.max_connections
            .store(max_connections, Ordering::Relaxed);
        self.max_per_address
            .store(max_per_address, Ordering::Relaxed);
        self.pace.set(accept_rate);
        self.clients.strangers.set_max_connections(max_connections);
    }

    /// Whether newcomers are only let in at a trickle: the runtime is late, and those who are in
    /// come first.
    pub fn set_overloaded(&self, is_overloaded: bool) {
        self.pace.set_overloaded(is_overloaded);
    }

    /// Connections that there may be.
    pub fn max_connections(&self) -> usize {
        self.max_connections.load(Ordering::Relaxed)
    }

    /// Connections held now, refusals included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed) + self.refusals.load(Ordering::Relaxed)
    }

    /// Clients that were let in and are still there.
    pub fn admitted(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How long ago the accept loop that has been idle for longest was last seen to turn; zero
    /// before there is one.
    pub fn idle_for(&self) -> Duration {
        let beats = self.beats();
        let longest = beats.iter().map(|beat| beat.idle_for()).max();
        longest.unwrap_or_default()
    }

    fn beats(&self) -> MutexGuard<'_, Vec<Arc<Beat>>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_source(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.by_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<ConnectionPermit, &'static str> {
        let max = self.max_connections.load(Ordering::Relaxed);
        let one_more = |held| (held < max).then_some(held + 1);
        // Never above the bound, not for a moment: what is logged and scraped is what there is.
        let result = self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if result.is_err() {
            return Err("too many connections");
        }
        let permit = ConnectionPermit {
            doors: Arc::clone(self),
            counted: AtomicU64::new(0),
        };
        if let Some(peer) = peer {
            permit.set_address(peer)?;
        }
        Ok(permit)
    }

    /// Gives an accepted connection its task, or turns it away.
    fn welcome(
        self: &Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        door: &Arc<Door>,
        is_passed: bool,
        throttle: &Throttle,
    ) {
        let metrics = self.clients.hub.metrics();
        metrics.connections_opened.inc();
        // Behind a load balancer it is not the peer that counts.
        if !door.is_behind_proxy() {
            self.clients.storms.note(Source::of(peer.ip()), 1);
        }
        // One at a passed socket came in just before: it is told so after its HELLO, under TLS too.
        let admitted = match self.clients.draining.load(Ordering::Relaxed) && !is_passed {
            true => Err((CloseCode::Draining, "draining")),
            false => self
                // Behind a load balancer it is not the peer that counts.
                .admit((!door.is_behind_proxy()).then_some(peer.ip()))
                .map_err(|why| (CloseCode::TooMany, why)),
        };
        match admitted {
            Ok(permit) => {
                let run = connection::run((stream, peer), door, permit);
                self.ledger.spawn(Kind::Session, run);
            }
            Err((code, why)) => {
                if code == CloseCode::TooMany
                    && let Some(suppressed) = throttle.admit(Instant::now())
                {
                    warn!(%peer, why, suppressed, connections = self.connections(), "refused");
                }
                self.refuse((stream, peer), door, code, why);
            }
        }
    }

    fn refuse(
        self: &Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        door: &Door,
        code: CloseCode,
        why: &'static str,
    ) {
        let clients = Arc::clone(&self.clients);
        let ending = Ending::new(clients, peer).because(CloseReason::Code(code));
        if !door.is_plain() {
            // A CLOSE that is not under TLS, or comes before a header, is noise to the peer.
            return drop(ending);
        }
        let link = Link::Tcp(stream).speaking(door.protocol());
        let fits = self.refusals.fetch_add(1, Ordering::Relaxed) < REFUSALS_MAX;
        let permit = RefusalPermit(Arc::clone(self));
        let retry = self.clients.hub.retry_after_ms();
        if !fits {
            // Too many to wait for each: told, counted, and closed where it stands.
            link::turn_away_at_once(&link, code, retry, why);
            return drop((link, ending, permit));
        }
        self.ledger.spawn(Kind::Refusal, async move {
            link::turn_away(&link, code, retry, why).await;
            drop((link, ending, permit));
        });
    }

    /// Accepts on `listener`, which is behind `door`, until `stop`, whatever happens.
    pub async fn serve(
        self: Arc<Self>,
        listener: Listening,
        door: Arc<Door>,
        stop: CancellationToken,
    ) {
        let Listening {
            socket: listener,
            is_passed,
            reserve,
        } = listener;
        let metrics = Arc::clone(self.clients.hub.metrics());
        let beat = Arc::new(Beat::default());
        self.beats().push(Arc::clone(&beat));
        let (errors, refusals) = (
            Throttle::new(LOG_PERIOD, &metrics),
            Throttle::new(LOG_PERIOD, &metrics),
        );
        let mut backoff = Backoff::default();
        let mut since_yield = 0;
        // Until a passed queue was seen empty, there are some in it that came before its options.
        let (mut is_old, mut any) = (is_passed, false);
        loop {
            let is_open = !(is_passed && self.handed_over.is_cancelled());
            // What is there already is accepted without a timer: a storm is a run of these.
            let looks = is_open && self.pace.may_accept() && !stop.is_cancelled();
            let waiting = match looks {
                true => poll_fn(|cx| Poll::Ready(ready(listener.poll_accept(cx)))).await,
                false => None,
            };
            is_old &= !(looks && any && waiting.is_none());
            let accepted = match waiting {
                Some(accepted) => accepted,
                None => tokio::select! {
                    // In this order: who is not accepted now is not lost.
                    biased;
                    () = stop.cancelled() => return,
                    () = self.handed_over.cancelled(), if is_passed && is_open => continue,
                    accepted = self.pace.accept(&listener), if is_open => accepted,
                    // The watchdog asks whether this loop turns; without clients it does so once
                    // a second.
                    () = sleep(Duration::from_secs(1)) => {
                        beat.note();
                        continue;
                    }
                },
            };
            beat.note();
            match accepted {
                Ok((stream, peer)) => {
                    self.pace.note();
                    backoff.reset();
                    any = true;
                    if is_old {
                        // An error is that of a peer which is gone: its task finds out.
                        let _ = socket::set_options(SockRef::from(&stream));
                    }
                    self.welcome((stream, peer), &door, is_passed, &refusals);
                    since_yield += 1;
                    if since_yield >= ACCEPTS_AT_ONCE {
                        since_yield = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    let kind = AcceptError::of(&error);
                    metrics.accept_error(kind);
                    if kind.is_shortage() {
                        // One of those that wait is told so, with the spare's descriptor.
                        self.turn_one_away(&listener, &door, &reserve).await;
                    }
                    if let Some(suppressed) = errors.admit(Instant::now()) {
                        let (connections, door) = (self.connections(), door.name());
                        warn!(%error, suppressed, connections, door, "accept failed");
                    }
                    let rest = backoff.after(&error);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(rest) => {}
                    }
                }
            }
        }
    }

    async fn turn_one_away(
        self: &Arc<Self>,
        listener: &TcpListener,
        door: &Door,
        reserve: &Reserve,
    ) {
        let accepted = poll_fn(|cx| {
            let attempt = || match listener.poll_accept(cx) {
                Poll::Ready(accepted) => accepted,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            };
            Poll::Ready(reserve.attempt(attempt))
        });
        if let Ok((stream, peer)) = accepted.await {
            self.clients.hub.metrics().connections_opened.inc();
            let ending = Ending::new(Arc::clone(&self.clients), peer);
            let _ending = ending.because(CloseReason::Code(CloseCode::TooMany));
            let retry = self.clients.hub.retry_after_ms();
            if door.is_plain() {
                let link = Link::Tcp(stream).speaking(door.protocol());
                let why = "no descriptors left";
                link::turn_away_at_once(&link, CloseCode::TooMany, retry, why);
            }
        }
        reserve.refill();
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Notes at start how many connections there may be: the configured number, or what the descriptors
/// leave.
pub fn max_connections(configured: usize, descriptors: u64) -> usize {
    let left = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(16);
    let most = usize::try_from(left).unwrap_or(usize::MAX);
    if configured > most {
        warn!(
            configured,
            most, "clients.max_connections is above what the descriptor limit leaves"
        );
    }
    let max = if configured == 0 {
        most
    } else {
        configured.min(most)
    };
    info!(max_connections = max, descriptors, "descriptor limit");
    max
}

#[cfg(test)]
mod tests;

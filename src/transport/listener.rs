//! The accept loop: it never waits for a peer.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::connection::{self, Clients, Ending};
use super::door::Door;
use super::link::{self, Link};
use super::pace::Pace;
use super::reserve::Reserve;
use crate::ledger::{Kind, Ledger};
use crate::metrics::AcceptError;
use crate::throttle::Throttle;
use crate::wire::reason::{CloseCode, CloseReason};

/// One log line of a kind in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// Clients over the cap that are told so, in order, at a time; more are closed on the spot. They
/// take descriptors of the reserve that the cap leaves.
const REFUSALS_MAX: usize = 32;
/// Connections accepted before the loop yields to others.
pub(super) const ACCEPTS_AT_ONCE: u32 = 64;

/// How many connections there are, and may be.
pub struct Doors {
    /// Connections at one time.
    pub max_connections: usize,
    /// Connections of one address; 0: no bound.
    pub max_per_address: usize,
    /// New connections a second; 0: no bound.
    pub accept_rate: u32,
    /// What the clients' tasks work with.
    pub clients: Arc<Clients>,
    /// Spawns them.
    pub ledger: Ledger,
    connections: AtomicUsize,
    refusals: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// When the accept loops were last seen to turn, in milliseconds since `born`.
    beat: AtomicU64,
    born: Instant,
}

/// A place among the connections, given back when it is dropped.
pub(super) struct ConnectionPermit {
    doors: Arc<Doors>,
    /// Where connections of one address are counted; boxed, since most gateways do not.
    address: Option<Box<IpAddr>>,
}

impl ConnectionPermit {
    pub(super) fn clients(&self) -> &Arc<Clients> {
        &self.doors.clients
    }

    /// Counts the connection for `address`, once: at accept, or behind a load balancer when that
    /// has said whose it is. The error is why it may not stay.
    pub(super) fn set_address(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.doors.max_per_address == 0 || self.address.is_some() {
            return Ok(());
        }
        let address = address.to_canonical();
        let mut by_address = self.doors.by_address();
        let count = by_address.entry(address).or_default();
        if *count >= self.doors.max_per_address {
            return Err("too many connections from this address");
        }
        *count += 1;
        self.address = Some(Box::new(address));
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.doors.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = &self.address else { return };
        let mut by_address = self.doors.by_address();
        if let Some(count) = by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(address);
            }
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
    pub fn new(
        (max_connections, max_per_address, accept_rate): (usize, usize, u32),
        clients: Arc<Clients>,
        ledger: Ledger,
    ) -> Self {
        Self {
            max_connections,
            max_per_address,
            accept_rate,
            clients,
            ledger,
            connections: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            by_address: Mutex::default(),
            beat: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// Connections held now, refusals included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed) + self.refusals.load(Ordering::Relaxed)
    }

    /// Clients that were let in and are still there.
    pub fn admitted(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How long ago an accept loop was last seen to turn.
    pub fn idle_for(&self) -> Duration {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(beat)
    }

    fn by_address(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_beat(&self) {
        let beat = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(beat, Ordering::Relaxed);
    }

    fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<ConnectionPermit, &'static str> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.max_connections {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err("too many connections");
        }
        let mut permit = ConnectionPermit {
            doors: Arc::clone(self),
            address: None,
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
        throttle: &Throttle,
    ) {
        let metrics = self.clients.hub.metrics();
        metrics.connections_opened.inc();
        let admitted = match self.clients.draining.load(Ordering::Relaxed) {
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
                self.refuse(stream, door, code, why);
            }
        }
    }

    fn refuse(
        self: &Arc<Self>,
        stream: TcpStream,
        door: &Door,
        code: CloseCode,
        why: &'static str,
    ) {
        let metrics = self.clients.hub.metrics();
        if !door.is_plain() {
            // A CLOSE that is not under TLS, or comes before a header, is noise to the peer.
            return metrics.connection_closed(CloseReason::Code(code));
        }
        let link = Link::Tcp(stream);
        let fits = self.refusals.fetch_add(1, Ordering::Relaxed) < REFUSALS_MAX;
        let permit = RefusalPermit(Arc::clone(self));
        let clients = Arc::clone(&self.clients);
        let retry = clients.hub.retry_after_ms();
        if !fits {
            // Too many to wait for each: told, counted, and closed where it stands.
            link::turn_away_at_once(&link, code, retry, why);
            return metrics.connection_closed(CloseReason::Code(code));
        }
        self.ledger.spawn(Kind::Refusal, async move {
            let mut ending = Ending::new(clients.hub.metrics());
            ending.because(CloseReason::Code(code));
            link::turn_away(&link, code, retry, why).await;
            drop((link, ending, permit));
        });
    }

    /// Accepts on `listener`, which is behind `door`, until `stop`.
    ///
    /// # Errors
    /// There are no descriptors for the reserve.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        door: Arc<Door>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let metrics = Arc::clone(self.clients.hub.metrics());
        // With one spare a client that comes when there are no descriptors can be told to come
        // later.
        let reserve = Reserve::new(1)?;
        let (errors, refusals) = (
            Throttle::new(LOG_PERIOD, &metrics),
            Throttle::new(LOG_PERIOD, &metrics),
        );
        let mut backoff = Backoff::default();
        let mut pace = Pace::new(self.accept_rate);
        loop {
            // What is there already is accepted without a timer: a storm is a run of these.
            let waiting = match pace.may_accept() && !stop.is_cancelled() {
                true => poll_fn(|cx| Poll::Ready(ready(listener.poll_accept(cx)))).await,
                false => None,
            };
            let accepted = match waiting {
                Some(accepted) => accepted,
                None => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    accepted = pace.accept(&listener) => accepted,
                    // The watchdog asks whether this loop turns; without clients it does so once
                    // a second.
                    () = sleep(Duration::from_secs(1)) => {
                        self.note_beat();
                        continue;
                    }
                },
            };
            self.note_beat();
            match accepted {
                Ok((stream, peer)) => {
                    pace.note();
                    backoff.reset();
                    self.welcome((stream, peer), &door, &refusals);
                    if pace.since_yield() >= ACCEPTS_AT_ONCE {
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
                        let connections = self.connections();
                        warn!(%error, suppressed, connections, "accept failed");
                    }
                    let rest = backoff.after(&error);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
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
        if let Ok((stream, _)) = accepted.await {
            let metrics = self.clients.hub.metrics();
            metrics.connections_opened.inc();
            let mut ending = Ending::new(metrics);
            ending.because(CloseReason::Code(CloseCode::TooMany));
            let retry = self.clients.hub.retry_after_ms();
            if door.is_plain() {
                let (link, why) = (Link::Tcp(stream), "no descriptors left");
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
    /// Descriptors for everything but clients: listeners, the log, profiles, admin connections,
    /// refusals.
    const RESERVE: u64 = 128;
    let most = usize::try_from(descriptors.saturating_sub(RESERVE).max(16)).unwrap_or(usize::MAX);
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
mod tests {
    use super::*;

    #[test]
    fn the_cap_stays_below_the_descriptor_limit() {
        assert_eq!(max_connections(0, 20_000), 19_872);
        assert_eq!(max_connections(100_000, 20_000), 19_872);
        assert_eq!(max_connections(10, 20_000), 10);
        assert_eq!(max_connections(0, 64), 16);
    }
}

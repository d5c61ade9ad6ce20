//! The accept loop of the admin door and the life of its connections.
//!
//! It must answer when everything else has run out: descriptors come from a reserve, tasks and
//! connections are few and bounded, and no peer can hold one for ever.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::services::place::{Place, SERVICES_MAX};
use super::{AdminState, router};
use crate::ledger::Kind;
use crate::metrics::{AcceptError, Metrics};
use crate::throttle::Throttle;
use crate::transport::backoff::Backoff;
use crate::transport::reserve::Reserve;
use crate::transport::socket;

/// Connections at once, besides those of services; who comes after waits in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// Tasks of the door at once: its loop, its connections, and for each of an operator one more, for
/// blocking work.
pub const TASKS_MAX: usize = 1 + 2 * CONNECTIONS_MAX + SERVICES_MAX;
/// As many can look at a process without descriptors at once: a scrape, a probe, two people.
const RESERVE: usize = 4;
/// From the first byte to the end of a request's head, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A head is a few hundred bytes; hyper wants 8 KiB at least.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A connection as old as this takes no further request.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Then it has as long as this to end the last one: the longest profile and its report.
const LAST_REQUEST_MAX: Duration = Duration::from_secs(180);
/// At the end of the process it has this.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// A peer that takes nothing of an answer for this long is gone, or stands still.
const STALL_MAX: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 20 });
/// What of an answer may wait in the kernel for its peer, and does for one that stands still.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// One log line of a kind in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The socket of the door, with the descriptors that are held back for it.
#[derive(Debug)]
pub struct Listening {
    socket: TcpListener,
    address: SocketAddr,
    reserve: Reserve,
}

impl Listening {
    /// A socket that listens.
    ///
    /// # Errors
    /// There are no descriptors for the reserve.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            reserve: Reserve::new(RESERVE)?,
            socket,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves the admin door until `stop`, whatever happens. Its connections are tasks of the ledger,
/// and end within a second of `stop`.
pub async fn serve(listening: Listening, state: AdminState, stop: CancellationToken) {
    let Listening {
        socket: listener,
        address,
        reserve,
    } = listening;
    let (reserve, state) = (Arc::new(reserve), AdminState { address, ..state });
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let services = Arc::new(Semaphore::new(SERVICES_MAX));
    let app = router(state.clone());
    let throttle = Throttle::new(LOG_PERIOD, &state.metrics);
    let mut backoff = Backoff::default();
    let mut accepting = pin!(stop.cancelled());
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            accept(&listener, &reserve, &state.metrics)
                .await
                .map(|stream| (stream, permit))
        };
        let accepted = tokio::select! {
            // Who is not accepted now is the next process's, at a socket that outlives this one.
            biased;
            () = &mut accepting => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok(((stream, peer), permit)) => {
                backoff.reset();
                let place = Arc::new(Place::new(permit, Arc::clone(&services)));
                let app = TowerToHyperService::new(app.clone());
                let served = Served {
                    app,
                    peer,
                    place: Arc::clone(&place),
                };
                let held = Held {
                    reserve: Arc::clone(&reserve),
                    _place: place,
                };
                socket::bound_sending(&stream, SEND_BUFFER_BYTES, STALL_MAX);
                let connection = connection(stream, served, stop.clone(), held);
                let connection = counted(connection, Arc::clone(&state.metrics));
                state.ledger.spawn(Kind::Admin, connection);
            }
            Err(error) => {
                if let Some(suppressed) = throttle.admit(Instant::now()) {
                    warn!(%error, suppressed, "admin door: accept failed");
                }
                let rest = backoff.after(&error);
                tokio::select! {
                    () = &mut accepting => return,
                    () = tokio::time::sleep(rest) => {}
                }
            }
        }
    }
}

/// What a connection gives back at its end.
struct Held {
    reserve: Arc<Reserve>,
    _place: Arc<Place>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The socket is closed by now: where descriptors are scarce, its number is the next spare.
        self.reserve.refill();
    }
}

/// The pages, to one connection: each request is told whose it is.
struct Served {
    app: TowerToHyperService<Router>,
    peer: SocketAddr,
    place: Arc<Place>,
}

impl Service<Request<Incoming>> for Served {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        extensions.insert(Arc::clone(&self.place));
        self.app.call(request)
    }
}

/// The next connection. Polled by hand, so that an attempt with a spare given back is made without
/// a wait before it, in which another listener would take the number.
async fn accept(
    listener: &TcpListener,
    reserve: &Reserve,
    metrics: &Metrics,
) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        let attempt = || match listener.poll_accept(cx) {
            // Counted at each attempt: one that the reserve saved is a shortage all the same.
            Poll::Ready(accepted) => accepted.inspect_err(|error| {
                metrics.accept_error(AcceptError::of(error));
            }),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        };
        match reserve.attempt(attempt) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            accepted => Poll::Ready(accepted),
        }
    })
    .await
}

/// Counts a connection whose peer stood still.
async fn counted(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    metrics: Arc<Metrics>,
) {
    let Err(error) = connection.await else { return };
    // Else it is the peer's doing: a head that never came, a reset.
    let mut cause = error.source();
    while let Some(error) = cause {
        let is_stalled = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if is_stalled {
            metrics.admin_stalled.inc();
            break;
        }
        cause = error.source();
    }
    debug!(%error, "admin connection ended");
}

/// One connection: request after request, until one of both has had enough.
async fn connection(
    stream: TcpStream,
    served: Served,
    stop: CancellationToken,
    held: Held,
) -> Result<(), hyper::Error> {
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), served);
    let ended = {
        let mut http = pin!(http);
        let ended = tokio::select! {
            ended = &mut http => Some(ended),
            () = stop.cancelled() => None,
            () = tokio::time::sleep(CONNECTION_AGE_MAX) => None,
        };
        match ended {
            Some(ended) => ended,
            None => {
                http.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut http => ended,
                    () = farewell(&stop) => Ok(()),
                    () = tokio::time::sleep(LAST_REQUEST_MAX) => Ok(()),
                }
            }
        }
    };
    drop(held);
    ended
}

/// The time that is left once the process is to end.
async fn farewell(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FAREWELL_MAX).await;
}

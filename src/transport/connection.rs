//! One client's life: handshake, attach, serve, finish. One task, from accept to close.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::handshake::{Turned, enter};
use super::listener::ConnectionPermit;
use super::socket;
use super::tcp::{FAREWELL, READ, TcpSink, end_of, farewell, turn_away};
use crate::clock::monotonic;
use crate::hub::holds::Holds;
use crate::hub::pump::{Pump, Pumped};
use crate::hub::session::Session;
use crate::hub::{Closing, Hub};
use crate::metrics::Metrics;
use crate::wire::frame::{self, ClientFrame, GatewayFrame, split};
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};

/// The bounds of a client, and what its task works with.
pub struct Clients {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// Who may not come back yet.
    pub holds: Arc<Holds>,
    /// From accept to a whole HELLO; also for a later frame, once begun.
    pub handshake_timeout: Duration,
    /// Offered where the client leaves the choice to us, in seconds.
    pub heartbeat_s: u16,
    /// Bytes of a HELLO.
    pub max_hello: usize,
    /// Bytes of any other frame.
    pub max_frame: usize,
    /// The process leaves: nobody new is let in.
    pub draining: AtomicBool,
    /// The process ends now: who has not said HELLO yet is turned away.
    pub leaving: CancellationToken,
}

/// Why a connection ended: counted on every path, as a panic where nobody said anything else.
pub(super) struct Ending<'a> {
    metrics: &'a Metrics,
    reason: Option<CloseReason>,
}

impl<'a> Ending<'a> {
    pub(super) const fn new(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            reason: None,
        }
    }

    pub(super) const fn because(&mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // At shutdown a task may be dropped where it waits; then the process draining is the cause.
        let cut = match std::thread::panicking() {
            true => CloseReason::Panic,
            false => CloseReason::Code(CloseCode::Draining),
        };
        self.metrics.connection_closed(self.reason.unwrap_or(cut));
    }
}

/// Detaches the session when its task ends, however it ends.
struct Attached<'a> {
    hub: &'a Hub,
    session: Arc<Session<TcpSink>>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.hub
            .close(&*self.session, Closing::silent(CloseReason::Panic));
    }
}

/// Serves one accepted connection to its end.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    clients: Arc<Clients>,
    permit: ConnectionPermit,
) {
    let hub = &clients.hub;
    let mut ending = Ending::new(hub.metrics());
    let deadline = Instant::now() + clients.handshake_timeout;
    // Boxed: what a handshake needs for a moment, a session shall not hold for days.
    let entered = Box::pin(enter(stream, &clients, deadline)).await;
    match entered {
        Ok((session, rest)) => {
            let attached = Attached { hub, session };
            let reason = serve(&clients, &attached.session, rest).await;
            ending.because(reason);
            debug!(%peer, session = attached.session.id(), reason = reason.word(), "session ended");
            Box::pin(finish(hub, &attached.session, reason)).await;
        }
        Err((stream, turned)) => {
            let reason = match turned {
                Turned::Gone(reason) => reason,
                Turned::Away(code, retry_after_ms, text) => {
                    Box::pin(turn_away(&stream, code, retry_after_ms, text)).await;
                    CloseReason::Code(code)
                }
            };
            ending.because(reason);
            debug!(%peer, reason = reason.word(), "turned away");
        }
    }
    drop((ending, permit));
}

enum Event {
    Readable,
    Writable,
    Closing(CloseReason),
}

/// What the session's task has to do next.
fn next_event(session: &Session<TcpSink>) -> impl Future<Output = io::Result<Event>> {
    poll_fn(|cx| {
        let wants = session.poll_wants(cx.waker());
        if let Some(reason) = wants.closing {
            return Poll::Ready(Ok(Event::Closing(reason)));
        }
        let stream = &session.sink().stream();
        if wants.writable
            && let Poll::Ready(ready) = stream.poll_write_ready(cx)
        {
            return Poll::Ready(ready.map(|()| Event::Writable));
        }
        if wants.readable
            && let Poll::Ready(ready) = stream.poll_read_ready(cx)
        {
            return Poll::Ready(ready.map(|()| Event::Readable));
        }
        Poll::Pending
    })
}

/// A frame that has begun to come in, and until when it must be whole.
struct Partial {
    bytes: Vec<u8>,
    deadline: Instant,
}

/// Reads what the client says and writes what it was behind with, until there is a cause to end.
async fn serve(clients: &Clients, session: &Arc<Session<TcpSink>>, rest: Vec<u8>) -> CloseReason {
    let hub = &clients.hub;
    let mut partial = None;
    if !rest.is_empty() {
        take_frames(clients, session, &mut partial, &rest);
    }
    drop(rest);
    loop {
        let event = match &partial {
            None => next_event(session).await,
            // Boxed: most clients never send half a frame.
            Some(Partial { deadline, .. }) => {
                let deadline = *deadline;
                match Box::pin(timeout_at(deadline, next_event(session))).await {
                    Ok(event) => event,
                    Err(_) => {
                        let close = (CloseCode::HandshakeTimeout, hub.retry_after_ms());
                        let why = "a frame was begun and not ended in time";
                        hub.close(&**session, Closing::code(close.0, close.1, why));
                        continue;
                    }
                }
            }
        };
        match event {
            Ok(Event::Closing(reason)) => return reason,
            Ok(Event::Readable) => read(clients, session, &mut partial),
            Ok(Event::Writable) => {
                let mut cx = Pump::new(monotonic());
                let pumped = hub.pump(&**session, &mut cx);
                cx.merge(hub.metrics());
                if pumped == Pumped::More {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                hub.close(&**session, Closing::silent(end_of(&error)));
            }
        }
    }
}

/// Takes what the socket has now.
fn read(clients: &Clients, session: &Arc<Session<TcpSink>>, partial: &mut Option<Partial>) {
    let hub = &clients.hub;
    READ.with_borrow_mut(|buffer| match session.sink().stream().try_read(buffer) {
        Ok(0) => {
            hub.close(&**session, Closing::silent(CloseReason::Eof));
        }
        Ok(count) => take_frames(clients, session, partial, &buffer[..count]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => {
            hub.close(&**session, Closing::silent(end_of(&error)));
        }
    });
}

/// Handles every frame that is whole now, and keeps the rest.
fn take_frames(
    clients: &Clients,
    session: &Arc<Session<TcpSink>>,
    partial: &mut Option<Partial>,
    new: &[u8],
) {
    let hub = &clients.hub;
    let mut cx = Pump::new(monotonic());
    let begun = partial.take();
    let mut deadline = begun.as_ref().map(|partial| partial.deadline);
    let joined = begun.map(|mut partial| {
        partial.bytes.extend_from_slice(new);
        partial.bytes
    });
    let mut bytes = joined.as_deref().unwrap_or(new);
    loop {
        match split(bytes, clients.max_frame) {
            Ok(Some((body, used))) => {
                deadline = None;
                bytes = &bytes[used..];
                hub.note_received(&**session, &cx);
                if let Err(why) = handle(clients, session, body, &mut cx) {
                    hub.close(
                        &**session,
                        Closing::code(CloseCode::Protocol, RETRY_NEVER, why),
                    );
                    break;
                }
            }
            Ok(None) if bytes.is_empty() => break,
            Ok(None) => {
                let timeout = clients.handshake_timeout;
                let deadline = deadline.unwrap_or_else(|| Instant::now() + timeout);
                *partial = Some(Partial {
                    bytes: bytes.to_vec(),
                    deadline,
                });
                break;
            }
            Err(_) => {
                let why = "length of a frame out of bounds";
                hub.close(
                    &**session,
                    Closing::code(CloseCode::Protocol, RETRY_NEVER, why),
                );
                break;
            }
        }
    }
    hub.nudge(&**session, &mut cx);
    cx.merge(hub.metrics());
}

/// Does what a frame asks for; the error is why it is against the protocol.
fn handle(
    clients: &Clients,
    session: &Arc<Session<TcpSink>>,
    body: &[u8],
    cx: &mut Pump,
) -> Result<(), &'static str> {
    let hub = &clients.hub;
    let frame = ClientFrame::decode(body).map_err(|_| "malformed frame")?;
    let member = || -> Arc<Session> { Arc::clone(session) as _ };
    match frame {
        ClientFrame::Hello(_) => return Err("a second HELLO"),
        ClientFrame::Ping(bytes) => hub.answer(&**session, &GatewayFrame::Pong(bytes)),
        ClientFrame::Pong(_) => {}
        // Nothing is kept in this version, so no number but 0 was ever told.
        ClientFrame::Ack { number: 0 } => {}
        ClientFrame::Ack { .. } => return Err("ACK of a number that was never sent"),
        ClientFrame::Join { group } => {
            if hub.join(&member(), group).is_err() {
                let (frame_type, code) = (frame::JOIN, CloseCode::TooMany);
                hub.answer(
                    &**session,
                    &GatewayFrame::Refused {
                        frame_type,
                        code,
                        group,
                    },
                );
            }
        }
        ClientFrame::Leave { group } => hub.leave(&member(), group, cx),
        ClientFrame::Bye => {
            hub.close(&**session, Closing::silent(CloseReason::Bye));
        }
        // With auth.mode = "none" there is nothing that a new token could change.
        ClientFrame::Token { .. } => {
            let (frame_type, code) = (frame::TOKEN, CloseCode::Auth);
            hub.answer(
                &**session,
                &GatewayFrame::Refused {
                    frame_type,
                    code,
                    group: "",
                },
            );
        }
    }
    Ok(())
}

/// Sends the CLOSE behind what was begun, where the socket takes it, and closes without a reset.
async fn finish(hub: &Hub, session: &Session<TcpSink>, reason: CloseReason) {
    if !matches!(reason, CloseReason::Code(_) | CloseReason::Bye) {
        return;
    }
    let stream = &session.sink().stream();
    let deadline = Instant::now() + FAREWELL;
    let flushed = async {
        let mut cx = Pump::new(monotonic());
        while hub.pump(session, &mut cx) != Pumped::Level {
            if stream.writable().await.is_err() {
                break;
            }
        }
        cx.merge(hub.metrics());
    };
    if timeout_at(deadline, flushed).await.is_err() {
        socket::reset_on_close(stream);
        return;
    }
    farewell(stream, deadline).await;
}

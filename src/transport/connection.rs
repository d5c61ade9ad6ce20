//! One client's life: handshake, attach, serve, finish. One task, from accept to close.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::auth::{Auth, Identity, TokenError};
use super::closed::ClosedRing;
use super::door::Door;
use super::ending::{Attached, Ending};
use super::handshake::come_in;
use super::link::{FAREWELL, Link, READ, end_of, farewell};
use super::listener::ConnectionPermit;
use super::mqtt::Sessions;
use super::renewal::{refusal, renew};
use super::socket;
use super::storms::Storms;
use super::strangers::Strangers;
use super::{mqtt, native, websocket};
use crate::clock::{Clock, monotonic};
use crate::hub::holds::Holds;
use crate::hub::pump::{Pump, Pumped};
use crate::hub::session::Session;
use crate::hub::{Closing, Hub};
use crate::metrics::ProxyReject;
use crate::redaction::Redaction;
use crate::throttle::Throttle;
use crate::wire::frame::{self, ClientFrame, GatewayFrame};
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};
use crate::wire::websocket::Parts;

/// The bounds of one client's frames. They can be replaced: each frame, and each handshake, is held
/// to those of the moment at which it begins.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// From accept to a whole HELLO; also for a later frame, once begun.
    pub handshake_timeout: Duration,
    /// Offered where the client leaves the choice to us, in seconds.
    pub heartbeat_s: u16,
    /// Bytes of a HELLO.
    pub max_hello: usize,
    /// Bytes of any other frame.
    pub max_frame: usize,
    /// For how many seconds a session of MQTT may outlive its connection.
    pub session_expiry_max_s: u32,
}

/// The bounds of a client, and what its task works with.
pub struct Clients {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// Who may not come back yet.
    pub holds: Arc<Holds>,
    /// Who has not been let in yet.
    pub strangers: Strangers,
    /// Sessions of MQTT that outlive their connections.
    pub sessions: Sessions,
    /// How clients say who they are; see [`Self::set_auth`].
    pub auth: ArcSwap<Auth>,
    /// The wall clock, for the beginning and the end of tokens, and for when a connection ended.
    pub clock: Clock,
    /// The last of them that ended.
    pub closed: ClosedRing,
    /// Bounds of the next frame and the next handshake.
    pub limits: ArcSwap<ClientLimits>,
    /// TLS handshakes that a worker computes for at a time: half of the workers, so that a storm of
    /// them leaves the other half to those who are in. Nobody holds a turn while it waits for a
    /// peer.
    pub turns: Semaphore,
    /// From where clients come, for who looks for storms.
    pub storms: Arc<Storms>,
    /// What the log shows of users and devices.
    pub names: Redaction,
    /// Log lines on connections past a load balancer.
    pub proxy_log: Throttle,
    /// The process leaves: nobody new is let in.
    pub draining: AtomicBool,
    /// The process ends now: who has not said HELLO yet is turned away.
    pub leaving: CancellationToken,
}

impl Clients {
    /// Has the tokens of the next HELLO and TOKEN checked by `auth`. Who is in keeps what its token
    /// gave, until that ends.
    pub fn set_auth(&self, auth: Auth) {
        self.auth.store(Arc::new(auth));
    }

    /// Who the bearer of a token is; a token that is not believed is counted.
    pub(super) fn identify<'t>(&self, token: &'t [u8]) -> Result<Identity<'t>, TokenError> {
        let checked = self.auth.load().check(token, self.clock.now_ms());
        checked.inspect_err(|error| self.hub.metrics().token_refused(error.fault))
    }

    /// The bounds of this moment.
    pub fn limits(&self) -> ClientLimits {
        **self.limits.load()
    }

    /// Replaces the bounds. Who is connected stays, with the heartbeat that was agreed on.
    pub fn set_limits(&self, limits: ClientLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Counts a connection to a door behind a load balancer that did not come through one.
    pub(super) fn proxy_rejected(&self, cause: ProxyReject, peer: SocketAddr, why: &str) {
        self.hub.metrics().proxy_rejected(cause);
        if let Some(suppressed) = self.proxy_log.admit(Instant::now()) {
            warn!(%peer, why, suppressed, "no PROXY header that counts");
        }
    }
}

/// Serves one accepted connection to its end. What a handshake or a farewell needs for a moment is
/// boxed, so that a session does not hold it for days.
pub(super) fn run(
    (stream, peer): (TcpStream, SocketAddr),
    door: &Arc<Door>,
    permit: ConnectionPermit,
) -> impl Future<Output = ()> + use<> {
    let ending = Ending::new(permit, peer);
    let entering = Box::pin(come_in((stream, peer), Arc::clone(door), ending));
    async move {
        let (mut ending, rest) = entering.await;
        let Some(Attached { session, .. }) = &ending.attached else {
            return;
        };
        let clients = ending.place.clients();
        let mut begun = None;
        if !rest.is_empty() {
            let mut rest = rest;
            take_frames(clients, session, &mut begun, &mut rest);
        }
        let reason = serve(clients, session, &mut begun).await;
        ending.reason = Some(reason);
        ending.tell();
        Box::pin(finish(&clients.hub, session, reason)).await;
    }
}

enum Event {
    Readable,
    Writable,
    Closing(CloseReason),
    /// A frame that was begun is not whole at its deadline.
    Late,
}

/// What the session's task has to do next.
fn next_event(session: &Session<Link>) -> impl Future<Output = io::Result<Event>> {
    poll_fn(|cx| {
        let wants = session.poll_wants(cx.waker());
        if let Some(reason) = wants.closing {
            return Poll::Ready(Ok(Event::Closing(reason)));
        }
        let link = session.sink();
        if wants.writable
            && let Poll::Ready(ready) = link.stream().poll_write_ready(cx)
        {
            return Poll::Ready(ready.map(|()| Event::Writable));
        }
        if wants.readable
            && let Poll::Ready(ready) = link.poll_read_ready(cx)
        {
            return Poll::Ready(ready.map(|()| Event::Readable));
        }
        Poll::Pending
    })
}

/// A frame that has begun to come in, and until when it must be whole.
struct Partial {
    /// What has not been looked at for good.
    bytes: Vec<u8>,
    /// Parts of it that have, where it may come in parts.
    parts: Parts,
    deadline: Instant,
}

/// Most clients never send half a frame.
type Begun = Option<Box<Partial>>;

/// Reads what the client says and writes what it was behind with, until there is a cause to end.
async fn serve(clients: &Clients, session: &Arc<Session<Link>>, begun: &mut Begun) -> CloseReason {
    loop {
        let event = match begun {
            None => next_event(session).await,
            Some(partial) => {
                let in_time = Box::pin(timeout_at(partial.deadline, next_event(session)));
                in_time.await.unwrap_or(Ok(Event::Late))
            }
        };
        match event {
            Ok(Event::Closing(reason)) => return reason,
            Ok(Event::Readable) => read(clients, session, begun),
            Ok(Event::Writable) => {
                if write(&clients.hub, session) == Pumped::More {
                    tokio::task::yield_now().await;
                }
            }
            Ok(Event::Late) if !session.is_read_from() => {
                // The rest may be here long since: it is the gateway that does not read.
                if let Some(partial) = begun {
                    partial.deadline = Instant::now() + clients.limits().handshake_timeout;
                }
            }
            Ok(Event::Late) => {
                let why = "a frame was begun and not ended in time";
                let retry = clients.hub.retry_after_ms();
                let close = Closing::code(CloseCode::HandshakeTimeout, retry, why);
                clients.hub.close(&**session, close);
            }
            Err(error) => {
                clients
                    .hub
                    .close(&**session, Closing::silent(end_of(&error)));
            }
        }
    }
}

/// Writes what the socket takes now.
fn write(hub: &Hub, session: &Session<Link>) -> Pumped {
    let mut cx = Pump::new(monotonic());
    let pumped = hub.pump(session, &mut cx);
    cx.merge(hub.metrics());
    pumped
}

/// Takes what the socket has now.
fn read(clients: &Clients, session: &Arc<Session<Link>>, begun: &mut Begun) {
    let hub = &clients.hub;
    READ.with_borrow_mut(|buffer| match session.sink().try_read(buffer) {
        Ok(0) => {
            hub.close(&**session, Closing::silent(CloseReason::Eof));
        }
        Ok(count) => take_frames(clients, session, begun, &mut buffer[..count]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => {
            hub.close(&**session, Closing::silent(end_of(&error)));
        }
    });
}

/// What came of the bytes at hand.
pub(super) enum Taken {
    /// The next frame is not whole.
    Nothing,
    /// So many bytes were a whole frame, which has been carried out.
    Whole(usize),
    /// So many bytes were a part of one that goes on.
    Part(usize),
}

/// What the frames of a client are carried out with.
pub(super) struct Serving<'a> {
    pub(super) clients: &'a Clients,
    pub(super) session: &'a Arc<Session<Link>>,
    /// The bounds of the frames at hand.
    pub(super) limits: ClientLimits,
    pub(super) cx: Pump,
}

/// Carries out every frame that is whole now, and keeps the rest.
fn take_frames(clients: &Clients, session: &Arc<Session<Link>>, begun: &mut Begun, new: &mut [u8]) {
    let hub = &clients.hub;
    let limits = clients.limits();
    let before = begun.take();
    let mut deadline = before.as_ref().map(|partial| partial.deadline);
    let mut parts = None;
    let mut joined = before.map(|mut partial| {
        parts = partial.parts.take();
        partial.bytes.extend_from_slice(new);
        partial.bytes
    });
    let bytes = joined.as_deref_mut().unwrap_or(new);
    let mut serving = Serving {
        clients,
        session,
        limits,
        cx: Pump::new(monotonic()),
    };
    let mut at = 0;
    loop {
        let rest = &mut bytes[at..];
        let is_done = rest.is_empty();
        let taken = match session.sink() {
            Link::Web(web) => websocket::take(&mut serving, web, (rest, &mut parts)),
            Link::Mqtt(mqtt) => mqtt::take(&mut serving, mqtt, rest),
            _ => native::take(&mut serving, rest),
        };
        match taken {
            Ok(Taken::Part(used)) => {
                deadline.get_or_insert_with(|| Instant::now() + limits.handshake_timeout);
                at += used;
            }
            Ok(Taken::Whole(used)) => {
                // Within one that comes in parts it is not this one that was begun.
                if parts.is_none() {
                    deadline = None;
                }
                at += used;
                hub.note_received(&**session, &serving.cx);
                // Nothing that follows a BYE counts, nor what comes behind another end.
                if session.is_closing() {
                    break;
                }
            }
            Ok(Taken::Nothing) if is_done && parts.is_none() => break,
            Ok(Taken::Nothing) => {
                let deadline =
                    deadline.unwrap_or_else(|| Instant::now() + limits.handshake_timeout);
                *begun = Some(Box::new(Partial {
                    bytes: bytes[at..].to_vec(),
                    parts,
                    deadline,
                }));
                break;
            }
            Err(why) => {
                let close = Closing::code(CloseCode::Protocol, RETRY_NEVER, why);
                hub.close(&**session, close);
                break;
            }
        }
    }
    hub.nudge(&**session, &mut serving.cx);
    serving.cx.merge(hub.metrics());
}

impl Serving<'_> {
    /// Does what one of the protocol's own frames asks for, given as type and fields; the error is
    /// why it is against the protocol.
    pub(super) fn carry_out(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let Self {
            clients,
            session,
            cx,
            ..
        } = self;
        let hub = &clients.hub;
        let frame = ClientFrame::decode(body).map_err(|_| "malformed frame")?;
        let member = || -> Arc<Session> { Arc::clone(session) as _ };
        match frame {
            ClientFrame::Hello(_) => return Err("a second HELLO"),
            ClientFrame::Ping(bytes) => hub.answer(&***session, &GatewayFrame::Pong(bytes)),
            ClientFrame::Pong(_) => {}
            ClientFrame::Ack { number } => hub
                .confirm(&***session, number, cx)
                .map_err(|_| "ACK of a number that was never sent")?,
            ClientFrame::Join { group } => {
                let refused = match hub.may_join(&member(), group) {
                    true => hub.join(&member(), group).err().map(|_| CloseCode::TooMany),
                    false => Some(CloseCode::Auth),
                };
                if let Some(code) = refused {
                    hub.answer(&***session, &refusal(frame::JOIN, code, group));
                }
            }
            ClientFrame::Leave { group } => {
                hub.leave(&member(), group, cx);
            }
            ClientFrame::Bye => {
                hub.close(&***session, Closing::silent(CloseReason::Bye));
            }
            ClientFrame::Token { token } => renew(clients, &member(), token),
        }
        Ok(())
    }
}

/// Sends the CLOSE behind what was begun, where the socket takes it, and closes without a reset.
async fn finish(hub: &Hub, session: &Session<Link>, reason: CloseReason) {
    let link = session.sink();
    // After BYE, too, there is no CLOSE that a reset could destroy: the close itself is the FIN.
    if !matches!(reason, CloseReason::Code(_)) && session.is_idle() {
        return link.shut_down();
    }
    let stream = link.stream();
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
    farewell(link, deadline).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<F>(
        _: impl FnOnce((TcpStream, SocketAddr), &Arc<Door>, ConnectionPermit) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// What a million idle clients hold a million times over. A bound, so that growth is noticed.
    #[test]
    fn an_idle_connection_holds_few_bytes() {
        let (future, session) = (future_bytes(run), size_of::<Session<Link>>());
        assert!(future <= 256, "the task's future takes {future} bytes");
        assert!(session <= 192, "a session takes {session} bytes");
    }
}

//! The first exchange: HELLO, who is it, may it, and into the registry.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::connection::Clients;
use super::door::Door;
use super::link::{FAREWELL, Link, READ, end_of, farewell, turn_away};
use super::listener::ConnectionPermit;
use super::proxy::{self, Fault};
use super::tls::Tls;
use crate::clock::monotonic;
use crate::hub::pump::Pump;
use crate::hub::session::Session;
use crate::hub::{Attach, AttachError, Closing, Hub};
use crate::metrics::ProxyReject;
use crate::wire::frame::{self, ClientFrame, GatewayFrame, Hello, split};
use crate::wire::name;
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};

/// Heartbeats that a client may ask for, in seconds.
const HEARTBEAT_S: RangeInclusive<u16> = 5..=3600;

/// A cause to end before there is a session.
pub(super) enum Turned {
    Away(CloseCode, u32, &'static str),
    Gone(CloseReason),
}

impl Turned {
    fn away(hub: &Hub, code: CloseCode, why: &'static str) -> Self {
        let retry = match code {
            CloseCode::Protocol | CloseCode::Auth | CloseCode::Replaced => RETRY_NEVER,
            _ => hub.retry_after_ms(),
        };
        Self::Away(code, retry, why)
    }
}

/// A session, and what its client sent behind HELLO.
pub(super) type Entered = (Arc<Session<Link>>, Vec<u8>);

/// Lets a client in, or tells it why not and closes.
pub(super) async fn come_in(
    (stream, peer): (TcpStream, SocketAddr),
    door: Arc<Door>,
    mut permit: ConnectionPermit,
) -> (ConnectionPermit, Result<Entered, CloseReason>) {
    let clients = Arc::clone(permit.clients());
    let deadline = Instant::now() + clients.handshake_timeout;
    let link = match door.tls() {
        None => Link::Tcp(stream),
        Some(config) => match Tls::new(stream, config) {
            Ok(tls) => Link::Tls(Box::new(tls)),
            Err(_) => return (permit, Err(CloseReason::Io)),
        },
    };
    let introduced = match door.is_behind_proxy() {
        true => introduce(link.stream(), peer, &door, &mut permit, deadline).await,
        false => Ok(()),
    };
    let entered = match introduced {
        Ok(()) => enter(link, &clients, deadline).await,
        Err(turned) => Err((link, turned)),
    };
    let (link, turned) = match entered {
        Ok(entered) => return (permit, Ok(entered)),
        Err(turned) => turned,
    };
    let reason = match turned {
        // The alert, if there is one, has been written.
        Turned::Gone(reason @ CloseReason::Code(_)) => {
            farewell(&link, Instant::now() + FAREWELL).await;
            reason
        }
        Turned::Gone(reason) => reason,
        Turned::Away(code, retry_after_ms, text) => {
            debug!(%peer, reason = code.word(), text, "turned away");
            turn_away(&link, code, retry_after_ms, text).await;
            CloseReason::Code(code)
        }
    };
    (permit, Err(reason))
}

/// Learns from the load balancer whose connection it is. Whoever comes otherwise is closed without
/// a word: nothing is known to be a client of ours, and one behind a load balancer that is missing
/// in the configuration shall come back, not read in a CLOSE that it may not.
async fn introduce(
    stream: &TcpStream,
    peer: SocketAddr,
    door: &Door,
    permit: &mut ConnectionPermit,
    deadline: Instant,
) -> Result<(), Turned> {
    let clients = Arc::clone(permit.clients());
    let protocol = Turned::Gone(CloseReason::Code(CloseCode::Protocol));
    if !door.trusts(peer.ip()) {
        clients.proxy_rejected(ProxyReject::Untrusted, peer, "not among the trusted");
        return Err(protocol);
    }
    let read = tokio::select! {
        read = timeout_at(deadline, proxy::read(stream)) => read,
        () = clients.leaving.cancelled() => {
            return Err(Turned::Gone(CloseReason::Code(CloseCode::Draining)));
        }
    };
    let late = |_| Turned::Gone(CloseReason::Code(CloseCode::HandshakeTimeout));
    let address = match read.map_err(late)? {
        Ok(address) => address.unwrap_or(peer),
        Err(Fault::Ended(reason)) => return Err(Turned::Gone(reason)),
        Err(Fault::Malformed(error)) => {
            clients.proxy_rejected(ProxyReject::Malformed, peer, &error.to_string());
            return Err(protocol);
        }
    };
    permit
        .set_address(address.ip())
        .map_err(|why| Turned::away(&clients.hub, CloseCode::TooMany, why))
}

/// Reads HELLO, all of it within the handshake's time, and attaches. Returns what the client sent
/// behind its HELLO.
async fn enter(
    link: Link,
    clients: &Clients,
    deadline: Instant,
) -> Result<Entered, (Link, Turned)> {
    let hub = &clients.hub;
    let away = |link, code, why| Err((link, Turned::away(hub, code, why)));
    let mut bytes = Vec::new();
    // In a storm HELLO is there before its connection is accepted, and no timer is needed.
    let read = match &link {
        Link::Tcp(_) => try_read_hello(&link, clients.max_hello, &mut bytes),
        Link::Tls(_) => Ok(None),
    };
    let read = match read {
        Ok(None) => wait_for_hello(&link, clients, deadline, &mut bytes).await,
        Ok(Some(used)) => Ok(used),
        Err(turned) => Err(turned),
    };
    if link.is_handshaking() {
        hub.metrics().tls_handshakes_failed.inc();
    }
    let used = match read {
        Ok(used) => used,
        Err(turned) => return Err((link, turned)),
    };
    if clients.draining.load(Ordering::Relaxed) {
        return away(link, CloseCode::Draining, "draining");
    }
    match ClientFrame::decode(&bytes[frame::LENGTH_BYTES..used]) {
        Ok(ClientFrame::Hello(hello)) => {
            let session = attach(link, clients, &hello)?;
            bytes.drain(..used);
            Ok((session, bytes))
        }
        Ok(_) => away(link, CloseCode::Protocol, "expected HELLO"),
        Err(_) => away(link, CloseCode::Protocol, "malformed HELLO"),
    }
}

/// Reads until the first frame is whole, within the handshake's time, and returns its length.
async fn wait_for_hello(
    link: &Link,
    clients: &Clients,
    deadline: Instant,
    bytes: &mut Vec<u8>,
) -> Result<usize, Turned> {
    let read = async {
        loop {
            let readable = link.readable().await;
            readable.map_err(|error| Turned::Gone(end_of(&error)))?;
            let _turn = match link.is_handshaking() {
                true => clients.turns.acquire().await.ok(),
                false => None,
            };
            if let Some(used) = try_read_hello(link, clients.max_hello, bytes)? {
                return Ok(used);
            }
        }
    };
    let away = |code, why| Err(Turned::away(&clients.hub, code, why));
    tokio::select! {
        read = timeout_at(deadline, read) => read.unwrap_or_else(|_| {
            away(CloseCode::HandshakeTimeout, "no whole HELLO in time")
        }),
        () = clients.leaving.cancelled() => away(CloseCode::Draining, "draining"),
    }
}

/// Reads what is there; the length of the first frame once it is whole. The buffer grows by what
/// has come, not by what is announced.
fn try_read_hello(link: &Link, max: usize, bytes: &mut Vec<u8>) -> Result<Option<usize>, Turned> {
    let read = READ.with_borrow_mut(|buffer| {
        let count = link.try_read(buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        io::Result::Ok(count)
    });
    match read {
        Ok(0) => Err(Turned::Gone(CloseReason::Eof)),
        Ok(_) => match split(bytes, max) {
            Ok(whole) => Ok(whole.map(|(_, used)| used)),
            Err(_) => {
                let why = "length of the first frame out of bounds";
                Err(Turned::Away(CloseCode::Protocol, RETRY_NEVER, why))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Turned::Gone(end_of(&error))),
    }
}

/// Says who the client is and which of its groups it may have, and puts it into the registry.
fn attach(
    link: Link,
    clients: &Clients,
    hello: &Hello<'_>,
) -> Result<Arc<Session<Link>>, (Link, Turned)> {
    let hub = &clients.hub;
    // With auth.mode = "none" the token is the user's name.
    let Ok(user) = name::name(hello.token) else {
        return Err((
            link,
            Turned::away(hub, CloseCode::Auth, "the token names no user"),
        ));
    };
    let now = monotonic();
    if let Some(rest) = clients.holds.rest(user, hello.device, now) {
        let retry = u32::try_from(rest.as_millis()).unwrap_or(RETRY_NEVER - 1);
        return Err((link, Turned::Away(CloseCode::Kicked, retry, "kicked")));
    }
    let (mut groups, mut refused) = (Vec::new(), Vec::new());
    for group in hello.groups {
        if groups.contains(&group) {
            continue;
        }
        if groups.len() < hub.options().max_groups {
            groups.push(group);
        } else {
            let (frame_type, code) = (frame::HELLO, CloseCode::TooMany);
            refused.push(GatewayFrame::Refused {
                frame_type,
                code,
                group,
            });
        }
    }
    let heartbeat_s = match hello.heartbeat_s {
        0 => clients.heartbeat_s,
        asked => asked.clamp(*HEARTBEAT_S.start(), *HEARTBEAT_S.end()),
    };
    let device = hello.device;
    let attach = Attach {
        user,
        device,
        groups: &groups,
        refused: &refused,
        heartbeat_s,
    };
    let mut cx = Pump::new(now);
    match hub.attach(&attach, link, &cx) {
        Ok(session) => {
            // A KICK that looked for sessions just before this one was there counts all the same.
            if let Some(rest) = clients.holds.rest(user, device, now) {
                let retry = u32::try_from(rest.as_millis()).unwrap_or(RETRY_NEVER - 1);
                hub.close(&*session, Closing::code(CloseCode::Kicked, retry, "kicked"));
            }
            hub.nudge(&*session, &mut cx);
            cx.merge(hub.metrics());
            Ok(session)
        }
        Err((error, sink)) => {
            let why = match error {
                AttachError::Replaced => "replaced by a newer connection of the same device",
                AttachError::TooManyDevices(_) => "too many devices",
            };
            Err((sink, Turned::away(hub, error.code(), why)))
        }
    }
}

//! The first exchange: HELLO, who is it, may it, and into the registry.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::connection::Clients;
use super::tcp::{READ, TcpSink, end_of, turn_away};
use crate::clock::monotonic;
use crate::hub::pump::Pump;
use crate::hub::session::Session;
use crate::hub::{Attach, AttachError, Closing, Hub};
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
pub(super) type Entered = (Arc<Session<TcpSink>>, Vec<u8>);

/// Lets a client in, or tells it why not and closes.
pub(super) async fn come_in(
    stream: TcpStream,
    clients: Arc<Clients>,
) -> Result<Entered, CloseReason> {
    match enter(stream, &clients).await {
        Ok(entered) => Ok(entered),
        Err((_, Turned::Gone(reason))) => Err(reason),
        Err((stream, Turned::Away(code, retry_after_ms, text))) => {
            let peer = stream.peer_addr().ok();
            debug!(?peer, reason = code.word(), text, "turned away");
            turn_away(&stream, code, retry_after_ms, text).await;
            Err(CloseReason::Code(code))
        }
    }
}

/// Reads HELLO, all of it within the handshake's time, and attaches. Returns what the client sent
/// behind its HELLO.
async fn enter(stream: TcpStream, clients: &Clients) -> Result<Entered, (TcpStream, Turned)> {
    let hub = &clients.hub;
    let away = |stream, code, why| Err((stream, Turned::away(hub, code, why)));
    let mut bytes = Vec::new();
    // In a storm HELLO is there before its connection is accepted, and no timer is needed.
    let read = match try_read_hello(&stream, clients.limits().max_hello, &mut bytes) {
        Ok(None) => wait_for_hello(&stream, clients, &mut bytes).await,
        Ok(Some(used)) => Ok(used),
        Err(turned) => Err(turned),
    };
    let used = match read {
        Ok(used) => used,
        Err(turned) => return Err((stream, turned)),
    };
    if clients.draining.load(Ordering::Relaxed) {
        return away(stream, CloseCode::Draining, "draining");
    }
    match ClientFrame::decode(&bytes[frame::LENGTH_BYTES..used]) {
        Ok(ClientFrame::Hello(hello)) => {
            let session = attach(stream, clients, &hello)?;
            bytes.drain(..used);
            Ok((session, bytes))
        }
        Ok(_) => away(stream, CloseCode::Protocol, "expected HELLO"),
        Err(_) => away(stream, CloseCode::Protocol, "malformed HELLO"),
    }
}

/// Reads until the first frame is whole, within the handshake's time, and returns its length.
async fn wait_for_hello(
    stream: &TcpStream,
    clients: &Clients,
    bytes: &mut Vec<u8>,
) -> Result<usize, Turned> {
    let limits = clients.limits();
    let read = async {
        loop {
            let readable = stream.readable().await;
            readable.map_err(|error| Turned::Gone(end_of(&error)))?;
            if let Some(used) = try_read_hello(stream, limits.max_hello, bytes)? {
                return Ok(used);
            }
        }
    };
    let away = |code, why| Err(Turned::away(&clients.hub, code, why));
    tokio::select! {
        read = timeout(limits.handshake_timeout, read) => read.unwrap_or_else(|_| {
            away(CloseCode::HandshakeTimeout, "no whole HELLO in time")
        }),
        () = clients.leaving.cancelled() => away(CloseCode::Draining, "draining"),
    }
}

/// Reads what is there; the length of the first frame once it is whole. The buffer grows by what
/// has come, not by what is announced.
fn try_read_hello(
    stream: &TcpStream,
    max: usize,
    bytes: &mut Vec<u8>,
) -> Result<Option<usize>, Turned> {
    let read = READ.with_borrow_mut(|buffer| {
        let count = stream.try_read(buffer)?;
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
    stream: TcpStream,
    clients: &Clients,
    hello: &Hello<'_>,
) -> Result<Arc<Session<TcpSink>>, (TcpStream, Turned)> {
    let hub = &clients.hub;
    // With auth.mode = "none" the token is the user's name.
    let Ok(user) = name::name(hello.token) else {
        return Err((
            stream,
            Turned::away(hub, CloseCode::Auth, "the token names no user"),
        ));
    };
    let now = monotonic();
    if let Some(rest) = clients.holds.rest(user, hello.device, now) {
        let retry = u32::try_from(rest.as_millis()).unwrap_or(RETRY_NEVER - 1);
        return Err((stream, Turned::Away(CloseCode::Kicked, retry, "kicked")));
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
        0 => clients.limits().heartbeat_s,
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
    match hub.attach(&attach, TcpSink::new(stream), &cx) {
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
            Err((sink.into_stream(), Turned::away(hub, error.code(), why)))
        }
    }
}

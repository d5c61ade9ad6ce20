//! The protocol's frames as binary messages of WebSocket (RFC 6455): a handshake and a codec over
//! the life that every connection has.
//!
//! ```text
//!   request ── not granted ──► an answer of HTTP, and the end
//!      │ 101
//!      ▼
//!   messages: HELLO, WELCOME, ... ── a cause to end ──► CLOSE, a close frame, and the end
//!      └── the client's close frame ──► the same close frame, and the end ("bye")
//! ```
//!
//! A library reads the request and the heads of frames; the rest is here and in
//! [`wire::websocket`](crate::wire::websocket), since a session is written to by whoever walks,
//! from bytes that all clients share, and no library's stream can be.

mod token;
mod upgrade;

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use super::connection::{Clients, Serving, Taken};
use super::door::Door;
use super::handshake::Turned;
use super::link::Link;
use super::opening::Opened;
use crate::hub::{Closing, Sink};
use crate::wire::frame::GatewayFrame;
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};
use crate::wire::websocket::{
    self, Fault, HEAD_MAX, Item, NO_CODE, NORMAL, OWN_CODES, Opcode, Parts, Side, put_close,
    put_control, put_message,
};

/// A connection over which WebSocket is spoken. Boxed in its [`Link`]: a native one shall not pay
/// for it.
pub(super) struct Web {
    /// What is below: TCP or TLS, through a load balancer or not.
    pub(super) link: Link,
    /// The request has been granted.
    is_open: AtomicBool,
    /// What the end is told by, where the close code alone does not say it: before the request is
    /// granted a status of HTTP, from then on the code of a close frame. 0: the close code does.
    told_by: AtomicU16,
    /// The code of the client's close frame; 0 until there is one.
    client_closed: AtomicU16,
}

impl Web {
    /// A connection over which nothing has been said.
    pub(super) const fn new(link: Link) -> Self {
        Self {
            link,
            is_open: AtomicBool::new(false),
            told_by: AtomicU16::new(0),
            client_closed: AtomicU16::new(0),
        }
    }

    /// Has the end told by this status or code.
    fn tell_by(&self, code: u16) {
        self.told_by.store(code, Ordering::Relaxed);
    }

    /// Appends an answer as it is said here. A PING is one of WebSocket: a browser answers it
    /// without its page.
    pub(super) fn answer(frame: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        match frame {
            GatewayFrame::Ping(bytes) => put_control(out, Opcode::Ping, bytes),
            frame => put_message(out, frame),
        }
    }

    /// Appends the last words; false when there is nobody to hear them.
    pub(super) fn close(&self, closing: &Closing<'_>, out: &mut Vec<u8>) -> bool {
        let told_by = self.told_by.load(Ordering::Relaxed);
        let code = match closing.reason {
            CloseReason::Code(code) => code,
            // The same code back, as section 5.5.1 has it.
            CloseReason::Bye => match self.client_closed.load(Ordering::Relaxed) {
                NO_CODE => {
                    put_control(out, Opcode::Close, &[]);
                    return true;
                }
                0 => {
                    put_close(out, NORMAL, "");
                    return true;
                }
                code => {
                    put_close(out, code, "");
                    return true;
                }
            },
            _ => return false,
        };
        if !self.is_open.load(Ordering::Relaxed) {
            let status = match (told_by, code) {
                (0, CloseCode::HandshakeTimeout) => 408,
                (0, CloseCode::Protocol) => 400,
                (0, _) => 503,
                (status, _) => status,
            };
            let retry = Some(closing.retry_after_ms).filter(|retry| *retry != RETRY_NEVER);
            upgrade::put_refusal(out, status, closing.text, retry);
            return true;
        }
        if let Some(close) = closing.frame() {
            put_message(out, &close);
        }
        let told_by = match told_by {
            0 => OWN_CODES + code.code(),
            fault => fault,
        };
        put_close(out, told_by, closing.text);
        true
    }
}

/// What has come of a client before its HELLO was whole.
#[derive(Default)]
pub(super) struct Request {
    token: Vec<u8>,
    parts: Parts,
    /// Bytes of control frames, and of the heads of parts: as many as a HELLO may have.
    control: usize,
}

/// Bytes of the longest request, and of the longest HELLO.
pub(super) fn room(max_hello: usize) -> usize {
    upgrade::HEAD_MAX.max(HEAD_MAX + max_hello)
}

/// Answers the request and waits for HELLO: that, once it is whole.
pub(super) fn open(
    (link, web): (&Link, &Web),
    (clients, door): (&Clients, &Door),
    request: &mut Request,
    bytes: &mut Vec<u8>,
) -> Result<Option<Opened>, Turned> {
    let protocol = |why| Turned::Away(CloseCode::Protocol, RETRY_NEVER, why);
    if !web.is_open.load(Ordering::Relaxed) {
        let upgrade = upgrade::judge(bytes, |origin| door.lets_in(origin));
        let upgrade = upgrade.map_err(|refusal| {
            web.tell_by(refusal.status);
            match refusal.status {
                403 => Turned::Away(CloseCode::Auth, RETRY_NEVER, refusal.why),
                _ => protocol(refusal.why),
            }
        })?;
        let Some(upgrade) = upgrade else {
            return Ok(None);
        };
        if clients.draining.load(Ordering::Relaxed) {
            let retry = clients.hub.retry_after_ms();
            return Err(Turned::Away(CloseCode::Draining, retry, "draining"));
        }
        say(link, &upgrade.answer)?;
        web.is_open.store(true, Ordering::Relaxed);
        request.token = upgrade.token;
        bytes.drain(..upgrade.used);
        // What the head took is not kept for what comes now.
        bytes.shrink_to_fit();
    }
    let max = clients.limits().max_hello;
    let mut at = 0;
    let opened = loop {
        let item = websocket::decode(Side::Gateway, &mut bytes[at..], &mut request.parts, max);
        let item = item.map_err(|fault| protocol(tell(web, fault)))?;
        let Some((item, used)) = item else {
            break None;
        };
        match item {
            Item::Message(body) => {
                let hello = body.into_owned();
                let rest = bytes.split_off(at + used);
                let token = std::mem::take(&mut request.token);
                break Some(Opened::with_token(hello, rest, token));
            }
            // However little of HELLO is in it.
            Item::Part => request.control += HEAD_MAX,
            Item::Ping(payload) => {
                let mut pong = Vec::new();
                put_control(&mut pong, Opcode::Pong, payload);
                say(link, &pong)?;
                request.control += used;
            }
            Item::Pong(_) => request.control += used,
            Item::Close { code, .. } => {
                web.client_closed.store(code, Ordering::Relaxed);
                let mut close = Vec::new();
                web.close(&Closing::silent(CloseReason::Bye), &mut close);
                // Whoever hangs up need not hear it.
                let _ = say(link, &close);
                return Err(Turned::Gone(CloseReason::Bye));
            }
        }
        at += used;
        if request.control > max {
            return Err(protocol("too many frames before HELLO"));
        }
    };
    if at > 0 && opened.is_none() {
        // What was a part of HELLO is not held twice.
        bytes.drain(..at);
        bytes.shrink_to_fit();
    }
    Ok(opened)
}

/// Writes to one who has been sent little so far: a socket that does not take it whole has a peer
/// which does not listen.
fn say(link: &Link, bytes: &[u8]) -> Result<(), Turned> {
    match link.try_write(&[IoSlice::new(bytes)]) {
        Ok(count) if count == bytes.len() => Ok(()),
        _ => Err(Turned::Gone(CloseReason::Io)),
    }
}

/// Has the end told by a fault's own code; why it is one.
fn tell(web: &Web, fault: Fault) -> &'static str {
    web.tell_by(fault.code());
    fault.why()
}

/// Carries the first frame out, if it is whole; the error is why it is against the protocol.
pub(super) fn take(
    serving: &mut Serving<'_>,
    web: &Web,
    (bytes, parts): (&mut [u8], &mut Parts),
) -> Result<Taken, &'static str> {
    let whole = bytes.len();
    let item = websocket::decode(Side::Gateway, bytes, parts, serving.limits.max_frame);
    let Some((item, used)) = item.map_err(|fault| tell(web, fault))? else {
        return Ok(Taken::Nothing);
    };
    let (hub, session) = (&serving.clients.hub, serving.session);
    match item {
        Item::Part => return Ok(Taken::Part(used)),
        Item::Message(body) => serving.carry_out(&body)?,
        Item::Ping(payload) => {
            hub.answer_with(&**session, |out| put_control(out, Opcode::Pong, payload));
        }
        Item::Pong(_) => {}
        Item::Close { code, .. } => {
            web.client_closed.store(code, Ordering::Relaxed);
            hub.close(&**session, Closing::silent(CloseReason::Bye));
            // Nothing that follows counts (section 5.5.1).
            return Ok(Taken::Whole(whole));
        }
    }
    Ok(Taken::Whole(used))
}

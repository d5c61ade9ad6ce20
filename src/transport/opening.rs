//! What a newcomer says before it is let in: read within its bounds, by what is spoken at its door.

use std::io;
use std::ops::Range;

use super::connection::Clients;
use super::door::Door;
use super::handshake::Turned;
use super::link::{Link, READ, end_of};
use super::{mqtt, native, websocket};
use crate::wire::append::append_within;
use crate::wire::frame::{ClientFrame, Hello};
use crate::wire::reason::CloseReason;

/// What has come so far. Whoever waits for HELLO, and there may be many, holds it.
#[derive(Default)]
pub(super) struct Opening {
    bytes: Vec<u8>,
    /// What else there is of it where WebSocket is spoken.
    request: Option<Box<websocket::Request>>,
}

/// A HELLO that is whole.
pub(super) struct Opened {
    bytes: Vec<u8>,
    /// Where type and fields stand in them.
    body: Range<usize>,
    /// A token that came before HELLO, for one that has none; empty without one.
    token: Vec<u8>,
    /// What came behind it.
    pub(super) rest: Vec<u8>,
}

impl Opened {
    /// The HELLO whose type and fields stand at `body` of `bytes`.
    pub(super) const fn new(bytes: Vec<u8>, body: Range<usize>, rest: Vec<u8>) -> Self {
        let token = Vec::new();
        Self {
            bytes,
            body,
            token,
            rest,
        }
    }

    /// The HELLO of this type and fields, from whose client `token` came before.
    pub(super) const fn with_token(body: Vec<u8>, rest: Vec<u8>, token: Vec<u8>) -> Self {
        Self {
            body: 0..body.len(),
            bytes: body,
            token,
            rest,
        }
    }

    /// Its bytes.
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// What it says; the error is why it is none.
    pub(super) fn hello(&self) -> Result<Hello<'_>, &'static str> {
        match ClientFrame::decode(self.body()) {
            Ok(ClientFrame::Hello(hello)) if hello.token.is_empty() => Ok(Hello {
                token: &self.token,
                ..hello
            }),
            Ok(ClientFrame::Hello(hello)) => Ok(hello),
            Ok(_) => Err("expected HELLO"),
            Err(_) => Err("malformed HELLO"),
        }
    }
}

impl Opening {
    /// Reads what is there; HELLO once it is whole. The buffer grows by what has come, not by what
    /// is announced.
    pub(super) fn try_read(
        &mut self,
        link: &Link,
        clients: &Clients,
        door: &Door,
    ) -> Result<Option<Opened>, Turned> {
        let max_hello = clients.limits().max_hello;
        let max = match link {
            Link::Web(_) => websocket::room(max_hello),
            // The whole packet.
            Link::Mqtt(_) => max_hello,
            _ => native::room(max_hello),
        };
        let read = READ.with_borrow_mut(|buffer| {
            let count = link.try_read(buffer)?;
            append_within(&mut self.bytes, &buffer[..count], max);
            io::Result::Ok(count)
        });
        match read {
            Ok(0) => Err(Turned::Gone(CloseReason::Eof)),
            Ok(_) => match link {
                Link::Web(web) => {
                    let request = self.request.get_or_insert_default();
                    websocket::open((link, web), (clients, door), request, &mut self.bytes)
                }
                Link::Mqtt(mqtt) => mqtt::open(mqtt, &mut self.bytes, max_hello),
                _ => native::open(&mut self.bytes, max_hello),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Turned::Gone(end_of(&error))),
        }
    }
}

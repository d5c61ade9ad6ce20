//! Where a session's bytes go, and how things are said there: what a door has to bring.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::Closing;
use super::message::Message;
use crate::wire::encoding::{Encoding, Protocol};
use crate::wire::frame::{GatewayFrame, Scope};

/// A message that is due for a session, under one of its targets.
#[derive(Clone, Copy)]
pub struct Due<'a> {
    message: &'a Message,
    index: u16,
}

impl<'a> Due<'a> {
    pub(super) const fn new(message: &'a Message, index: u16) -> Self {
        Self { message, index }
    }

    /// Its number; 0 for a live one.
    pub fn number(&self) -> u64 {
        self.message.number()
    }

    /// What of the session it addresses,
    pub fn scope(&self) -> Scope {
        self.message.scope(self.index)
    }

    /// and which group, where it is one; else empty.
    pub fn group(&self) -> &'a str {
        self.message.group(self.index)
    }

    /// Bytes of its payload.
    pub fn payload_len(&self) -> usize {
        self.message.payload_len()
    }
}

/// Messages of one batch that the client has to acknowledge, before one that may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// How many.
    pub count: usize,
    /// The number of the first.
    pub first: Option<u64>,
}

impl Begun {
    pub(super) const fn add(&mut self, number: u64) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(number);
        }
    }
}

/// Where a session's bytes go. The hub keeps what was taken in part, and never calls it from two
/// threads at once.
pub trait Sink: Send + Sync + 'static {
    /// Takes as many bytes as it can without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when it can take none now; anything else ends the session.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// What is spoken there.
    fn protocol(&self) -> Protocol {
        Protocol::Native
    }

    /// Whether the client says nothing of its own accord as long as it has nothing to say: then it
    /// is the gateway that asks it, where nothing was heard for an interval.
    fn has_to_be_asked(&self) -> bool {
        false
    }

    /// How a message is written there; `None`: it is not sent there at all.
    fn encoding(&self, due: &Due<'_>) -> Option<Encoding> {
        let _ = due;
        Some(Encoding::Native)
    }

    /// Whether a message that the client acknowledges may be sent now, behind those of them that
    /// are about to be. Whoever says no has the session pumped again when that changes
    /// ([`Hub::acknowledged`](super::Hub::acknowledged)).
    fn admits(&self, number: u64, begun: Begun) -> bool {
        let _ = (number, begun);
        true
    }

    /// Whether an acknowledgement of everything up to a number says that the client has this
    /// message, too, where its number is no higher.
    fn answers_for(&self, due: &Due<'_>) -> bool {
        let _ = due;
        true
    }

    /// Whether there is a name for what is pushed to this group. Where there is none the session is
    /// in it all the same, and nothing of it is for the session.
    fn has_name_for(&self, group: &str) -> bool {
        let _ = group;
        true
    }

    /// A kept message has gone out, or has begun to.
    fn sent(&self, number: u64, encoding: Encoding) {
        let _ = (number, encoding);
    }

    /// Appends an answer as it is said there, which may be nothing. A PUSH is none, and for a CLOSE
    /// there is [`close`](Self::close).
    fn answer(&self, frame: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        frame.encode(out);
    }

    /// Appends the last words on why it ends, which may be none; false when nobody is there to hear
    /// them, and nothing of what waits has to be sent before.
    fn close(&self, closing: &Closing<'_>, out: &mut Vec<u8>) -> bool {
        match closing.frame() {
            Some(close) => {
                close.encode(out);
                true
            }
            None => false,
        }
    }

    /// Where they go to, as far as that can be told.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}

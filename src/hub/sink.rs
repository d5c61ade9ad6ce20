//! Where a session's bytes go, and how things are said there: what a door has to bring.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::Closing;
use crate::wire::encoding::{Encoding, Protocol};
use crate::wire::frame::{GatewayFrame, Scope};

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

    /// How a message is written there: one with this number (0: a live one), sent under a target
    /// of this scope.
    fn encoding(&self, number: u64, scope: Scope) -> Encoding {
        let _ = (number, scope);
        Encoding::Native
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

//! The native protocol: each frame behind its length, on TCP and TLS (protocol, section 2).

use super::connection::{Serving, Taken};
use super::handshake::Turned;
use super::opening::Opened;
use crate::wire::frame::{LENGTH_BYTES, split};
use crate::wire::reason::{CloseCode, RETRY_NEVER};

/// Bytes of the longest HELLO.
pub(super) const fn room(max_hello: usize) -> usize {
    LENGTH_BYTES + max_hello
}

/// The first frame, once it is whole.
pub(super) fn open(bytes: &mut Vec<u8>, max_hello: usize) -> Result<Option<Opened>, Turned> {
    match split(bytes, max_hello) {
        Ok(None) => Ok(None),
        Ok(Some((_, used))) => {
            let rest = bytes.split_off(used);
            let hello = std::mem::take(bytes);
            Ok(Some(Opened::new(hello, LENGTH_BYTES..used, rest)))
        }
        Err(_) => {
            let why = "length of the first frame out of bounds";
            Err(Turned::Away(CloseCode::Protocol, RETRY_NEVER, why))
        }
    }
}

/// Carries the first frame out, if it is whole; the error is why it is against the protocol.
pub(super) fn take(serving: &mut Serving<'_>, bytes: &[u8]) -> Result<Taken, &'static str> {
    match split(bytes, serving.limits.max_frame) {
        Ok(None) => Ok(Taken::Nothing),
        Ok(Some((body, used))) => {
            serving.carry_out(body)?;
            Ok(Taken::Whole(used))
        }
        Err(_) => Err("length of a frame out of bounds"),
    }
}

//! Frames between client and gateway (protocol, section 2).
//!
//! On TCP and TLS a frame stands behind its length; on WebSocket a message is the body alone.
//!
//! ```text
//!  0               4      5
//! +---------------+------+----------------------+
//! | u32 length    | type | fields of the type   |
//! +---------------+------+----------------------+
//!                 |<-- body: length bytes, 1 -->|
//!                 |    at least, max at most    |
//! ```
//!
//! [`split`] finds the body, [`ClientFrame::decode`] and [`GatewayFrame::decode`] read it. Both
//! `encode` append length and body.

mod client;
mod gateway;
mod hello;

#[cfg(test)]
mod tests;

pub use client::ClientFrame;
pub use gateway::{GatewayFrame, RESUMED, Welcome, push_header};
pub use hello::{Hello, HelloFields, encode_hello};

use super::name::NameError;
use super::reader::{Reader, Truncated, clamped};

/// The version of the protocol that this crate speaks, to clients and to services.
pub const PROTOCOL_VERSION: u8 = 1;

/// Bytes of the length before a frame's body.
pub const LENGTH_BYTES: usize = 4;

/// Bytes that a PING or PONG may carry.
pub const PING_BYTES_MAX: usize = 8;

/// Frame type, to the gateway: who the client is and where it was.
pub const HELLO: u8 = 1;
/// Frame type, both ways: answer with a PONG.
pub const PING: u8 = 2;
/// Frame type, both ways: the answer to a PING.
pub const PONG: u8 = 3;
/// Frame type, to the gateway: handled up to a number.
pub const ACK: u8 = 4;
/// Frame type, to the gateway: join a group.
pub const JOIN: u8 = 5;
/// Frame type, to the gateway: leave a group.
pub const LEAVE: u8 = 6;
/// Frame type, to the gateway: the client leaves.
pub const BYE: u8 = 7;
/// Frame type, to the gateway: a new token in place of the old one.
pub const TOKEN: u8 = 8;
/// Frame type, to the client: the session stands.
pub const WELCOME: u8 = 129;
/// Frame type, to the client: a message.
pub const PUSH: u8 = 130;
/// Frame type, to the client: the session is in a group.
pub const JOINED: u8 = 131;
/// Frame type, to the client: the session is not in a group any more.
pub const LEFT: u8 = 132;
/// Frame type, to the client: a frame was not carried out.
pub const REFUSED: u8 = 133;
/// Frame type, to the client: the connection ends.
pub const CLOSE: u8 = 134;
/// Frame type, to the client: everything up to a number has been sent.
pub const CURRENT: u8 = 135;

closed_list! {
    /// What of a session a message addresses.
    Scope: u8 {
        /// Every session.
        All = 0 "all",
        /// The sessions of a user.
        User = 1 "user",
        /// The sessions in a group.
        Group = 2 "group",
    }
}

/// Why bytes are not a frame. For a gateway each is CLOSE 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length of 0, or a body without a type.
    #[error("empty frame")]
    Empty,
    /// A declared length over the limit. Nothing behind the length has been looked at.
    #[error("frame of {length} bytes exceeds {max}")]
    TooLong {
        /// The declared length of type and fields.
        length: u32,
        /// The limit.
        max: u32,
    },
    /// A type that is unknown, or not one of this direction.
    #[error("unknown frame type {0}")]
    Type(u8),
    /// A field reaches behind the end of the body.
    #[error("frame ends early: a field needs {needs} bytes, {left} are left")]
    Truncated {
        /// Bytes that the field needs.
        needs: u32,
        /// Bytes that the body still has.
        left: u32,
    },
    /// Bytes behind the last field; how many.
    #[error("{0} bytes behind the last field")]
    Trailing(u32),
    /// A HELLO of version 0, or a WELCOME of a version other than 1.
    #[error("version {0} cannot be used")]
    Version(u8),
    /// Flags of which a bit is not defined.
    #[error("unknown flags {0:#010b}")]
    Flags(u8),
    /// A scope that is not 0, 1 or 2.
    #[error("unknown scope {0}")]
    Scope(u8),
    /// A group where none belongs, or no group where one does; the length of its name.
    #[error("group name of {0} bytes does not fit the frame")]
    Group(u8),
    /// A close code that is not defined.
    #[error("unknown close code {0}")]
    CloseCode(u16),
    /// A REFUSED about a type that cannot be refused.
    #[error("frame type {0} cannot be refused")]
    RefusedType(u8),
    /// A PING or PONG with more than [`PING_BYTES_MAX`] bytes; how many.
    #[error("ping of {0} bytes exceeds 8")]
    Ping(u32),
    /// A user, device, group or reason that is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl From<Truncated> for FrameError {
    fn from(Truncated { needs, left }: Truncated) -> Self {
        Self::Truncated { needs, left }
    }
}

/// Finds the first frame in what a stream has brought so far: its body (type and fields) and how
/// many bytes it takes with its length. `None` when more bytes are needed. `max` bounds the
/// length, in bytes.
///
/// # Errors
/// [`FrameError::Empty`] for a length of 0 and [`FrameError::TooLong`] for one over `max`: as soon
/// as the length is there, whatever stands behind it.
pub fn split(bytes: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length);
    if length == 0 {
        return Err(FrameError::Empty);
    }
    if length > clamped(max) {
        return Err(FrameError::TooLong {
            length,
            max: clamped(max),
        });
    }
    let length = length as usize;
    Ok(rest.get(..length).map(|body| (body, LENGTH_BYTES + length)))
}

/// The type of a body and a reader of its fields.
fn open(body: &[u8]) -> Result<(u8, Reader<'_>), FrameError> {
    let (&frame_type, fields) = body.split_first().ok_or(FrameError::Empty)?;
    Ok((frame_type, Reader::new(fields)))
}

/// The frame must end here.
fn finish(reader: Reader<'_>) -> Result<(), FrameError> {
    match reader.remaining().len() {
        0 => Ok(()),
        bytes => Err(FrameError::Trailing(clamped(bytes))),
    }
}

/// The bytes of a PING or PONG.
fn ping<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let bytes = reader.rest();
    if bytes.len() > PING_BYTES_MAX {
        return Err(FrameError::Ping(clamped(bytes.len())));
    }
    Ok(bytes)
}

/// `u8 n, group[n]`, n at least 1.
fn group<'a>(reader: &mut Reader<'a>) -> Result<&'a str, FrameError> {
    Ok(super::name::group(reader.short_bytes()?)?)
}

/// Appends a frame: its length, its type, and the fields that `fields` appends.
fn put_frame(out: &mut Vec<u8>, frame_type: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(frame_type);
    fields(out);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES)
        .expect("a frame is far below 4 GiB: its limit is in the configuration");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

//! WebSocket (RFC 6455): the frames in which binary messages stand, in both directions.
//!
//! The heads of frames are read by a library; here is what it leaves to others: what a frame may
//! be at its place, what a message is made of, and the bounds, which are looked at before anything
//! is taken in. No extension is spoken, so no bit of a frame is left for one.

mod decode;
mod encode;

#[cfg(test)]
mod tests;

pub use decode::{Item, Parts, decode};
pub use encode::{MASK_BYTES, put_close, put_control, put_header, put_masked, put_message};

/// Which end of a connection reads: a client's frames are masked, the gateway's are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The gateway, which reads what clients send.
    Gateway,
    /// A client.
    Client,
}

/// The kinds of a frame (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a message.
    Continuation = 0,
    /// A message in UTF-8, or its first part.
    Text = 1,
    /// A message of any bytes, or its first part.
    Binary = 2,
    /// The sender's last frame.
    Close = 8,
    /// To be answered by a pong.
    Ping = 9,
    /// An answer to a ping.
    Pong = 10,
}

/// Payload that a control frame may have (section 5.5).
pub const CONTROL_MAX: usize = 125;
/// Bytes of the longest head of a frame.
pub const HEAD_MAX: usize = 14;

/// The code of a close frame without a cause of its own (section 7.4.1).
pub const NORMAL: u16 = 1000;
/// The code that stands for a close frame without one; on no wire.
pub const NO_CODE: u16 = 1005;
/// What is added to a close code of the protocol for a close frame: those from 4000 on are an
/// application's own.
pub const OWN_CODES: u16 = 4000;

/// How bytes are against WebSocket. The gateway fails the connection (section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame that may not be, or not there.
    #[error("{0}")]
    Protocol(&'static str),
    /// A message in text: the protocol has binary ones.
    #[error("a text message, where there are binary ones")]
    Text,
    /// A close frame whose reason is not UTF-8.
    #[error("a close reason that is not UTF-8")]
    Utf8,
    /// A message over the limit. Nothing of it has been taken in.
    #[error("a message over the limit")]
    TooLong,
}

impl Fault {
    /// The code of the close frame that tells it (section 7.4.1).
    pub const fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Text => 1003,
            Self::Utf8 => 1007,
            Self::TooLong => 1009,
        }
    }

    /// Why, in words for people.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Protocol(why) => why,
            Self::Text => "a text message, where there are binary ones",
            Self::Utf8 => "a close reason that is not UTF-8",
            Self::TooLong => "a message over the limit",
        }
    }
}

//! Frames to the gateway.

use super::super::reader::{put_long, put_short};
use super::{
    ACK, BYE, FrameError, HELLO, Hello, JOIN, LEAVE, PING, PONG, TOKEN, finish, group, hello, open,
    ping, put_frame,
};

/// A frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// The first frame, and never again.
    Hello(Hello<'a>),
    /// 0 to 8 bytes, to be sent back in a PONG.
    Ping(&'a [u8]),
    /// The bytes of the PING that it answers.
    Pong(&'a [u8]),
    /// Every kept message up to `number` has been handled.
    Ack {
        /// The number of a kept message.
        number: u64,
    },
    /// From now on in `group`.
    Join {
        /// The group.
        group: &'a str,
    },
    /// Not in `group` any more.
    Leave {
        /// The group.
        group: &'a str,
    },
    /// The client leaves; nothing that waits is sent any more.
    Bye,
    /// A new token of the same user.
    Token {
        /// Any bytes; whether they are a token is decided later.
        token: &'a [u8],
    },
}

impl<'a> ClientFrame<'a> {
    /// Reads a body: type and fields.
    ///
    /// ```text
    ///  0        1                         0       1                    0
    /// +--------+--------------+         +-------+------------+         +-------+
    /// | 2 PING | 0 to 8 bytes |         | 4 ACK | u64 number |         | 7 BYE |
    /// | 3 PONG | 0 to 8 bytes |         +-------+------------+         +-------+
    /// +--------+--------------+
    ///
    ///  0         1   2                              0         1       3
    /// +---------+---+----------+                   +---------+-------+----------+
    /// | 5 JOIN  | n | group[n] |    n at least 1   | 8 TOKEN | u16 n | token[n] |
    /// | 6 LEAVE | n | group[n] |                   +---------+-------+----------+
    /// +---------+---+----------+
    /// ```
    ///
    /// HELLO has its picture beside its own decoder.
    ///
    /// # Errors
    /// Whatever the protocol calls malformed, also a type that only a gateway sends.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (frame_type, mut reader) = open(body)?;
        let frame = match frame_type {
            // Its version decides whether bytes may follow.
            HELLO => return hello::decode(reader).map(Self::Hello),
            PING => Self::Ping(ping(&mut reader)?),
            PONG => Self::Pong(ping(&mut reader)?),
            ACK => Self::Ack {
                number: reader.u64()?,
            },
            JOIN => Self::Join {
                group: group(&mut reader)?,
            },
            LEAVE => Self::Leave {
                group: group(&mut reader)?,
            },
            BYE => Self::Bye,
            TOKEN => Self::Token {
                token: reader.long_bytes()?,
            },
            unknown => return Err(FrameError::Type(unknown)),
        };
        finish(reader)?;
        Ok(frame)
    }

    /// Appends the frame with its length.
    ///
    /// # Panics
    /// With a name over 255 bytes or a token over 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Hello(hello) = self {
            return hello.encode(out);
        }
        put_frame(out, self.frame_type(), |out| match self {
            Self::Hello(_) | Self::Bye => {}
            Self::Ping(bytes) | Self::Pong(bytes) => out.extend_from_slice(bytes),
            Self::Ack { number } => out.extend_from_slice(&number.to_be_bytes()),
            Self::Join { group } | Self::Leave { group } => put_short(out, group.as_bytes()),
            Self::Token { token } => put_long(out, token),
        });
    }

    /// The type byte.
    pub const fn frame_type(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::Ack { .. } => ACK,
            Self::Join { .. } => JOIN,
            Self::Leave { .. } => LEAVE,
            Self::Bye => BYE,
            Self::Token { .. } => TOKEN,
        }
    }
}

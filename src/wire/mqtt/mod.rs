//! MQTT 3.1.1 and 5.0 (OASIS standards of 2014-10-29 and 2019-03-07), as a server that only pushes
//! speaks them.
//!
//! ```text
//!  0             1                    1 to 4 later
//! +------+------+--------------------+------------------------+
//! | type | flags| remaining length   | variable header,       |
//! | 4 bit| 4 bit| 7 bits a byte, low | payload: as many bytes |
//! +------+------+--------------------+------------------------+
//! ```
//!
//! [`split`] finds a packet, [`ClientPacket::decode`] and [`ServerPacket::decode`] read it; the
//! decoders borrow and allocate nothing. They are strict: what the standards call malformed is an
//! error, also where other servers look away, and each error says which one it is.
//!
//! What is not here: QoS 2 (a server that grants at most QoS 1 never meets PUBREC, PUBREL and
//! PUBCOMP), topic aliases, and enhanced authentication.

mod client;
mod connect;
mod error;
mod fields;
mod properties;
mod publish;
mod reason;
mod server;
mod subscribe;
mod topic;

#[cfg(test)]
mod tests;

pub use client::ClientPacket;
pub use connect::{Connect, Will};
pub use error::PacketError;
pub use properties::{Properties, Property, PropertyList, Value};
pub use publish::{NUMBER, PUBLISH_HEAD_BYTES_MAX, Publish, RETRY_AFTER, packet_id, publish_head};
pub use reason::ReasonCode;
pub use server::{ConnAck, ServerPacket};
pub use subscribe::{Filters, Subscription, encode_subscribe, encode_unsubscribe};
pub use topic::{Filter, FilterError, Topic};

use super::reader::Reader;

/// Packet type: who the client is.
pub const CONNECT: u8 = 1;
/// Packet type: whether the client is let in.
pub const CONNACK: u8 = 2;
/// Packet type: a message.
pub const PUBLISH: u8 = 3;
/// Packet type: a message of QoS 1 has been received.
pub const PUBACK: u8 = 4;
/// Packet type: which topics the client wants.
pub const SUBSCRIBE: u8 = 8;
/// Packet type: which of them it gets.
pub const SUBACK: u8 = 9;
/// Packet type: which topics the client does not want any more.
pub const UNSUBSCRIBE: u8 = 10;
/// Packet type: that it does not get them any more.
pub const UNSUBACK: u8 = 11;
/// Packet type: the client is there.
pub const PINGREQ: u8 = 12;
/// Packet type: so is the server.
pub const PINGRESP: u8 = 13;
/// Packet type: the connection ends.
pub const DISCONNECT: u8 = 14;
/// Packet type: enhanced authentication, of version 5.
pub const AUTH: u8 = 15;

/// The longest packet that the encoding of its length allows: 256 MiB less one byte, and the five
/// bytes of the fixed header.
pub const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// The versions of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.1.1, which calls itself 4.
    V3,
    /// 5.0.
    V5,
}

impl Version {
    /// The number that CONNECT has for it.
    pub const fn level(self) -> u8 {
        match self {
            Self::V3 => 4,
            Self::V5 => 5,
        }
    }

    /// As people call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V3 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

closed_list! {
    /// How surely a message arrives.
    Qos: u8 {
        /// At most once: sent, and nothing else.
        AtMostOnce = 0 "at_most_once",
        /// At least once: sent, acknowledged, and sent again on the next connection if not.
        AtLeastOnce = 1 "at_least_once",
        /// Exactly once; the gateway grants [`Self::AtLeastOnce`] in its place.
        ExactlyOnce = 2 "exactly_once",
    }
}

/// One packet as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type and flags.
    pub first: u8,
    /// What stands behind the length.
    pub body: &'a [u8],
    /// Bytes that it takes with its fixed header.
    pub used: usize,
}

impl Packet<'_> {
    /// The packet type.
    pub const fn packet_type(&self) -> u8 {
        self.first >> 4
    }

    const fn flags(&self) -> u8 {
        self.first & 0x0f
    }

    /// The flags of a type that has none to choose.
    const fn expect_flags(&self, flags: u8) -> Result<(), PacketError> {
        match self.flags() == flags {
            true => Ok(()),
            false => Err(PacketError::Flags(self.first)),
        }
    }
}

/// Finds the first packet in what a stream has brought so far. `None` when more bytes are needed.
/// `max` bounds the whole packet, in bytes, as version 5's Maximum Packet Size does.
///
/// # Errors
/// [`PacketError::Length`] where the length has more than four bytes, or more than it needs
/// (MQTT 5, 1.5.5), and [`PacketError::TooLong`] for a packet over `max`: as soon as the length is
/// there, whatever stands behind it.
pub fn split(bytes: &[u8], max: usize) -> Result<Option<Packet<'_>>, PacketError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((length, digits)) = fields::var_int(rest)? else {
        return Ok(None);
    };
    let header = 1 + digits;
    let length = length as usize;
    if max < header + length {
        return Err(PacketError::TooLong {
            length: super::reader::clamped(header + length),
            max: super::reader::clamped(max),
        });
    }
    let used = header + length;
    Ok(bytes
        .get(header..used)
        .map(|body| Packet { first, body, used }))
}

/// The packet must end here.
fn finish(reader: Reader<'_>) -> Result<(), PacketError> {
    match reader.remaining().len() {
        0 => Ok(()),
        bytes => Err(PacketError::Trailing(super::reader::clamped(bytes))),
    }
}

/// A packet identifier, which is never 0 (MQTT 5, 2.2.1).
fn read_packet_id(reader: &mut Reader<'_>) -> Result<u16, PacketError> {
    match reader.u16()? {
        0 => Err(PacketError::PacketId),
        id => Ok(id),
    }
}

/// A reason code and properties at the end of a packet of version 5, which may leave out both where
/// they say nothing (3.4.2, 3.14.2).
fn read_outcome<'a>(
    reader: &mut Reader<'a>,
    packet_type: u8,
    allowed: &[ReasonCode],
) -> Result<(ReasonCode, Properties<'a>), PacketError> {
    if reader.remaining().is_empty() {
        return Ok((ReasonCode::SUCCESS, Properties::default()));
    }
    let reason = ReasonCode(reader.u8()?);
    if !allowed.contains(&reason) {
        return Err(PacketError::Reason(reason.0));
    }
    let properties = match reader.remaining().is_empty() {
        true => Properties::default(),
        false => Properties::decode(reader, packet_type)?,
    };
    Ok((reason, properties))
}

/// Appends them, as short as they can be.
fn put_outcome(out: &mut Vec<u8>, reason: ReasonCode, properties: Properties<'_>) {
    let is_bare = properties == Properties::default();
    if reason != ReasonCode::SUCCESS || !is_bare {
        out.push(reason.0);
    }
    if !is_bare {
        properties::put_all(out, properties);
    }
}

/// Appends a packet: type and flags, its length, and what `body` appends.
fn put_packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    let start = out.len();
    body(out);
    let length = u32::try_from(out.len() - start).expect("a packet is far below 256 MiB");
    let (digits, count) = fields::var_int_digits(length);
    out.splice(start..start, digits[..count].iter().copied());
}

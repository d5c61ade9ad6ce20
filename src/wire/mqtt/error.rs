//! Why bytes are not a packet.

use super::super::reader::Truncated;
use super::ReasonCode;

/// Why bytes are not a packet. Each ends the connection (MQTT 5, 4.13; MQTT 3.1.1, 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A length of more than four bytes, or of more than it needs.
    #[error("a length that is not in its shortest form of at most 4 bytes")]
    Length,
    /// A packet over the limit. Nothing behind its length has been looked at.
    #[error("packet of {length} bytes exceeds {max}")]
    TooLong {
        /// Bytes of the whole packet, as declared.
        length: u32,
        /// The limit.
        max: u32,
    },
    /// A type that is reserved, or not one of this direction and version.
    #[error("unexpected packet type {0}")]
    Type(u8),
    /// Flags that the type does not allow; the whole first byte.
    #[error("flags not allowed in first byte {0:#04x}")]
    Flags(u8),
    /// A field reaches behind the end of the packet.
    #[error("packet ends early: a field needs {needs} bytes, {left} are left")]
    Truncated {
        /// Bytes that the field needs.
        needs: u32,
        /// Bytes that the packet still has.
        left: u32,
    },
    /// Bytes behind the last field; how many.
    #[error("{0} bytes behind the last field")]
    Trailing(u32),
    /// A text that is not UTF-8, or holds U+0000 (MQTT 5, 1.5.4).
    #[error("a text that is not UTF-8 or holds U+0000")]
    Text,
    /// CONNECT of another protocol.
    #[error("the protocol name is not MQTT")]
    ProtocolName,
    /// A version that is not spoken here.
    #[error("protocol level {0} is not 4 or 5")]
    ProtocolLevel(u8),
    /// Flags of CONNECT that contradict each other, or a reserved one.
    #[error("connect flags {0:#010b} contradict each other")]
    ConnectFlags(u8),
    /// A QoS of 3.
    #[error("there is no QoS 3")]
    Qos,
    /// A packet identifier of 0, or none where there has to be one.
    #[error("packet identifier 0")]
    PacketId,
    /// SUBSCRIBE or UNSUBSCRIBE without a topic filter.
    #[error("no topic filter")]
    NoFilter,
    /// Options of a subscription of which a bit or a value is reserved.
    #[error("subscription options {0:#010b} are reserved")]
    SubscriptionOptions(u8),
    /// A topic filter that is none: empty, or with a wildcard that is no whole level.
    #[error("malformed topic filter")]
    Filter,
    /// A topic name that is none: empty, or with a wildcard.
    #[error("malformed topic name")]
    Topic,
    /// A property that is unknown, or not one of this packet.
    #[error("property {0:#04x} does not belong here")]
    Property(u32),
    /// A property that stands twice.
    #[error("property {0:#04x} stands twice")]
    PropertyTwice(u32),
    /// A property with a value that it cannot have.
    #[error("property {0:#04x} cannot have this value")]
    PropertyValue(u32),
    /// A reason code that this packet cannot have.
    #[error("reason code {0:#04x} does not belong here")]
    Reason(u8),
}

impl PacketError {
    /// What a client of version 5 is told.
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::TooLong { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::ProtocolLevel(_) | Self::ProtocolName => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            // MQTT 5 calls these protocol errors, where the bytes are well-formed.
            Self::Type(_)
            | Self::NoFilter
            | Self::PropertyTwice(_)
            | Self::PropertyValue(_)
            | Self::Reason(_) => ReasonCode::PROTOCOL_ERROR,
            _ => ReasonCode::MALFORMED_PACKET,
        }
    }
}

impl From<Truncated> for PacketError {
    fn from(Truncated { needs, left }: Truncated) -> Self {
        Self::Truncated { needs, left }
    }
}

//! Packets to the server.

use super::super::reader::Reader;
use super::{
    CONNECT, Connect, DISCONNECT, Filters, PINGREQ, PUBACK, PUBLISH, Packet, PacketError,
    Properties, Publish, ReasonCode, SUBSCRIBE, UNSUBSCRIBE, Version, connect, finish, publish,
    put_outcome, put_packet, read_outcome, read_packet_id, subscribe,
};

/// A packet from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPacket<'a> {
    /// The first packet, and never again.
    Connect(Connect<'a>),
    /// A message, which this server does not take.
    Publish(Publish<'a>),
    /// A message of QoS 1 has been received.
    PubAck {
        /// Which one.
        packet_id: u16,
        /// What became of it (version 5).
        reason: ReasonCode,
        /// Of version 5.
        properties: Properties<'a>,
    },
    /// Which topics the client wants.
    Subscribe {
        /// For the answer.
        packet_id: u16,
        /// Of version 5.
        properties: Properties<'a>,
        /// At least one.
        filters: Filters<'a>,
    },
    /// Which it does not want any more.
    Unsubscribe {
        /// For the answer.
        packet_id: u16,
        /// Of version 5.
        properties: Properties<'a>,
        /// At least one.
        filters: Filters<'a>,
    },
    /// It is there.
    PingReq,
    /// It leaves.
    Disconnect {
        /// Why (version 5).
        reason: ReasonCode,
        /// Of version 5.
        properties: Properties<'a>,
    },
}

impl<'a> ClientPacket<'a> {
    /// Reads a packet of `version`; a CONNECT says its own.
    ///
    /// ```text
    ///  0           2        3                    0        1
    /// +-----------+--------+------------+       +--------+------------+
    /// | packet id | reason | properties |       | reason | properties |
    /// +-----------+--------+------------+       +--------+------------+
    ///  PUBACK       (5.0)    (5.0)               DISCONNECT (5.0)
    /// ```
    ///
    /// The others have their pictures beside their own decoders; PINGREQ is empty.
    ///
    /// # Errors
    /// Whatever the standards call malformed, also a type that only a server sends, the packets of
    /// QoS 2, and AUTH: nobody has agreed on a way to authenticate with it.
    pub fn decode(packet: &Packet<'a>, version: Version) -> Result<Self, PacketError> {
        let mut reader = Reader::new(packet.body);
        match packet.packet_type() {
            CONNECT => return connect::decode(packet).map(Self::Connect),
            PUBLISH => return publish::decode(packet, version).map(Self::Publish),
            SUBSCRIBE => {
                let (packet_id, properties, filters) = subscribe::decode(packet, version)?;
                return Ok(Self::Subscribe {
                    packet_id,
                    properties,
                    filters,
                });
            }
            UNSUBSCRIBE => {
                let (packet_id, properties, filters) = subscribe::decode(packet, version)?;
                return Ok(Self::Unsubscribe {
                    packet_id,
                    properties,
                    filters,
                });
            }
            PUBACK | PINGREQ | DISCONNECT => packet.expect_flags(0)?,
            other => return Err(PacketError::Type(other)),
        }
        let decoded = match packet.packet_type() {
            PUBACK => {
                let packet_id = read_packet_id(&mut reader)?;
                let (reason, properties) = outcome(&mut reader, packet, version, &PUBACK_REASONS)?;
                Self::PubAck {
                    packet_id,
                    reason,
                    properties,
                }
            }
            PINGREQ => Self::PingReq,
            _ => {
                let (reason, properties) =
                    outcome(&mut reader, packet, version, &DISCONNECT_REASONS)?;
                Self::Disconnect { reason, properties }
            }
        };
        finish(reader)?;
        Ok(decoded)
    }

    /// Appends the packet, but for a CONNECT as one of `version`.
    ///
    /// # Panics
    /// With a text over 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Publish(publish) => publish.encode(version, out),
            Self::PubAck {
                packet_id,
                reason,
                properties,
            } => put_packet(out, PUBACK << 4, |out| {
                out.extend_from_slice(&packet_id.to_be_bytes());
                if version == Version::V5 {
                    put_outcome(out, *reason, *properties);
                }
            }),
            Self::Subscribe {
                packet_id,
                properties,
                filters,
            } => subscribe::encode_subscribe(out, version, *packet_id, *properties, filters.iter()),
            Self::Unsubscribe {
                packet_id,
                properties,
                filters,
            } => {
                let filters = filters.iter().map(|subscription| subscription.filter);
                subscribe::encode_unsubscribe(out, version, *packet_id, *properties, filters);
            }
            Self::PingReq => put_packet(out, PINGREQ << 4, |_| {}),
            Self::Disconnect { reason, properties } => put_packet(out, DISCONNECT << 4, |out| {
                if version == Version::V5 {
                    put_outcome(out, *reason, *properties);
                }
            }),
        }
    }
}

/// Those of MQTT 5, 3.4.2.1.
pub(super) const PUBACK_REASONS: [ReasonCode; 9] = [
    ReasonCode::SUCCESS,
    ReasonCode::NO_MATCHING_SUBSCRIBERS,
    ReasonCode::UNSPECIFIED,
    ReasonCode::IMPLEMENTATION_SPECIFIC,
    ReasonCode::NOT_AUTHORIZED,
    ReasonCode::TOPIC_NAME_INVALID,
    ReasonCode::PACKET_IDENTIFIER_IN_USE,
    ReasonCode::QUOTA_EXCEEDED,
    ReasonCode::PAYLOAD_FORMAT_INVALID,
];

/// Those of MQTT 5, 3.14.2.1, that a client sends.
const DISCONNECT_REASONS: [ReasonCode; 14] = [
    ReasonCode::SUCCESS,
    ReasonCode::DISCONNECT_WITH_WILL,
    ReasonCode::UNSPECIFIED,
    ReasonCode::MALFORMED_PACKET,
    ReasonCode::PROTOCOL_ERROR,
    ReasonCode::IMPLEMENTATION_SPECIFIC,
    ReasonCode::TOPIC_NAME_INVALID,
    ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode::TOPIC_ALIAS_INVALID,
    ReasonCode::PACKET_TOO_LARGE,
    ReasonCode::MESSAGE_RATE_TOO_HIGH,
    ReasonCode::QUOTA_EXCEEDED,
    ReasonCode::ADMINISTRATIVE_ACTION,
    ReasonCode::PAYLOAD_FORMAT_INVALID,
];

fn outcome<'a>(
    reader: &mut Reader<'a>,
    packet: &Packet<'_>,
    version: Version,
    allowed: &[ReasonCode],
) -> Result<(ReasonCode, Properties<'a>), PacketError> {
    match version {
        Version::V3 => Ok((ReasonCode::SUCCESS, Properties::default())),
        Version::V5 => read_outcome(reader, packet.packet_type(), allowed),
    }
}

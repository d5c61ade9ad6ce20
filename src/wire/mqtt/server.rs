//! Packets to the client.

use super::super::reader::Reader;
use super::client::PUBACK_REASONS;
use super::properties::put_all;
use super::{
    CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBLISH, Packet, PacketError, Properties, Publish,
    ReasonCode, SUBACK, UNSUBACK, Version, finish, publish, put_outcome, put_packet, read_outcome,
    read_packet_id,
};

/// Whether a client is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Its session from before goes on.
    pub session_present: bool,
    /// Whether, and why not. Version 3.1.1 has five words for the latter.
    pub reason: ReasonCode,
    /// Of version 5.
    pub properties: Properties<'a>,
}

/// A packet from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPacket<'a> {
    /// The first packet.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// What became of a message of QoS 1.
    PubAck {
        /// Which one.
        packet_id: u16,
        /// Of version 5.
        reason: ReasonCode,
        /// Of version 5.
        properties: Properties<'a>,
    },
    /// Which of the topics of a SUBSCRIBE the client gets.
    SubAck {
        /// Of the SUBSCRIBE.
        packet_id: u16,
        /// Of version 5.
        properties: Properties<'a>,
        /// A reason code for each filter.
        codes: &'a [u8],
    },
    /// What became of an UNSUBSCRIBE.
    UnsubAck {
        /// Of the UNSUBSCRIBE.
        packet_id: u16,
        /// Of version 5.
        properties: Properties<'a>,
        /// A reason code for each filter (version 5).
        codes: &'a [u8],
    },
    /// The answer to a PINGREQ.
    PingResp,
    /// The last packet (version 5).
    Disconnect {
        /// Why.
        reason: ReasonCode,
        /// Of version 5.
        properties: Properties<'a>,
    },
}

impl<'a> ServerPacket<'a> {
    /// Reads a packet of `version`.
    ///
    /// ```text
    ///  0       1        2                       0           2
    /// +-------+--------+------------+          +-----------+------------+--------+
    /// | flags | reason | properties |          | packet id | properties | reason | one for
    /// +-------+--------+------------+          +-----------+------------+--------+ each filter
    ///  CONNACK           (5.0)                  SUBACK, UNSUBACK  (5.0)   (not: UNSUBACK of 3.1.1)
    /// flags: 1 session present
    /// ```
    ///
    /// # Errors
    /// Whatever the standards call malformed, also a type that only a client sends and the packets
    /// of QoS 2.
    pub fn decode(packet: &Packet<'a>, version: Version) -> Result<Self, PacketError> {
        if packet.packet_type() == PUBLISH {
            return publish::decode(packet, version).map(Self::Publish);
        }
        packet.expect_flags(0)?;
        let mut reader = Reader::new(packet.body);
        let decoded = match packet.packet_type() {
            CONNACK => Self::ConnAck(connack(&mut reader, version)?),
            PUBACK => {
                let packet_id = read_packet_id(&mut reader)?;
                let (reason, properties) = match version {
                    Version::V3 => Default::default(),
                    Version::V5 => read_outcome(&mut reader, PUBACK, &PUBACK_REASONS)?,
                };
                Self::PubAck {
                    packet_id,
                    reason,
                    properties,
                }
            }
            of_filters @ (SUBACK | UNSUBACK) => {
                let packet_id = read_packet_id(&mut reader)?;
                let properties = match version {
                    Version::V3 => Properties::default(),
                    Version::V5 => Properties::decode(&mut reader, of_filters)?,
                };
                // Before version 5 it only says that it was done.
                let has_codes = of_filters == SUBACK || version == Version::V5;
                let codes = if has_codes { reader.rest() } else { &[] };
                if has_codes && codes.is_empty() {
                    return Err(PacketError::NoFilter);
                }
                match of_filters {
                    SUBACK => Self::SubAck {
                        packet_id,
                        properties,
                        codes,
                    },
                    _ => Self::UnsubAck {
                        packet_id,
                        properties,
                        codes,
                    },
                }
            }
            PINGRESP => Self::PingResp,
            DISCONNECT if version == Version::V5 => {
                let named = ReasonCode::ALL;
                let (reason, properties) = read_outcome(&mut reader, DISCONNECT, &named)?;
                Self::Disconnect { reason, properties }
            }
            other => return Err(PacketError::Type(other)),
        };
        finish(reader)?;
        Ok(decoded)
    }

    /// Appends the packet as one of `version`.
    ///
    /// # Panics
    /// With a DISCONNECT of 3.1.1: there the server only closes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Publish(publish) => publish.encode(version, out),
            Self::ConnAck(connack) => put_packet(out, CONNACK << 4, |out| {
                let present = connack.session_present && !connack.reason.is_error();
                out.push(u8::from(present));
                match version {
                    Version::V3 => out.push(connack.reason.return_code()),
                    Version::V5 => {
                        out.push(connack.reason.0);
                        put_all(out, connack.properties);
                    }
                }
            }),
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
            Self::SubAck {
                packet_id,
                properties,
                codes,
            } => put_packet(out, SUBACK << 4, |out| {
                out.extend_from_slice(&packet_id.to_be_bytes());
                match version {
                    // It has one word for all that is wrong (3.9.3).
                    Version::V3 => out.extend(codes.iter().map(|code| (*code).min(0x80))),
                    Version::V5 => {
                        put_all(out, *properties);
                        out.extend_from_slice(codes);
                    }
                }
            }),
            Self::UnsubAck {
                packet_id,
                properties,
                codes,
            } => put_packet(out, UNSUBACK << 4, |out| {
                out.extend_from_slice(&packet_id.to_be_bytes());
                if version == Version::V5 {
                    put_all(out, *properties);
                    out.extend_from_slice(codes);
                }
            }),
            Self::PingResp => put_packet(out, PINGRESP << 4, |_| {}),
            Self::Disconnect { reason, properties } => {
                assert_eq!(
                    version,
                    Version::V5,
                    "3.1.1 has no DISCONNECT from a server"
                );
                put_packet(out, DISCONNECT << 4, |out| {
                    put_outcome(out, *reason, *properties);
                });
            }
        }
    }
}

fn connack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, PacketError> {
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(PacketError::ConnectFlags(flags));
    }
    let code = reader.u8()?;
    let (reason, properties) = match version {
        Version::V5 => (ReasonCode(code), Properties::decode(reader, CONNACK)?),
        Version::V3 => {
            let reason = match code {
                0 => ReasonCode::SUCCESS,
                1 => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
                2 => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                3 => ReasonCode::SERVER_UNAVAILABLE,
                4 => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
                5 => ReasonCode::NOT_AUTHORIZED,
                other => return Err(PacketError::Reason(other)),
            };
            (reason, Properties::default())
        }
    };
    if flags == 1 && reason.is_error() {
        return Err(PacketError::ConnectFlags(flags));
    }
    Ok(ConnAck {
        session_present: flags == 1,
        reason,
        properties,
    })
}

//! CONNECT: who the client is (MQTT 5, 3.1; MQTT 3.1.1, 3.1).

use super::super::reader::{Reader, put_long};
use super::fields::{read_text, text};
use super::properties::put_all;
use super::{CONNECT, Packet, PacketError, Properties, Qos, Version, finish, put_packet, topic};

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// A session from before is to be forgotten; 3.1.1 calls it clean session, and means by it
    /// also that this one is not to be remembered.
    pub clean_start: bool,
    /// How often something comes from the client at least, in seconds; 0: it promises nothing.
    pub keep_alive_s: u16,
    /// The client identifier; empty: the server chooses.
    pub client_id: &'a str,
    /// What is to be published when the connection breaks.
    pub will: Option<Will<'a>>,
    /// Who the client says that it is.
    pub user_name: Option<&'a str>,
    /// How it shows that.
    pub password: Option<&'a [u8]>,
    /// Of version 5.
    pub properties: Properties<'a>,
}

/// A message that the server is to publish in the client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// How surely.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Under which topic.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Of version 5.
    pub properties: Properties<'a>,
}

/// ```text
///  0        2             6       7       8            10
/// +--------+-------------+-------+-------+------------+-------------+-----------+-- ...
/// | u16 4  | M Q T T     | level | flags | keep alive | properties  | client id | will, user
/// +--------+-------------+-------+-------+------------+-------------+-----------+-- ...
///                         4 or 5          u16, s       of version 5   u16, text   name, password
/// flags: 2 clean start, 4 will, 8 and 16 its QoS, 32 its retain, 64 password, 128 user name
/// ```
pub(super) fn decode<'a>(packet: &Packet<'a>) -> Result<Connect<'a>, PacketError> {
    packet.expect_flags(0)?;
    let mut reader = Reader::new(packet.body);
    let name = reader.long_bytes()?;
    if name != b"MQTT" {
        return Err(PacketError::ProtocolName);
    }
    let version = match reader.u8()? {
        4 => Version::V3,
        5 => Version::V5,
        other => return Err(PacketError::ProtocolLevel(other)),
    };
    let flags = reader.u8()?;
    let malformed = PacketError::ConnectFlags(flags);
    let has = |flag| flags & flag != 0;
    let will_qos = Qos::from_code(flags >> 3 & 3).ok_or(malformed)?;
    let of_no_will = will_qos == Qos::AtMostOnce && !has(WILL_RETAIN);
    // Version 5 allows a password alone, for a token (3.1.2.9).
    let lacks_user = version == Version::V3 && has(PASSWORD) && !has(USER_NAME);
    if flags & 1 != 0 || (!has(WILL) && !of_no_will) || lacks_user {
        return Err(malformed);
    }
    let keep_alive_s = reader.u16()?;
    let properties = match version {
        Version::V3 => Properties::default(),
        Version::V5 => Properties::decode(&mut reader, CONNECT)?,
    };
    let client_id = read_text(&mut reader)?;
    let will = match has(WILL) {
        true => Some(Will {
            qos: will_qos,
            retain: has(WILL_RETAIN),
            properties: match version {
                Version::V3 => Properties::default(),
                Version::V5 => Properties::decode_will(&mut reader)?,
            },
            topic: topic::name(read_text(&mut reader)?)?,
            payload: reader.long_bytes()?,
        }),
        false => None,
    };
    let user_name = match has(USER_NAME) {
        true => Some(text(reader.long_bytes()?)?),
        false => None,
    };
    let password = match has(PASSWORD) {
        true => Some(reader.long_bytes()?),
        false => None,
    };
    finish(reader)?;
    Ok(Connect {
        version,
        clean_start: has(CLEAN_START),
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

impl Connect<'_> {
    /// Appends the packet.
    ///
    /// # Panics
    /// With a text or a payload over 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_packet(out, CONNECT << 4, |out| {
            put_long(out, b"MQTT");
            out.extend_from_slice(&[self.version.level(), self.flags()]);
            out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
            if self.version == Version::V5 {
                put_all(out, self.properties);
            }
            put_long(out, self.client_id.as_bytes());
            if let Some(will) = &self.will {
                if self.version == Version::V5 {
                    put_all(out, will.properties);
                }
                put_long(out, will.topic.as_bytes());
                put_long(out, will.payload);
            }
            if let Some(user_name) = self.user_name {
                put_long(out, user_name.as_bytes());
            }
            if let Some(password) = self.password {
                put_long(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let will = self.will.map_or(0, |will| {
            WILL | will.qos.code() << 3 | flag(will.retain, WILL_RETAIN)
        });
        flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.user_name.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD)
    }
}

//! PUBLISH: a message (MQTT 5, 3.3; MQTT 3.1.1, 3.3).

use super::super::frame::Scope;
use super::super::reader::{Reader, put_long};
use super::fields::{VAR_INT_MAX, put_var_int, read_text, var_int_digits};
use super::properties::put_all;
use super::{
    PUBLISH, Packet, PacketError, Properties, Property, Qos, Topic, Version, read_packet_id, topic,
};

const RETAIN: u8 = 0x01;
const DUP: u8 = 0x08;

/// The name of the user property under which a kept message bears its number.
pub const NUMBER: &str = "number";

/// That of the one which says after how many milliseconds to come back.
pub const RETRY_AFTER: &str = "retry-after-ms";

/// No head is longer: five bytes of the fixed header, a topic of `group/` and 255 bytes, the packet
/// identifier, and the number as a property.
pub const PUBLISH_HEAD_BYTES_MAX: usize = 5 + 2 + 6 + 255 + 2 + 1 + 1 + 2 + 6 + 2 + 20;

/// A PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// It may have been sent before.
    pub dup: bool,
    /// How surely it arrives.
    pub qos: Qos,
    /// To be retained, or retained.
    pub retain: bool,
    /// Its topic; in version 5 empty where there is an alias for it.
    pub topic: &'a str,
    /// What PUBACK is to name; 0 with QoS 0.
    pub packet_id: u16,
    /// Of version 5.
    pub properties: Properties<'a>,
    /// The message.
    pub payload: &'a [u8],
}

/// ```text
///  0                    1 + n
/// +------+-------------+-------+----------+------------------+------------+---------+
/// |  3   | dup qos ret | u16 n | topic[n] | u16 packet id    | properties | payload |
/// | 4bit |  1   2   1  |       |          | (QoS 1 and 2)    | (5.0)      | (rest)  |
/// +------+-------------+-------+----------+------------------+------------+---------+
/// ```
pub(super) fn decode<'a>(
    packet: &Packet<'a>,
    version: Version,
) -> Result<Publish<'a>, PacketError> {
    let flags = packet.flags();
    let qos = Qos::from_code(flags >> 1 & 3).ok_or(PacketError::Qos)?;
    let dup = flags & DUP != 0;
    // Nothing of QoS 0 is sent again (3.3.1.1).
    if dup && qos == Qos::AtMostOnce {
        return Err(PacketError::Flags(packet.first));
    }
    let mut reader = Reader::new(packet.body);
    let topic = read_text(&mut reader)?;
    let packet_id = match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce | Qos::ExactlyOnce => read_packet_id(&mut reader)?,
    };
    let properties = match version {
        Version::V3 => Properties::default(),
        Version::V5 => Properties::decode(&mut reader, PUBLISH)?,
    };
    if !topic.is_empty() || !properties.has(Property::TOPIC_ALIAS) {
        topic::name(topic)?;
    }
    Ok(Publish {
        dup,
        qos,
        retain: flags & RETAIN != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

impl Publish<'_> {
    /// Appends the packet.
    ///
    /// # Panics
    /// With a topic over 65,535 bytes or a packet over 256 MiB.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.dup, DUP) | self.qos.code() << 1 | flag(self.retain, RETAIN);
        super::put_packet(out, PUBLISH << 4 | flags, |out| {
            put_long(out, self.topic.as_bytes());
            if self.qos != Qos::AtMostOnce {
                out.extend_from_slice(&self.packet_id.to_be_bytes());
            }
            if version == Version::V5 {
                put_all(out, self.properties);
            }
            out.extend_from_slice(self.payload);
        });
    }
}

/// The packet identifier of a kept message: the same on every connection, and that of no other
/// among 65,535 in a row.
///
/// # Panics
/// For number 0: a live message has none.
pub fn packet_id(number: u64) -> u16 {
    let place = number.checked_sub(1).expect("a kept message has a number") % 65_535;
    u16::try_from(place + 1).expect("at most 65,535")
}

/// Appends all of a PUBLISH but its payload, which every session shares. `is_dup` counts only with
/// `qos` 1, and so does the packet identifier, which follows from `number` ([`packet_id`]). In
/// version 5 a kept message (`number` above 0) bears its number as a user property.
///
/// # Panics
/// With a payload of 256 MiB, or with QoS 1 and number 0.
pub fn publish_head(
    out: &mut Vec<u8>,
    (version, qos, is_dup): (Version, Qos, bool),
    (scope, group): (Scope, &str),
    number: u64,
    payload_len: usize,
) {
    debug_assert_ne!(qos, Qos::ExactlyOnce, "at most QoS 1 is granted");
    let topic = Topic::of(scope, group);
    let is_acknowledged = qos == Qos::AtLeastOnce;
    let mut digits = itoa(number);
    let digits = digits.text();
    // Identifier, and two texts behind their lengths.
    let properties = match number {
        0 => 0,
        _ => 1 + 2 + NUMBER.len() + 2 + digits.len(),
    };
    let variable = match version {
        Version::V3 => 0,
        Version::V5 => var_int_digits(clamped(properties)).1 + properties,
    };
    let id = if is_acknowledged { 2 } else { 0 };
    let length = 2 + topic.len() + id + variable + payload_len;
    let dup = if is_dup && is_acknowledged { DUP } else { 0 };
    out.push(PUBLISH << 4 | dup | qos.code() << 1);
    put_var_int(out, clamped(length));
    topic.put(out);
    if is_acknowledged {
        out.extend_from_slice(&packet_id(number).to_be_bytes());
    }
    if version == Version::V5 {
        put_var_int(out, clamped(properties));
        if number != 0 {
            out.push(Property::USER.0);
            put_long(out, NUMBER.as_bytes());
            put_long(out, digits);
        }
    }
}

fn clamped(length: usize) -> u32 {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= VAR_INT_MAX)
        .expect("a payload is far below 256 MiB: its limit is in the configuration")
}

/// The decimal digits of a number, without memory of their own.
struct Digits([u8; 20]);

const fn itoa(number: u64) -> Digits {
    let (mut digits, mut rest, mut at) = ([b'0'; 20], number, 20);
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Digits(digits)
}

impl Digits {
    fn text(&mut self) -> &[u8] {
        let first = self.0.iter().position(|digit| *digit != b'0');
        &self.0[first.unwrap_or(self.0.len() - 1)..]
    }
}

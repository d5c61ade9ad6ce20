//! SUBSCRIBE and UNSUBSCRIBE: which topics a client wants (MQTT 5, 3.8 and 3.10).

use super::super::reader::{Reader, put_long};
use super::fields::read_text;
use super::properties::put_all;
use super::{
    Packet, PacketError, Properties, Qos, SUBSCRIBE, UNSUBSCRIBE, Version, put_packet,
    read_packet_id, topic,
};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

/// One topic that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The topics.
    pub filter: &'a str,
    /// The highest QoS that the client wants.
    pub qos: Qos,
    /// Not what it has published itself (version 5).
    pub no_local: bool,
    /// Retained messages shall say so (version 5).
    pub retain_as_published: bool,
    /// Which retained messages shall be sent at once: 0 to 2 (version 5).
    pub retain_handling: u8,
}

/// A list of topic filters inside a packet, each of which was found good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Filters<'a> {
    bytes: &'a [u8],
    /// Behind each filter stands an octet of options.
    has_options: bool,
}

/// A packet identifier, properties, and filters.
pub(super) type Asked<'a> = (u16, Properties<'a>, Filters<'a>);

/// ```text
///  0           2
/// +-----------+------------+-------+-----------+---------+-- ...
/// | packet id | properties | u16 n | filter[n] | options | once more, at least once
/// +-----------+------------+-------+-----------+---------+-- ...
///  u16          (5.0)                            (SUBSCRIBE)
/// options: 1 and 2 QoS, 4 no local, 8 retain as published, 16 and 32 retain handling (5.0)
/// ```
pub(super) fn decode<'a>(packet: &Packet<'a>, version: Version) -> Result<Asked<'a>, PacketError> {
    packet.expect_flags(2)?;
    let has_options = packet.packet_type() == SUBSCRIBE;
    let mut reader = Reader::new(packet.body);
    let id = read_packet_id(&mut reader)?;
    let properties = match version {
        Version::V3 => Properties::default(),
        Version::V5 => Properties::decode(&mut reader, packet.packet_type())?,
    };
    let bytes = reader.remaining();
    if bytes.is_empty() {
        return Err(PacketError::NoFilter);
    }
    while !reader.remaining().is_empty() {
        let filter = topic::filter(read_text(&mut reader)?)?;
        if has_options {
            check_options(reader.u8()?, version, filter)?;
        }
    }
    Ok((id, properties, Filters { bytes, has_options }))
}

fn check_options(options: u8, version: Version, filter: &str) -> Result<(), PacketError> {
    let reserved = match version {
        Version::V3 => !0x03,
        Version::V5 => 0xc0,
    };
    let is_bad = options & 0x03 == 3
        || options & 0x30 == 0x30
        || options & reserved != 0
        // A shared subscription is nobody's own (3.8.3.1).
        || (options & NO_LOCAL != 0 && filter.starts_with("$share/"));
    match is_bad {
        true => Err(PacketError::SubscriptionOptions(options)),
        false => Ok(()),
    }
}

impl<'a> Filters<'a> {
    /// The filters in their order; those of an UNSUBSCRIBE with the options 0.
    pub fn iter(self) -> impl Iterator<Item = Subscription<'a>> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let filter = read_text(&mut reader).ok()?;
            let options = match self.has_options {
                true => reader.u8().ok()?,
                false => 0,
            };
            Some(Subscription {
                filter,
                qos: Qos::from_code(options & 3)?,
                no_local: options & NO_LOCAL != 0,
                retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
                retain_handling: options >> 4 & 3,
            })
        })
    }
}

impl std::fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Subscription<'a> {
    /// A plain one.
    pub const fn new(filter: &'a str, qos: Qos) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        }
    }

    fn options(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        self.qos.code()
            | flag(self.no_local, NO_LOCAL)
            | flag(self.retain_as_published, RETAIN_AS_PUBLISHED)
            | self.retain_handling << 4
    }
}

/// Appends a SUBSCRIBE.
///
/// # Panics
/// With a filter over 65,535 bytes.
pub fn encode_subscribe<'a>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    properties: Properties<'_>,
    subscriptions: impl IntoIterator<Item = Subscription<'a>>,
) {
    put_packet(out, SUBSCRIBE << 4 | 2, |out| {
        out.extend_from_slice(&packet_id.to_be_bytes());
        if version == Version::V5 {
            put_all(out, properties);
        }
        for subscription in subscriptions {
            put_long(out, subscription.filter.as_bytes());
            out.push(subscription.options());
        }
    });
}

/// Appends an UNSUBSCRIBE.
///
/// # Panics
/// With a filter over 65,535 bytes.
pub fn encode_unsubscribe<'a>(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    properties: Properties<'_>,
    filters: impl IntoIterator<Item = &'a str>,
) {
    put_packet(out, UNSUBSCRIBE << 4 | 2, |out| {
        out.extend_from_slice(&packet_id.to_be_bytes());
        if version == Version::V5 {
            put_all(out, properties);
        }
        for filter in filters {
            put_long(out, filter.as_bytes());
        }
    });
}

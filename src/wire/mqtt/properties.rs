//! Properties of MQTT 5 (2.2.2).

use super::super::reader::{Reader, put_long};
use super::fields::{put_var_int, read_text, read_var_int};
use super::{
    AUTH, CONNACK, CONNECT, DISCONNECT, PUBACK, PUBLISH, PacketError, SUBACK, SUBSCRIBE, UNSUBACK,
    UNSUBSCRIBE,
};

/// A property's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property(pub u8);

/// What a property's value looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// 0 or 1.
    Flag,
    Two,
    Four,
    VarInt,
    Text,
    Binary,
    Pair,
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any integer.
    Number(u32),
    /// A text.
    Text(&'a str),
    /// Bytes of no meaning here.
    Binary(&'a [u8]),
    /// Name and value of a user property.
    Pair(&'a str, &'a str),
}

/// Where a property may stand: a bit for each packet type, and one for a will.
const fn at(packet_types: &[u8]) -> u32 {
    let (mut bits, mut next) = (0, 0);
    while next < packet_types.len() {
        bits |= 1 << packet_types[next];
        next += 1;
    }
    bits
}

/// The will of a CONNECT, which has properties of its own; no packet type has this number.
const WILL: u8 = 16;

/// Every property: identifier, where it may stand, and what its value looks like (MQTT 5, table
/// 2-4). PUBREC to PUBCOMP are left out.
macro_rules! properties {
    ($($(#[$about:meta])* $name:ident = $id:literal $shape:ident [$($place:expr),+],)+) => {
        impl Property {
            $($(#[$about])* pub const $name: Self = Self($id);)+

            const fn rule(self) -> Option<(Shape, u32)> {
                match self.0 {
                    $($id => Some((Shape::$shape, at(&[$($place),+]))),)+
                    _ => None,
                }
            }
        }
    };
}

properties! {
    /// Whether a payload is text.
    PAYLOAD_FORMAT = 0x01 Flag [PUBLISH, WILL],
    /// For how many seconds a message is good.
    MESSAGE_EXPIRY = 0x02 Four [PUBLISH, WILL],
    /// What a payload is.
    CONTENT_TYPE = 0x03 Text [PUBLISH, WILL],
    /// Where an answer is to go.
    RESPONSE_TOPIC = 0x08 Text [PUBLISH, WILL],
    /// What an answer is to.
    CORRELATION_DATA = 0x09 Binary [PUBLISH, WILL],
    /// The number of a subscription, at least 1.
    SUBSCRIPTION_ID = 0x0b VarInt [PUBLISH, SUBSCRIBE],
    /// For how many seconds a session outlives its connection.
    SESSION_EXPIRY = 0x11 Four [CONNECT, CONNACK, DISCONNECT],
    /// The client identifier that the server has chosen.
    ASSIGNED_CLIENT_ID = 0x12 Text [CONNACK],
    /// The keep alive that the server has chosen, in seconds.
    SERVER_KEEP_ALIVE = 0x13 Two [CONNACK],
    /// How a client authenticates.
    AUTHENTICATION_METHOD = 0x15 Text [CONNECT, CONNACK, AUTH],
    /// With what.
    AUTHENTICATION_DATA = 0x16 Binary [CONNECT, CONNACK, AUTH],
    /// Whether the client wants words on what went wrong.
    REQUEST_PROBLEM_INFORMATION = 0x17 Flag [CONNECT],
    /// How many seconds the will waits.
    WILL_DELAY = 0x18 Four [WILL],
    /// Whether the client wants response information.
    REQUEST_RESPONSE_INFORMATION = 0x19 Flag [CONNECT],
    /// Response information.
    RESPONSE_INFORMATION = 0x1a Text [CONNACK],
    /// Another server.
    SERVER_REFERENCE = 0x1c Text [CONNACK, DISCONNECT],
    /// Words for people.
    REASON_STRING = 0x1f Text [CONNACK, PUBACK, SUBACK, UNSUBACK, DISCONNECT, AUTH],
    /// How many messages may be unacknowledged, at least 1.
    RECEIVE_MAXIMUM = 0x21 Two [CONNECT, CONNACK],
    /// The highest topic alias.
    TOPIC_ALIAS_MAXIMUM = 0x22 Two [CONNECT, CONNACK],
    /// A number in place of a topic, at least 1.
    TOPIC_ALIAS = 0x23 Two [PUBLISH],
    /// The highest QoS of a message to the server: 0 or 1.
    MAXIMUM_QOS = 0x24 Flag [CONNACK],
    /// Whether the server retains messages.
    RETAIN_AVAILABLE = 0x25 Flag [CONNACK],
    /// A name and a value, as often as one likes.
    USER = 0x26 Pair [
        CONNECT, CONNACK, PUBLISH, WILL, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK,
        DISCONNECT, AUTH
    ],
    /// The longest packet that is taken, at least 1 byte.
    MAXIMUM_PACKET_SIZE = 0x27 Four [CONNECT, CONNACK],
    /// Whether the server takes wildcards.
    WILDCARDS_AVAILABLE = 0x28 Flag [CONNACK],
    /// Whether the server takes identifiers of subscriptions.
    SUBSCRIPTION_IDS_AVAILABLE = 0x29 Flag [CONNACK],
    /// Whether the server takes shared subscriptions.
    SHARED_AVAILABLE = 0x2a Flag [CONNACK],
}

/// Properties as they stand in a packet, each of which was found good.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Reads the properties of a packet: their length, and each of them.
    pub(super) fn decode(reader: &mut Reader<'a>, packet_type: u8) -> Result<Self, PacketError> {
        Self::decode_at(reader, 1 << packet_type)
    }

    /// The same of a will.
    pub(super) fn decode_will(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Self::decode_at(reader, 1 << WILL)
    }

    fn decode_at(reader: &mut Reader<'a>, place: u32) -> Result<Self, PacketError> {
        let length = read_var_int(reader)? as usize;
        let bytes = reader.take(length)?;
        let mut inside = Reader::new(bytes);
        // The identifiers are below 64.
        let mut seen = 0_u64;
        while !inside.remaining().is_empty() {
            let id = read_var_int(&mut inside)?;
            let known = u8::try_from(id).ok().and_then(|id| Property(id).rule());
            let (shape, _) = known
                .filter(|(_, places)| places & place != 0)
                .ok_or(PacketError::Property(id))?;
            // What a publisher may say more than once is what its user means, and, towards a
            // client, the subscriptions that a message matched (3.3.2.3.8).
            let may_repeat = shape == Shape::Pair
                || (id == u32::from(Property::SUBSCRIPTION_ID.0) && place == 1 << PUBLISH);
            if seen & (1 << id) != 0 && !may_repeat {
                return Err(PacketError::PropertyTwice(id));
            }
            seen |= 1 << id;
            let value = read_value(&mut inside, shape)?;
            let least = match Property(id as u8) {
                Property::SUBSCRIPTION_ID
                | Property::RECEIVE_MAXIMUM
                | Property::MAXIMUM_PACKET_SIZE
                | Property::TOPIC_ALIAS => 1,
                _ => 0,
            };
            let most = if shape == Shape::Flag { 1 } else { u32::MAX };
            match value {
                Value::Number(number) if !(least..=most).contains(&number) => {
                    return Err(PacketError::PropertyValue(id));
                }
                _ => {}
            }
        }
        Ok(Self(bytes))
    }

    /// All of them, in their order.
    pub fn iter(self) -> impl Iterator<Item = (Property, Value<'a>)> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let id = u8::try_from(read_var_int(&mut reader).ok()?).ok()?;
            let (shape, _) = Property(id).rule()?;
            Some((Property(id), read_value(&mut reader, shape).ok()?))
        })
    }

    /// The number under `property`, if it is there.
    pub fn number(self, property: Property) -> Option<u32> {
        self.iter().find_map(|found| match found {
            (id, Value::Number(number)) if id == property => Some(number),
            _ => None,
        })
    }

    /// The text under `property`, if it is there.
    pub fn text(self, property: Property) -> Option<&'a str> {
        self.iter().find_map(|found| match found {
            (id, Value::Text(text)) if id == property => Some(text),
            _ => None,
        })
    }

    /// Whether `property` is there.
    pub fn has(self, property: Property) -> bool {
        self.iter().any(|(id, _)| id == property)
    }

    /// The value of the first user property of this name.
    pub fn user(self, name: &str) -> Option<&'a str> {
        self.iter().find_map(|found| match found {
            (_, Value::Pair(found, value)) if found == name => Some(value),
            _ => None,
        })
    }

    /// As they stand in the packet, without their length.
    const fn encoded(self) -> &'a [u8] {
        self.0
    }
}

/// Properties that are being made.
#[derive(Clone, Debug, Default)]
pub struct PropertyList(Vec<u8>);

impl PropertyList {
    /// Adds one.
    ///
    /// # Panics
    /// With a text or bytes over 65,535 bytes, or a value that is not of the property's shape.
    #[must_use]
    pub fn with(mut self, property: Property, value: Value<'_>) -> Self {
        put(&mut self.0, property, value);
        self
    }

    /// As a packet takes them. Whether they belong there is whoever adds them's to know.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }
}

impl std::fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn read_value<'a>(reader: &mut Reader<'a>, shape: Shape) -> Result<Value<'a>, PacketError> {
    Ok(match shape {
        Shape::Flag => Value::Number(reader.u8()?.into()),
        Shape::Two => Value::Number(reader.u16()?.into()),
        Shape::Four => Value::Number(reader.u32()?),
        Shape::VarInt => Value::Number(read_var_int(reader)?),
        Shape::Text => Value::Text(read_text(reader)?),
        Shape::Binary => Value::Binary(reader.long_bytes()?),
        Shape::Pair => Value::Pair(read_text(reader)?, read_text(reader)?),
    })
}

/// Appends one property, without the length of all.
fn put(out: &mut Vec<u8>, property: Property, value: Value<'_>) {
    let (shape, _) = property.rule().expect("a property of the list");
    out.push(property.0);
    match (shape, value) {
        (Shape::Flag, Value::Number(number)) => out.push(number as u8),
        (Shape::Two, Value::Number(number)) => {
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        (Shape::Four, Value::Number(number)) => out.extend_from_slice(&number.to_be_bytes()),
        (Shape::VarInt, Value::Number(number)) => put_var_int(out, number),
        (Shape::Text, Value::Text(text)) => put_long(out, text.as_bytes()),
        (Shape::Binary, Value::Binary(bytes)) => put_long(out, bytes),
        (Shape::Pair, Value::Pair(name, value)) => {
            put_long(out, name.as_bytes());
            put_long(out, value.as_bytes());
        }
        (_, value) => panic!("{property:?} is not {value:?}"),
    }
}

/// Appends properties behind their length.
pub(super) fn put_all(out: &mut Vec<u8>, properties: Properties<'_>) {
    let bytes = properties.encoded();
    let length = u32::try_from(bytes.len()).expect("properties are far below 256 MiB");
    put_var_int(out, length);
    out.extend_from_slice(bytes);
}

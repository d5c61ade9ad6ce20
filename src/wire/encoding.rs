//! What is spoken at a door, and how a message stands there: one payload for all, and before it a
//! head for each way of writing it.
//!
//! A head depends on the message, on the target under which it is sent and on the encoding, never
//! on the client: so it is written once, and every client that is sent the message shares it.

use super::frame::{LENGTH_BYTES, Scope, push_header};
use super::mqtt::{self, Qos, Version};
use super::websocket::{self, Opcode};

closed_list! {
    /// What is spoken at a listener (`listeners.protocol`).
    Protocol: u8 {
        /// Frames behind their lengths (protocol, section 2).
        Native = 0 "native",
        /// The same frames as binary messages of WebSocket (RFC 6455).
        WebSocket = 1 "websocket",
        /// MQTT 3.1.1 and 5.
        Mqtt = 2 "mqtt",
    }
}

/// How a message is written for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A PUSH behind its length.
    #[default]
    Native,
    /// A PUSH as one binary message, of one frame without a mask.
    WebSocket,
    /// A PUBLISH.
    Mqtt(Publishing),
}

/// How a PUBLISH is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publishing {
    /// For which version.
    pub version: Version,
    /// With QoS 1, else 0.
    pub is_acknowledged: bool,
    /// It may have been sent before: DUP. Never with QoS 0.
    pub is_repeat: bool,
}

/// What the head of a message is written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its number in the epoch; 0 for a live one.
    pub number: u64,
    /// Under which of its targets it is sent.
    pub scope: Scope,
    /// The group when the scope is one, else empty.
    pub group: &'a str,
    /// Bytes of the payload behind the head.
    pub payload_len: usize,
}

impl Encoding {
    /// Whether the client answers that it has received it.
    pub const fn is_acknowledged(self) -> bool {
        match self {
            Self::Native | Self::WebSocket => false,
            Self::Mqtt(publishing) => publishing.is_acknowledged,
        }
    }

    /// Appends all of a message but its payload.
    ///
    /// # Panics
    /// With a group over 255 bytes, or a payload of 4 GiB.
    pub fn put_head(self, out: &mut Vec<u8>, head: &Head<'_>) {
        let &Head {
            number,
            scope,
            group,
            payload_len,
        } = head;
        match self {
            Self::Native => push_header(out, number, scope, group, payload_len),
            Self::WebSocket => {
                let mut native = Vec::new();
                push_header(&mut native, number, scope, group, payload_len);
                let fields = &native[LENGTH_BYTES..];
                websocket::put_header(out, Opcode::Binary, fields.len() + payload_len);
                out.extend_from_slice(fields);
            }
            Self::Mqtt(Publishing {
                version,
                is_acknowledged,
                is_repeat,
            }) => {
                let qos = match is_acknowledged {
                    true => Qos::AtLeastOnce,
                    false => Qos::AtMostOnce,
                };
                let kind = (version, qos, is_repeat);
                mqtt::publish_head(out, kind, (scope, group), number, payload_len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{GatewayFrame, split};
    use super::*;

    const HEAD: Head<'_> = Head {
        number: 7,
        scope: Scope::Group,
        group: "room/1",
        payload_len: 3,
    };

    fn written(encoding: Encoding, head: &Head<'_>) -> Vec<u8> {
        let mut out = b"before".to_vec();
        encoding.put_head(&mut out, head);
        out.split_off(6)
    }

    #[test]
    fn a_native_head_and_its_payload_are_a_push() {
        let mut bytes = written(Encoding::Native, &HEAD);
        bytes.extend_from_slice(b"abc");
        let (body, used) = split(&bytes, 100).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        let push = GatewayFrame::Push {
            number: 7,
            scope: Scope::Group,
            group: "room/1",
            payload: b"abc",
        };
        assert_eq!(GatewayFrame::decode(body), Ok(push));
    }

    #[test]
    fn a_websocket_head_is_that_of_a_message_with_the_same_fields() {
        let native = written(Encoding::Native, &HEAD);
        let fields = &native[LENGTH_BYTES..];
        let expected = [&[0x82, 20][..], fields].concat();
        assert_eq!(written(Encoding::WebSocket, &HEAD), expected);
    }

    #[test]
    fn an_mqtt_head_and_its_payload_are_a_publish() {
        let encoding = Encoding::Mqtt(Publishing {
            version: Version::V5,
            is_acknowledged: true,
            is_repeat: true,
        });
        let mut bytes = written(encoding, &HEAD);
        bytes.extend_from_slice(b"abc");
        let packet = mqtt::split(&bytes, 100).unwrap().unwrap();
        assert_eq!(packet.used, bytes.len());
        let Ok(mqtt::ServerPacket::Publish(publish)) =
            mqtt::ServerPacket::decode(&packet, Version::V5)
        else {
            panic!("a PUBLISH");
        };
        assert!(publish.dup && publish.qos == Qos::AtLeastOnce && encoding.is_acknowledged());
        assert_eq!(
            (publish.topic, publish.payload),
            ("group/room/1", &b"abc"[..])
        );
        assert_eq!(
            (publish.packet_id, publish.properties.user(mqtt::NUMBER)),
            (7, Some("7"))
        );
    }

    /// What a message holds beside its payload is counted by its native heads.
    #[test]
    fn no_head_is_much_longer_than_the_native_one() {
        for payload_len in [0, 100, 1 << 16, 1 << 24] {
            let head = Head {
                payload_len,
                ..HEAD
            };
            let native = written(Encoding::Native, &head).len();
            let websocket = written(Encoding::WebSocket, &head).len();
            assert!(websocket <= native + 6, "{websocket} beside {native}");
        }
    }
}

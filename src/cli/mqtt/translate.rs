//! What a frame of ours is in packets of MQTT 5, and the other way round, for a client.

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;

use super::Credential;
use crate::wire::frame::{
    ClientFrame, FrameError, GatewayFrame, HELLO, Hello, JOIN, PROTOCOL_VERSION, Welcome,
};
use crate::wire::mqtt::{
    ClientPacket, Connect, NUMBER, PacketError, Properties, Property, PropertyList, Publish, Qos,
    RETRY_AFTER, ReasonCode, ServerPacket, Subscription, Topic, Value, Version, encode_subscribe,
    encode_unsubscribe, split,
};
use crate::wire::reason::{CloseCode, RETRY_NEVER};

/// How long the gateway remembers the session of one that has lost its connection, in seconds.
const EXPIRY_S: u32 = 300;
/// The epoch of all numbers: MQTT has none, since a session that goes on has said so.
const EPOCH: u64 = 1;
/// The keep alive where the server has not chosen one, in seconds.
const KEEP_ALIVE_S: u16 = 30;

/// What came that is neither.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untranslatable {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The state of one connection.
pub(super) struct Translator {
    credential: Credential,
    /// To be sent,
    pub(super) packets: BytesMut,
    /// and to be read.
    pub(super) frames: BytesMut,
    keep_alive_s: u16,
    /// The cursor that HELLO had.
    cursor: u64,
    /// Numbers and packet identifiers that are not acknowledged, in their order.
    in_flight: VecDeque<(u64, u16)>,
    /// What was asked for under a packet identifier, group by group; the first one's first two are
    /// no groups.
    asked: HashMap<u16, Vec<String>>,
    last_id: u16,
}

impl Translator {
    pub(super) fn new(credential: Credential) -> Self {
        Self {
            credential,
            packets: BytesMut::new(),
            frames: BytesMut::new(),
            keep_alive_s: KEEP_ALIVE_S,
            cursor: 0,
            in_flight: VecDeque::new(),
            asked: HashMap::new(),
            last_id: 0,
        }
    }

    /// Translates what the client says: type and fields of a frame.
    pub(super) fn frame(&mut self, body: &[u8]) -> Result<(), Untranslatable> {
        let (reason, properties) = Default::default();
        match ClientFrame::decode(body)? {
            ClientFrame::Hello(hello) => self.connect(&hello),
            ClientFrame::Ping(_) => self.send(&ClientPacket::PingReq),
            ClientFrame::Ack { number } => {
                while let Some((_, packet_id)) = self.in_flight.pop_front_if(|of| of.0 <= number) {
                    self.send(&ClientPacket::PubAck {
                        packet_id,
                        reason,
                        properties,
                    });
                }
            }
            ClientFrame::Join { group } => {
                let filter = format!("group/{group}");
                self.subscribe(&[&filter], vec![group.to_owned()]);
            }
            ClientFrame::Leave { group } => {
                let id = self.next_id(vec![group.to_owned()]);
                let filter = format!("group/{group}");
                let mut bytes = Vec::new();
                encode_unsubscribe(&mut bytes, Version::V5, id, properties, [&*filter]);
                self.packets.extend_from_slice(&bytes);
            }
            ClientFrame::Bye => self.send(&ClientPacket::Disconnect { reason, properties }),
            // It has no word for a new token, and answers no question: it is asked by nobody.
            ClientFrame::Pong(_) | ClientFrame::Token { .. } => {}
        }
        Ok(())
    }

    fn connect(&mut self, hello: &Hello<'_>) {
        self.cursor = hello.cursor;
        // A session can be found again only under a name.
        let expiry_s = if hello.device.is_empty() { 0 } else { EXPIRY_S };
        let list = PropertyList::default().with(Property::SESSION_EXPIRY, Value::Number(expiry_s));
        let user = std::str::from_utf8(hello.token).ok();
        let (user_name, password) = match self.credential {
            Credential::User => (user, None),
            Credential::Password => (None, Some(hello.token)),
        };
        self.keep_alive_s = match hello.heartbeat_s {
            0 => KEEP_ALIVE_S,
            asked => asked,
        };
        self.send(&ClientPacket::Connect(Connect {
            version: Version::V5,
            clean_start: !hello.resume,
            keep_alive_s: hello.heartbeat_s,
            client_id: hello.device,
            will: None,
            user_name,
            password,
            properties: list.as_properties(),
        }));
        let groups: Vec<String> = hello.groups.iter().map(str::to_owned).collect();
        let filters = groups.iter().map(|group| format!("group/{group}"));
        let filters: Vec<String> = ["user", "all"]
            .map(str::to_owned)
            .into_iter()
            .chain(filters)
            .collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let asked = [String::new(), String::new()].into_iter().chain(groups);
        self.subscribe(&filters, asked.collect());
    }

    fn subscribe(&mut self, filters: &[&str], asked: Vec<String>) {
        let id = self.next_id(asked);
        let filters = filters
            .iter()
            .map(|filter| Subscription::new(filter, Qos::AtLeastOnce));
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, Version::V5, id, Properties::default(), filters);
        self.packets.extend_from_slice(&bytes);
    }

    fn next_id(&mut self, asked: Vec<String>) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.asked.insert(self.last_id, asked);
        self.last_id
    }

    fn send(&mut self, packet: &ClientPacket<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        self.packets.extend_from_slice(&bytes);
    }

    /// Translates what the gateway says: one whole packet.
    pub(super) fn packet(&mut self, bytes: &[u8]) -> Result<(), Untranslatable> {
        let Some(packet) = split(bytes, bytes.len())? else {
            return Ok(());
        };
        match ServerPacket::decode(&packet, Version::V5)? {
            ServerPacket::ConnAck(connack) if connack.reason.is_error() => {
                self.close(connack.reason, connack.properties, CloseCode::TooMany);
            }
            ServerPacket::ConnAck(connack) => {
                let chosen = connack.properties.number(Property::SERVER_KEEP_ALIVE);
                let chosen = chosen.and_then(|seconds| u16::try_from(seconds).ok());
                if !connack.session_present {
                    self.cursor = 0;
                }
                self.tell(&GatewayFrame::Welcome(Welcome {
                    version: PROTOCOL_VERSION,
                    resumed: connack.session_present,
                    heartbeat_s: chosen.unwrap_or(self.keep_alive_s),
                    max_frame: u32::try_from(super::PACKET_BYTES_MAX).unwrap_or(u32::MAX),
                    session: 0,
                    epoch: EPOCH,
                    cursor: self.cursor,
                }));
            }
            ServerPacket::Publish(publish) => self.push(&publish),
            ServerPacket::SubAck {
                packet_id, codes, ..
            } => self.subscribed(packet_id, codes),
            ServerPacket::UnsubAck { packet_id, .. } => {
                for group in self.asked.remove(&packet_id).unwrap_or_default() {
                    self.tell(&GatewayFrame::Left { group: &group });
                }
            }
            ServerPacket::PingResp => self.tell(&GatewayFrame::Pong(&[])),
            ServerPacket::Disconnect { reason, properties } => {
                self.close(reason, properties, CloseCode::Slow);
            }
            // Nothing is published here that could be acknowledged.
            ServerPacket::PubAck { .. } => {}
        }
        Ok(())
    }

    fn push(&mut self, publish: &Publish<'_>) {
        let number = publish.properties.user(NUMBER);
        let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
        let (reason, properties) = Default::default();
        let packet_id = publish.packet_id;
        match (publish.qos, number) {
            (Qos::AtMostOnce, _) => {}
            // Nobody will acknowledge what has no number.
            (_, 0) => self.send(&ClientPacket::PubAck {
                packet_id,
                reason,
                properties,
            }),
            _ => self.in_flight.push_back((number, packet_id)),
        }
        let Some((scope, group)) = Topic::parse(publish.topic) else {
            return;
        };
        self.tell(&GatewayFrame::Push {
            number,
            scope,
            group,
            payload: publish.payload,
        });
    }

    fn subscribed(&mut self, packet_id: u16, codes: &[u8]) {
        let asked = self.asked.remove(&packet_id).unwrap_or_default();
        let is_first = asked.first().is_some_and(String::is_empty);
        let frame_type = if is_first { HELLO } else { JOIN };
        for (group, code) in asked
            .iter()
            .zip(codes)
            .filter(|(group, _)| !group.is_empty())
        {
            let frame = match ReasonCode(*code) {
                code if code.is_error() => GatewayFrame::Refused {
                    frame_type,
                    code: close_code(code, CloseCode::TooMany),
                    group,
                },
                _ => GatewayFrame::Joined { group },
            };
            self.tell(&frame);
        }
        if is_first {
            let cursor = self.cursor;
            self.tell(&GatewayFrame::Current { cursor });
        }
    }

    fn close(&mut self, reason: ReasonCode, properties: Properties<'_>, over: CloseCode) {
        let retry = properties.user(RETRY_AFTER);
        let retry = retry.and_then(|retry| retry.parse().ok());
        let words = properties.text(Property::REASON_STRING).unwrap_or_default();
        self.tell(&GatewayFrame::Close {
            code: close_code(reason, over),
            retry_after_ms: retry.unwrap_or(RETRY_NEVER),
            reason: crate::wire::name::reason(words.as_bytes()).unwrap_or_default(),
        });
    }

    fn tell(&mut self, frame: &GatewayFrame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.frames.extend_from_slice(&bytes);
    }
}

/// The close code that a reason stands for; `over` where it is one over a bound.
fn close_code(reason: ReasonCode, over: CloseCode) -> CloseCode {
    match reason {
        ReasonCode::QUOTA_EXCEEDED => over,
        ReasonCode::SERVER_SHUTTING_DOWN | ReasonCode::SERVER_UNAVAILABLE => CloseCode::Draining,
        ReasonCode::SESSION_TAKEN_OVER => CloseCode::Replaced,
        ReasonCode::ADMINISTRATIVE_ACTION | ReasonCode::BANNED => CloseCode::Kicked,
        ReasonCode::KEEP_ALIVE_TIMEOUT => CloseCode::Heartbeat,
        ReasonCode::MAXIMUM_CONNECT_TIME => CloseCode::Expired,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD => CloseCode::Auth,
        ReasonCode::UNSPECIFIED => CloseCode::HandshakeTimeout,
        _ => CloseCode::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_comes_back_from_its_reason() {
        for code in CloseCode::ALL {
            let ended = close_code(ReasonCode::of(code), CloseCode::Slow);
            let over = matches!(code, CloseCode::TooMany);
            assert!(ended == code || over, "{code} is {ended}");
        }
        let refused = close_code(
            ReasonCode::of_refusal(CloseCode::TooMany),
            CloseCode::TooMany,
        );
        assert_eq!(refused, CloseCode::TooMany);
    }

    #[test]
    fn an_ack_acknowledges_all_up_to_its_number() {
        let mut translator = Translator::new(Credential::User);
        for number in [3, 5, 9] {
            translator.in_flight.push_back((number, number as u16));
        }
        let mut ack = Vec::new();
        ClientFrame::Ack { number: 5 }.encode(&mut ack);
        translator.frame(&ack[4..]).unwrap();
        assert_eq!(&translator.packets[..], [0x40, 2, 0, 3, 0x40, 2, 0, 5]);
        assert_eq!(translator.in_flight, [(9, 9)]);
    }
}

//! A client of MQTT as bare as the protocol allows, of either version.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use pushgate::wire::mqtt::{
    ClientPacket, Connect, PACKET_BYTES_MAX, Packet, Properties, Property, PropertyList, Publish,
    Qos, ReasonCode, ServerPacket, Subscription, Value, Version, Will, encode_subscribe,
    encode_unsubscribe, split,
};
use tokio::net::TcpSocket;
use tokio_rustls::rustls::ClientConfig;

use super::stream::{Stream, from, narrow};
use super::within;

/// Who a client is when it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) properties: PropertyList,
    /// QoS and retain of a will.
    pub(crate) will: Option<(Qos, bool)>,
}

impl Entrance {
    /// A client of this user and device that remembers nothing.
    pub(crate) fn of(version: Version, user: &str, device: &str) -> Self {
        Self {
            version,
            client_id: device.to_owned(),
            user: Some(user.to_owned()),
            password: None,
            clean: true,
            keep_alive_s: 60,
            properties: PropertyList::default(),
            will: None,
        }
    }

    /// One that goes on with what it had, and is remembered.
    pub(crate) fn lasting(version: Version, user: &str, device: &str) -> Self {
        let entrance = Self::of(version, user, device).kept();
        match version {
            Version::V3 => entrance,
            Version::V5 => entrance.with(Property::SESSION_EXPIRY, 3_600),
        }
    }

    /// Without a clean start.
    pub(crate) fn kept(mut self) -> Self {
        self.clean = false;
        self
    }

    /// With a property of version 5.
    pub(crate) fn with(mut self, property: Property, number: u32) -> Self {
        self.properties = self.properties.with(property, Value::Number(number));
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let connect = Connect {
            version: self.version,
            clean_start: self.clean,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            will: self.will.map(|(qos, retain)| Will {
                qos,
                retain,
                topic: "gone",
                payload: b"gone",
                properties: Properties::default(),
            }),
            user_name: self.user.as_deref(),
            password: self.password.as_deref(),
            properties: self.properties.as_properties(),
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        bytes
    }

    /// Connects, and is let in.
    pub(crate) async fn enter(&self, gateway: SocketAddr) -> MqttClient {
        let (client, granted) = self.try_enter(gateway).await;
        assert_eq!(granted.reason, ReasonCode::SUCCESS, "{self:?}: {granted:?}");
        client
    }

    /// The same for one who may be turned away.
    pub(crate) async fn try_enter(&self, gateway: SocketAddr) -> (MqttClient, Granted) {
        let client = MqttClient::connect(gateway, self.version).await;
        self.try_enter_over(client).await
    }

    /// The same on a connection that stands.
    pub(crate) async fn try_enter_over(&self, mut client: MqttClient) -> (MqttClient, Granted) {
        client.send_bytes(&self.encode()).await;
        let granted = client.granted().await;
        client.session_present = granted.session_present;
        (client, granted)
    }
}

/// What a CONNACK said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) session_present: bool,
    pub(crate) reason: ReasonCode,
    /// Numbers and texts of version 5, by identifier.
    pub(crate) numbers: Vec<(Property, u32)>,
    pub(crate) texts: Vec<(Property, String)>,
}

impl Granted {
    pub(crate) fn number(&self, property: Property) -> Option<u32> {
        let mut numbers = self.numbers.iter();
        numbers.find_map(|(id, number)| (*id == property).then_some(*number))
    }

    pub(crate) fn text(&self, property: Property) -> Option<&str> {
        let mut texts = self.texts.iter();
        texts.find_map(|(id, text)| (*id == property).then_some(&**text))
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// 0 with QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    /// Of a kept message, in version 5.
    pub(crate) number: Option<u64>,
}

impl Message {
    fn of(publish: &Publish<'_>) -> Self {
        assert!(!publish.retain, "nothing is retained");
        let number = publish.properties.user("number");
        Self {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            packet_id: publish.packet_id,
            dup: publish.dup,
            number: number.map(|number| number.parse().expect("a number")),
        }
    }

    /// Topic and payload, in one text.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.topic, String::from_utf8_lossy(&self.payload))
    }
}

/// A connection to the gateway, and what of its packets has come.
pub(crate) struct MqttClient {
    stream: Stream,
    arrived: BytesMut,
    packet: Bytes,
    pub(crate) version: Version,
    /// From the CONNACK.
    pub(crate) session_present: bool,
    next_id: u16,
}

impl MqttClient {
    /// Connects, and says nothing.
    pub(crate) async fn connect(gateway: SocketAddr, version: Version) -> Self {
        Self::connect_with(gateway, version, |_| Ok(())).await
    }

    /// Connects from this address of the host.
    pub(crate) async fn connect_from(
        address: IpAddr,
        gateway: SocketAddr,
        version: Version,
    ) -> Self {
        Self::connect_with(gateway, version, from(address)).await
    }

    /// Connects with so small a receive buffer that the gateway soon notices who does not read.
    pub(crate) async fn connect_narrow(gateway: SocketAddr, version: Version) -> Self {
        Self::connect_with(gateway, version, narrow).await
    }

    async fn connect_with(
        gateway: SocketAddr,
        version: Version,
        prepare: impl FnOnce(&TcpSocket) -> std::io::Result<()>,
    ) -> Self {
        let stream = Stream::connect(gateway, prepare).await;
        Self::over(stream.expect("the gateway takes connections"), version)
    }

    fn over(stream: Stream, version: Version) -> Self {
        Self {
            stream,
            arrived: BytesMut::new(),
            packet: Bytes::new(),
            version,
            session_present: false,
            next_id: 0,
        }
    }

    /// Goes on under TLS.
    pub(crate) async fn secured(self, config: &Arc<ClientConfig>) -> Self {
        let secured = self.stream.secured(config).await;
        Self::over(secured.expect("a handshake"), self.version)
    }

    /// Sends bytes as they are. That the gateway has closed is no error: what it said is read.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = within("a write", self.stream.write_all(bytes)).await;
    }

    pub(crate) async fn send(&mut self, packet: &ClientPacket<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// The next packet; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<ServerPacket<'_>> {
        within("a packet", self.next_ever()).await
    }

    async fn next_ever(&mut self) -> Option<ServerPacket<'_>> {
        loop {
            let found = split(&self.arrived, PACKET_BYTES_MAX).expect("it keeps to the protocol");
            if let Some(Packet { used, first, body }) = found {
                let header = used - body.len();
                self.packet = self.arrived.split_to(used).freeze();
                self.packet.advance(header);
                let body = &self.packet;
                let packet = ServerPacket::decode(&Packet { first, body, used }, self.version);
                return Some(packet.expect("the gateway keeps to the protocol"));
            }
            match self.stream.read(&mut self.arrived).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn granted(&mut self) -> Granted {
        let Some(ServerPacket::ConnAck(connack)) = self.next().await else {
            panic!("CONNACK comes first");
        };
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for (property, value) in connack.properties.iter() {
            match value {
                Value::Number(number) => numbers.push((property, number)),
                Value::Text(text) => texts.push((property, text.to_owned())),
                Value::Pair(..) | Value::Binary(_) => {}
            }
        }
        Granted {
            session_present: connack.session_present,
            reason: connack.reason,
            numbers,
            texts,
        }
    }

    /// Asks for topics, each with this QoS, and returns the codes of the answer.
    pub(crate) async fn subscribe(&mut self, filters: &[&str], qos: Qos) -> Vec<u8> {
        self.next_id += 1;
        let (mut bytes, id) = (Vec::new(), self.next_id);
        let all = filters.iter().map(|filter| Subscription::new(filter, qos));
        encode_subscribe(&mut bytes, self.version, id, Properties::default(), all);
        self.send_bytes(&bytes).await;
        match self.next().await {
            Some(ServerPacket::SubAck {
                packet_id, codes, ..
            }) => {
                assert_eq!(packet_id, id);
                codes.to_vec()
            }
            other => panic!("no SUBACK, but {other:?}"),
        }
    }

    /// Asks for a topic, which has to be granted.
    pub(crate) async fn want(&mut self, filter: &str, qos: Qos) {
        assert_eq!(
            self.subscribe(&[filter], qos).await,
            [qos.code()],
            "{filter}"
        );
    }

    /// Asks for topics no more, and returns the codes of the answer.
    pub(crate) async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        self.next_id += 1;
        let (mut bytes, id) = (Vec::new(), self.next_id);
        let all = filters.iter().copied();
        encode_unsubscribe(&mut bytes, self.version, id, Properties::default(), all);
        self.send_bytes(&bytes).await;
        match self.next().await {
            Some(ServerPacket::UnsubAck {
                packet_id, codes, ..
            }) => {
                assert_eq!(packet_id, id);
                codes.to_vec()
            }
            other => panic!("no UNSUBACK, but {other:?}"),
        }
    }

    /// The next packet, which has to be a message; it is not acknowledged.
    pub(crate) async fn message(&mut self) -> Message {
        match self.next().await {
            Some(ServerPacket::Publish(publish)) => Message::of(&publish),
            other => panic!("no message, but {other:?}"),
        }
    }

    /// Topics and payloads of the next messages, in one text each.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.message().await.text());
        }
        texts
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        let (reason, properties) = Default::default();
        self.send(&ClientPacket::PubAck {
            packet_id,
            reason,
            properties,
        })
        .await;
    }

    /// Shows that the connection is served both ways, and that no message is on its way.
    pub(crate) async fn assert_quiet(&mut self) {
        self.send(&ClientPacket::PingReq).await;
        assert_eq!(self.next().await, Some(ServerPacket::PingResp));
    }

    /// Leaves in order.
    pub(crate) async fn leave(mut self) {
        let (reason, properties) = Default::default();
        self.send(&ClientPacket::Disconnect { reason, properties })
            .await;
        assert_eq!(self.next().await, None, "the gateway closes");
    }

    /// Reads to the end: the bytes as they come.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        while let Ok(1..) = within("bytes", self.stream.read(&mut bytes)).await {}
        bytes.to_vec()
    }

    /// Reads to the end: the reason and the words of a DISCONNECT, if there is one.
    pub(crate) async fn closed(&mut self) -> Option<(ReasonCode, String)> {
        let mut last = None;
        loop {
            match self.next().await {
                Some(ServerPacket::Disconnect { reason, properties }) => {
                    let words = properties.text(Property::REASON_STRING);
                    last = Some((reason, words.unwrap_or_default().to_owned()));
                }
                Some(ServerPacket::Publish(_)) => {}
                None => return last,
                other => panic!("{other:?} behind or in place of the end"),
            }
        }
    }
}

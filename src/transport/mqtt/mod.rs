//! MQTT 3.1.1 and 5: a server that only pushes, over the life that every connection has.
//!
//! CONNECT is its HELLO ([`connect`]), SUBSCRIBE its JOIN ([`serve`]), PUBACK its ACK. A session is
//! a position in the log as any other; what MQTT adds to it ([`state`]) is which topics the client
//! has asked for and what is in flight, and that outlives the connection for the session's expiry
//! ([`sessions`]).

mod connect;
mod serve;
mod sessions;
mod state;
mod subscriptions;
mod window;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connection::Clients;
use super::link::Link;
use crate::clock::monotonic;
use crate::hub::{Begun, Closing, Due, Sink};
use crate::wire::encoding::{Encoding, Head, Protocol, Publishing};
use crate::wire::frame::{GatewayFrame, Scope};
use crate::wire::mqtt::{
    ConnAck, PUBLISH_HEAD_BYTES_MAX, Property, PropertyList, Qos, RETRY_AFTER, ReasonCode,
    ServerPacket, Topic, Value, Version,
};
use crate::wire::reason::{CloseReason, RETRY_NEVER};
use state::State;

pub(super) use connect::{attach, open};
pub(super) use serve::take;
pub use sessions::Sessions;

/// A connection on which MQTT is spoken.
pub(super) struct Mqtt {
    link: Link,
    /// As CONNECT says it; 0 before that, when nothing may be said.
    level: AtomicU8,
    /// CONNACK has said that it is let in.
    is_in: AtomicBool,
    /// Why it ends, where that is more exact than the close code; 0: it is not.
    reason: AtomicU8,
    /// The longest packet that the client takes.
    packet_max: u32,
    /// For how many seconds the session outlives the connection.
    expiry_s: AtomicU32,
    state: Arc<State>,
    /// What CONNACK grants, until it has been said.
    granted: Mutex<Option<Box<PropertyList>>>,
}

impl Mqtt {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            level: AtomicU8::new(0),
            is_in: AtomicBool::new(false),
            reason: AtomicU8::new(0),
            packet_max: u32::MAX,
            expiry_s: AtomicU32::new(0),
            state: Arc::default(),
            granted: Mutex::default(),
        }
    }

    /// What its bytes go over.
    pub(super) const fn link(&self) -> &Link {
        &self.link
    }

    /// What it speaks, once that is known.
    fn version(&self) -> Option<Version> {
        match self.level.load(Ordering::Relaxed) {
            4 => Some(Version::V3),
            5 => Some(Version::V5),
            _ => None,
        }
    }

    fn set_version(&self, version: Version) {
        self.level.store(version.level(), Ordering::Relaxed);
    }

    /// It is about to end for this reason. The first one counts.
    fn ends_for(&self, reason: ReasonCode) {
        let first = (0, reason.0);
        let order = Ordering::Relaxed;
        let _ = self.reason.compare_exchange(first.0, first.1, order, order);
    }

    /// Why it ends, where that has been noted.
    fn noted(&self) -> Option<ReasonCode> {
        match self.reason.load(Ordering::Relaxed) {
            0 => None,
            code => Some(ReasonCode(code)),
        }
    }

    /// The connection has ended: its session is remembered for its expiry.
    pub(super) fn ended(&self, clients: &Clients, who: (&str, &str), session: u64) {
        self.state.disconnect();
        let expiry = Duration::from_secs(self.expiry_s.load(Ordering::Relaxed).into());
        let share = clients.hub.options().max_devices;
        let forgotten = clients
            .sessions
            .leave(who, session, (expiry, share), monotonic());
        clients
            .hub
            .metrics()
            .mqtt_sessions_dropped
            .inc_by(forgotten);
    }

    /// CONNACK, for a client that is let in.
    fn welcome(&self, version: Version, session_present: bool, out: &mut Vec<u8>) {
        let granted = self
            .granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let granted = granted.unwrap_or_default();
        let connack = ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: granted.as_properties(),
        };
        ServerPacket::ConnAck(connack).encode(version, out);
        self.is_in.store(true, Ordering::Relaxed);
    }

    /// Whether the client takes a packet of so many bytes.
    const fn takes(&self, bytes: usize) -> bool {
        bytes <= self.packet_max as usize
    }
}

impl Sink for Mqtt {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.link.try_write(parts)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Mqtt
    }

    fn encoding(&self, due: &Due<'_>) -> Option<Encoding> {
        let (scope, group, number) = (due.scope(), due.group(), due.number());
        let (qos, is_repeat) = match number {
            0 => (Qos::AtMostOnce, false),
            _ => self.state.kept(scope, group, number)?,
        };
        let encoding = Encoding::Mqtt(Publishing {
            version: self.version()?,
            is_acknowledged: qos == Qos::AtLeastOnce,
            is_repeat,
        });
        let payload_len = due.payload_len();
        // Most clients take everything, and few messages are near to what a client takes.
        if !self.takes(PUBLISH_HEAD_BYTES_MAX + payload_len) {
            let (mut head, push) = (
                Vec::new(),
                Head {
                    number,
                    scope,
                    group,
                    payload_len,
                },
            );
            encoding.put_head(&mut head, &push);
            if !self.takes(head.len() + payload_len) {
                return None;
            }
        }
        Some(encoding)
    }

    fn admits(&self, number: u64, begun: Begun) -> bool {
        self.state.admits(number, begun)
    }

    /// Only what goes with QoS 1 is acknowledged; what is too long does not go at all.
    fn answers_for(&self, due: &Due<'_>) -> bool {
        self.encoding(due).is_some_and(Encoding::is_acknowledged)
    }

    fn has_name_for(&self, group: &str) -> bool {
        Topic::of(Scope::Group, group).is_valid()
    }

    fn sent(&self, number: u64, encoding: Encoding) {
        self.state.sent(number, encoding.is_acknowledged());
    }

    /// What the protocol of our own tells beside messages, MQTT has no words for: that a group was
    /// joined is in SUBACK, and liveness is the client's to ask for.
    fn answer(&self, frame: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        match frame {
            GatewayFrame::Welcome(welcome) => {
                let goes_on = welcome.resumed;
                self.state.begin(goes_on, (welcome.epoch, welcome.cursor));
                if let Some(version) = self.version() {
                    self.welcome(version, goes_on, out);
                }
            }
            GatewayFrame::Current { cursor } => self.state.reach(*cursor),
            _ => {}
        }
    }

    fn close(&self, closing: &Closing<'_>, out: &mut Vec<u8>) -> bool {
        let CloseReason::Code(code) = closing.reason else {
            return false;
        };
        let is_in = self.is_in.load(Ordering::Relaxed);
        // Nothing is said before CONNECT, and nothing by a server of 3.1.1 that ends: it closes.
        let version = match (self.version(), is_in) {
            (None, _) | (Some(Version::V3), true) => return true,
            (Some(version), _) => version,
        };
        let reason = self.noted().unwrap_or(match is_in {
            true => ReasonCode::of(code),
            false => ReasonCode::of_refusal(code),
        });
        // Words are left out before they are more than the client takes (MQTT 5, 3.2.2.3.9).
        for list in [words(closing), PropertyList::default()] {
            let (start, properties) = (out.len(), list.as_properties());
            let packet = match is_in {
                true => ServerPacket::Disconnect { reason, properties },
                false => ServerPacket::ConnAck(ConnAck {
                    session_present: false,
                    reason,
                    properties,
                }),
            };
            packet.encode(version, out);
            if self.takes(out.len() - start) {
                break;
            }
            out.truncate(start);
        }
        true
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.link.peer()
    }
}

/// Why, in words, and when to come back.
fn words(closing: &Closing<'_>) -> PropertyList {
    let mut list = PropertyList::default();
    if !closing.text.is_empty() {
        list = list.with(Property::REASON_STRING, Value::Text(closing.text));
    }
    if closing.retry_after_ms != RETRY_NEVER {
        let after = closing.retry_after_ms.to_string();
        list = list.with(Property::USER, Value::Pair(RETRY_AFTER, &after));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection of MQTT holds more than a native one, beside the names of its groups.
    #[test]
    fn a_session_of_mqtt_holds_few_bytes_more() {
        let bytes = size_of::<Mqtt>() + size_of::<State>() + 2 * size_of::<usize>();
        assert!(bytes <= 176, "it takes {bytes} bytes more");
    }
}

//! What a client asks for once it is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::connection::{Serving, Taken};
use super::Mqtt;
use crate::hub::session::Session;
use crate::hub::{Closing, Hub};
use crate::wire::frame::Scope;
use crate::wire::mqtt::{
    ClientPacket, Filter, FilterError, Filters, PacketError, Properties, Property, Publish, Qos,
    ReasonCode, ServerPacket, Version, split,
};
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};

/// Carries the first packet out, if it is whole; the error is why it is against the protocol.
pub(in super::super) fn take(
    serving: &mut Serving<'_>,
    mqtt: &Mqtt,
    bytes: &[u8],
) -> Result<Taken, &'static str> {
    let version = mqtt.version().ok_or("no version")?;
    let malformed = |error: PacketError| {
        mqtt.ends_for(error.reason());
        match error {
            PacketError::TooLong { .. } => "packet over the limit",
            _ => "malformed packet",
        }
    };
    let Some(packet) = split(bytes, serving.limits.max_frame).map_err(malformed)? else {
        return Ok(Taken::Nothing);
    };
    let decoded = ClientPacket::decode(&packet, version).map_err(malformed)?;
    let mut asked = Asked {
        serving,
        mqtt,
        version,
    };
    asked.carry_out(decoded)?;
    Ok(Taken::Whole(packet.used))
}

/// A packet that has come, and who sent it.
struct Asked<'a, 'b> {
    serving: &'a mut Serving<'b>,
    mqtt: &'a Mqtt,
    version: Version,
}

impl Asked<'_, '_> {
    fn hub(&self) -> &Hub {
        &self.serving.clients.hub
    }

    fn carry_out(&mut self, packet: ClientPacket<'_>) -> Result<(), &'static str> {
        match packet {
            ClientPacket::Connect(_) => {
                self.mqtt.ends_for(ReasonCode::PROTOCOL_ERROR);
                return Err("a second CONNECT");
            }
            ClientPacket::Publish(publish) => self.refuse(&publish),
            ClientPacket::PubAck { packet_id, .. } => self.acknowledge(packet_id),
            ClientPacket::Subscribe {
                packet_id,
                properties,
                filters,
            } => {
                let has_id = properties.has(Property::SUBSCRIPTION_ID);
                let codes = self.subscribe(filters, has_id);
                let properties = Properties::default();
                self.answer(&ServerPacket::SubAck {
                    packet_id,
                    properties,
                    codes: &codes,
                });
            }
            ClientPacket::Unsubscribe {
                packet_id, filters, ..
            } => {
                let codes = self.unsubscribe(filters);
                let properties = Properties::default();
                self.answer(&ServerPacket::UnsubAck {
                    packet_id,
                    properties,
                    codes: &codes,
                });
            }
            ClientPacket::PingReq => self.answer(&ServerPacket::PingResp),
            ClientPacket::Disconnect { properties, .. } => self.disconnect(properties)?,
        }
        Ok(())
    }

    /// Leaves an answer with the session, if the client takes one as long as this.
    fn answer(&self, packet: &ServerPacket<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        if !self.mqtt.takes(bytes.len()) {
            let why = "the client takes no packet as long as the answer";
            return self.end(
                CloseCode::Protocol,
                ReasonCode::IMPLEMENTATION_SPECIFIC,
                why,
            );
        }
        let put = |out: &mut Vec<u8>| out.extend_from_slice(&bytes);
        self.hub().answer_with(&**self.serving.session, put);
    }

    fn end(&self, code: CloseCode, reason: ReasonCode, why: &str) {
        self.mqtt.ends_for(reason);
        let closing = Closing::code(code, RETRY_NEVER, why);
        self.hub().close(&**self.serving.session, closing);
    }

    /// Nobody publishes here: a client of version 5 is told so, message by message where MQTT has
    /// an answer to one; one of 3.1.1 can only be cut (3.3.5.2).
    fn refuse(&self, publish: &Publish<'_>) {
        self.hub().metrics().mqtt_publishes_refused.inc();
        let reason = if publish.retain {
            ReasonCode::RETAIN_NOT_SUPPORTED
        } else if publish.qos == Qos::ExactlyOnce {
            ReasonCode::QOS_NOT_SUPPORTED
        } else if publish.properties.has(Property::TOPIC_ALIAS) {
            ReasonCode::TOPIC_ALIAS_INVALID
        } else {
            ReasonCode::NOT_AUTHORIZED
        };
        let is_answered = self.version == Version::V5 && publish.qos == Qos::AtLeastOnce;
        if is_answered && reason == ReasonCode::NOT_AUTHORIZED {
            return self.answer(&ServerPacket::PubAck {
                packet_id: publish.packet_id,
                reason,
                properties: Properties::default(),
            });
        }
        self.end(CloseCode::Auth, reason, "clients do not publish here");
    }

    fn acknowledge(&mut self, packet_id: u16) {
        // One of no message in flight is from an earlier connection, or a client's mistake that
        // harms nobody.
        if !self.mqtt.state.acknowledge(packet_id) {
            return;
        }
        let (session, cursor) = (self.serving.session, self.mqtt.state.cursor());
        let (hub, cx) = (&self.serving.clients.hub, &mut self.serving.cx);
        // Never above what was sent.
        let _ = hub.confirm(&**session, cursor, cx);
        hub.acknowledged(&**session, cx);
    }

    fn subscribe(&mut self, filters: Filters<'_>, has_id: bool) -> Vec<u8> {
        let granted = filters.iter().map(|asked| {
            if has_id {
                return ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED.0;
            }
            match self.grant(asked.filter, asked.qos) {
                Ok(qos) => qos.code(),
                Err(reason) => reason.0,
            }
        });
        granted.collect()
    }

    fn grant(&self, text: &str, qos: Qos) -> Result<Qos, ReasonCode> {
        let filter = Filter::parse(text).map_err(|error| match error {
            FilterError::Shared => ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            FilterError::Wildcard => ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
            FilterError::Unknown => ReasonCode::TOPIC_FILTER_INVALID,
        })?;
        let qos = match qos {
            Qos::AtMostOnce => Qos::AtMostOnce,
            Qos::AtLeastOnce | Qos::ExactlyOnce => Qos::AtLeastOnce,
        };
        let (hub, state) = (self.hub(), &self.mqtt.state);
        let member = || -> Arc<Session> { Arc::clone(self.serving.session) as _ };
        if let Filter::Group(group) = filter {
            if !hub.may_join(&member(), group) {
                return Err(ReasonCode::NOT_AUTHORIZED);
            }
            // What a resume could not enter again stays noted, and shall not add up.
            if state.subscriptions(|all| all.groups().count()) > hub.options().max_groups {
                return Err(ReasonCode::QUOTA_EXCEEDED);
            }
            // Before the first message can come.
            let is_new = !state.subscriptions(|all| all.wants(Scope::Group, group));
            state.subscriptions(|all| all.grant(text, qos));
            if hub.join(&member(), group).is_err() {
                if is_new {
                    state.subscriptions(|all| all.remove(text));
                }
                return Err(ReasonCode::QUOTA_EXCEEDED);
            }
            return Ok(qos);
        }
        state.subscriptions(|all| all.grant(text, qos));
        for scope in [Scope::User, Scope::All] {
            if filter.matches(scope, "") {
                hub.unmute(&**self.serving.session, scope);
            }
        }
        Ok(qos)
    }

    fn unsubscribe(&mut self, filters: Filters<'_>) -> Vec<u8> {
        let mut codes = Vec::new();
        for asked in filters.iter() {
            let reason = match self.take_away(asked.filter) {
                true => ReasonCode::SUCCESS,
                false => ReasonCode::NO_SUBSCRIPTION_EXISTED,
            };
            codes.push(reason.0);
        }
        codes
    }

    /// False where there was no such subscription.
    fn take_away(&mut self, text: &str) -> bool {
        let Ok(filter) = Filter::parse(text) else {
            return false;
        };
        let (state, session) = (&self.mqtt.state, self.serving.session);
        let (hub, cx) = (&self.serving.clients.hub, &mut self.serving.cx);
        if let Filter::Group(group) = filter {
            // Also a group that its token or a service has put it into, as LEAVE does.
            let member: Arc<Session> = Arc::clone(session) as _;
            let was_in = hub.leave(&member, group, cx);
            return state.subscriptions(|all| all.remove(text)) || was_in;
        }
        // What was accepted before is sent first, as it was granted.
        let is_there = state.subscriptions(|all| all.has(text));
        for scope in [Scope::User, Scope::All] {
            let others = state.subscriptions(|all| all.wants_but(text, scope));
            if is_there && filter.matches(scope, "") && !others {
                hub.mute(&**session, scope, cx);
            }
        }
        state.subscriptions(|all| all.remove(text))
    }

    /// The client leaves in order, and may say anew for how long it wants to be remembered.
    fn disconnect(&self, properties: Properties<'_>) -> Result<(), &'static str> {
        if let Some(expiry_s) = properties.number(Property::SESSION_EXPIRY) {
            let held = self.mqtt.expiry_s.load(Ordering::Relaxed);
            // MQTT 5, 3.14.2.2.2: a session that was to end with its connection does so.
            if held == 0 && expiry_s != 0 {
                self.mqtt.ends_for(ReasonCode::PROTOCOL_ERROR);
                return Err("a session that ends with its connection cannot be prolonged");
            }
            let max = self.serving.clients.limits().session_expiry_max_s;
            self.mqtt
                .expiry_s
                .store(expiry_s.min(max), Ordering::Relaxed);
        }
        let bye = Closing::silent(CloseReason::Bye);
        self.hub().close(&**self.serving.session, bye);
        Ok(())
    }
}

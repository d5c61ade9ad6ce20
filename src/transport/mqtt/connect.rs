//! CONNECT: who the client is, whether it may come in, and whether its session goes on.

use super::super::auth::Auth;
use super::super::connection::Clients;
use super::super::ending::Attached;
use super::super::handshake::{Turned, admit};
use super::super::link::Link;
use super::super::opening::Opened;
use super::{Mqtt, State};
use crate::hub::{Attach, Closing, Hub, Muted};
use crate::metrics::TokenFault;
use crate::wire::frame::Scope;
use crate::wire::mqtt::{
    self, ClientPacket, Connect, Packet, PacketError, Property, PropertyList, Qos, ReasonCode,
    Value, Version, split,
};
use crate::wire::name;
use crate::wire::reason::{CloseCode, RETRY_NEVER};

use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};

/// Keep alives that a client of version 5 gets, in seconds; a shorter one costs a client of 3.1.1
/// nothing either, and a longer one it is left, since it cannot be told.
const KEEP_ALIVE_S: RangeInclusive<u16> = 5..=3600;

/// Bytes of the names that we give to clients without one are random: as many hexadecimal digits.
const ASSIGNED_DIGITS: usize = 16;

/// Who takes no packet as long as this cannot be told what it is granted, in bytes.
const PACKET_LEAST: u32 = 64;

/// CONNECT, once it is whole.
pub(in super::super) fn open(
    mqtt: &Mqtt,
    bytes: &mut Vec<u8>,
    max_hello: usize,
) -> Result<Option<Opened>, Turned> {
    // Whoever begins with something else does not speak MQTT: nothing is read to its end.
    let is_other = bytes
        .first()
        .is_some_and(|first| *first != mqtt::CONNECT << 4);
    let packet = match is_other {
        true => Err("the first packet is not CONNECT"),
        false => split(bytes, max_hello).map_err(|_| "length of CONNECT out of bounds"),
    };
    let packet = packet.map_err(|why| Turned::Away(CloseCode::Protocol, RETRY_NEVER, why))?;
    let Some(packet) = packet else {
        return Ok(None);
    };
    match ClientPacket::decode(&packet, Version::V5) {
        Ok(ClientPacket::Connect(connect)) => mqtt.set_version(connect.version),
        Ok(_) => {}
        Err(error) => return Err(malformed(mqtt, &packet, error)),
    }
    let used = packet.used;
    let rest = bytes.split_off(used);
    let connect = std::mem::take(bytes);
    Ok(Some(Opened::new(connect, 0..used, rest)))
}

/// A CONNECT that is none is answered where it says what it speaks.
fn malformed(mqtt: &Mqtt, packet: &Packet<'_>, error: PacketError) -> Turned {
    let why = match error {
        PacketError::ProtocolLevel(_) | PacketError::ProtocolName => {
            // In the oldest words, which every version understands (MQTT 3.1.1, 3.1.2.2).
            mqtt.set_version(Version::V3);
            "the protocol is not MQTT 3.1.1 or 5"
        }
        _ => {
            match packet.body.get(6) {
                Some(4) => mqtt.set_version(Version::V3),
                Some(5) => mqtt.set_version(Version::V5),
                _ => {}
            }
            "malformed CONNECT"
        }
    };
    mqtt.ends_for(error.reason());
    Turned::Away(CloseCode::Protocol, RETRY_NEVER, why)
}

/// A cause not to let a client in: what it is told, by either protocol.
struct Refused(CloseCode, ReasonCode, &'static str);

/// Says who the client is, and puts it into the registry.
pub(in super::super) fn attach(
    mut link: Link,
    clients: &Clients,
    bytes: &[u8],
) -> Result<Attached, (Link, Turned)> {
    let Link::Mqtt(mqtt) = &mut link else {
        return Err((
            link,
            Turned::Away(CloseCode::Protocol, RETRY_NEVER, "not MQTT"),
        ));
    };
    let connect = match split(bytes, bytes.len()) {
        Ok(Some(packet)) => ClientPacket::decode(&packet, Version::V5),
        _ => Err(PacketError::Length),
    };
    let Ok(ClientPacket::Connect(connect)) = connect else {
        return Err((
            link,
            Turned::Away(CloseCode::Protocol, RETRY_NEVER, "not CONNECT"),
        ));
    };
    let newcomer = match check(&connect) {
        Ok(newcomer) => newcomer,
        Err(refused) => return Err(refuse(link, &clients.hub, refused)),
    };
    let token = match &**clients.auth.load() {
        // Without one, the client identifier is all that it has said about itself.
        Auth::None => connect.user_name.unwrap_or(&newcomer.device).as_bytes(),
        Auth::Jwt(_) => connect.password.unwrap_or_default(),
    };
    let identity = match clients.identify(token) {
        Ok(identity) => identity,
        Err(error) => {
            let reason = ReasonCode::of_refusal(error.code());
            let refused = Refused(error.code(), reason, error.why);
            return Err(refuse(link, &clients.hub, refused));
        }
    };
    let user = &*identity.user;
    // With tokens a user name is not needed; one that is another's is a mistake somewhere.
    if connect
        .user_name
        .is_some_and(|name| identity.grant.is_some() && name != user)
    {
        clients.hub.metrics().token_refused(TokenFault::User);
        let why = "the user name is not that of the token";
        let reason = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
        return Err(refuse(
            link,
            &clients.hub,
            Refused(CloseCode::Auth, reason, why),
        ));
    }
    let (state, goes_on) = state(clients, &connect, (user, &newcomer.device));
    let grant = identity.grant.as_ref();
    let is_allowed = |group: &str| {
        grant.is_none_or(|grant| grant.allows(group))
            || identity.groups.iter().any(|of| of == group)
    };
    state.subscriptions(|all| all.retain_groups(is_allowed));
    let resumed: Vec<String> = state.subscriptions(|all| all.groups().map(str::to_owned).collect());
    let resumed: Vec<&str> = resumed.iter().map(String::as_str).collect();
    let muted = state.subscriptions(|all| Muted {
        user: !all.wants(Scope::User, ""),
        all: !all.wants(Scope::All, ""),
    });
    let mut groups: Vec<&str> = identity.groups.iter().map(String::as_str).collect();
    groups.truncate(clients.hub.options().max_groups);
    let state = Arc::new(state);
    let attach = Attach {
        user,
        device: &newcomer.device,
        groups: &groups,
        heartbeat_s: heartbeat_s(newcomer.keep_alive(clients)),
        resume: goes_on.then(|| state.place()),
        muted,
        resumed_groups: &resumed,
        or_anew: true,
        ..Attach::default()
    };
    newcomer.grant(mqtt, &state, clients, &connect);
    let attached = admit(link, clients, identity.grant, &attach)?;
    let (session, expiry_s) = (&attached.session, newcomer.expiry_s(clients));
    let who = (&*attached.user, session.device());
    match expiry_s {
        0 => clients.sessions.forget(who, session.id()),
        _ => clients.sessions.enter(who, session.id(), state),
    }
    Ok(attached)
}

fn refuse(link: Link, hub: &Hub, Refused(code, reason, why): Refused) -> (Link, Turned) {
    if let Link::Mqtt(mqtt) = &link {
        mqtt.ends_for(reason);
    }
    (link, Turned::away(hub, code, why))
}

/// What a CONNECT asks for.
struct Newcomer {
    version: Version,
    device: String,
    /// The gateway has chosen the device's name.
    is_assigned: bool,
    /// In seconds, as asked for.
    keep_alive_s: u16,
    expiry_asked_s: u32,
    packet_max: u32,
}

/// Looks for what cannot be had, and for what MQTT does not allow.
fn check(connect: &Connect<'_>) -> Result<Newcomer, Refused> {
    let number = |property| connect.properties.number(property);
    if connect.properties.has(Property::AUTHENTICATION_METHOD) {
        let why = "there is no enhanced authentication";
        return Err(Refused(
            CloseCode::Auth,
            ReasonCode::BAD_AUTHENTICATION_METHOD,
            why,
        ));
    }
    // A will is taken and never published: nobody publishes here. But what no client of version 5
    // may ask of a server that says so, it may not ask in a will either (3.2.2.3.4, 3.2.2.3.5).
    if let (Version::V5, Some(will)) = (connect.version, &connect.will) {
        if will.retain {
            let why = "nothing is retained, not a will either";
            return Err(Refused(
                CloseCode::Protocol,
                ReasonCode::RETAIN_NOT_SUPPORTED,
                why,
            ));
        }
        if will.qos == Qos::ExactlyOnce {
            let why = "the highest QoS is 1, that of a will too";
            return Err(Refused(
                CloseCode::Protocol,
                ReasonCode::QOS_NOT_SUPPORTED,
                why,
            ));
        }
    }
    let packet_max = number(Property::MAXIMUM_PACKET_SIZE).unwrap_or(u32::MAX);
    if packet_max < PACKET_LEAST {
        let why = "the client takes no packet as long as the answer";
        let reason = ReasonCode::IMPLEMENTATION_SPECIFIC;
        return Err(Refused(CloseCode::Protocol, reason, why));
    }
    let identifier = |why| {
        Refused(
            CloseCode::Protocol,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            why,
        )
    };
    let is_assigned = connect.client_id.is_empty();
    if is_assigned && connect.version == Version::V3 && !connect.clean_start {
        // MQTT 3.1.1, 3.1.3.1: it could not find its session again.
        return Err(identifier(
            "a session that is to be found again needs a client identifier",
        ));
    }
    let device = name::device(connect.client_id.as_bytes());
    let device = device.map_err(|_| {
        identifier("the client identifier is over 255 bytes or holds a control character")
    })?;
    let device = match is_assigned {
        true => format!(
            "auto-{:0width$x}",
            rand::random::<u64>(),
            width = ASSIGNED_DIGITS
        ),
        false => device.to_owned(),
    };
    let expiry_asked_s = match (connect.version, connect.clean_start) {
        // Clean session: it ends with the connection; else it has no end of its own.
        (Version::V3, true) => 0,
        (Version::V3, false) => u32::MAX,
        (Version::V5, _) => number(Property::SESSION_EXPIRY).unwrap_or(0),
    };
    Ok(Newcomer {
        version: connect.version,
        device,
        is_assigned,
        keep_alive_s: connect.keep_alive_s,
        expiry_asked_s,
        packet_max,
    })
}

impl Newcomer {
    /// The keep alive in use, in seconds. A client of 3.1.1 cannot be told another than its own: it
    /// keeps one that is longer than ours, and one that says 0 is cut after 27 hours of silence.
    fn keep_alive(&self, clients: &Clients) -> u16 {
        let (least, most) = KEEP_ALIVE_S.into_inner();
        match (self.version, self.keep_alive_s) {
            (Version::V5, 0) => clients.limits().heartbeat_s,
            (Version::V5, asked) => asked.clamp(least, most),
            (Version::V3, 0) => u16::MAX,
            (Version::V3, asked) => asked.max(least),
        }
    }

    /// For how many seconds the session outlives its connection.
    fn expiry_s(&self, clients: &Clients) -> u32 {
        self.expiry_asked_s
            .min(clients.limits().session_expiry_max_s)
    }

    /// Sets up the connection for the session, and writes down what CONNACK grants.
    fn grant(&self, mqtt: &mut Mqtt, state: &Arc<State>, clients: &Clients, connect: &Connect<'_>) {
        let (expiry_s, keep_alive_s) = (self.expiry_s(clients), self.keep_alive(clients));
        mqtt.packet_max = self.packet_max;
        mqtt.state = Arc::clone(state);
        *mqtt.expiry_s.get_mut() = expiry_s;
        if self.version == Version::V3 {
            return;
        }
        let max_frame = u32::try_from(clients.limits().max_frame).unwrap_or(u32::MAX);
        let mut list = PropertyList::default()
            .with(Property::MAXIMUM_QOS, Value::Number(1))
            .with(Property::RETAIN_AVAILABLE, Value::Number(0))
            .with(Property::MAXIMUM_PACKET_SIZE, Value::Number(max_frame))
            .with(Property::SUBSCRIPTION_IDS_AVAILABLE, Value::Number(0))
            .with(Property::SHARED_AVAILABLE, Value::Number(0));
        if expiry_s != self.expiry_asked_s {
            list = list.with(Property::SESSION_EXPIRY, Value::Number(expiry_s));
        }
        if keep_alive_s != connect.keep_alive_s {
            let keep_alive_s = Value::Number(keep_alive_s.into());
            list = list.with(Property::SERVER_KEEP_ALIVE, keep_alive_s);
        }
        if self.is_assigned {
            list = list.with(Property::ASSIGNED_CLIENT_ID, Value::Text(&self.device));
        }
        let granted = mqtt.granted.get_mut();
        *granted.unwrap_or_else(PoisonError::into_inner) = Some(Box::new(list));
    }
}

/// The session's state on this connection, and whether there is one to go on with. A connection
/// that has it now is closed first: what it was sent and has acknowledged stands still then.
fn state(clients: &Clients, connect: &Connect<'_>, (user, device): (&str, &str)) -> (State, bool) {
    let maximum = connect.properties.number(Property::RECEIVE_MAXIMUM);
    let maximum = maximum
        .and_then(|max| u16::try_from(max).ok())
        .unwrap_or(u16::MAX);
    let found = match connect.clean_start {
        true => None,
        false => clients.sessions.find(user, device),
    };
    let Some((earlier, is_here)) = found else {
        return (State::new(maximum), false);
    };
    if is_here {
        let hub = &clients.hub;
        let sessions = hub.sessions_of(user);
        for session in sessions.iter().filter(|session| session.device() == device) {
            let why = "replaced by a newer connection of the same device";
            hub.close(
                &**session,
                Closing::code(CloseCode::Replaced, RETRY_NEVER, why),
            );
        }
    }
    (earlier.resumed(maximum), true)
}

/// The heartbeat by which the hub knows a client as gone that has said nothing for one and a half
/// times its keep alive: it waits for two and a half of its own. Where that is no whole number it
/// waits for a little longer.
fn heartbeat_s(keep_alive_s: u16) -> u16 {
    let silence = (u32::from(keep_alive_s) * 3).div_ceil(2);
    let interval = (silence * 2).div_ceil(5);
    u16::try_from(interval).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the hub's sweep has it.
    fn silence_s(heartbeat_s: u16) -> u32 {
        u32::from(heartbeat_s) * 5 / 2
    }

    #[test]
    fn one_and_a_half_times_the_keep_alive_are_waited_for_and_hardly_more() {
        for keep_alive_s in 1..=u16::MAX {
            let silence = silence_s(heartbeat_s(keep_alive_s));
            let asked = f64::from(keep_alive_s) * 1.5;
            assert!(asked <= f64::from(silence), "{keep_alive_s} s: {silence} s");
            assert!(
                f64::from(silence) < asked + 3.0,
                "{keep_alive_s} s: {silence} s"
            );
        }
        assert_eq!(
            [10, 60, 3600].map(|s| silence_s(heartbeat_s(s))),
            [15, 90, 5400]
        );
    }
}

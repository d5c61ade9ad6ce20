//! What the settings mean to each part: at start, and after a reload.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::settings::{AuthMode, Listener, Settings, Tls, Unsigned};
use crate::hub::Options;
use crate::hub::access::{Grant, Keyring};
use crate::transport::admin::access::{Gate, Token};
use crate::transport::auth::{Auth, Jwt};
use crate::transport::connection::ClientLimits;
use crate::transport::door::Door;
use crate::transport::listener::{Bounds, max_connections};
use crate::transport::socket;

/// What the largest frame to a client has besides its payload, as WELCOME tells it.
const PUSH_OVERHEAD_MAX: u32 = 512;

/// The hub's bounds. `max_payload` is the largest that this process ever sends: clients were told.
pub(super) fn hub(settings: &Settings, max_payload: usize) -> Options {
    let clients = &settings.clients;
    let max_payload = u32::try_from(max_payload).unwrap_or(u32::MAX);
    Options {
        max_devices: clients.max_devices,
        max_groups: clients.max_groups,
        queue_messages: clients.queue_messages,
        queue_bytes: clients.queue_bytes,
        queue_age: clients.queue_age,
        memory_budget: clients.memory_budget,
        retry_spread: settings.drain.spread,
        max_frame: max_payload.saturating_add(PUSH_OVERHEAD_MAX),
        history_messages: settings.history.messages,
        history_bytes: settings.history.bytes,
        remember_groups: clients.remember_groups,
    }
}

/// The keys of services.
pub(super) fn keyring(settings: &Settings) -> Keyring {
    let keys = settings.keys.iter().map(|key| {
        let grant = Grant {
            key: Some(key.key.clone()),
            ops: key.ops.clone(),
            scopes: key.scopes.clone(),
            groups: key.groups.clone(),
            rate: key.rate,
            not_before_ms: key.not_before_ms.unwrap_or(0),
            not_after_ms: key.not_after_ms.unwrap_or(u64::MAX),
        };
        (key.id, grant)
    });
    Keyring::new(keys, settings.udp.unsigned == Unsigned::Loopback)
}

/// Seconds for which a request id is remembered: window + future + 10 s, rounded up.
pub(super) fn lifetime(settings: &Settings) -> u32 {
    let udp = &settings.udp;
    let lifetime = udp.window + udp.future + Duration::from_secs(11);
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX / 2)
}

/// The bounds of a client's frames.
pub(super) fn client_limits(settings: &Settings) -> ClientLimits {
    let clients = &settings.clients;
    ClientLimits {
        handshake_timeout: clients.handshake_timeout,
        heartbeat_s: u16::try_from(clients.heartbeat.as_secs()).unwrap_or(u16::MAX),
        max_hello: clients.max_hello,
        max_frame: clients.max_frame,
        // As long as anything is kept at all: later there is nothing left to go on with.
        session_expiry_max_s: u32::try_from(settings.history.max_ttl.as_secs()).unwrap_or(u32::MAX),
    }
}

/// How many connections there may be.
pub(super) fn door_bounds(settings: &Settings) -> Bounds {
    let clients = &settings.clients;
    let most = max_connections(clients.max_connections, socket::raise_descriptor_limit());
    Bounds {
        max_connections: most,
        max_per_address: clients.max_per_address,
        accept_rate: clients.accept_rate,
    }
}

/// What stands before HELLO at a listener.
pub(super) fn entrance(listener: &Listener) -> Arc<Door> {
    let tls = listener.tls.as_ref().map(Tls::config);
    let (protocol, trusted) = (listener.protocol, listener.trusted.clone());
    let door = Door::new(&*listener.name, protocol, tls, trusted);
    door.set_origins(listener.origins.clone());
    Arc::new(door)
}

/// How clients say who they are.
pub(super) fn auth(settings: &Settings) -> Auth {
    match &settings.auth.mode {
        AuthMode::None => Auth::None,
        AuthMode::Jwt(options) => Auth::Jwt(Jwt::new(options)),
    }
}

/// Whom the admin door lets in.
pub(super) fn gate(settings: &Settings) -> Gate {
    let admin = &settings.admin;
    let token = admin.token.as_ref();
    Gate {
        token: token.map(|token| Token::new(token.expose())),
        hosts: admin.hosts.iter().map(|host| host.to_lowercase()).collect(),
    }
}

//! What must hold between keys: each alone is in its range.

use std::net::SocketAddr;

use super::document::Document;
use super::{AuthMode, Settings, Unsigned};

/// Bytes of a frame beside its payload, and then some: WELCOME's max_frame is `push.max_payload`
/// and this.
const FRAME_OVERHEAD: u64 = 512;

pub(super) fn check(document: &Document<'_>, settings: &Settings) {
    doors(document, settings);
    strangers(document, settings);
    key_ids(document);
    one_message_fits(document, settings);
    they_can_come_back(document, settings);
}

/// Every door has a name and an address of its own.
fn doors(document: &Document<'_>, settings: &Settings) {
    if document.is_empty("listeners") {
        let way_out = "take the key out for the default, or write a [[listeners]]";
        document.problem("listeners", "nobody could connect", way_out);
    }
    let mut taken = vec![(settings.admin.listen, "admin.listen".to_owned())];
    for (index, listener) in settings.listeners.iter().enumerate() {
        let earlier = &settings.listeners[..index];
        if earlier.iter().any(|other| other.name == listener.name) {
            let what = format!("a second listener of the name {:?}", listener.name);
            let key = format!("listeners[{index}].name");
            document.problem(&key, what, "give each listener a name of its own");
        }
        let key = format!("listeners[{index}].address");
        let other = taken
            .iter()
            .find(|(address, _)| *address == listener.address);
        if let Some((address, other)) = other
            && address.port() != 0
        {
            let what = format!("{address} is also the address of {other}");
            document.problem(&key, what, "give each its own");
        }
        taken.push((listener.address, key));
    }
}

/// What is open to others than this machine asks for proof.
fn strangers(document: &Document<'_>, settings: &Settings) {
    let udp = settings.udp.listen;
    if settings.udp.unsigned == Unsigned::Loopback && !is_loopback(udp) {
        let what = format!("{udp} is not loopback, and unsigned datagrams would be carried out");
        let way_out = if settings.keys.is_empty() {
            "give the services a key ([[keys]]), listen on loopback, or write unsigned = \"never\""
        } else {
            "write unsigned = \"never\", or listen on loopback"
        };
        document.problem("udp.listen", what, way_out);
    }
    for (index, listener) in settings.listeners.iter().enumerate() {
        let open = settings.auth.mode == AuthMode::None && !settings.auth.insecure;
        if open && !is_loopback(listener.address) {
            let what = format!(
                "{} is not loopback, and with auth.mode = \"none\" anybody is any user",
                listener.address,
            );
            let way_out = "listen on loopback, or write insecure = true in [auth] where a network \
                           that you trust keeps others away";
            document.problem(&format!("listeners[{index}].address"), what, way_out);
        }
    }
    let admin = settings.admin.listen;
    // A token file that is named and wrong has its own problem.
    if !is_loopback(admin) && settings.admin.token.is_none() && !token_is_named(document) {
        let what = format!("{admin} is not loopback, and the admin door has no token");
        document.problem(
            "admin.listen",
            what,
            "set admin.token_file, or listen on loopback",
        );
    }
}

fn token_is_named(document: &Document<'_>) -> bool {
    document.root().table("admin").is_set("token_file")
}

/// Each key id once. Seen in the file, since a key with another problem is not in the settings.
fn key_ids(document: &Document<'_>) {
    let mut seen = Vec::new();
    for (index, id) in document.key_ids().into_iter().enumerate() {
        let Some(id) = id else { continue };
        if seen.contains(&id) {
            let way_out = "give each key an id of its own";
            document.problem(
                &format!("keys[{index}].id"),
                format!("a second key {id}"),
                way_out,
            );
        }
        seen.push(id);
    }
}

/// The largest message fits every bound on bytes, or it could never be delivered.
fn one_message_fits(document: &Document<'_>, settings: &Settings) {
    let least = settings.push.max_payload as u64 + FRAME_OVERHEAD;
    for (key, bytes) in [
        ("clients.queue_bytes", settings.clients.queue_bytes),
        ("clients.memory_budget", settings.clients.memory_budget),
        ("history.bytes", settings.history.bytes),
    ] {
        if bytes < least {
            let what = format!("{bytes} bytes do not hold one message of push.max_payload");
            let way_out = format!("write at least {least}, or a smaller push.max_payload");
            document.problem(key, what, way_out);
        }
    }
}

/// A spread that sends clients back faster than they are let in only moves the queue.
fn they_can_come_back(document: &Document<'_>, settings: &Settings) {
    let (clients, rate) = (
        settings.clients.max_connections,
        settings.clients.accept_rate,
    );
    if rate == 0 {
        return;
    }
    let least_s = clients as f64 / f64::from(rate);
    if settings.drain.spread.as_secs_f64() < least_s {
        let what = format!("{clients} clients at {rate} a second take {least_s:.0} s to come back");
        let way_out = "write at least that, or a higher clients.accept_rate";
        document.warn("drain.spread", what, way_out);
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

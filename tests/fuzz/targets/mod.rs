//! What is fuzzed: functions of bytes that panic when a promise of the wire, of the configuration
//! or of the store is broken. The fuzzer calls them with what it makes up, and `cargo test` with
//! the seeds (it includes this file, so that both run the very same code).

mod configuration;
mod datagrams;
mod frames;
mod mqtt;
mod store;
mod websocket;

/// One target, and the directory of its seeds.
pub(crate) struct Target {
    /// Also the name of the directory under `tests/fuzz/seeds`.
    pub(crate) name: &'static str,
    /// Whether anything in the bytes was accepted; a seed that is not is one of a refusal.
    pub(crate) run: fn(&[u8]) -> bool,
}

/// All of them.
pub(crate) const ALL: [Target; 9] = [
    Target {
        name: "client_frames",
        run: frames::from_client,
    },
    Target {
        name: "gateway_frames",
        run: frames::from_gateway,
    },
    Target {
        name: "datagrams",
        run: datagrams::request,
    },
    Target {
        name: "replies",
        run: datagrams::reply,
    },
    Target {
        name: "mqtt_client_packets",
        run: mqtt::from_client,
    },
    Target {
        name: "mqtt_server_packets",
        run: mqtt::from_server,
    },
    Target {
        name: "websocket_frames",
        run: websocket::frames,
    },
    Target {
        name: "configuration",
        run: configuration::file,
    },
    Target {
        name: "segments",
        run: store::segment,
    },
];

//! Each table of the file, key by key: name, default, range.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::document::Document;
use super::reader::Table;
use crate::hub::keeper::Durability;

use super::{
    Admin, Clients, Drain, History, Log, LogFormat, Push, Settings, Udp, Unsigned, keys, listeners,
    tokens,
};
use crate::redaction::Names;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Any number but 0, up to what TOML holds.
const SOME: RangeInclusive<u64> = 1..=i64::MAX as u64;
/// Any number, where the contract gives 0 a meaning.
const ANY: RangeInclusive<u64> = 0..=i64::MAX as u64;
/// Ids are numbered by 32 bits while they are remembered.
const SOME_IDS: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Any duration but zero: a year is for ever here, and sums of a few do not overflow.
const SOME_TIME: RangeInclusive<Duration> = Duration::from_nanos(1)..=YEAR;
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Frames of clients: a JOIN of the longest name fits the least, every HELLO the most.
const FRAME_BYTES: RangeInclusive<u64> = 257..=256 * KIB;
/// A payload, in a datagram of at most 65,507 bytes beside header and targets.
const PAYLOAD_BYTES: RangeInclusive<u64> = 1..=65_000;

pub(super) fn read(document: &Document<'_>) -> Settings {
    let root = document.root();
    let listeners = listeners::read(&root);
    let clients = clients(root.table("clients"));
    let push = push(root.table("push"));
    let history = history(root.table("history"));
    let auth = tokens::auth(root.table("auth"));
    let keys = keys::read(&root);
    let has_keys = root.is_set("keys") && !document.is_empty("keys");
    let udp = udp(root.table("udp"), has_keys);
    let admin = admin(root.table("admin"));
    let drain = drain(root.table("drain"));
    let log = log(root.table("log"));
    root.finish();
    let warnings = Vec::new();
    Settings {
        listeners,
        clients,
        udp,
        push,
        history,
        auth,
        keys,
        admin,
        drain,
        log,
        warnings,
    }
}

fn clients(table: Table<'_>) -> Clients {
    let heartbeat_range = secs(5)..=secs(3_600);
    let clients = Clients {
        handshake_timeout: table.duration("handshake_timeout", secs(10), SOME_TIME),
        heartbeat: table.duration("heartbeat", secs(30), heartbeat_range),
        max_connections: table.length("max_connections", 0, ANY),
        max_per_address: table.length("max_per_address", 0, ANY),
        accept_rate: count_u32(&table, "accept_rate", 2_000),
        max_devices: table.length("max_devices", 8, SOME),
        max_groups: table.length("max_groups", 64, SOME),
        max_hello: bytes(table.size("max_hello", 16_384, FRAME_BYTES)),
        max_frame: bytes(table.size("max_frame", 4_096, FRAME_BYTES)),
        remember_groups: table.duration("remember_groups", secs(300), SOME_TIME),
        queue_messages: table.count("queue_messages", 1_024, SOME),
        queue_bytes: table.size("queue_bytes", MIB, SOME),
        queue_age: table.duration("queue_age", secs(10), SOME_TIME),
        memory_budget: table.size("memory_budget", GIB, SOME),
    };
    if clients.heartbeat.subsec_nanos() != 0 {
        table.problem(
            "heartbeat",
            "not a whole number of seconds",
            "write it in whole seconds",
        );
    }
    table.finish();
    clients
}

fn udp(table: Table<'_>, has_keys: bool) -> Udp {
    let unsigned = if has_keys {
        Unsigned::Never
    } else {
        Unsigned::Loopback
    };
    let words = [("loopback", Unsigned::Loopback), ("never", Unsigned::Never)];
    let udp = Udp {
        listen: table.address("listen", loopback(7400)),
        unsigned: table.choice("unsigned", unsigned, &words),
        window: table.duration("window", secs(15), SOME_TIME),
        future: table.duration("future", secs(1), SOME_TIME),
        max_remembered: table.length("max_remembered", 4_000_000, SOME_IDS),
        // The kernel takes it as a signed 32-bit number.
        receive_buffer: bytes(table.size("receive_buffer", 4 * MIB, 1..=i32::MAX as u64)),
    };
    table.finish();
    udp
}

fn push(table: Table<'_>) -> Push {
    let push = Push {
        deadline: table.duration("deadline", secs(30), Duration::ZERO..=YEAR),
        max_jobs: table.length("max_jobs", 1_024, SOME),
        max_payload: bytes(table.size("max_payload", 65_000, PAYLOAD_BYTES)),
        // On the wire it is 32 bits of milliseconds.
        max_spread: table.duration("max_spread", secs(600), millis(1)..=millis(u32::MAX.into())),
    };
    table.finish();
    push
}

fn history(table: Table<'_>) -> History {
    let path = table
        .text("path")
        .map(|path| table.document().resolve(path));
    if path.is_none() && table.is_set("sync") {
        let what = "nothing is stored without history.path";
        table.problem("sync", what, "set history.path, or take the key out");
    }
    let sync = match table.text_if("sync", "always") {
        true => Durability::Always,
        // A crash of the machine loses so much; less than a disk takes for a sync is "always".
        false => Durability::Every(table.duration("sync", millis(100), millis(1)..=secs(60))),
    };
    let history = History {
        messages: table.count("messages", 100_000, SOME),
        bytes: table.size("bytes", 256 * MIB, SOME),
        max_ttl: table.duration("max_ttl", secs(7 * 86_400), secs(1)..=secs(u32::MAX.into())),
        sync: if table.is_set("sync") {
            sync
        } else {
            Durability::Always
        },
        path,
    };
    table.finish();
    history
}

fn admin(table: Table<'_>) -> Admin {
    let admin = Admin {
        listen: table.address("listen", loopback(7401)),
        token: keys::token(&table),
        hosts: hosts(&table),
    };
    table.finish();
    admin
}

fn hosts(table: &Table<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (index, host) in table
        .texts("hosts")
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if host.is_empty() || host.contains(odd) || (host.contains(':') && !bare_v6) {
            let what = format!("{host:?} is not a host name");
            let way_out = "write the name alone, without scheme, port or path";
            table.problem(&format!("hosts[{index}]"), what, way_out);
        }
        hosts.push(host.to_ascii_lowercase());
    }
    hosts
}

fn drain(table: Table<'_>) -> Drain {
    let drain = Drain {
        linger: table.duration("linger", secs(1), SOME_TIME),
        grace: table.duration("grace", secs(10), SOME_TIME),
        // On the wire it becomes 32 bits of milliseconds, of which the last means never.
        spread: table.duration("spread", secs(10), millis(1)..=secs(86_400)),
    };
    table.finish();
    drain
}

fn log(table: Table<'_>) -> Log {
    let levels = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let users = Names::ALL.map(|names| (names.word(), names));
    let log = Log {
        level: table.choice("level", LevelFilter::INFO, &levels),
        format: table.choice("format", LogFormat::Text, &formats),
        users: table.choice("users", Names::Plain, &users),
    };
    table.finish();
    log
}

pub(super) fn count_u32(table: &Table<'_>, key: &'static str, default: u32) -> u32 {
    let count = table.count(key, default.into(), 0..=u32::MAX.into());
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

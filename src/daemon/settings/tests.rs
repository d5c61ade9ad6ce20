mod doors;
mod together;
mod tokens;

use super::*;
use crate::hub::keeper::Durability;
use crate::redaction::Names;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn parse(text: &str) -> Result<Settings, Problems> {
    Settings::parse(text, Path::new("/etc/pushgate/pushgate.toml"))
}

#[track_caller]
fn good(text: &str) -> Settings {
    parse(text).unwrap_or_else(|problems| panic!("refused:\n{problems}"))
}

/// All problems as a person sees them, one a line, without the path of the file.
#[track_caller]
fn refused(text: &str) -> Vec<String> {
    let problems = parse(text).expect_err("is refused");
    let shown = problems
        .to_string()
        .replace("/etc/pushgate/pushgate.toml:", "");
    shown.lines().map(str::to_owned).collect()
}

/// The text has this one problem, at this place, and the line about it holds these words.
#[track_caller]
fn check(text: &str, place: &str, words: &[&str]) {
    let lines = refused(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].starts_with(&format!("{place}: ")),
        "not at {place}: {}",
        lines[0]
    );
    for word in words {
        assert!(lines[0].contains(word), "no {word:?} in {}", lines[0]);
    }
}

#[test]
fn the_defaults_are_those_of_the_shipped_file() {
    let shipped = good(include_str!("../../../config/pushgate.toml"));
    assert_eq!(
        format!("{shipped:#?}"),
        format!("{:#?}", Settings::default())
    );
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = Settings::default();
    assert_eq!(
        settings.listeners[0].address,
        "127.0.0.1:7400".parse().unwrap()
    );
    assert_eq!(settings.clients.max_hello, 16_384);
    assert_eq!(settings.clients.memory_budget, 1 << 30);
    assert_eq!(settings.udp.unsigned, Unsigned::Loopback);
    assert_eq!(settings.push.deadline, Duration::from_secs(30));
    assert_eq!(settings.history.max_ttl, Duration::from_secs(7 * 86_400));
    assert!(settings.keys.is_empty() && settings.warnings.is_empty());
}

#[test]
fn every_key_with_a_default_can_be_set() {
    // The shipped file with another value for each key.
    let text = format!(
        r#"
        [[listeners]]
        name = "lan"
        address = "10.0.0.1:1"
        protocol = "native"
        proxy_protocol = false
        [[listeners]]
        name = "six"
        address = "[::1]:2"
        [clients]
        handshake_timeout = "1s"
        heartbeat = "1m"
        max_connections = 3
        max_per_address = 4
        accept_rate = 5
        max_devices = 6
        max_groups = 7
        max_hello = "1KiB"
        max_frame = 300
        remember_groups = "8s"
        queue_messages = 9
        queue_bytes = "2MiB"
        queue_age = "1500ms"
        memory_budget = "2GiB"
        [udp]
        listen = "0.0.0.0:3"
        unsigned = "never"
        window = "20s"
        future = "2s"
        max_remembered = 10
        receive_buffer = 4096
        [push]
        deadline = "0ms"
        max_jobs = 11
        max_payload = 12
        max_spread = "1h 30m"
        [history]
        messages = 13
        bytes = 1_000_000
        max_ttl = "1d"
        path = "/var/lib/pushgate"
        sync = "250ms"
        [auth]
        mode = "none"
        insecure = true
        [[keys]]
        id = 7
        secret = "{SECRET}"
        ops = ["push", "presence"]
        scopes = ["user", "group"]
        groups = ["room/*", "staff"]
        rate = 100
        not_before = 2026-11-24T18:30:00Z
        not_after = "2026-11-24T19:30:00.5+01:00"
        [admin]
        listen = "127.0.0.1:4"
        hosts = ["Push.Example"]
        [drain]
        linger = "3s"
        grace = "4s"
        spread = "5s"
        [log]
        level = "debug"
        format = "json"
        users = "hashed"
        "#
    );
    let settings = good(&text);
    assert_eq!(settings.listeners[1].name, "six");
    assert_eq!(settings.listeners[1].address, "[::1]:2".parse().unwrap());
    let expected = Clients {
        handshake_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_secs(60),
        max_connections: 3,
        max_per_address: 4,
        accept_rate: 5,
        max_devices: 6,
        max_groups: 7,
        max_hello: 1_024,
        max_frame: 300,
        remember_groups: Duration::from_secs(8),
        queue_messages: 9,
        queue_bytes: 2 << 20,
        queue_age: Duration::from_millis(1_500),
        memory_budget: 2 << 30,
    };
    assert_eq!(settings.clients, expected);
    let expected = Udp {
        listen: "0.0.0.0:3".parse().unwrap(),
        unsigned: Unsigned::Never,
        window: Duration::from_secs(20),
        future: Duration::from_secs(2),
        max_remembered: 10,
        receive_buffer: 4_096,
    };
    assert_eq!(settings.udp, expected);
    let expected = Push {
        deadline: Duration::ZERO,
        max_jobs: 11,
        max_payload: 12,
        max_spread: Duration::from_secs(5_400),
    };
    assert_eq!(settings.push, expected);
    let day = Duration::from_secs(86_400);
    assert_eq!(
        settings.history,
        History {
            messages: 13,
            bytes: 1_000_000,
            max_ttl: day,
            path: Some("/var/lib/pushgate".into()),
            sync: Durability::Every(Duration::from_millis(250)),
        }
    );
    assert_eq!(
        settings.auth,
        Auth {
            mode: AuthMode::None,
            own_key: None,
            insecure: true
        }
    );
    let key = &settings.keys[0];
    assert_eq!((key.id, &key.ops[..]), (7, &[Op::Push, Op::Presence][..]));
    assert_eq!(key.scopes, [Scope::User, Scope::Group]);
    assert_eq!(key.groups.as_deref().unwrap(), ["room/*", "staff"]);
    let lifetime = (key.not_before_ms, key.not_after_ms);
    assert_eq!(lifetime, (Some(1_795_545_000_000), Some(1_795_545_000_500)));
    assert_eq!(key.rate, 100);
    assert_eq!(settings.admin.hosts, ["push.example"]);
    assert_eq!(settings.drain.grace, Duration::from_secs(4));
    assert_eq!(
        settings.log,
        Log {
            level: LevelFilter::DEBUG,
            format: LogFormat::Json,
            users: Names::Hashed,
        }
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let known = "did you mean \"heartbeat\"?";
    check(
        "[clients]\nhartbeat = \"10s\"",
        "2:1",
        &["clients.hartbeat: unknown key", known],
    );
    check(
        "[cleints]\nheartbeat = \"9s\"",
        "1:2",
        &["unknown key", "did you mean \"clients\"?"],
    );
    check(
        "[log]\ncolour = true",
        "2:1",
        &["known here: level, format, users"],
    );
    check(
        "[[listeners]]\n adress = \"127.0.0.1:1\"",
        "2:2",
        &["listeners[0].adress", "address"],
    );
}

#[test]
fn a_value_of_another_type_is_refused_where_it_stands() {
    check(
        "[clients]\nheartbeat = 30",
        "2:13",
        &["clients.heartbeat: 30", "\"1h 30m\""],
    );
    check(
        "[clients]\nheartbeat = \"soon\"",
        "2:13",
        &["\"soon\"", "a duration"],
    );
    check(
        "[clients]\nmax_frame = \"4kB\"",
        "2:13",
        &["\"4kB\"", "\"64KiB\""],
    );
    check("[clients]\nmax_devices = -1", "2:15", &["-1", "a number"]);
    check("[auth]\ninsecure = \"yes\"", "2:12", &["true or false"]);
    check(
        "[udp]\nlisten = \"localhost:7400\"",
        "2:10",
        &["an IP address and a port"],
    );
    check(
        "[[listeners]]\nname = \"udp\"",
        "2:8",
        &["listeners[0].name", "the socket of another door"],
    );
    check("clients = 5", "1:11", &["a table: [clients]"]);
    check("listeners = \"x\"", "1:13", &["[[listeners]]"]);
    check("listeners = [1]", "1:14", &["listeners[0]", "not a table"]);
    check(
        "[admin]\nhosts = [\"a\", 2]",
        "2:15",
        &["admin.hosts[1]", "not a string"],
    );
}

#[test]
fn zero_is_refused_where_the_contract_gives_it_no_meaning() {
    for (section, key) in [
        ("clients", "max_devices"),
        ("clients", "max_groups"),
        ("clients", "max_hello"),
        ("clients", "max_frame"),
        ("clients", "queue_messages"),
        ("clients", "queue_bytes"),
        ("clients", "memory_budget"),
        ("udp", "max_remembered"),
        ("udp", "receive_buffer"),
        ("push", "max_jobs"),
        ("push", "max_payload"),
        ("history", "messages"),
        ("history", "bytes"),
    ] {
        let lines = refused(&format!("[{section}]\n{key} = 0"));
        assert!(
            lines[0].contains(&format!("{section}.{key}: 0 is out of range")),
            "{lines:?}"
        );
    }
    for (section, key) in [
        ("clients", "handshake_timeout"),
        ("clients", "heartbeat"),
        ("clients", "remember_groups"),
        ("clients", "queue_age"),
        ("udp", "window"),
        ("udp", "future"),
        ("push", "max_spread"),
        ("history", "max_ttl"),
        ("drain", "linger"),
        ("drain", "grace"),
        ("drain", "spread"),
    ] {
        let lines = refused(&format!("[{section}]\n{key} = \"0s\""));
        assert!(
            lines[0].contains(&format!("{section}.{key}: \"0s\" is out")),
            "{lines:?}"
        );
    }
    good("[clients]\nmax_connections = 0\nmax_per_address = 0\naccept_rate = 0");
    good("[push]\ndeadline = \"0ms\"");
}

#[test]
fn a_value_out_of_range_is_refused_with_the_bound() {
    check(
        "[push]\nmax_payload = 65001",
        "2:15",
        &["65001", "at most 65000"],
    );
    check(
        "[clients]\nheartbeat = \"2h\"",
        "2:13",
        &["at most \"1h\"", "default \"30s\""],
    );
    check(
        "[clients]\nheartbeat = \"4s\"",
        "2:13",
        &["at least \"5s\""],
    );
    check("[clients]\nheartbeat = \"5500ms\"", "2:13", &["whole"]);
    check(
        "[clients]\naccept_rate = 5000000000",
        "2:15",
        &["at most 4294967295"],
    );
    check("[clients]\nqueue_age = \"1000years\"", "2:13", &["at most"]);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = "[udp]\nwindow = 5\n[log]\nlevel = \"inf\"\nnoise = 1\n[clients]\nmax_groups = 0\n";
    let places: Vec<_> = refused(text)
        .iter()
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(places, ["2:10", "4:9", "5:1", "7:14"]);
}

#[test]
fn broken_toml_is_refused_beside_the_other_problems() {
    let lines = refused("[log]\nlevel = \n[clients]\nmax_groups = 0\n");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].starts_with("2:") && lines[0].contains("not TOML"),
        "{lines:#?}"
    );
    assert!(
        lines[1].starts_with("4:14: clients.max_groups"),
        "{lines:#?}"
    );
    check(
        "[log]\nlevel = \"info\"\nlevel = \"warn\"",
        "3:1",
        &["not TOML", "duplicate key"],
    );
}

#[test]
fn columns_count_characters() {
    check("[log]\nlevel = \"info\" # é\n\"é\" = 1", "3:1", &["log.é"]);
}

#[test]
fn an_unknown_protocol_is_refused() {
    check(
        "[[listeners]]\nprotocol = \"webtransport\"",
        "2:12",
        &["unknown protocol", "\"websocket\" or \"mqtt\""],
    );
}

#[test]
fn a_sync_has_something_to_sync() {
    let way_out = "set history.path, or take the key out";
    check("[history]\nsync = \"always\"", "2:8", &[way_out]);
    check(
        "[history]\npath = \"a\"\nsync = \"never\"",
        "3:8",
        &["history.sync"],
    );
}

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn write_token(directory: &Path) {
    let path = directory.join("token");
    std::fs::write(&path, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

#[track_caller]
fn settings(text: &str) -> Settings {
    Settings::parse(text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What a file brings to a gateway that runs on another: applied, and what needs a restart.
#[track_caller]
fn between(running: &str, file: &str) -> (String, String) {
    let (running, file) = (settings(running), settings(file));
    let changes = Changes::between(&running, &file, running.push.max_payload);
    (changes.applied.join(", "), changes.needs_restart.join(", "))
}

/// A value that is not the default, for each key that has one; empty: see below.
const OTHER: [(&str, &str); 44] = [
    ("clients.handshake_timeout", "\"1s\""),
    ("clients.heartbeat", "\"1m\""),
    ("clients.max_connections", "3"),
    ("clients.max_per_address", "4"),
    ("clients.accept_rate", "5"),
    ("clients.max_devices", "6"),
    ("clients.max_groups", "7"),
    ("clients.max_hello", "1024"),
    ("clients.max_frame", "300"),
    ("clients.remember_groups", "\"8s\""),
    ("clients.queue_messages", "9"),
    ("clients.queue_bytes", "\"2MiB\""),
    ("clients.queue_age", "\"2s\""),
    ("clients.memory_budget", "\"2GiB\""),
    ("udp.listen", "\"127.0.0.1:3\""),
    ("udp.unsigned", "\"never\""),
    ("udp.window", "\"20s\""),
    ("udp.future", "\"2s\""),
    ("udp.max_remembered", "10"),
    ("udp.receive_buffer", "4096"),
    ("push.deadline", "\"0ms\""),
    ("push.max_jobs", "11"),
    ("push.max_payload", "12"),
    ("push.max_spread", "\"1h\""),
    ("history.messages", "13"),
    ("history.bytes", "1000000"),
    ("history.max_ttl", "\"1d\""),
    ("history.path", "\"kept\""),
    ("auth.insecure", "true"),
    ("admin.listen", "\"127.0.0.1:4\""),
    ("admin.token_file", "\"token\""),
    ("admin.hosts", "[\"push.example\"]"),
    ("drain.linger", "\"3s\""),
    ("drain.grace", "\"4s\""),
    ("drain.spread", "\"5s\""),
    ("log.level", "\"debug\""),
    ("log.format", "\"json\""),
    ("log.users", "\"hashed\""),
    ("listeners.name", "\"lan\""),
    ("listeners.address", "\"127.0.0.1:5\""),
    ("listeners.protocol", "\"websocket\""),
    ("keys.id", ""),
    ("keys.secret", ""),
    ("keys.secret_file", ""),
];

/// Whether a change of each key holds at once, as README.md says it in its table.
fn readme() -> BTreeMap<String, bool> {
    let readme = include_str!("../../../../README.md");
    let section = readme.split("### Changing the configuration\n").nth(1);
    let section = section.expect("README.md says how the configuration is changed");
    let rows = section.split("\n### ").next().expect("it ends").lines();
    let mut keys = BTreeMap::new();
    for row in rows.filter(|row| row.starts_with("| `")) {
        let mut cells = row.split('|').skip(1);
        let (names, when) = (cells.next().expect("keys"), cells.next().expect("when"));
        for key in names.split('`').skip(1).step_by(2) {
            let live = match when.trim() {
                "live" => true,
                "restart" => false,
                other => panic!("{key}: {other:?} is neither"),
            };
            assert_eq!(
                keys.insert(key.to_owned(), live),
                None,
                "{key} stands twice"
            );
        }
    }
    keys
}

/// Keys with a test of their own.
const APART: [&str; 13] = [
    "auth.algorithm",
    "auth.audience",
    "auth.issuer",
    "auth.keys",
    "auth.mode",
    "auth.public_key_file",
    "auth.secret",
    "auth.secret_file",
    "history.sync",
    "listeners.origins",
    "listeners.proxy_protocol",
    "listeners.tls",
    "listeners.trusted",
];

#[test]
fn whom_a_door_trusts_changes_and_whether_it_does_needs_a_restart() {
    let door = |rest: &str| format!("[[listeners]]\nname = \"native\"\n{rest}");
    let trusting = |network: &str| {
        door(&format!(
            "proxy_protocol = true\ntrusted = [\"{network}\"]\n"
        ))
    };
    let (one, other) = (trusting("10.0.0.0/8"), trusting("fd00::/8"));
    let live = ("listeners[0].trusted".to_owned(), String::new());
    assert_eq!(between(&one, &other), live);
    let restart = (String::new(), "listeners[0].proxy_protocol".to_owned());
    assert_eq!(between(&one, &door("")), restart);
    assert_eq!(between(&door(""), &one), restart);
    assert_eq!(between(&one, &one), (String::new(), String::new()));
}

#[test]
fn which_pages_may_connect_changes_while_their_door_stands() {
    let door =
        |rest: &str| format!("[[listeners]]\nname = \"native\"\nprotocol = \"websocket\"\n{rest}");
    let one = door("origins = [\"https://a.example\"]\n");
    let live = ("listeners[0].origins".to_owned(), String::new());
    assert_eq!(between(&one, &door("")), live);
    assert_eq!(between(&door(""), &one), live);
    assert_eq!(between(&one, &one), (String::new(), String::new()));
    let restart = (String::new(), "listeners[0].protocol".to_owned());
    assert_eq!(between(&one, ""), restart);
}

#[test]
fn of_what_tokens_are_checked_against_each_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    };
    // A point that is Ed25519's base, as RFC 8410 writes it down.
    let prefix = "302a300506032b6570032100";
    let point = format!("58{}", "66".repeat(31));
    write("public.pem", &pem(&format!("{prefix}{point}")));
    let applied = |running: &str, file: &str| {
        let parsed = |text: &str| {
            let text = format!("[auth]\n{text}\n");
            Settings::parse(&text, &path).unwrap_or_else(|problems| panic!("{problems}"))
        };
        let (running, file) = (parsed(running), parsed(file));
        let changes = Changes::between(&running, &file, running.push.max_payload);
        assert!(changes.needs_restart.is_empty(), "{changes:?}");
        assert_eq!(changes.settings.auth, file.auth);
        changes.applied.join(", ")
    };
    let other = SECRET.replace("0001", "ffff");
    let secret = |hex: &str| format!("mode = \"jwt\"\nalgorithm = \"HS256\"\nsecret = \"{hex}\"\n");
    let one = secret(SECRET);
    assert_eq!(applied("", &one), "auth.mode");
    assert_eq!(applied(&one, ""), "auth.mode");
    assert_eq!(applied(&one, &one), "");
    assert_eq!(applied(&one, &secret(&other)), "auth.secret");
    let in_file = "mode = \"jwt\"\nalgorithm = \"HS256\"\nsecret_file = \"secret\"\n";
    write("secret", &other);
    assert_eq!(applied(&one, in_file), "auth.secret_file");
    write("secret", SECRET);
    assert_eq!(applied(&one, in_file), "", "the same, in another place");
    let public = "mode = \"jwt\"\nalgorithm = \"EdDSA\"\npublic_key_file = \"public.pem\"\n";
    assert_eq!(applied(&one, public), "auth.algorithm");
    for key in ["audience", "issuer"] {
        let more = format!("{one}{key} = \"push\"\n");
        assert_eq!(applied(&one, &more), format!("auth.{key}"));
    }
    let by_kid = |hex: &str| format!("{one}[[auth.keys]]\nkid = \"a\"\nsecret = \"{hex}\"\n");
    let two = by_kid(&other);
    assert_eq!(applied(&one, &two), "auth.keys (\"a\" is new)");
    assert_eq!(applied(&two, &one), "auth.keys (\"a\" is gone)");
    assert_eq!(applied(&two, &by_kid(SECRET)), "auth.keys (\"a\" changed)");
}

/// A public key of these hexadecimal digits (RFC 7468, 13).
fn pem(hex: &str) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let body = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn when_the_history_is_synced_needs_a_restart() {
    let (always, later) = ("path = \"a\"\n", "path = \"a\"\nsync = \"1s\"\n");
    let [always, later] = [always, later].map(|keys| format!("[history]\n{keys}"));
    let restart = (String::new(), "history.sync".to_owned());
    assert_eq!(between(&always, &later), restart);
}

#[test]
fn each_key_changes_as_the_readme_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    write_token(directory.path());
    let running = Settings::default();
    let mut told = readme();
    for (key, value) in OTHER.iter().filter(|(_, value)| !value.is_empty()) {
        let (section, name) = key.split_once('.').unwrap();
        let text = match section {
            "listeners" => format!("[[{section}]]\n{name} = {value}\n"),
            _ => format!("[{section}]\n{name} = {value}\n"),
        };
        let file = Settings::parse(&text, &path).unwrap();
        let changes = Changes::between(&running, &file, running.push.max_payload);
        let named = |list: &[String]| {
            let stem = key.split('.').next().unwrap();
            list.iter()
                .any(|named| named == key || (stem == "listeners" && named.starts_with(stem)))
        };
        let found = (named(&changes.applied), named(&changes.needs_restart));
        let live = told.remove(*key);
        assert_eq!(Some(found.0), live, "{key} in README.md, and {changes:?}");
        assert_ne!(found.0, found.1, "{key}: {changes:?}");
        let many = changes.applied.len() + changes.needs_restart.len();
        // A listener of another name is one more, and the old one is gone.
        assert_eq!(many, 1 + usize::from(*key == "listeners.name"), "{key}");
    }
    // Those of the keys have a test of their own, and mode has one value.
    let left: Vec<_> = told
        .iter()
        .filter(|(key, _)| !key.starts_with("keys.") && !APART.contains(&&***key))
        .collect();
    assert!(left.is_empty(), "in README.md, and not tried: {left:?}");
    let restart: Vec<_> = told.iter().filter(|(_, live)| !**live).collect();
    let apart = ["history.sync", "listeners.proxy_protocol"].map(str::to_owned);
    assert_eq!(restart, apart.each_ref().map(|key| (key, &false)));
}

#[test]
fn nothing_differs_from_itself() {
    assert_eq!(between("", ""), (String::new(), String::new()));
    let key = format!("[[keys]]\nid = 7\nsecret = \"{SECRET}\"\n");
    assert_eq!(between(&key, &key), (String::new(), String::new()));
}

#[test]
fn keys_are_told_apart_by_their_id() {
    let key = |id, more: &str| format!("[[keys]]\nid = {id}\nsecret = \"{SECRET}\"\n{more}");
    let (seven, eight) = (key(7, ""), key(8, ""));
    let applied = |running: &str, file: &str| {
        let (applied, needs_restart) = between(running, file);
        assert_eq!(needs_restart, "");
        applied
    };
    assert_eq!(applied("", &seven), "udp.unsigned, keys (7 is new)");
    assert_eq!(applied(&seven, ""), "udp.unsigned, keys (7 is gone)");
    let both = format!("{seven}{eight}");
    assert_eq!(applied(&seven, &both), "keys (8 is new)");
    assert_eq!(applied(&both, &format!("{eight}{seven}")), "");
    assert_eq!(applied(&both, &eight), "keys (7 is gone)");
    for more in [
        "ops = [\"push\"]",
        "scopes = [\"user\"]",
        "groups = [\"room/*\"]",
    ] {
        assert_eq!(applied(&seven, &key(7, more)), "keys (7 changed)", "{more}");
    }
    let other = seven.replace("0001", "ffff");
    assert_eq!(applied(&seven, &other), "keys (7 changed)");
}

#[test]
fn a_listener_is_told_apart_by_its_name() {
    let listener = |name: &str, port: u16| {
        format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n")
    };
    let restart = |running: &str, file: &str| {
        let (applied, needs_restart) = between(running, file);
        assert_eq!(applied, "");
        needs_restart
    };
    let (a, b) = (listener("a", 1), listener("b", 2));
    assert_eq!(restart(&format!("{a}{b}"), &format!("{b}{a}")), "");
    assert_eq!(
        restart(&format!("{a}{b}"), &format!("{b}{}", listener("a", 3))),
        "listeners[1].address"
    );
    assert_eq!(
        restart(&a, &b),
        "listeners[0] (\"b\" is new), listeners (\"a\" is gone)"
    );
}

#[test]
fn payloads_grow_no_longer_than_clients_were_told() {
    let text = |bytes: u32| format!("[push]\nmax_payload = {bytes}\n");
    let running = settings(&text(1_000));
    let changes = |running, bytes| Changes::between(running, &settings(&text(bytes)), 1_000);
    let lower = changes(&running, 500);
    assert_eq!(lower.applied, ["push.max_payload"]);
    let back = changes(&lower.settings, 1_000);
    assert_eq!(back.applied, ["push.max_payload"]);
    let more = changes(&lower.settings, 1_001);
    assert_eq!(more.needs_restart, ["push.max_payload"]);
    assert!(more.applied.is_empty());
    assert_eq!(more.settings.push.max_payload, 500);
}

#[test]
fn what_needs_a_restart_is_named_until_then() {
    let running = settings("[log]\nlevel = \"info\"");
    let file = settings("[log]\nlevel = \"debug\"\nformat = \"json\"");
    let first = Changes::between(&running, &file, 1_000_000);
    assert_eq!(first.applied, ["log.level"]);
    let second = Changes::between(&first.settings, &file, 1_000_000);
    assert_eq!(
        (second.applied.len(), &second.needs_restart[..]),
        (0, &["log.format".to_owned()][..])
    );
}

/// Each of these files is good, and would open a door that stands where it was until a restart.
#[test]
fn what_runs_on_is_checked_with_what_a_file_brings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    write_token(directory.path());
    let key = format!("[[keys]]\nid = 7\nsecret = \"{SECRET}\"\n");
    for (running, word) in [
        (
            "[admin]\nlisten = \"0.0.0.0:7401\"\ntoken_file = \"token\"\n",
            "admin.listen",
        ),
        (
            &*format!("[udp]\nlisten = \"0.0.0.0:7400\"\n{key}"),
            "udp.listen",
        ),
        (
            "[[listeners]]\naddress = \"0.0.0.0:7400\"\n[auth]\ninsecure = true\n",
            "listeners[0].address",
        ),
    ] {
        let running = Settings::parse(running, &path).unwrap();
        let changes = Changes::between(&running, &Settings::default(), 65_000);
        assert!(!changes.applied.is_empty() && !changes.needs_restart.is_empty());
        let problems = changes.settings.check(&path).expect_err("is refused");
        let text = problems.to_string();
        assert!(text.contains(&format!("test.toml: {word}: ")), "{text}");
        assert!(running.check(&path).is_ok());
    }
}

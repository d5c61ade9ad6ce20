//! Doors by what is spoken at them: how the gateway names them, and what the commands say to who
//! comes to the wrong one.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::gateway::Gateway;
use crate::support::process::{Process, await_line};

/// Two doors of WebSocket, one of MQTT, and one of our own frames, which is the last.
const LISTENERS: &str = r#"
[[listeners]]
name = "page"
address = "127.0.0.1:0"
protocol = "websocket"
[[listeners]]
name = "things"
address = "127.0.0.1:0"
protocol = "mqtt"
[[listeners]]
name = "page-2"
address = "127.0.0.1:0"
protocol = "websocket"
[[listeners]]
name = "phones"
address = "127.0.0.1:0"
"#;

#[test]
fn the_log_names_each_door_by_what_it_speaks() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("pushgate.toml");
    let rest = "[udp]\nlisten = \"127.0.0.1:0\"\nfuture = \"50ms\"\n\
                [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    std::fs::write(&path, format!("{LISTENERS}{rest}")).expect("the directory is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.args(["serve", "--config"]).arg(&path);
    command.env_remove("RUST_LOG");
    let gateway = Process::start(&mut command);
    let mut listening = Vec::new();
    let ready = await_line(&gateway.stderr, |line| {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        let fields = line["fields"].clone();
        match fields["message"].as_str() {
            Some("listening") => listening.push(fields),
            Some("ready") => return Some(fields),
            _ => {}
        }
        None
    });
    let spoken = listening.iter().map(|fields| &fields["protocol"]);
    let spoken: Vec<_> = spoken.map(|word| word.as_str().expect("a word")).collect();
    assert_eq!(spoken, ["websocket", "mqtt", "websocket", "native"]);
    // The first of each.
    for (word, place) in [("websocket", 0), ("mqtt", 1), ("native", 3)] {
        assert_eq!(ready[word], listening[place]["address"], "{word}: {ready}");
    }
    assert!(ready["udp"].is_string() && ready["admin"].is_string());
}

/// Who comes to a door at which something else is spoken than they speak: each is told what to do,
/// and where that is certain does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_at_the_wrong_door_is_told_which_one_it_is() {
    let authority = Authority::new();
    let secure = authority.listener("gate", "").replace("native", "secure");
    let gateway = Gateway::start(&format!("{LISTENERS}{secure}"));
    let baseline = Baseline::of(&gateway).await;
    let door = |name: &str| gateway.door(name);
    let ca = authority.path("ca.pem");
    let tls = ["--tls", "--ca", ca.to_str().expect("a plain name")];
    // All at once: each failure of one address waits for longer than the one before.
    let clients = [
        (listen(door("page"), &[]), "use --ws"),
        (listen(door("things"), &["--once"]), "use --mqtt"),
        (listen(door("secure"), &[]), "use --tls"),
        (listen(door("phones"), &["--ws"]), "leave out --ws"),
        (listen(door("secure"), &["--ws"]), "use --tls"),
        (listen(door("phones"), &["--mqtt"]), "leave out --mqtt"),
        (listen(door("page"), &["--mqtt"]), "use --ws"),
        (listen(door("phones"), &tls), "leave out --tls"),
        (listen(gateway.admin, &["--mqtt"]), "speaks HTTP"),
    ];
    let pages = [
        (page("history", door("phones")), "pushgate's own frames"),
        (page("history", door("things")), "hung up"),
        (page("history", door("page")), "the version is HTTP/1.1"),
        (page("health", door("page")), "the version is HTTP/1.1"),
        (page("health", door("secure")), "speaks TLS"),
    ];
    let pages = pages.map(|(process, word)| (process, [word, "admin.listen"]));
    let clients = clients.map(|(process, word)| (process, [word, "pushgate: "]));
    for (process, words) in clients.into_iter().chain(pages) {
        let finished = tokio::task::spawn_blocking(|| process.finish()).await;
        let (code, _, stderr) = finished.expect("waiting does not panic");
        let said = stderr.join("\n");
        assert_eq!(code, Some(1), "{words:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{word} is missing: {said}");
        }
    }
    baseline.assert_back_at(&gateway).await;
}

fn listen(to: SocketAddr, more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.args(["listen", "--user", "ada", "--to", &to.to_string()]);
    Process::start(command.args(more))
}

/// A command that asks for a page, and is given time to hear a late answer.
fn page(command: &str, at: SocketAddr) -> Process {
    let mut process = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    process.args([
        command,
        "--timeout",
        "20s",
        "--url",
        &format!("http://{at}"),
    ]);
    Process::start(&mut process)
}

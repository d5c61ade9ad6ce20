//! Clients that nobody here wrote: libraries in other languages, a browser with the page of the
//! README, and the client for people.

use std::path::{Path, PathBuf};
use std::process::Command;

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::reason::Status;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{DOORS, by_door, closed, listener};
use crate::readme::block;
use crate::support::baseline::Baseline;
use crate::support::browser::Browser;
use crate::support::certificates::Authority;
use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::process::{Process, await_line};
use crate::support::sender::Sender;
use crate::support::{eventually, missing};

/// A program with its library, as `.ci/run` installs it; `None`, with a line, where it is not there
/// and need not be.
fn program(interpreter: &str, file: &str, (variable, library): (&str, &str)) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = root.join("target").join(library);
    let is_there = Command::new(interpreter).arg("--version").output().is_ok();
    if !is_there || !library.exists() {
        let library = library.display();
        missing(format_args!("{interpreter} with its library in {library}"));
        return None;
    }
    let mut command = Command::new(interpreter);
    command
        .arg(root.join("tests/it/websocket").join(file))
        .env(variable, library)
        .env("PYTHONUTF8", "1");
    Some(command)
}

fn libraries() -> [Option<Command>; 2] {
    [
        program("python3", "client.py", ("PYTHONPATH", "websockets")),
        program("node", "client.js", ("NODE_PATH", "ws/node_modules")),
    ]
}

#[track_caller]
fn await_words(program: &Process, words: &str) {
    await_line(&program.stdout, |line| (line == words).then_some(()));
}

/// Everything that a library does by itself, and what is against the protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libraries_of_other_languages_are_pushed_to() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let url = format!("ws://{}/", gateway.door("web"));
    for command in libraries().into_iter().flatten() {
        let mut command = command;
        command.args([&url, "ada?>", "-"]);
        for (last, code) in [
            ("leave", "closed 1000 "),
            ("text", "closed 1003 "),
            ("", ""),
        ] {
            let program = Process::start(&mut command);
            await_words(&program, "open pushgate.v1");
            await_words(&program, "welcome");
            await_words(&program, "current");
            let push = async |payload: &[u8]| {
                let answer = sender.push(&[Target::User("ada?>")], payload).await;
                assert_eq!((answer.status, answer.counts.written), (Status::Done, 1));
            };
            push(b"hello").await;
            await_words(&program, "push 5 hello");
            push(&[b'.'; 65_000]).await;
            await_words(&program, "push 65000 ....................");
            push(b"ping").await;
            await_words(&program, "pong True");
            push(b"parts").await;
            await_words(&program, "joined");
            if last.is_empty() {
                let kick = Kick {
                    user: "ada?>",
                    device: "",
                    hold_s: 0,
                    reason: "tidying up",
                };
                let answer = sender.ask(&RequestBody::Kick(kick)).await;
                assert_eq!(answer.counts.matched, 1);
                await_words(&program, "close");
                await_words(&program, "closed 4003 tidying up");
                continue;
            }
            push(last.as_bytes()).await;
            await_line(&program.stdout, |line| line.starts_with(code).then_some(()));
        }
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libraries_of_other_languages_come_by_tls() {
    let authority = Authority::new();
    authority.certify("gate");
    let [cert, key] = ["gate.pem", "gate.key"].map(|file| authority.path(file));
    let tls = format!(
        "tls = {{ cert = '{}', key = '{}' }}",
        cert.display(),
        key.display()
    );
    let gateway = Gateway::start(&listener(&tls));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let url = format!("wss://localhost:{}/", gateway.door("web").port());
    for command in libraries().into_iter().flatten() {
        let mut command = command;
        command.args([&url, "ada"]).arg(authority.path("ca.pem"));
        let program = Process::start(&mut command);
        await_words(&program, "current");
        let answer = sender.push(&[Target::All], b"leave").await;
        assert_eq!(answer.counts.written, 1);
        await_words(&program, "closed 1000 ");
    }
    baseline.assert_back_at(&gateway).await;
}

/// Serves one page, for as long as the test lasts. A browser opens connections ahead, on which it
/// may say nothing: each is served by itself.
async fn serve(listener: TcpListener, page: String) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        serving.spawn(answer(stream, page.clone()));
    }
}

async fn answer(mut stream: TcpStream, page: String) {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(count @ 1..) => head.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let length = page.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{page}"
    );
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

const SEEN: &str = "return [...document.querySelectorAll('#seen li')].map((li) => li.textContent)";
const STATE: &str = "return document.getElementById('state').textContent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_the_readme_receives_pushes_in_a_browser() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let pages = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!(
        "http://localhost:{}",
        pages.local_addr().expect("bound").port()
    );
    let config = DOORS.replace("https://app.example", &origin);
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let page = block("example: push.html");
    let door = gateway.door("web").to_string();
    assert!(page.contains("127.0.0.1:7402"), "the address stands in it");
    let serving = tokio::spawn(serve(pages, page.replace("127.0.0.1:7402", &door)));
    browser.open(&format!("{origin}/push.html")).await;
    let is = |words: &'static str| move |value: &Value| value.as_str() == Some(words);
    browser
        .until("it is connected", STATE, is("connected"))
        .await;
    assert_eq!(by_door(&gateway, "websocket").await, 1);
    let keep = async |target: Target<'_>, payload: &str, ttl_s: u32| {
        let body = RequestBody::Push {
            reply: pushgate::wire::datagram::ReplyMode::One,
            collapse: b"",
            ttl_s,
            spread_ms: 0,
            targets: &[target],
            payload: payload.as_bytes(),
        };
        assert_eq!(sender.ask(&body).await.status, Status::Done);
    };
    keep(Target::User("ada"), "an <b>ümlaut</b>", 0).await;
    keep(Target::Group("news"), "news", 0).await;
    keep(Target::All, "kept", 600).await;
    let long = "x".repeat(60_000);
    keep(Target::All, &long, 0).await;
    let expected = json!(["an <b>ümlaut</b>", "news", "kept", long]);
    browser
        .until("the messages", SEEN, |seen| *seen == expected)
        .await;
    // It comes back by itself, and misses nothing that was kept meanwhile.
    let kick = Kick {
        user: "ada",
        device: "page",
        hold_s: 1,
        reason: "for a second",
    };
    assert_eq!(sender.ask(&RequestBody::Kick(kick)).await.counts.matched, 1);
    keep(Target::User("ada"), "meanwhile", 600).await;
    let shown = json!(["an <b>ümlaut</b>", "news", "kept", long, "meanwhile"]);
    browser
        .until("what it missed", SEEN, |seen| *seen == shown)
        .await;
    assert_eq!(closed(&gateway, "kicked").await, 1);
    eventually("it has confirmed what it handled", async || {
        let confirmed = gateway.scrape().await.value("pushgate_confirmed_total");
        (confirmed == 2)
            .then_some(())
            .ok_or_else(|| confirmed.to_string())
    })
    .await;
    // A page of another origin may not.
    let other = format!("{}/push.html", origin.replace("localhost", "127.0.0.1"));
    browser.open(&other).await;
    let refused = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.starts_with("closed: 1006"))
    };
    browser.until("it is not let in", STATE, refused).await;
    // The dashboard counts those who are there by their doors.
    let native = Login::user("eve").enter(gateway.native).await;
    let page = super::enter(&gateway, &Login::user("fay")).await;
    browser.open(&format!("http://{}/", gateway.admin)).await;
    let apart = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        // A page that was left may be kept for its button Back, with its connection.
        let counts = ["1", "2"].map(|pages| format!("(1 native, {pages} websocket)"));
        counts.iter().any(|counts| text.contains(counts))
    };
    let tiles = "return document.getElementById('tiles')?.textContent ?? ''";
    browser.until("sessions by door", tiles, apart).await;
    drop((native, page));
    serving.abort();
    drop(browser);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

fn listen(to: &str, user: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.args(["listen", "--ws", "--to", to, "--user", user, "--json"]);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_people_listens_over_websocket() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let door = gateway.door("web").to_string();
    let program = Process::start(listen(&door, "ada").args(["--group", "news", "--count", "2"]));
    await_line(&program.stdout, |line| {
        line.contains("current").then_some(())
    });
    assert_eq!(by_door(&gateway, "websocket").await, 1);
    for payload in [&b"one"[..], &[b'y'; 40_000]] {
        let answer = sender.push(&[Target::Group("news")], payload).await;
        assert_eq!(answer.counts.written, 1);
    }
    let (code, lines, said) = program.finish();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(
        lines.iter().any(|line| line.contains("\"one\"")),
        "{lines:?}"
    );
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "bye").await, 1);
    // What is no WebSocket, and a path where there is none.
    for (to, ws, words) in [
        (
            gateway.native.to_string(),
            "--ws",
            "no WebSocket with this gateway",
        ),
        (
            door,
            "--ws=/elsewhere",
            "404 Not Found: nothing is here; the path is /",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        command.args(["listen", ws, "--to", &to, "--user", "ada", "--once"]);
        let (code, _, said) = Process::start(&mut command).finish();
        assert_eq!(code, Some(1), "{said:?}");
        assert!(said.concat().contains(words), "{said:?}");
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_people_listens_over_websocket_under_tls() {
    let authority = Authority::new();
    authority.certify("gate");
    let files: [PathBuf; 2] = ["gate.pem", "gate.key"].map(|file| authority.path(file));
    let [cert, key] = files.each_ref().map(|file| file.display());
    let tls = format!("tls = {{ cert = '{cert}', key = '{key}' }}");
    let gateway = Gateway::start(&listener(&tls));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let to = format!("localhost:{}", gateway.door("web").port());
    let mut command = listen(&to, "ada");
    command
        .args(["--count", "1", "--tls", "--ca"])
        .arg(authority.path("ca.pem"));
    let program = Process::start(&mut command);
    await_line(&program.stdout, |line| {
        line.contains("current").then_some(())
    });
    assert_eq!(
        sender.push(&[Target::All], b"sealed").await.counts.written,
        1
    );
    let (code, lines, said) = program.finish();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(
        lines.iter().any(|line| line.contains("sealed")),
        "{lines:?}"
    );
    baseline.assert_back_at(&gateway).await;
}

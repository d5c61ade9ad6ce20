//! The example programs of the README against the gateway.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::block;
use crate::support::missing;
use crate::support::process::{Process, STEP, await_line, next_line};

/// The interpreter's name, or `None` where it is not installed and need not be.
pub(super) fn interpreter(name: &'static str) -> Option<&'static str> {
    let found = Command::new(name).arg("--version").output().is_ok();
    if found {
        return Some(name);
    }
    missing(name);
    None
}

pub(super) struct Gateway {
    _process: Process,
    native: SocketAddr,
    udp: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Gateway {
    /// Starts the binary on free ports with `more` in its configuration, and waits until it is
    /// ready.
    pub(super) fn start(directory: &Path, more: &str) -> Self {
        let file = directory.join("pushgate.toml");
        let config = format!(
            "[[listeners]]\nname = \"native\"\naddress = \"127.0.0.1:0\"\n\
             [udp]\nlisten = \"127.0.0.1:0\"\n{more}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n"
        );
        fs::write(&file, config).expect("the directory is writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        command
            .args(["serve", "--config"])
            .arg(&file)
            .env_remove("RUST_LOG");
        let process = Process::start(&mut command);
        let fields = await_line(&process.stderr, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = event.get("fields")?;
            (fields["message"] == "ready").then(|| fields.clone())
        });
        let address = |field: &str| {
            let text = fields[field]
                .as_str()
                .unwrap_or_else(|| panic!("no {field} in {fields}"));
            text.parse().unwrap_or_else(|_| panic!("{field} is {text}"))
        };
        Self {
            native: address("native"),
            udp: address("udp"),
            admin: address("admin"),
            _process: process,
        }
    }

    pub(super) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("the admin door is open");
        stream
            .set_read_timeout(Some(STEP))
            .expect("a timeout that is not zero");
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .expect("the request is sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the reply is text");
        text
    }
}

/// The README's programs as files, and a key.
pub(super) struct Examples {
    pub(super) directory: tempfile::TempDir,
    key: String,
}

impl Examples {
    pub(super) fn extract() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        for name in ["sender.py", "sender.js", "client.py"] {
            let program = block(&format!("example: {name}"));
            fs::write(directory.path().join(name), program).expect("the directory is writable");
        }
        let key = rand::random::<[u8; 32]>()
            .map(|byte| format!("{byte:02x}"))
            .concat();
        let examples = Self { directory, key };
        // With the newline that `pushgate keygen` writes.
        fs::write(examples.key_file(), format!("{}\n", examples.key)).expect("writable");
        examples
    }

    pub(super) fn key_file(&self) -> PathBuf {
        self.directory.path().join("key-7")
    }

    pub(super) fn key_table(&self) -> String {
        format!("[[keys]]\nid = 7\nsecret = \"{}\"\n", self.key)
    }

    fn program(&self, interpreter: &str, name: &str) -> Command {
        let mut command = Command::new(interpreter);
        // UTF-8 whatever the locale of the machine.
        command
            .arg(self.directory.path().join(name))
            .env("PYTHONUTF8", "1");
        command
    }

    /// A client that has been told that it is up to date.
    pub(super) fn client(&self, python: &str, gateway: &Gateway, arguments: &[&str]) -> Process {
        let mut command = self.program(python, "client.py");
        let client = Process::start(command.arg(gateway.native.to_string()).args(arguments));
        await_line(&client.stderr, |line| (line == "current").then_some(()));
        client
    }
}

/// Runs a sender of the README to its end, and checks that it tells of `matched` sessions.
#[track_caller]
fn push(sender: &mut Command, matched: u32) {
    let (code, stdout, stderr) = Process::start(sender).finish();
    assert_eq!(
        (code, stdout.len()),
        (Some(0), 1),
        "{stdout:?} {stderr:?} from {sender:?}"
    );
    let told = format!("done matched={matched} written={matched} waiting=0 refused=0 elapsed_ms=");
    let tail = stdout[0].strip_prefix(&told);
    assert!(
        tail.is_some_and(|tail| tail.ends_with(" number=0")),
        "{stdout:?} from {sender:?}"
    );
}

#[test]
fn the_example_programs_push_and_receive() {
    let Some(python) = interpreter("python3") else {
        return;
    };
    let examples = Examples::extract();
    let options = format!("unsigned = \"loopback\"\n{}", examples.key_table());
    let gateway = Gateway::start(examples.directory.path(), &options);
    let ada = examples.client(python, &gateway, &["ada", "phone", "news"]);
    let bob = examples.client(python, &gateway, &["bob", "phone"]);

    let mut senders = vec![(python, "sender.py")];
    senders.extend(interpreter("node").map(|node| (node, "sender.js")));
    let deadline = Instant::now() + STEP;
    for (interpreter, program) in senders {
        let sender = |id: &str, key_file: &Path| {
            let mut command = examples.program(interpreter, program);
            command.args([&gateway.udp.to_string(), id]).arg(key_file);
            command
        };
        let signed = || sender("7", &examples.key_file());
        push(signed().args(["user", "ada", "to ada, from ägäis"]), 1);
        push(signed().args(["user", "nobody", "to nobody"]), 0);
        push(signed().args(["group", "news", "to the\nnews"]), 1);
        push(signed().args(["all", "to all"]), 2);
        push(sender("0", Path::new("-")).args(["all", "unsigned"]), 2);

        let lines = |process: &Process, count| -> Vec<String> {
            let line = |_| next_line(&process.stdout, deadline).expect("the client lives");
            (0..count).map(line).collect()
        };
        let to_ada = [
            "0 user - to ada, from ägäis",
            "0 group news to the\\nnews",
            "0 all - to all",
            "0 all - unsigned",
        ];
        assert_eq!(lines(&ada, 4), to_ada, "pushed by {program}");
        assert_eq!(
            lines(&bob, 2),
            ["0 all - to all", "0 all - unsigned"],
            "pushed by {program}"
        );
    }
}

#[test]
fn an_unsigned_push_is_dropped_and_counted_where_a_key_is_configured() {
    let Some(python) = interpreter("python3") else {
        return;
    };
    let examples = Examples::extract();
    let gateway = Gateway::start(examples.directory.path(), &examples.key_table());
    let mut command = examples.program(python, "sender.py");
    let sender = command
        .arg(gateway.udp.to_string())
        .args(["0", "-", "all", "hello"]);
    let sender = Process::start(sender);

    let deadline = Instant::now() + STEP;
    let rejected = |line: &str| {
        line.strip_prefix("pushgate_datagrams_rejected_total{cause=\"unsigned\"} ")
            .is_some_and(|count| count != "0")
    };
    while !gateway.metrics().lines().any(rejected) {
        assert!(
            Instant::now() < deadline,
            "the rejected datagram is not counted"
        );
        thread::sleep(Duration::from_millis(20));
    }
    let heard = sender.stdout.try_recv();
    assert!(heard.is_err(), "the sender was answered: {heard:?}");
}

#[test]
fn without_what_they_need_the_example_programs_tell_their_usage() {
    let examples = Examples::extract();
    let programs = [
        ("python3", "sender.py", "sender.py HOST:PORT KEYID KEYFILE"),
        ("node", "sender.js", "sender.js HOST:PORT KEYID KEYFILE"),
        ("python3", "client.py", "client.py HOST:PORT USER DEVICE"),
    ];
    let senders: [&[&str]; 5] = [
        &[],
        &["127.0.0.1:1"],
        &["127.0.0.1:1", "0", "-", "all"],
        &["127.0.0.1:1", "0", "-", "user", "hello"],
        &["127.0.0.1:1", "0", "-", "nobody", "ada", "hello"],
    ];
    for (name, program, usage) in programs {
        let Some(interpreter) = interpreter(name) else {
            continue;
        };
        let client = program == "client.py";
        // A client takes any number of groups: only too few are wrong.
        for arguments in &senders[..if client { 2 } else { senders.len() }] {
            let mut command = examples.program(interpreter, program);
            let (code, stdout, stderr) = Process::start(command.args(*arguments)).finish();
            let told = stderr.join("\n");
            assert_eq!(
                (code, stdout.len()),
                (Some(1), 0),
                "{program} {arguments:?}: {told}"
            );
            assert!(told.contains(usage), "{program} {arguments:?}: {told}");
            assert!(
                !told.contains("Traceback"),
                "{program} {arguments:?}: {told}"
            );
        }
    }
}

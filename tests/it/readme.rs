//! The README is true: its example programs work against the gateway, and it names every key, every
//! metric and every word of the protocol.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pushgate::ledger::Kind;
use pushgate::metrics::Outcome;
use pushgate::wire::datagram::Op;
use pushgate::wire::reason::{CloseCode, CloseReason, RejectCause, Status};

const README: &str = include_str!("../../README.md");
const CONFIG: &str = include_str!("../../config/pushgate.toml");

/// How long a step may take: a debug build on a busy machine, with an interpreter to start.
const STEP: Duration = Duration::from_secs(30);

// === What the README says ===

/// The fenced block behind the comment `<!-- marker -->`.
fn block(marker: &str) -> &'static str {
    let marker = format!("<!-- {marker} -->\n```");
    let (_, rest) = README
        .split_once(&marker)
        .unwrap_or_else(|| panic!("README.md has no block behind {marker}"));
    let (_language, rest) = rest.split_once('\n').expect("a fence ends its line");
    let (program, _) = rest.split_once("\n```").expect("a fence is closed");
    program
}

/// Asserts that each word stands in `text` as code: in backticks, alone or before its labels.
#[track_caller]
fn documented<'a>(what: &str, words: impl IntoIterator<Item = &'a str>, text: &str) {
    let missing: Vec<&str> = words
        .into_iter()
        .filter(|word| {
            !["`", "{"]
                .iter()
                .any(|end| text.contains(&format!("`{word}{end}")))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "README.md does not name {what} {missing:?}"
    );
}

/// The first cells of all rows of all tables: what the rows are about.
fn subjects() -> String {
    let cell = |row: &'static str| row.strip_prefix("| ")?.split(" |").next();
    README
        .lines()
        .filter_map(cell)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every key of the configuration contract with its section, those in comments too.
fn configuration_keys() -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in CONFIG.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            let end = line.find(']').expect("a section is closed");
            section = line[..end].trim_start_matches('[');
            continue;
        }
        let end = line.find(['=', '#']).unwrap_or(line.len());
        let names: Vec<&str> = line[..end].trim().split(" / ").collect();
        let named = |name: &&str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if names.iter().all(named) {
            keys.extend(names.iter().map(|name| format!("{section}.{name}")));
        }
    }
    keys
}

/// Every metric name in a source file: what stands between the quotes and the prefix.
fn metric_names(source: &str) -> Vec<&str> {
    source
        .split('"')
        .filter(|text| text.starts_with("pushgate_"))
        .filter(|text| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .collect()
}

#[test]
fn every_configuration_key_is_documented() {
    let keys = configuration_keys();
    for key in [
        "listeners.address",
        "clients.queue_age",
        "keys.not_after",
        "log.format",
    ] {
        assert!(
            keys.iter().any(|known| known == key),
            "{key} is not among {keys:?}"
        );
    }
    documented("the keys", keys.iter().map(String::as_str), &subjects());
}

#[test]
fn every_metric_is_documented() {
    let names = metric_names(include_str!("../../src/metrics.rs"));
    assert!(
        names.contains(&"pushgate_sessions") && names.len() > 20,
        "found only {names:?}"
    );
    documented("the metrics", names, &subjects());
}

#[test]
fn every_word_of_the_protocol_is_documented() {
    documented(
        "the close reasons",
        CloseReason::ALL.map(CloseReason::word),
        README,
    );
    documented("the statuses", Status::ALL.map(Status::word), README);
    documented(
        "the reject causes",
        RejectCause::ALL.map(RejectCause::word),
        README,
    );
    documented("the ops", Op::ALL.map(Op::word), README);
    documented("the outcomes", Outcome::ALL.map(Outcome::word), README);
    documented("the task kinds", Kind::ALL.map(Kind::word), README);
}

#[test]
fn the_tables_have_the_codes_of_the_protocol() {
    for code in CloseCode::ALL {
        let row = format!("\n| {} | `{}` |", code.code(), code.word());
        assert!(README.contains(&row), "README.md has no row {row:?}");
    }
    for status in Status::ALL {
        let word = status.word();
        let row = format!("\n| {} {} | `{word}` |", status.code(), word.to_uppercase());
        assert!(README.contains(&row), "README.md has no row {row:?}");
    }
}

#[test]
fn the_commands_that_set_everything_up_are_the_two() {
    assert!(README.contains("\n## Run the tests\n"));
    assert_eq!(
        block("commands: tests"),
        "cargo run --release -- demo\ncargo test"
    );
}

#[test]
fn every_command_and_option_is_documented() {
    let help = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        let (code, stdout, _) = Process::start(command.args(arguments)).finish();
        assert_eq!(code, Some(0), "{command:?}");
        stdout
    };
    let words = |text: &str| -> HashSet<String> {
        let word = |c: char| c.is_ascii_lowercase() || c == '-';
        text.split(|c| !word(c)).map(str::to_owned).collect()
    };
    let known = words(README);
    let overview = help(&["--help"]);
    let listed = overview
        .iter()
        .skip_while(|line| *line != "Commands:")
        .skip(1);
    let commands: Vec<&str> = listed
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"serve"), "found only {commands:?}");
    for name in commands {
        assert!(
            README.contains(&format!("**`pushgate {name}`**")),
            "no section on {name}"
        );
        for option in words(&help(&[name, "--help"]).join("\n")) {
            let its_own = option.starts_with("--") && !["--help", "--version"].contains(&&*option);
            assert!(
                !its_own || known.contains(&option),
                "{name}: no word on {option}"
            );
        }
    }
}

// === Its example programs ===

/// A process with its output as lines. It is killed, by its id, when it is dropped.
struct Process {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let stdout = lines(child.stdout.take().expect("stdout is piped"));
        let stderr = lines(child.stderr.take().expect("stderr is piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// The exit code, and what is left of standard output and standard error.
    #[track_caller]
    fn finish(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let deadline = Instant::now() + STEP;
        let stdout = rest(&self.stdout, deadline);
        let stderr = rest(&self.stderr, deadline);
        let status = self.child.wait().expect("a child can be waited for");
        (status.code(), stdout, stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read by a thread that ends with the pipe.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    });
    rx
}

#[track_caller]
fn next_line(lines: &Receiver<String>, deadline: Instant) -> Option<String> {
    match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no further line within {STEP:?}"),
    }
}

/// The lines until the pipe is closed.
#[track_caller]
fn rest(lines: &Receiver<String>, deadline: Instant) -> Vec<String> {
    std::iter::from_fn(|| next_line(lines, deadline)).collect()
}

/// The first line that `wanted` finds something in; the lines before it are let go.
#[track_caller]
fn await_line<T>(lines: &Receiver<String>, wanted: impl Fn(&str) -> Option<T>) -> T {
    let deadline = Instant::now() + STEP;
    let mut seen = Vec::new();
    while let Some(line) = next_line(lines, deadline) {
        if let Some(found) = wanted(&line) {
            return found;
        }
        seen.push(line);
    }
    panic!("the process ended without the line that was waited for, after {seen:#?}");
}

/// The interpreter's name, or `None` where it is not installed and need not be.
fn interpreter(name: &'static str) -> Option<&'static str> {
    let found = Command::new(name).arg("--version").output().is_ok();
    if found {
        return Some(name);
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
    eprintln!("skipped what needs {name}: it is not installed");
    None
}

struct Gateway {
    _process: Process,
    native: SocketAddr,
    udp: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    /// Starts the binary on free ports with `more` in its configuration, and waits until it is ready.
    fn start(directory: &Path, more: &str) -> Self {
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

    fn metrics(&self) -> String {
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
struct Examples {
    directory: tempfile::TempDir,
    key: String,
}

impl Examples {
    fn extract() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        for name in ["sender.py", "sender.js", "client.py"] {
            let program = block(&format!("example: {name}"));
            fs::write(directory.path().join(name), program).expect("the directory is writable");
        }
        let key = rand::random::<[u8; 32]>()
            .map(|byte| format!("{byte:02x}"))
            .concat();
        Self { directory, key }
    }

    fn key_table(&self) -> String {
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
    fn client(&self, python: &str, gateway: &Gateway, arguments: &[&str]) -> Process {
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
        let sender = |id: &str, key: &str| {
            let mut command = examples.program(interpreter, program);
            command.args([&gateway.udp.to_string(), id, key]);
            command
        };
        let signed = || sender("7", &examples.key);
        push(signed().args(["user", "ada", "to ada, from ägäis"]), 1);
        push(signed().args(["user", "nobody", "to nobody"]), 0);
        push(signed().args(["group", "news", "to the\nnews"]), 1);
        push(signed().args(["all", "to all"]), 2);
        push(sender("0", "-").args(["all", "unsigned"]), 2);

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

//! The log from its first line on, in text: under systemd, and without.

use std::process::Command;
use std::time::Instant;

use pushgate::version;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::{Process, STEP, next_line};

const CONFIG: &str = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
                      [udp]\nlisten = '127.0.0.1:0'\nfuture = '50ms'\n\
                      [admin]\nlisten = '127.0.0.1:0'\n[drain]\nlinger = '100ms'\n";

/// What systemd says of the pipe that standard error is.
const JOURNAL: &str = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";

/// All lines of a gateway that starts, is ready, and is asked to end, in an environment that a
/// shell prepares.
fn all(prepare: &str, config: &str) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("pushgate.toml");
    std::fs::write(&path, config).expect("the directory is ours");
    let mut command = Command::new("sh");
    let script = format!("{prepare}; exec \"$0\" serve --config \"$1\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_pushgate")]);
    command.arg(path).env_remove("RUST_LOG");
    let process = Process::start(&mut command);
    let deadline = Instant::now() + STEP;
    let mut lines = Vec::new();
    while let Some(line) = next_line(&process.stderr, deadline) {
        let is_ready = line.contains("ready");
        lines.push(line);
        if is_ready {
            let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.expect("a process has an id"), Signal::TERM).expect("it is there");
            break;
        }
    }
    let (code, _, rest) = process.finish();
    lines.extend(rest);
    assert_eq!(code, Some(0), "{lines:#?}");
    lines
}

#[test]
fn in_the_journal_a_line_begins_with_its_priority_and_has_no_time() {
    let lines = all(JOURNAL, CONFIG);
    let first = format!("<6>pushgate: starting version=\"{}\"", version::VERSION);
    assert!(lines[0].starts_with(&first), "{}", lines[0]);
    assert!(lines.len() > 5, "{lines:#?}");
    for line in &lines {
        let rest = line.strip_prefix("<6>").or(line.strip_prefix("<4>"));
        let rest = rest.unwrap_or_else(|| panic!("no priority: {line}"));
        assert!(rest.starts_with("pushgate"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn elsewhere_a_line_begins_with_its_time_and_level() {
    // A service that systemd started, and whose standard error leads elsewhere.
    for prepare in ["unset JOURNAL_STREAM", "export JOURNAL_STREAM=1:1"] {
        for line in all(prepare, CONFIG) {
            let (time, rest) = line.split_once(' ').expect("words");
            assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
            let rest = rest.trim_start();
            assert!(
                rest.starts_with("INFO pushgate") || rest.starts_with("WARN pushgate"),
                "{line}"
            );
        }
    }
}

#[test]
fn the_first_line_says_which_build_it_is() {
    let lines = all("true", &format!("{CONFIG}[log]\nformat = 'json'\n"));
    let first: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    let fields = &first["fields"];
    assert_eq!(fields["message"], "starting");
    for (name, value) in [
        ("version", version::VERSION),
        ("commit", version::COMMIT),
        ("date", version::DATE),
        ("rustc", version::RUSTC),
        ("build_target", version::TARGET),
        ("profile", version::PROFILE),
    ] {
        assert_eq!(fields[name], value, "{first}");
    }
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let keys: Vec<_> = line.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["fields", "level", "target", "timestamp"], "{line}");
    }
}

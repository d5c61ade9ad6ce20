//! The README is true: its example programs work against the gateway, and it names every key, every
//! metric and every word of the protocol.

mod http;
mod programs;

use std::collections::HashSet;
use std::process::Command;

use pushgate::ledger::Kind;
use pushgate::metrics::{Credential, HttpReject, Outcome, TokenFault};
use pushgate::wire::datagram::Op;
use pushgate::wire::encoding::Protocol;
use pushgate::wire::reason::{CloseCode, CloseReason, RejectCause, Status};

use crate::support::process::Process;

const README: &str = include_str!("../../README.md");
const CONFIG: &str = include_str!("../../config/pushgate.toml");

/// The fenced block behind the comment `<!-- marker -->`.
pub(crate) fn block(marker: &str) -> &'static str {
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
    documented(
        "the faults of tokens",
        TokenFault::ALL.map(TokenFault::word),
        README,
    );
    documented(
        "the credentials",
        Credential::ALL.map(Credential::word),
        README,
    );
    documented(
        "the causes by HTTP",
        HttpReject::ALL.map(HttpReject::word),
        README,
    );
    documented("the task kinds", Kind::ALL.map(Kind::word), README);
    let doors = "| `pushgate_sessions_by_door{door}` |";
    let doors = README.lines().find(|line| line.starts_with(doors));
    let doors = doors.expect("a row of the metrics");
    documented("the doors", Protocol::ALL.map(Protocol::word), doors);
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
        "cargo run -- demo\n\
         cargo test && cargo test --features interleavings --example interleavings"
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

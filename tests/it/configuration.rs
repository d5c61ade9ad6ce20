//! A configuration that cannot be run is refused at start: what is wrong, where, and the way out.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::Process;

/// A configuration file of its own.
struct Configuration {
    path: PathBuf,
    _directory: TempDir,
}

impl Configuration {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("gate.toml");
        std::fs::write(&path, text).expect("the configuration is written");
        Self {
            path,
            _directory: directory,
        }
    }

    /// The exit code of the program on this file, and what it said on standard error.
    fn run(&self, command: &str) -> (Option<i32>, String) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        program.args([command, "--config"]).arg(&self.path);
        program.env_remove("RUST_LOG");
        let (code, stdout, stderr) = Process::start(&mut program).finish();
        assert!(
            stdout.is_empty(),
            "{command} says {stdout:?} on standard output"
        );
        (code, stderr.join("\n"))
    }
}

/// `check` and `serve` both refuse the text, with one line for each of `problems`: a place
/// (line:column), the key, and words of what is wrong and of the way out.
#[track_caller]
fn refused(text: &str, problems: &[(&str, &str, &[&str])]) {
    let configuration = Configuration::new(text);
    for command in ["check", "serve"] {
        let (code, said) = configuration.run(command);
        assert_eq!(code, Some(64), "{command}: {said}");
        let path = configuration.path.display();
        let count = said.matches(&format!("{path}:")).count();
        assert_eq!(count, problems.len(), "{command}: {said}");
        for (place, key, words) in problems {
            let start = format!("{path}:{place}: {key}: ");
            let line = said.lines().find(|line| line.contains(&start));
            let line = line.unwrap_or_else(|| panic!("{command}: no {start:?} in {said}"));
            for word in *words {
                assert!(line.contains(word), "{command}: no {word:?} in {line}");
            }
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    refused(
        "[clients]\nheartbeet = \"10s\"\n",
        &[(
            "2:1",
            "clients.heartbeet",
            &["unknown key", "did you mean \"heartbeat\"?"],
        )],
    );
}

#[test]
fn a_duration_that_is_none_is_refused_with_one_that_is() {
    refused(
        "[push]\n\ndeadline = \"half a minute\"\n",
        &[(
            "3:12",
            "push.deadline",
            &["\"half a minute\"", "a duration", "\"1h 30m\""],
        )],
    );
}

#[test]
fn doors_for_strangers_are_refused_with_the_way_out() {
    refused(
        "[udp]\nlisten = \"0.0.0.0:7400\"\n",
        &[(
            "2:10",
            "udp.listen",
            &["not loopback", "unsigned", "[[keys]]", "\"never\""],
        )],
    );
    refused(
        "[[listeners]]\naddress = \"0.0.0.0:7400\"\n",
        &[(
            "2:11",
            "listeners[0].address",
            &["not loopback", "insecure = true"],
        )],
    );
    refused(
        "[admin]\nlisten = \"[::]:7401\"\n",
        &[(
            "2:10",
            "admin.listen",
            &["not loopback", "admin.token_file"],
        )],
    );
}

#[test]
fn a_key_file_that_is_not_there_is_refused() {
    refused(
        "[[keys]]\nid = 7\nsecret_file = \"no/such\"\n",
        &[("3:15", "keys[0].secret_file", &["no/such"])],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    refused(
        "[log]\nlevel = \"loud\"\n[clients]\nmax_devices = 0\nheartbeet = \"1s\"\n\
         [auth]\nmode = \"jwt\"\n",
        &[
            ("2:9", "log.level", &["\"loud\"", "info"]),
            ("4:15", "clients.max_devices", &["0 is out of range"]),
            ("5:1", "clients.heartbeet", &["did you mean"]),
            (
                "7:8",
                "auth.mode",
                &["no key to check a token with", "secret_file"],
            ),
        ],
    );
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let mut configuration = Configuration::new("");
    configuration.path.set_file_name("missing.toml");
    for command in ["check", "serve"] {
        let (code, said) = configuration.run(command);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("missing.toml: cannot be read"), "{said}");
    }
}

/// A configuration on free ports, but for the one key that `door` sets.
fn on_free_ports(door: &str, address: impl std::fmt::Display) -> Configuration {
    let free = "\"127.0.0.1:0\"".to_owned();
    let taken = format!("\"{address}\"");
    let at = |key: &str| if key == door { &taken } else { &free };
    Configuration::new(&format!(
        "[[listeners]]\naddress = {}\n[udp]\nlisten = {}\n[admin]\nlisten = {}\n",
        at("listeners[0].address"),
        at("udp.listen"),
        at("admin.listen"),
    ))
}

#[test]
fn a_port_in_use_is_told_with_its_address_and_key() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tcp_address = tcp.local_addr().expect("bound");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let udp_address = udp.local_addr().expect("bound");
    for (door, address) in [
        ("listeners[0].address", tcp_address),
        ("udp.listen", udp_address),
        ("admin.listen", tcp_address),
    ] {
        // The file is as it should be; only the machine is in the way.
        let configuration = on_free_ports(door, address);
        let (code, said) = configuration.run("serve");
        assert_eq!(code, Some(1), "{said}");
        let expected = format!("cannot bind {address} ({door})");
        assert!(said.contains(&expected), "no {expected:?} in {said}");
        assert!(
            said.contains("configure another address"),
            "no way out in {said}"
        );
        assert!(
            !said.contains("\"ready\"") && !said.contains(" ready "),
            "{said}"
        );
    }
    drop((tcp, udp));
}

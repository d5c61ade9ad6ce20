//! Least privilege: no capability, no root, no secret where others can read it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use pushgate::wire::datagram::Target;
use rustix::process::{Signal, getuid};

use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::sender::Sender;

/// nobody, on every Linux.
const NOBODY: u32 = 65_534;

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_pushgate")
}

#[tokio::test]
async fn it_runs_as_nobody_and_can_do_nothing_more() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(program());
    if getuid().is_root() {
        // Where nobody may run it: the build may stand in root's own directory.
        let copy = directory.path().join("pushgate");
        std::fs::copy(program(), &copy).expect("the program is copied");
        for path in [directory.path(), &copy] {
            let everybody = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, everybody).expect("it is ours");
        }
        command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
    }
    let gateway = Gateway::start_with("", command);
    let pid = gateway.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
    };
    for kind in ["CapInh:", "CapPrm:", "CapEff:"] {
        assert_eq!(u64::from_str_radix(field(kind), 16), Ok(0), "{kind}");
    }
    assert!(
        !field("Uid:").split_whitespace().any(|uid| uid == "0"),
        "{}",
        field("Uid:")
    );

    // All that it does, from start to end.
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    assert_eq!(
        sender.push(&[Target::All], b"hello").await.counts.written,
        1
    );
    assert_eq!(client.next_push().await.2, b"hello");
    gateway.rewrite("[clients]\nmax_devices = 1\n");
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 200, "{answer}");
    let (status, profile) = gateway.get("/debug/pprof/profile?seconds=1").await;
    assert_eq!(status, 200, "{profile}");
    gateway.signal(Signal::TERM);
    client.closed().await;
    assert_eq!(gateway.finish().await.0, Some(0));
}

fn help(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(program());
    command.args(arguments).arg("--help");
    let (code, stdout, _) = Process::start(&mut command).finish();
    assert_eq!(code, Some(0), "{arguments:?}");
    stdout
}

/// The options of a help text that take a secret: by their own name, or by that of their value.
fn secrets(help: &[String]) -> Vec<String> {
    let options = help.iter().map(|line| line.trim()).filter(|line| {
        let is_option = line.starts_with('-');
        is_option || (line.starts_with('<') || line.starts_with('['))
    });
    let takes_one = |line: &&str| {
        let words = line.split("  ").next().unwrap_or(line).to_lowercase();
        let Some((name, value)) = words.split_once('<') else {
            return false;
        };
        let is_secret = |text: &str| {
            [
                "secret",
                "token",
                "password",
                "passphrase",
                "credential",
                "key",
            ]
            .iter()
            .any(|word| text.contains(word))
        };
        let value = value.split('>').next().unwrap_or_default();
        // A file with it, the number of a key, and what a push is collapsed by, are none.
        let is_none = value.contains("file")
            || (name.contains("-id ") && value == "n")
            || name.contains("--collapse")
            || name.contains("--kid");
        !is_none && (is_secret(name) || is_secret(value))
    };
    options.filter(takes_one).map(str::to_owned).collect()
}

#[test]
fn no_command_takes_a_secret_on_the_command_line() {
    let top = help(&[]);
    let commands = top.iter().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        commands.len() >= 13 && commands.contains(&"serve"),
        "{commands:?}"
    );
    for command in commands {
        let found = secrets(&help(&[command]));
        assert!(found.is_empty(), "pushgate {command}: {found:?}");
    }
    // The look itself finds what it looks for.
    let bad = [
        "--secret <HEX>  the key",
        "--with-key <KEY>",
        "<TOKEN>  who",
        "--key-file <FILE>",
    ];
    assert_eq!(secrets(&bad.map(str::to_owned)).len(), 3);
}

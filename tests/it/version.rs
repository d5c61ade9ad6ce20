//! What a build says of itself: on the command line, in the metrics, and in the log's first line.

use std::process::Command;

use pushgate::version;

use crate::support::gateway::Gateway;
use crate::support::process::Process;

fn said(option: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    let (code, stdout, _) = Process::start(command.arg(option)).finish();
    assert_eq!(code, Some(0));
    stdout.join("\n")
}

#[test]
fn the_command_line_says_which_build_it_is() {
    let short = format!("pushgate {} ({}", version::VERSION, version::COMMIT);
    assert!(said("-V").starts_with(&short), "{}", said("-V"));
    assert_eq!(said("-V").lines().count(), 1);
    let long = said("--version");
    let row = |name: &str| {
        long.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    assert_eq!(row("commit").map(str::trim), Some(version::COMMIT));
    assert_eq!(row("rustc").map(str::trim), Some(version::RUSTC));
    assert_eq!(row("target").map(str::trim), Some(version::TARGET));
    assert_eq!(row("profile").map(str::trim), Some(version::PROFILE));
    // What is compiled into this test was found out, not made up.
    assert!(
        version::RUSTC.starts_with(|c: char| c.is_ascii_digit()),
        "{long}"
    );
    assert_eq!(
        version::PROFILE == "debug",
        cfg!(debug_assertions),
        "{long}"
    );
}

#[tokio::test]
async fn the_metrics_say_which_build_it_is() {
    let gateway = Gateway::start("");
    let scrape = gateway.scrape().await;
    let labels = scrape.labels("pushgate_build_info");
    let [(labels, 1)] = labels[..] else {
        panic!("{labels:?}")
    };
    for (name, value) in [
        ("version", version::VERSION),
        ("commit", version::COMMIT),
        ("rustc", version::RUSTC),
        ("target", version::TARGET),
        ("profile", version::PROFILE),
    ] {
        let label = format!("{name}=\"{value}\"");
        assert!(labels.contains(&label), "{label} in {labels}");
    }
}

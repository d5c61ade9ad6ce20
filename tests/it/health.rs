//! `pushgate health`, as a container's HEALTHCHECK runs it.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::write_secret;

const TOKEN: &str = "0123456789-the-admin-token-9876543210";

/// Exit code, standard output, standard error.
async fn health(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.arg("health").args(arguments);
    let finished = tokio::task::spawn_blocking(move || Process::start(&mut command).finish());
    let (code, stdout, stderr) = finished.await.expect("does not panic");
    (code, stdout.join("\n"), stderr.join("\n"))
}

#[tokio::test]
async fn a_gateway_that_works_is_well_and_one_that_drains_is_not_ready() {
    let gateway = Gateway::start("[drain]\nlinger = \"20s\"\n");
    let url = format!("http://{}", gateway.admin);
    let asked = health(&["--url", &url]).await;
    assert_eq!(asked, (Some(0), "ok".to_owned(), String::new()));
    let ready = health(&["--url", &url, "--ready"]).await;
    assert_eq!(ready, (Some(0), "ready".to_owned(), String::new()));
    gateway.signal(Signal::TERM);
    eventually("it drains", async || match gateway.get("/readyz").await.0 {
        503 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert_eq!(health(&["--url", &url]).await.0, Some(0), "it works");
    let (code, stdout, stderr) = health(&["--url", &url, "--ready"]).await;
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert!(stderr.ends_with("503: draining"), "{stderr}");
}

#[tokio::test]
async fn the_configuration_names_the_door_and_its_token() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let token = directory.path().join("token");
    write_secret(&token, TOKEN);
    // A port that was free a moment ago: the configuration has to name it.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let admin = port.expect("there are ports");
    let gateway = Gateway::start(&format!(
        "[admin]\nlisten = '{admin}'\ntoken_file = '{}'\n",
        token.display()
    ));
    let config = gateway.directory.path().join("pushgate.toml");
    let config = config.to_str().expect("a plain name");
    assert_eq!(health(&["--config", config]).await.0, Some(0));
    let url = format!("http://{admin}");
    let (code, _, stderr) = health(&["--url", &url]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("401"), "{stderr}");
    let with_file = [
        "--url",
        &url,
        "--token-file",
        token.to_str().expect("plain"),
    ];
    assert_eq!(health(&with_file).await.0, Some(0));
    // A configuration that cannot be run.
    gateway.rewrite_as_it_is("[admin]\nlisten = 7\n");
    assert_eq!(health(&["--config", config]).await.0, Some(64));
    assert_eq!(health(&["--url", "https://localhost"]).await.0, Some(2));
}

#[tokio::test]
async fn it_ends_within_its_time_whatever_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let address = listener.local_addr().expect("it is bound");
    let url = format!("http://{address}");
    let mut asked = vec!["--url", &url, "--timeout", "300ms"];
    // The kernel takes the connection, and nobody answers.
    let (code, _, stderr) = health(&asked).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not in time"), "{stderr}");
    // One byte after the other, without an end.
    let trickling = std::thread::spawn(move || {
        let mut held = Vec::new();
        // Who gave up, and who asks now.
        for _ in 0..2 {
            held.push(listener.accept().expect("somebody comes").0);
        }
        for _ in 0..1_000 {
            if held[1].write_all(b"x").is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (code, _, stderr) = health(&asked).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("not in time"), "{stderr}");
    trickling.join().expect("does not panic");
    // Nobody is there any more.
    asked.truncate(2);
    assert_eq!(health(&asked).await.0, Some(1));
}

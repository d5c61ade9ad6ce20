//! `pushgate token` with a configuration, and `pushgate listen` with tokens.

use std::path::Path;
use std::process::Command;

use pushgate::wire::datagram::Target;

use super::issuer::{Issuer, made, run_token};
use crate::support::baseline::Baseline;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::sender::Sender;

#[test]
fn the_configuration_is_enough_to_make_a_token_with() {
    let issuer = Issuer::new();
    let path = issuer.path("pushgate.toml");
    let write = |text: &str| std::fs::write(Path::new(&path), text).expect("written");
    write("[auth]\nmode = 'jwt'\nalgorithm = 'HS256'\nsecret_file = 'old'\naudience = 'push'\n");
    let token = made(&["--config", &path, "--user", "ada"]);
    assert_eq!(token.split('.').count(), 3, "{token}");
    let both = "[auth]\nmode = 'jwt'\nalgorithm = 'HS256'\n\
                [[auth.keys]]\nkid = 'a'\nsecret_file = 'old'\n\
                [[auth.keys]]\nkid = 'b'\nsecret_file = 'new'\n";
    write(both);
    made(&["--config", &path, "--user", "ada", "--kid", "b"]);
    for (text, code, word) in [
        (both, 2, "--kid names no key; there are: a, b"),
        ("[auth]\nmode = 'none'\n", 64, "auth.mode is \"none\""),
        ("[auth]\nmode = 'jwt'\n", 64, "no key to check a token with"),
    ] {
        write(text);
        let (exit, _, said) = run_token(&["--config", &path, "--user", "ada"]);
        assert_eq!(exit, Some(code), "{said:?}");
        assert!(said.join("\n").contains(word), "{said:?}");
    }
    let (exit, _, said) = run_token(&["--user", "ada"]);
    assert_eq!(exit, Some(2), "{said:?}");
}

/// The client for people: a token from the environment, its end, and a file with a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listen_takes_its_token_from_the_environment_or_a_file() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let to = gateway.native.to_string();
    let token = |ttl| issuer.token("old", &["--user", "ada", "--ttl", ttl]);
    let listen = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        command
            .args(["listen", "--to", &to, "--json"])
            .env_remove("PUSHGATE_TOKEN");
        command
    };
    let (exit, _, said) = Process::start(&mut listen()).finish();
    assert_eq!(exit, Some(2), "{said:?}");
    assert!(said.join("\n").contains("PUSHGATE_TOKEN"), "{said:?}");
    // The token of the environment ends, and there is no other to be had.
    let process = Process::start(listen().env("PUSHGATE_TOKEN", token("3s")));
    let (exit, said, _) = tokio::task::spawn_blocking(|| process.finish())
        .await
        .expect("waited");
    assert_eq!(exit, Some(1), "{said:?}");
    assert!(
        said.iter()
            .any(|line| line.contains("\"word\":\"expired\"")),
        "{said:?}"
    );
    // That of the file ends, too, and the file has a new one by then.
    let path = issuer.path("token");
    let long = token("1h");
    std::fs::write(&path, token("4s")).expect("written");
    let process = Process::start(listen().args(["--token-file", &path, "--count", "1"]));
    eventually("the client is in", async || {
        let sessions = gateway.scrape().await.value("pushgate_sessions");
        (sessions == 1)
            .then_some(())
            .ok_or_else(|| sessions.to_string())
    })
    .await;
    std::fs::write(&path, long).expect("written");
    eventually("the first token's end", async || {
        let scrape = gateway.scrape().await;
        let expired = scrape.value("pushgate_connections_closed_total{reason=\"expired\"}");
        (expired == 2)
            .then_some(())
            .ok_or_else(|| expired.to_string())
    })
    .await;
    let sender = Sender::unsigned(gateway.udp).await;
    eventually("the client is back", async || {
        let answer = sender.push(&[Target::User("ada")], b"here").await;
        (answer.counts.written == 1)
            .then_some(())
            .ok_or_else(|| format!("{answer:?}"))
    })
    .await;
    let (exit, said, _) = tokio::task::spawn_blocking(|| process.finish())
        .await
        .expect("waited");
    assert_eq!(exit, Some(0), "{said:?}");
    baseline.assert_back_at(&gateway).await;
}

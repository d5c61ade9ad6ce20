//! Who may push, and who may ask the admin door, changes at once.

use pushgate::wire::datagram::{RequestBody, Target};
use pushgate::wire::reason::Status;
use rustix::process::Signal;

use super::{SECRET, applies, key, reloaded};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};
use crate::support::write_secret;

#[tokio::test]
async fn keys_come_and_go_by_sighup() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let (unsigned, signed) = (
        Sender::unsigned(gateway.udp).await,
        Sender::signed(gateway.udp, 7, SECRET).await,
    );
    let all = [Target::All];
    let silent = async |sender: &Sender, cause: &str| {
        let before = gateway.scrape().await;
        let datagram = sender.encode(&RequestBody::Ping(b""));
        let mut answers = sender.expect(datagram.id);
        sender.send(&datagram.bytes).await;
        eventually(format!("rejected as {cause}"), async || {
            let now = gateway.scrape().await;
            let rejected = |scrape: &crate::support::scrape::Scrape| {
                scrape.at("pushgate_datagrams_rejected_total", cause)
            };
            let is_counted = rejected(&now) == rejected(&before) + 1;
            is_counted.then_some(()).ok_or_else(|| "is not".to_owned())
        })
        .await;
        assert_eq!(answers.try_next(), None);
    };
    assert_eq!(unsigned.push(&all, b"1").await.counts.written, 1);
    silent(&signed, "key").await;

    gateway.rewrite(&key(7, ""));
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "applied", 1).await;
    let line = gateway.await_log("reloaded");
    assert_eq!(line["applied"], "udp.unsigned, keys (7 is new)", "{line}");
    let warned = line["warnings"].as_str().expect("it warns");
    assert!(warned.starts_with("udp.unsigned: "), "{line}");
    assert!(!line.to_string().contains(SECRET), "{line}");
    assert_eq!(signed.push(&all, b"2").await.counts.written, 1);
    silent(&unsigned, "unsigned").await;

    gateway.rewrite(&key(7, "scopes = [\"user\"]"));
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "applied", 2).await;
    assert_eq!(signed.push(&all, b"").await.status, Status::Denied);
    let ada = [Target::User("ada")];
    let third = signed.encode(&push(&ada, b"3"));
    assert_eq!(signed.ask_datagram(&third).await.counts.written, 1);

    gateway.rewrite(&key(8, ""));
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "applied", 3).await;
    silent(&signed, "key").await;
    let eighth = Sender::signed(gateway.udp, 8, SECRET).await;
    assert_eq!(eighth.push(&all, b"4").await.counts.written, 1);
    // Back again, its old request is a repeat, not a new one.
    gateway.rewrite(&format!("{}{}", key(7, ""), key(8, "")));
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "applied", 4).await;
    assert_eq!(signed.ask_datagram(&third).await.counts.written, 1);
    assert_eq!(signed.push(&all, b"5").await.counts.written, 1);

    gateway.rewrite("");
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "applied", 5).await;
    assert_eq!(unsigned.push(&all, b"6").await.counts.written, 1);
    for expected in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(client.next_push().await.2, expected.as_bytes());
    }
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn the_admin_door_takes_another_token_and_other_hosts() {
    let gateway = Gateway::start("");
    let directory = gateway.directory.path();
    write_secret(&directory.join("token"), "0123456789abcdef\n");
    let host = format!("Host: {}\r\n", gateway.admin);
    let status = async |headers: &str| gateway.ask("GET /healthz", headers, "").await.0;
    assert_eq!(status("Host: push.example\r\n").await, 403);
    applies(
        &gateway,
        "[admin]\ntoken_file = \"token\"\nhosts = [\"push.example\"]\n",
        &["admin.token_file", "admin.hosts"],
    )
    .await;
    assert_eq!(status(&host).await, 401);
    let bearer = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(
        status(&format!("Host: push.example\r\n{bearer}")).await,
        200
    );
    // The file of the token alone is another.
    write_secret(&directory.join("token"), "fedcba9876543210\n");
    gateway.signal(Signal::HUP);
    eventually("the old token is none any more", async || {
        let now = status(&format!("{host}{bearer}")).await;
        (now == 401).then_some(()).ok_or_else(|| now.to_string())
    })
    .await;
    let bearer = "Authorization: Bearer fedcba9876543210\r\n";
    assert_eq!(status(&format!("{host}{bearer}")).await, 200);
    let (code, _) = gateway.ask("POST /v1/reload", &host, "").await;
    assert_eq!(code, 401);
}

/// A file that is good by itself, and would open two doors that stand where they were until a
/// restart: without the token the one, without a key the other.
#[tokio::test]
async fn what_would_open_a_door_that_stays_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("token");
    write_secret(&path, "0123456789abcdef\n");
    let mut gateway = Gateway::start(&format!(
        "{}[udp]\nlisten = \"0.0.0.0:0\"\n[admin]\nlisten = \"0.0.0.0:0\"\ntoken_file = {path:?}\n",
        key(7, "")
    ));
    gateway.admin.set_ip([127, 0, 0, 1].into());
    gateway.udp.set_ip([127, 0, 0, 1].into());
    let host = format!("Host: {}\r\n", gateway.admin);
    let bearer = format!("{host}Authorization: Bearer 0123456789abcdef\r\n");
    gateway.rewrite("");
    let (status, answer) = gateway.ask("POST /v1/reload", &bearer, "").await;
    assert_eq!(status, 422, "{answer}");
    for words in ["admin.listen: ", "udp.listen: ", "until a restart"] {
        assert!(answer.contains(words), "no {words:?} in {answer}");
    }
    assert_eq!(gateway.ask("GET /healthz", &host, "").await.0, 401);
    assert_eq!(gateway.ask("GET /healthz", &bearer, "").await.0, 200);
    let signed = Sender::signed(gateway.udp, 7, SECRET).await;
    let answer = signed.push(&[Target::All], b"").await;
    assert_eq!(answer.status, Status::Done);
}

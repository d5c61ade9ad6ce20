//! The log, as an operator meets it: nobody who reads it holds the gateway up, nothing in it names
//! who shall not be named, a storm is a line a second, and the level changes at the admin door.

mod journal;
mod names;

use std::process::Command;
use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

const LOST: &str = "log lines were dropped: nobody read them in time";

/// Causes lines at trace until some are dropped: a datagram that is none is a line.
async fn flood_the_log(gateway: &Gateway) {
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    stranger.connect(gateway.udp).await.expect("an address");
    eventually("lines are dropped", async || {
        for _ in 0..2_000 {
            // What the gateway cannot take is the kernel's to drop.
            let _ = stranger.send(b"not a datagram").await;
        }
        match gateway
            .scrape()
            .await
            .value("pushgate_log_lines_dropped_total")
        {
            0 => Err("none yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_holds_nobody_up_and_is_told_what_it_missed() {
    let gateway = Gateway::start("[log]\nlevel = \"trace\"\n");
    let baseline = Baseline::of(&gateway).await;
    gateway.stall_log();
    let mut client = Login::user("ada").enter(gateway.native).await;
    flood_the_log(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for _ in 0..10 {
        let answer = sender.push(&[Target::User("ada")], b"hello").await;
        assert_eq!(answer.status, Status::Done);
        client.next_push().await;
    }
    let leaving = Login::user("bob").enter(gateway.native).await;
    drop(leaving);
    eventually("the flood is over", async || {
        let before = gateway
            .scrape()
            .await
            .value("pushgate_datagrams_received_total");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let after = gateway
            .scrape()
            .await
            .value("pushgate_datagrams_received_total");
        (before == after)
            .then_some(())
            .ok_or_else(|| "it goes on".to_owned())
    })
    .await;
    gateway.read_log();
    // Each of them is told of, once.
    let mut told = 0;
    eventually("all of them are told of", async || {
        let scrape = gateway.scrape().await;
        let dropped = scrape.value("pushgate_log_lines_dropped_total");
        if told < dropped {
            let lost = gateway.await_log(LOST)["lost"].as_u64();
            told += lost.expect("a number");
        }
        (told == dropped)
            .then_some(())
            .ok_or_else(|| format!("{told} of {dropped}"))
    })
    .await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_does_not_hold_up_the_end() {
    let mut gateway = Gateway::start("[log]\nlevel = \"trace\"\n");
    gateway.stall_log();
    flood_the_log(&gateway).await;
    gateway.signal(Signal::TERM);
    let code = tokio::task::spawn_blocking(move || gateway.wait()).await;
    assert_eq!(code.expect("it ends"), Some(0));
}

#[tokio::test]
async fn what_is_logged_last_is_written_before_the_end() {
    let gateway = Gateway::start("[log]\nlevel = \"trace\"\n");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    for _ in 0..100 {
        let sent = stranger.send_to(b"not a datagram", gateway.udp).await;
        sent.expect("loopback takes it");
    }
    eventually("they were received", async || {
        let received = gateway
            .scrape()
            .await
            .value("pushgate_datagrams_received_total");
        (received == 100)
            .then_some(())
            .ok_or_else(|| received.to_string())
    })
    .await;
    gateway.signal(Signal::TERM);
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0));
    let dropped = log
        .iter()
        .filter(|line| line.contains("\"datagram dropped\""));
    assert_eq!(dropped.count(), 100);
    let last: Value = serde_json::from_str(log.last().expect("a log")).expect("JSON");
    assert_eq!(last["fields"]["message"], "stopped");
}

/// A client that comes and goes, once; the line about it at debug, if there is one by the time that
/// another line is there.
async fn come_and_go(gateway: &Gateway) {
    let mut client = Login::user("ada")
        .device("phone")
        .enter(gateway.native)
        .await;
    client.shut_down().await;
    client.ended().await;
}

async fn shown(gateway: &Gateway) -> Value {
    let (status, body) = gateway.get("/v1/log").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn the_level_changes_at_the_admin_door_for_a_while_or_until_a_reload() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let info = json!({"level": "info", "configured": "info", "for_s": null, "rust_log": null});
    assert_eq!(shown(&gateway).await, info);
    let (status, body) = gateway.post("/v1/log", r#"{"level":"debug"}"#).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(shown(&gateway).await["level"], "debug");
    come_and_go(&gateway).await;
    gateway.await_log("session ended");
    // A reload, also of the same file, brings the configured level back.
    let (_, answer) = gateway.reload().await;
    assert_eq!(answer["applied"], json!(["log.level"]));
    assert_eq!(shown(&gateway).await, info);
    let (_, answer) = gateway.reload().await;
    assert_eq!(answer["result"], "unchanged");
    gateway.await_log("configuration read again: unchanged");
    // For a while.
    let (status, body) = gateway
        .post("/v1/log", r#"{"level":"trace","for":"1s"}"#)
        .await;
    assert_eq!(status, 200, "{body}");
    let line = gateway.await_log("the level of the log is the configured one again");
    assert_eq!(line["level"], "info");
    assert_eq!(shown(&gateway).await, info);
    for (body, status) in [
        ("", 400),
        ("{}", 400),
        (r#"{"level":"loud"}"#, 400),
        (r#"{"level":"debug","for":"2d"}"#, 400),
    ] {
        assert_eq!(gateway.post("/v1/log", body).await.0, status, "{body}");
    }
    let host = format!("Host: {}\r\n", gateway.admin);
    assert_eq!(gateway.ask("DELETE /v1/log", &host, "").await.0, 405);
    assert_eq!(shown(&gateway).await, info);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn rust_log_wins_and_the_answer_says_so() {
    // The level of the environment is taken out by the support, and so is put in behind it.
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_pushgate");
    command.args([
        "-c",
        "export RUST_LOG=pushgate=info; exec \"$0\" \"$@\"",
        program,
    ]);
    let gateway = Gateway::start_with("", command);
    let (status, body) = gateway.post("/v1/log", r#"{"level":"debug"}"#).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["rust_log"], "pushgate=info");
    come_and_go(&gateway).await;
    gateway.signal(Signal::TERM);
    let (_, log) = gateway.finish().await;
    let told = log.iter().filter(|line| line.contains("session ended"));
    assert_eq!(told.count(), 0, "{log:#?}");
}

/// Connections that come from one address, all at once, and leave without a word.
async fn storm(gateway: &Gateway, count: usize) {
    let mut coming = JoinSet::new();
    for _ in 0..count {
        coming.spawn(Client::connect_from([127, 0, 0, 9].into(), gateway.native));
    }
    assert_eq!(coming.join_all().await.len(), count);
}

async fn storms(gateway: &Gateway) -> Value {
    let (status, body) = gateway.get("/v1/storms").await;
    assert_eq!(status, 200, "{body}");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    told["storms"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_a_line_a_second_that_says_who_and_why() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    assert_eq!(storms(&gateway).await, json!([]));
    storm(&gateway, 300).await;
    let line = gateway.await_log("storm");
    assert_eq!(line["second"], 1, "{line}");
    assert_eq!(storms(&gateway).await[0]["ongoing"], true);
    let line = gateway.await_log("the storm is over");
    // Those that came before it was one, in the second before, are not of it.
    for count in ["opened", "closed"] {
        let count = line[count].as_u64().expect("a number");
        assert!((250..=300).contains(&count), "{line}");
    }
    assert_eq!(line["sources"], "1", "{line}");
    let top = line["top"].as_str().expect("addresses");
    assert!(top.starts_with("127.0.0.9 "), "{line}");
    let reasons = line["reasons"].as_str().expect("words");
    let why = ["eof ", "reset "]
        .iter()
        .any(|why| reasons.starts_with(why));
    assert!(why, "{line}");
    let kept = storms(&gateway).await;
    assert_eq!(
        (&kept[0]["opened"], &kept[0]["ongoing"]),
        (&line["opened"], &json!(false))
    );
    assert_eq!(kept[0]["top"][0]["name"], "127.0.0.9");
    let scrape = gateway.scrape().await;
    let counted = ["pushgate_storms_total", "pushgate_storm"].map(|name| scrape.value(name));
    assert_eq!(counted, [1, 0]);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_few_clients_are_no_storm() {
    let gateway = Gateway::start("");
    storm(&gateway, 20).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    gateway.signal(Signal::TERM);
    let (_, log) = gateway.finish().await;
    assert!(!log.iter().any(|line| line.contains("storm")), "{log:#?}");
}

//! The history on disk: what was answered DONE is there again, whatever ended the gateway.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use pushgate::wire::datagram::{ReplyMode, RequestBody, Target};
use pushgate::wire::frame::GatewayFrame;
use pushgate::wire::reason::Status;
use rand::Rng;
use rustix::process::Signal;

use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// Starts that end with a kill.
const ROUNDS: u32 = 20;

fn config(directory: &std::path::Path, sync: &str) -> String {
    let path = directory.display();
    // Ready at once, and nobody waits long at the end.
    format!("[udp]\nfuture = \"1ms\"\n[history]\npath = \"{path}\"\n{sync}")
}

fn keep<'a>(targets: &'a [Target<'a>], payload: &'a [u8]) -> RequestBody<'a> {
    RequestBody::Push {
        reply: ReplyMode::One,
        collapse: b"",
        ttl_s: 3600,
        spread_ms: 0,
        targets,
        payload,
    }
}

/// What a client that was never there gets: the epoch, and payloads by number, in rising order.
async fn everything(gateway: &Gateway) -> (u64, BTreeMap<u64, Vec<u8>>) {
    let mut client = Client::connect(gateway.native).await;
    let login = Login::user("ada").resume((0, 0));
    client.send_bytes(&login.encode()).await;
    let (mut epoch, mut kept, mut last) = (0, BTreeMap::new(), 0);
    loop {
        match client.next().await.expect("the gateway goes on") {
            GatewayFrame::Welcome(welcome) => epoch = welcome.epoch,
            GatewayFrame::Push {
                number, payload, ..
            } => {
                assert!(number > last, "{number} after {last}");
                last = number;
                kept.insert(number, payload.to_vec());
            }
            GatewayFrame::Current { .. } => return (epoch, kept),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_there_after_a_kill_at_any_moment() {
    let rounds = std::env::var("PUSHGATE_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path(), "");
    let (mut done, mut epoch) = (BTreeMap::<u64, Vec<u8>>::new(), None);
    for round in 0..rounds {
        let gateway = Gateway::start(&config);
        let (now, kept) = everything(&gateway).await;
        assert_eq!(*epoch.get_or_insert(now), now, "a kill is no loss");
        for (number, payload) in &done {
            assert_eq!(
                kept.get(number),
                Some(payload),
                "round {round}: {number} was DONE"
            );
        }
        let highest = kept.keys().copied().chain(done.keys().copied()).max();
        let sender = Sender::unsigned(gateway.udp).await;
        let target = [Target::User("ada")];
        let some = rand::rng().random_range(0..30);
        for index in 0..some {
            let payload = format!("{round}/{index}").into_bytes();
            let answer = sender.ask(&keep(&target, &payload)).await;
            assert_eq!(answer.status, Status::Done);
            assert!(
                Some(answer.number) > highest,
                "{} is used twice",
                answer.number
            );
            assert_eq!(done.insert(answer.number, payload), None);
        }
        // Some more are on their way when the end comes.
        for index in 0..rand::rng().random_range(0..30) {
            let payload = format!("{round}/late/{index}").into_bytes();
            let datagram = sender.encode(&keep(&target, &payload));
            sender.send(&datagram.bytes).await;
        }
        tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..5000))).await;
        gateway.signal(Signal::KILL);
        let (code, _) = gateway.finish().await;
        assert_eq!(code, None, "it was killed");
    }
}

#[tokio::test]
async fn a_clean_end_keeps_the_epoch_and_the_next_number() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path(), "sync = \"100ms\"\n");
    let target = [Target::User("ada")];
    let mut epochs = Vec::new();
    for number in 1..=3 {
        let gateway = Gateway::start(&config);
        let (epoch, kept) = everything(&gateway).await;
        epochs.push(epoch);
        assert_eq!(kept.len() as u64, number - 1);
        let sender = Sender::unsigned(gateway.udp).await;
        let answer = sender.ask(&keep(&target, b"again")).await;
        assert_eq!((answer.status, answer.number), (Status::Done, number));
        // A message of another epoch's cursor goes on, too: the epoch is the same.
        gateway.signal(Signal::TERM);
        let (code, log) = gateway.finish().await;
        assert_eq!(code, Some(0), "{log:#?}");
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "one epoch: {epochs:?}");
}

#[tokio::test]
async fn on_a_full_disk_pushes_go_out_live_and_are_told_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path(), "");
    // Files of at most 64 KiB, which is a disk that is full soon.
    let mut command = Command::new("sh");
    let limited = "trap '' XFSZ; ulimit -f 128; exec \"$@\"";
    command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_pushgate")]);
    let gateway = Gateway::start_with(&config, command);
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let (target, payload) = ([Target::User("ada")], vec![b'x'; 20_000]);
    let mut told = Vec::new();
    for _ in 0..8 {
        let answer = sender.ask(&keep(&target, &payload)).await;
        assert_eq!(answer.counts.written, 1, "it goes out: {answer:?}");
        assert_eq!(answer.status == Status::NotKept, answer.number == 0);
        told.push(answer.status);
        assert_eq!(client.next_push().await.2, payload);
    }
    assert_eq!(told[0], Status::Done);
    assert_eq!(told[7], Status::NotKept, "{told:?}");
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_store_failing"), 1);
    // What fits is kept again: it recovers by itself.
    let small = sender.ask(&keep(&target, b"small")).await;
    assert_eq!(small.status, Status::Done, "{small:?}");
    eventually("it is well again", async || {
        let failing = gateway.scrape().await.value("pushgate_store_failing");
        (failing == 0)
            .then_some(())
            .ok_or_else(|| failing.to_string())
    })
    .await;
}

//! `pushgate listen --resume`: a client that may end at any moment, and goes on where it was.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::baseline::Baseline;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Api;
use crate::support::process::{Process, await_line};

/// Clients that are killed before one is left to read the rest.
const KILLS: usize = 8;
/// Messages that are kept while they come and go.
const MESSAGES: u64 = 400;

fn listen(gateway: &Gateway, file: &Path, more: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    let to = gateway.native.to_string();
    command.args([
        "listen", "--user", "ada", "--device", "phone", "--json", "--to", &to,
    ]);
    command.arg("--resume").arg(file).args(more);
    Process::start(&mut command)
}

/// Kills it, as it stands, and returns what it had printed.
async fn killed(client: Process) -> Vec<Value> {
    let id = i32::try_from(client.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("an id"), Signal::KILL).expect("it is there");
    let finished = tokio::task::spawn_blocking(|| client.finish()).await;
    let (_, stdout, _) = finished.expect("waiting does not panic");
    // What was written is whole lines: each is one write.
    stdout.iter().map(|line| parsed(line)).collect()
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The numbers of the kept messages among these events.
fn numbers(events: &[Value]) -> Vec<u64> {
    let pushes = events.iter().filter(|event| event["event"] == "push");
    pushes
        .map(|push| push["number"].as_u64().expect("a number"))
        .collect()
}

fn place(file: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let place = parsed(&text);
    let of = |field: &str| place[field].as_u64().expect("a number");
    (of("epoch"), of("cursor"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_and_started_again_misses_nothing() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ada.place");
    let api = Api::unsigned(gateway.admin);
    api.push("user=ada&ttl=1h", b"before it was ever there")
        .await;
    let pushing = {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 1..MESSAGES {
                let said = api
                    .push("user=ada&ttl=1h", number.to_string().as_bytes())
                    .await;
                assert_eq!(said.told(), (200, "done"), "{said:?}");
            }
        })
    };
    let mut seen: Vec<Vec<u64>> = Vec::new();
    for _ in 0..KILLS {
        let client = listen(&gateway, &file, &[]);
        let resumed = await_line(&client.stdout, |line| {
            let event = parsed(line);
            (event["event"] == "connected").then(|| event["resumed"] == true)
        });
        assert!(resumed, "nothing is ever dropped here");
        let pause = rand::rng().random_range(0..150);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        seen.push(numbers(&killed(client).await));
    }
    pushing.await.expect("every push is answered");
    let is_behind = place(&file).1 < MESSAGES;
    let last = listen(&gateway, &file, &[]);
    let mut rest = Vec::new();
    while is_behind && rest.last() != Some(&MESSAGES) {
        rest.push(await_line(&last.stdout, |line| {
            parsed(line)["number"].as_u64()
        }));
    }
    seen.push(rest);
    let mut handled = 0;
    for run in &seen {
        let is_rising = run.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(is_rising, "{run:?}");
        let Some(first) = run.first() else { continue };
        // The one that was printed, and whose place was not written yet, may come once more.
        assert!(
            [handled, handled + 1].contains(first),
            "{first} after {handled}: {seen:?}"
        );
        let next = handled + 1..=*run.last().expect("not empty");
        assert!(
            run.iter().copied().filter(|it| *it > handled).eq(next),
            "{seen:?}"
        );
        handled = *run.last().expect("not empty");
    }
    assert_eq!(handled, MESSAGES, "{seen:?}");
    // The last one has confirmed it; those that were killed may have printed it first.
    eventually("it is confirmed", async || {
        let told = api
            .send("GET", &format!("/v1/history/{MESSAGES}"), &[], b"")
            .await;
        (told.body["confirmed"] == 1)
            .then_some(())
            .ok_or_else(|| told.body.to_string())
    })
    .await;
    killed(last).await;
    api.send("DELETE", "/v1/history?user=ada", &[], b"").await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_gap_is_told_and_not_taken_for_the_whole() {
    let gateway = Gateway::start("[history]\nmessages = 3\n");
    let baseline = Baseline::of(&gateway).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ada.place");
    let api = Api::unsigned(gateway.admin);
    for text in ["1", "2", "3"] {
        api.push("user=ada&ttl=1h", text.as_bytes()).await;
    }
    let first = listen(&gateway, &file, &["--count", "3"]);
    let (code, stdout, stderr) = finish(first).await;
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(numbers(&stdout), [1, 2, 3]);
    assert!(
        !stdout.iter().any(|event| event["event"] == "gap"),
        "{stdout:?}"
    );
    let (epoch, cursor) = place(&file);
    assert_eq!((epoch != 0, cursor), (true, 3));
    for text in ["4", "5", "6", "7"] {
        api.push("user=ada&ttl=1h", text.as_bytes()).await;
    }
    // Of four messages that it has not seen three are kept.
    let second = listen(&gateway, &file, &["--count", "1"]);
    let gap = await_line(&second.stdout, |line| {
        Some(parsed(line)).filter(|event| event["event"] == "gap")
    });
    assert_eq!(gap, json!({"event": "gap", "epoch": epoch, "cursor": 7}));
    api.push("user=ada&ttl=1h", b"8").await;
    let (code, stdout, stderr) = finish(second).await;
    assert_eq!((code, numbers(&stdout)), (Some(0), vec![8]));
    assert!(stderr.contains("not resumed"), "{stderr}");
    assert_eq!(place(&file), (epoch, 8));
    // Where the file has never been, everything that is left is asked for, and the gap told too.
    let anew = directory.path().join("anew");
    let third = listen(&gateway, &anew, &["--count", "3"]);
    let (code, stdout, stderr) = finish(third).await;
    assert_eq!((code, numbers(&stdout)), (Some(0), vec![6, 7, 8]));
    assert!(stderr.contains("not resumed"), "{stderr}");
    // Another gateway has another epoch.
    let other = Gateway::start("");
    let fourth = listen(&other, &file, &[]);
    let gap = await_line(&fourth.stdout, |line| {
        Some(parsed(line)).filter(|event| event["event"] == "gap")
    });
    assert_ne!(gap["epoch"], epoch);
    killed(fourth).await;
    // No file of ours, and no file at all.
    std::fs::write(&file, "my notes").expect("it is writable");
    for bad in [&*file, directory.path()] {
        let (code, _, stderr) = finish(listen(&gateway, bad, &[])).await;
        assert_eq!(code, Some(64), "{stderr}");
    }
    let notes = std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(notes, "my notes");
    api.send("DELETE", "/v1/history?user=ada", &[], b"").await;
    baseline.assert_back_at(&gateway).await;
}

/// The exit code, the events, and standard error.
async fn finish(client: Process) -> (Option<i32>, Vec<Value>, String) {
    let finished = tokio::task::spawn_blocking(|| client.finish()).await;
    let (code, stdout, stderr) = finished.expect("waiting does not panic");
    let events = stdout.iter().map(|line| parsed(line)).collect();
    (code, events, stderr.join("\n"))
}

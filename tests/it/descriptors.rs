//! When descriptors run out, those who are in are served, the others wait or are told to come
//! later, and nobody spins.

use std::process::Command;
use std::time::{Duration, Instant};

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::GatewayFrame;
use pushgate::wire::reason::CloseCode;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::{Gateway, ready};
use crate::support::process::{Process, STEP, next_line};
use crate::support::sender::Sender;
use crate::support::{eventually, within};

const ERRORS: &str = "pushgate_accept_errors_total";

/// Sets how many descriptors the gateway may have from now on, and returns what it was before.
fn limit(gateway: &Gateway, current: Option<u64>) -> Option<u64> {
    let pid = Some(gateway.pid());
    let now = rustix::process::getrlimit(Resource::Nofile);
    // Its hard limit is the one that it inherited from this process, and is not touched.
    let wanted = Rlimit {
        current,
        maximum: now.maximum,
    };
    let before = prlimit(pid, Resource::Nofile, wanted);
    before.expect("a child's limit can be set").current
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_the_gateway_serves_who_is_in_and_recovers() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut clients = Vec::new();
    for number in 0..200 {
        clients.push(
            Login::user(format!("in{number}"))
                .enter(gateway.native)
                .await,
        );
    }
    let before = limit(&gateway, Some(128));
    // The kernel completes their connections; whether the gateway takes them is another matter.
    let mut waiting = Vec::new();
    for number in 0..50 {
        let mut client = Client::connect(gateway.native).await;
        client
            .send_bytes(&Login::user(format!("out{number}")).encode())
            .await;
        waiting.push(client);
    }
    eventually("accepts fail", async || {
        let errors = gateway.scrape().await.at(ERRORS, "emfile");
        if errors > 0 {
            Ok(())
        } else {
            Err("none yet".to_owned())
        }
    })
    .await;
    // The period over which it must be quiet, not a wait for something.
    let errors = gateway.scrape().await.at(ERRORS, "emfile");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = gateway.scrape().await.at(ERRORS, "emfile");
    assert!(
        later - errors <= 16,
        "{} errors in two seconds",
        later - errors
    );
    let sender = Sender::unsigned(gateway.udp).await;
    let answer = sender.push(&[Target::All], b"still here").await;
    assert_eq!(answer.counts.matched, 200);
    assert_eq!(answer.counts.refused, 0);
    for client in &mut clients {
        assert_eq!(client.next_push().await.2, b"still here");
        client.assert_alive().await;
    }
    assert_eq!(gateway.get("/healthz").await.0, 200);
    assert_eq!(gateway.get("/readyz").await.0, 200);
    limit(&gateway, before);
    // Everybody who waited is let in now, or was told to come later.
    let (mut entered, mut told) = (Vec::new(), 0);
    for mut client in waiting {
        match client.greeted().await {
            Ok(_) => entered.push(client),
            Err(closed) => {
                assert_eq!(closed.code, CloseCode::TooMany);
                assert!(
                    (500..u32::MAX).contains(&closed.retry_after_ms),
                    "{closed:?}"
                );
                told += 1;
            }
        }
    }
    assert!(
        told > 0 && !entered.is_empty(),
        "{told} told, {} let in",
        entered.len()
    );
    let mut late = Login::user("late").enter(gateway.native).await;
    let answer = sender.push(&[Target::User("late")], b"welcome").await;
    assert_eq!(answer.counts.written, 1);
    let push = late.next().await;
    assert!(
        matches!(
            push,
            Some(GatewayFrame::Push {
                payload: b"welcome",
                ..
            })
        ),
        "{push:?}"
    );
    let scrape = gateway.scrape().await;
    let too_many = scrape.at("pushgate_connections_closed_total", "too_many");
    assert_eq!(too_many, told);
    drop((clients, entered, late));
    baseline.assert_back_at(&gateway).await;
}

/// With one descriptor less at a time: it serves at every door, or it ends and says why. What it
/// never does is to say that it is ready where a loop has ended for want of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_cannot_accept_never_says_that_it_is_ready() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("pushgate.toml");
    let config = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
                  [udp]\nlisten = '127.0.0.1:0'\nfuture = '1ms'\n\
                  [admin]\nlisten = '127.0.0.1:0'\n[log]\nformat = 'json'\n";
    std::fs::write(&path, config).expect("it is writable");
    let (mut served, mut ended) = (0, 0);
    for descriptors in (8..48).rev() {
        let mut command = Command::new("sh");
        let limited = "ulimit -n \"$1\"; shift; exec \"$@\"";
        command.args(["-c", limited, "sh", &descriptors.to_string()]);
        command.args([env!("CARGO_BIN_EXE_pushgate"), "serve", "--config"]);
        let process = Process::start(command.arg(&path).env_remove("RUST_LOG"));
        let deadline = Instant::now() + STEP;
        let mut addresses = None;
        while addresses.is_none()
            && let Some(line) = next_line(&process.stderr, deadline)
        {
            addresses = ready(&line);
        }
        let Some([native, _, admin]) = addresses else {
            let (code, ..) = process.finish();
            assert_ne!(code, Some(0), "{descriptors}");
            ended += 1;
            if ended > 5 {
                break;
            }
            continue;
        };
        served += 1;
        // WELCOME, or CLOSE 9: somebody is there.
        let _ = Login::user("ada").try_enter(native).await;
        let page = TcpStream::connect(admin).await;
        let mut page = page.expect("it listens");
        let request = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
        page.write_all(request).await.expect("a write");
        let mut answer = String::new();
        let read = within("an answer", page.read_to_string(&mut answer)).await;
        read.expect("an answer");
        assert!(answer.contains("ready"), "{descriptors}: {answer}");
    }
    assert!(served > 0 && ended > 0, "{served} served, {ended} ended");
}

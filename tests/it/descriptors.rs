//! When descriptors run out, those who are in are served, the others wait or are told to come
//! later, and nobody spins.

use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::GatewayFrame;
use pushgate::wire::reason::CloseCode;
use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

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

//! A runtime that is late: new handshakes wait, and those who are connected are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pushgate::wire::datagram::Target;
use rustix::process::{Signal, kill_process};
use tokio::task::block_in_place;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// The process is stopped for so long, and goes on for so long, in turns: whatever is ready waits.
const STOPPED: Duration = Duration::from_millis(500);
const GOES_ON: Duration = Duration::from_millis(100);
/// Newcomers. At the trickle of an overloaded gateway they take two seconds of its time.
const NEWCOMERS: usize = 200;

/// Lets the process go on, also where the test fails.
struct Late(Arc<AtomicBool>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_runtime_is_late_new_handshakes_wait_and_the_others_are_served() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_overloaded"), 0);

    let late = Late(Arc::new(AtomicBool::new(true)));
    let (pid, is_late) = (gateway.pid(), Arc::clone(&late.0));
    let stutter = tokio::task::spawn_blocking(move || {
        while is_late.load(Ordering::Relaxed) {
            // It is there: it is ended after this.
            let _ = kill_process(pid, Signal::STOP);
            std::thread::sleep(STOPPED);
            let _ = kill_process(pid, Signal::CONT);
            std::thread::sleep(GOES_ON);
        }
    });
    let overloaded = "overloaded: new handshakes wait, those who are connected are served";
    let line = block_in_place(|| gateway.await_log(overloaded));
    assert!(line["lag_ms"].as_u64() > Some(250), "{line}");

    let native = gateway.native;
    let logins = (0..NEWCOMERS).map(|number| Login::user(format!("new-{number}")));
    let entering = tokio::spawn(Crowd::enter_by(NEWCOMERS, native, logins));
    // Who is connected is served meanwhile, more often than newcomers come in.
    for _ in 0..5 {
        let answer = sender.push(&[Target::User("ada")], b"served").await;
        assert_eq!(answer.counts.matched, 1);
        assert_eq!(client.next_push().await.2, b"served");
    }
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_overloaded"), 1);
    let (came, waiting) = (
        scrape.value("pushgate_connections_opened_total"),
        scrape.value("pushgate_accept_queue"),
    );
    assert!(
        came < NEWCOMERS as u64 && waiting > 0,
        "{came} came, {waiting} wait"
    );

    drop(late);
    stutter.await.expect("it goes on");
    // Nobody was turned away.
    let crowd = entering.await.expect("they come in");
    assert_eq!(crowd.len(), NEWCOMERS);
    block_in_place(|| gateway.await_log("no longer overloaded: new handshakes go on"));
    eventually("the gauge says so", async || {
        let value = gateway.scrape().await.value("pushgate_overloaded");
        (value == 0).then_some(()).ok_or_else(|| value.to_string())
    })
    .await;
    crowd.leave().await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

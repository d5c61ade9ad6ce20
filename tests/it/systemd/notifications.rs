//! What the service manager is told, and when it is told nothing any more.

use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::client::Login;
use crate::support::manager::{Manager, Told};
use crate::support::sender::{Sender, push};

fn is(name: &'static str, value: &'static str) -> impl Fn(&Told) -> bool {
    move |told| told.value(name) == Some(value)
}

/// It says that it reads the configuration, since when, and that it serves again.
async fn assert_told_of_a_reload(manager: &Manager, after: usize, status: &str) {
    let told = manager
        .await_told("RELOADING", after, is("RELOADING", "1"))
        .await;
    let since = told
        .value("MONOTONIC_USEC")
        .and_then(|usec| usec.parse::<u64>().ok());
    assert!(since.is_some_and(|usec| 0 < usec), "{told:?}");
    let again = manager
        .await_told("READY after a reload", after, is("READY", "1"))
        .await;
    assert!(told.at <= again.at);
    assert!(
        again
            .value("STATUS")
            .is_some_and(|text| text.contains(status)),
        "{again:?}"
    );
}

#[tokio::test]
async fn the_manager_knows_where_the_process_is_in_its_life() {
    // With an abstract name for the reports; they come to a path in the other tests.
    let manager = Manager::abstracted();
    let gateway = manager.start("[udp]\nfuture = '2s'\n[drain]\nlinger = '3s'\n");
    let ready = manager.await_told("READY", 0, is("READY", "1")).await;
    assert!(
        ready
            .value("STATUS")
            .is_some_and(|text| text.contains("serves")),
        "{ready:?}"
    );
    // Not before requests are carried out. Meanwhile it said that it goes on.
    let sender = Sender::unsigned(gateway.udp).await;
    let answer = sender.ask(&push(&[Target::All], b"now")).await;
    assert_eq!(answer.status, Status::Done);
    let starts = manager.await_told("that it starts", 0, |told| {
        told.value("EXTEND_TIMEOUT_USEC").is_some()
    });
    let starts = starts.await;
    assert!(starts.at <= ready.at, "{starts:?}");
    assert!(
        starts
            .value("STATUS")
            .is_some_and(|text| text.contains("STALE")),
        "{starts:?}"
    );

    let _client = Login::user("ada").enter(gateway.native).await;
    let status = manager.await_told("how it is", 0, |told| {
        told.value("STATUS")
            .is_some_and(|text| text.contains("1 session, "))
    });
    let status = status.await;
    assert!(status.text.contains("pushes/s"), "{status:?}");

    let count = || manager.told().len();
    let before = count();
    gateway.signal(Signal::HUP);
    assert_told_of_a_reload(&manager, before, "serves").await;
    gateway.rewrite_as_it_is("[clients]\nmax_devices = 'many'\n");
    let before = count();
    assert_eq!(gateway.reload().await.0, 422);
    assert_told_of_a_reload(&manager, before, "refused").await;

    let before = count();
    gateway.signal(Signal::TERM);
    let stopping = manager
        .await_told("STOPPING", before, is("STOPPING", "1"))
        .await;
    assert!(
        stopping.text.contains("drains: 0 pushes under way"),
        "{stopping:?}"
    );
    assert_eq!(gateway.finish().await.0, Some(0));
    // For as long as it drained, and READY never again.
    let told = manager.told().split_off(before);
    let extended = told
        .iter()
        .filter(|told| told.value("EXTEND_TIMEOUT_USEC") == Some("10000000"));
    assert!(2 <= extended.count(), "{told:#?}");
    assert!(
        told.iter().all(|told| told.value("READY").is_none()),
        "{told:#?}"
    );
}

/// Systemd would end a process that says nothing for this long: the least that makes sense.
const LIMIT: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_is_stuck_ends_the_signs_of_life() {
    let mut manager = Manager::new();
    manager.env = vec![("WATCHDOG_USEC", LIMIT.as_micros().to_string())];
    let gateway = manager.start("");
    let long = LIMIT * 4;
    assert!(manager.hears_life_within(long).await);
    assert!(manager.hears_life_within(long).await);
    // These are the sockets that the gateway has, and so is what they do when nothing is there: a
    // call that waits holds the loop that makes it. recvmmsg() waits for a whole batch.
    let sender = Sender::unsigned(gateway.udp).await;
    manager
        .udp
        .set_nonblocking(false)
        .expect("a socket's options");
    sender.send(b"one that is followed by none").await;
    assert_silent(&manager, "the datagram loop").await;
    manager
        .udp
        .set_nonblocking(true)
        .expect("a socket's options");
    for _ in 0..64 {
        sender.send(b"what it waits for").await;
    }
    assert!(
        manager.hears_life_within(long).await,
        "the datagram loop goes on"
    );

    manager
        .native
        .set_nonblocking(false)
        .expect("a socket's options");
    let _one = TcpStream::connect(gateway.native)
        .await
        .expect("it is taken");
    assert_silent(&manager, "the accept loop").await;
    manager
        .native
        .set_nonblocking(true)
        .expect("a socket's options");
    let _another = TcpStream::connect(gateway.native)
        .await
        .expect("it is taken");
    assert!(
        manager.hears_life_within(long).await,
        "the accept loop goes on"
    );
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().await.0, Some(0));
}

/// What was under way when the loop stopped may be heard yet, and then nothing for a whole limit.
async fn assert_silent(manager: &Manager, what: &str) {
    let mut heard = 0;
    while manager.hears_life_within(LIMIT).await {
        heard += 1;
        assert!(heard <= 2, "{what} is stuck, and was said to live");
    }
}

/// Without somebody who asks for it there is no watchdog.
#[tokio::test]
async fn no_sign_of_life_is_given_unasked() {
    let manager = Manager::new();
    let gateway = manager.start("");
    assert!(!manager.hears_life_within(Duration::from_secs(3)).await);
    drop(gateway);
}

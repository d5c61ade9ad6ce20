//! Connections of those who are not let in: what they may hold, and whom they may not harm.

use std::net::IpAddr;

use pushgate::wire::reason::{CloseCode, RETRY_NEVER};
use rustix::process::{Resource, Signal, getrlimit};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;

const WAITING: &str = "pushgate_unauthenticated";
const CUT: &str = "pushgate_unauthenticated_cut_total";
const CLOSED: &str = "pushgate_connections_closed_total";

/// Seats for strangers of a gateway of 512 connections.
const SEATS: u64 = 64;

fn here(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// Waits until so many strangers are waited for.
async fn await_waiting(gateway: &Gateway, expected: u64) {
    eventually("strangers wait", async || {
        let waiting = gateway.scrape().await.value(WAITING);
        (waiting == expected)
            .then_some(())
            .ok_or_else(|| format!("{waiting} wait, not {expected}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_pushes_out_only_its_own() {
    let gateway = Gateway::start("clients = { max_connections = 512, handshake_timeout = '60s' }");
    let baseline = Baseline::of(&gateway).await;
    let mut inside = Login::user("inside").from(2).enter(gateway.native).await;
    // They connect before the flood, and say HELLO only after it.
    let mut late = Vec::new();
    for last in 3..13 {
        late.push(Client::connect_from(here(last), gateway.native).await);
    }
    await_waiting(&gateway, 10).await;

    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Client::connect_from(here(2), gateway.native).await);
    }
    eventually("every one of them is seated or cut", async || {
        let scrape = gateway.scrape().await;
        let (waiting, cut) = (scrape.value(WAITING), scrape.value(CUT));
        assert!(waiting <= SEATS, "{waiting} of {SEATS}");
        (waiting == SEATS && cut == 310 - SEATS)
            .then_some(())
            .ok_or_else(|| format!("{waiting} wait, {cut} were cut"))
    })
    .await;

    // Those who wait are served, others find a place, and so does who comes from the same address
    // and says HELLO.
    for (number, client) in late.iter_mut().enumerate() {
        let login = Login::user(format!("late-{number}"));
        client.send_bytes(&login.encode()).await;
        client.greeted().await.expect("it has kept its seat");
    }
    let mut fresh = Login::user("fresh").from(20).enter(gateway.native).await;
    let mut same = Login::user("same").from(2).enter(gateway.native).await;
    for client in [&mut inside, &mut fresh, &mut same] {
        client.assert_alive().await;
    }

    // Who was cut was told so.
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.at(CLOSED, "too_many"), scrape.value(CUT));
    let mut told = 0;
    for client in &mut silent {
        let cut = tokio::time::timeout(std::time::Duration::ZERO, client.arrival());
        if cut.await.is_ok() {
            let closed = client.closed().await;
            assert_eq!(closed.code, CloseCode::TooMany, "{closed:?}");
            assert!((500..=10_000).contains(&closed.retry_after_ms));
            told += 1;
        }
    }
    assert!(told >= 310 - SEATS, "{told} were told");
    drop((inside, fresh, same, late, silent));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_hello_that_is_no_good_waits_and_nobody_else_does() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    // The sixth failure of an address is answered after 4 s.
    for _ in 0..5 {
        let refused = Login::user("").from(2).try_enter(gateway.native).await;
        let closed = refused.err().expect("an empty token is nobody's");
        assert_eq!(closed.code, CloseCode::Auth);
    }
    await_waiting(&gateway, 0).await;
    let mut held_back = Client::connect_from(here(2), gateway.native).await;
    let asked = std::time::Instant::now();
    held_back.send_bytes(&Login::user("").encode()).await;
    let mut garbage = Client::connect_from(here(2), gateway.native).await;
    garbage.send_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    await_waiting(&gateway, 2).await;

    // The same address, and another one's failure.
    let neighbour = Login::user("ada").from(2).enter(gateway.native).await;
    let other = Login::user("").from(3).try_enter(gateway.native).await;
    assert_eq!(other.err().expect("no user").code, CloseCode::Auth);
    await_waiting(&gateway, 2).await;
    for (client, code) in [
        (&mut held_back, CloseCode::Auth),
        (&mut garbage, CloseCode::Protocol),
    ] {
        let closed = client.closed().await;
        assert_eq!((closed.code, closed.retry_after_ms), (code, RETRY_NEVER));
        let waited = asked.elapsed();
        assert!(waited >= std::time::Duration::from_secs(4), "{waited:?}");
    }
    drop((held_back, garbage, neighbour));
    baseline.assert_back_at(&gateway).await;
    assert_eq!(gateway.scrape().await.at(CLOSED, "auth"), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_leaves_does_not_wait_for_delayed_answers() {
    let gateway = Gateway::start("");
    for _ in 0..5 {
        let refused = Login::user("").try_enter(gateway.native).await;
        assert!(refused.is_err());
    }
    await_waiting(&gateway, 0).await;
    let mut held_back = Client::connect(gateway.native).await;
    held_back.send_bytes(&Login::user("").encode()).await;
    await_waiting(&gateway, 1).await;
    gateway.signal(Signal::TERM);
    assert_eq!(held_back.closed().await.code, CloseCode::Auth);
    drop(held_back);
    // Clients have 1.5 s to go; a delay of 4 s would have been cut short.
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:#?}");
}

/// What README.md says that one seat costs: a HELLO that is not whole yet, and its task.
const SEAT_BYTES: u64 = 22 * 1024;
/// And what all of it costs beside the seats: refusals, tables, the allocator's own.
const BESIDE_BYTES: u64 = 4 * 1024 * 1024;
const MAX_HELLO: usize = 16_384;
const STRANGERS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cause_no_more_memory_than_is_stated() {
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = descriptors.saturating_sub(128).min(8_000);
    let seats = connections / 8;
    assert!(seats < STRANGERS / 2, "most of them find no seat");
    let config = "clients = { max_connections = 8000, handshake_timeout = '60s' }";
    let gateway = Gateway::start(config);
    let baseline = Baseline::of(&gateway).await;
    // What a first client causes is not the strangers' doing.
    drop(Login::user("first").enter(gateway.native).await);
    baseline.assert_back_at(&gateway).await;
    let at_first = gateway.resident_bytes();

    let whole = u32::try_from(MAX_HELLO).expect("short").to_be_bytes();
    let mut almost = [&whole[..], &[1; MAX_HELLO]].concat();
    almost.pop();
    let mut strangers = Vec::new();
    for number in 0..STRANGERS {
        let last = u8::try_from(2 + number % 8).expect("short");
        let mut stranger = Client::connect_from(here(last), gateway.native).await;
        // In pieces, so that a buffer grows as it does behind a slow network. Who is cut meanwhile
        // is told so, whatever it goes on to send.
        for piece in almost.chunks(6_000) {
            stranger.send_bytes(piece).await;
        }
        strangers.push(stranger);
    }
    eventually("every one of them is seated or cut", async || {
        let scrape = gateway.scrape().await;
        let (waiting, cut) = (scrape.value(WAITING), scrape.value(CUT));
        (waiting == seats && cut == STRANGERS - seats)
            .then_some(())
            .ok_or_else(|| format!("{waiting} wait, {cut} were cut"))
    })
    .await;
    let caused = gateway.resident_bytes().saturating_sub(at_first);
    let stated = seats * SEAT_BYTES + BESIDE_BYTES;
    eprintln!("{caused} bytes by {seats} seats, stated {stated}");
    assert!(caused <= stated, "{caused} bytes, stated {stated}");
    assert!(
        caused >= seats * MAX_HELLO as u64 / 2,
        "{caused} bytes: the strangers' bytes have not come"
    );
    drop(strangers);
    baseline.assert_back_at(&gateway).await;
}

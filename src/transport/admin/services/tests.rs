//! The routes, on a door without a gateway around it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::hub::Options;
use crate::hub::access::{Grant, Keyring};
use crate::hub::freshness::Freshness;
use crate::hub::holds::Holds;
use crate::hub::intake::IntakeOptions;
use crate::hub::job::Jobs;
use crate::hub::remembered::Remembered;
use crate::metrics::Metrics;
use crate::transport::admin::access::PAGES;
use crate::transport::admin::tests::Door;
use crate::wire::seal::Key;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a door needs of a gateway: nobody is connected, and there is a key 7.
pub(in crate::transport::admin) fn services(ledger: &Ledger, metrics: &Arc<Metrics>) -> Services {
    let options = Options {
        max_devices: 8,
        max_groups: 64,
        queue_messages: 1_024,
        queue_bytes: 1 << 20,
        queue_age: Duration::from_secs(10),
        memory_budget: 1 << 30,
        retry_spread: Duration::from_secs(10),
        max_frame: 65_512,
        history_messages: 1000,
        history_bytes: 1 << 20,
        remember_groups: Duration::from_secs(300),
    };
    let hub = Arc::new(Hub::new(options, Arc::clone(metrics), 1, monotonic()));
    let key = Key::from_hex(SECRET).unwrap();
    let keyring = Keyring::new([(7, Grant::everything(Some(key)))], false);
    let remembered = Arc::new(Remembered::new(1_000, keyring.ids(), 27));
    let (jobs, holds) = (Arc::new(Jobs::new(1, 1)), Arc::new(Holds::default()));
    let bounds = IntakeOptions {
        freshness: Freshness::new(15_000, 1_000, 0),
        max_payload: 65_000,
        max_ttl: Duration::from_secs(86_400),
        max_spread: Duration::from_secs(600),
    };
    let intake = Intake::new(Arc::clone(&hub), keyring, remembered, jobs, holds, bounds);
    let deadline = || Duration::from_secs(30);
    Services::new(
        hub,
        Arc::new(intake),
        ledger.clone(),
        Clock::system(),
        deadline,
    )
}

fn head(line: &str, more: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nX-Pushgate-Key: 7\r\n\
         Authorization: Bearer {SECRET}\r\n{more}"
    )
}

fn count(door: &Door, name: &str) -> u64 {
    let text = door.state.metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let door = Door::open().await;
    let mut slow = TcpStream::connect(door.state.address).await.unwrap();
    let head = head("POST /v1/push?all", "Content-Length: 1000\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    // A byte a second, for longer than a body may take.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if slow.write_all(b"x").await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let took = began.elapsed();
    // The clock runs on while nobody has anything to do: an end is all that it tells.
    assert!(took <= Duration::from_secs(60), "after {took:?}");
    assert_eq!(
        count(&door, "pushgate_http_rejected_total{cause=\"slow\"}"),
        1
    );
}

#[tokio::test]
async fn who_hangs_up_before_the_body_is_there_is_counted() {
    let door = Door::open().await;
    let mut half = TcpStream::connect(door.state.address).await.unwrap();
    let head = head("POST /v1/push?all", "Content-Length: 1000\r\n\r\nhalf of");
    half.write_all(head.as_bytes()).await.unwrap();
    drop(half);
    while count(&door, "pushgate_http_rejected_total{cause=\"gone\"}") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        count(&door, "pushgate_http_requests_total{credential=\"secret\"}"),
        0
    );
}

/// The paths that the guard leaves to the routes are those that they have.
#[tokio::test]
async fn the_paths_of_services_are_pages() {
    for path in PATHS {
        assert!(PAGES.iter().any(|page| page.0 == path), "{path}");
    }
    let door = Door::open().await;
    for (path, method, _) in PAGES.iter().filter(|page| PATHS.contains(&page.0)) {
        let answer = door.ask(&head(&format!("{method} {path}"), "")).await;
        assert!(![404, 405].contains(&answer.status), "{method} {path}");
    }
    let answer = door.ask(&head("PUT /v1/presence", "")).await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, post"), "{}", answer.head);
}

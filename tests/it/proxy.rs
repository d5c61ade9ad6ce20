//! Behind a load balancer: the header says whose a connection is, and nobody else comes in.

use std::net::SocketAddr;

use pushgate::wire::reason::CloseCode;
use tokio_rustls::rustls::version::TLS13;

use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;

const BEHIND_PROXY: &str = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
                            proxy_protocol = true\ntrusted = ['127.0.0.1']\n";

/// The header of a connection from `client`, or of a health check.
pub(crate) fn header(client: Option<&str>) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    match client.map(|client| client.parse::<SocketAddr>().expect("an address")) {
        None => header.extend([0x20, 0, 0, 0]),
        Some(SocketAddr::V4(client)) => {
            // A TLV behind the addresses.
            header.extend([0x21, 0x11, 0, 17]);
            header.extend(client.ip().octets());
            header.extend([10, 0, 0, 1]);
            header.extend(client.port().to_be_bytes());
            header.extend([0x1d, 0x00, 2, 0, 2, b'a', b'b']);
        }
        Some(SocketAddr::V6(client)) => {
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(client.ip().octets());
            header.extend([0; 16]);
            header.extend(client.port().to_be_bytes());
            header.extend([0, 80]);
        }
    }
    header
}

async fn behind(gateway: &Gateway, header: &[u8]) -> Client {
    let mut client = Client::connect(gateway.native).await;
    client.send_bytes(header).await;
    client
}

async fn count(gateway: &Gateway, metric: &str, label: &str) -> u64 {
    gateway.scrape().await.at(metric, label)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_client_are_counted_by_its_own_address() {
    let gateway = Gateway::start(&format!("{BEHIND_PROXY}[clients]\nmax_per_address = 2"));
    let baseline = Baseline::of(&gateway).await;
    let mut clients = Vec::new();
    let one = ["192.0.2.7:1", "192.0.2.7:2"];
    for (number, from) in one
        .iter()
        .chain(&["[fd01::9]:1", "192.0.2.8:1"])
        .enumerate()
    {
        let client = behind(&gateway, &header(Some(from))).await;
        clients.push(
            Login::user(format!("user-{number}"))
                .enter_over(client)
                .await,
        );
    }
    let mut third = behind(&gateway, &header(Some("192.0.2.7:3"))).await;
    assert_eq!(third.closed().await.code, CloseCode::TooMany);
    // Its place comes back.
    clients.remove(0).shut_down().await;
    crate::support::eventually("a place of this address", async || {
        let mut client = behind(&gateway, &header(Some("192.0.2.7:4"))).await;
        client.send_bytes(&Login::user("late").encode()).await;
        client
            .greeted()
            .await
            .map(drop)
            .map_err(|closed| closed.reason)
    })
    .await;
    for client in &mut clients {
        client.assert_alive().await;
    }
    drop((clients, third));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_may_come_byte_by_byte_and_with_hello_behind_it() {
    let gateway = Gateway::start(BEHIND_PROXY);
    let baseline = Baseline::of(&gateway).await;
    let mut slow = Client::connect(gateway.native).await;
    for byte in header(Some("192.0.2.7:1")) {
        slow.send_bytes(&[byte]).await;
    }
    Login::user("slow")
        .enter_over(slow)
        .await
        .assert_alive()
        .await;
    let mut at_once = header(Some("[fd01::9]:1"));
    at_once.extend(Login::user("fast").encode());
    let mut fast = behind(&gateway, &at_once).await;
    fast.greeted().await.expect("it is let in");
    drop(fast);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_counts_as_the_load_balancer_itself() {
    let gateway = Gateway::start(&format!("{BEHIND_PROXY}[clients]\nmax_per_address = 1"));
    let baseline = Baseline::of(&gateway).await;
    // LOCAL and nothing else, and then the end: no fault.
    behind(&gateway, &header(None)).await.shut_down().await;
    baseline.assert_back_at(&gateway).await;
    assert_eq!(
        count(&gateway, "pushgate_connections_closed_total", "eof").await,
        1
    );
    let itself = behind(&gateway, &header(None)).await;
    let mut itself = Login::user("check").enter_over(itself).await;
    let mut second = behind(&gateway, &header(Some("127.0.0.1:9"))).await;
    assert_eq!(second.closed().await.code, CloseCode::TooMany);
    itself.assert_alive().await;
    drop((itself, second));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_without_a_header_or_past_the_balancer_is_closed_without_a_word() {
    let gateway = Gateway::start(&format!(
        "{BEHIND_PROXY}[clients]\nhandshake_timeout = '2s'"
    ));
    let baseline = Baseline::of(&gateway).await;
    let mut hello = behind(&gateway, &Login::user("ada").encode()).await;
    let mut version_1 = behind(&gateway, b"PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n").await;
    let mut too_long = header(None);
    too_long[14..].copy_from_slice(&[0xff, 0xff]);
    let mut too_long = behind(&gateway, &too_long).await;
    let other = "127.0.0.2".parse().expect("an address");
    let mut past = Client::connect_from(other, gateway.native).await;
    past.send_bytes(&header(Some("192.0.2.7:1"))).await;
    past.send_bytes(&Login::user("eve").encode()).await;
    // Half a header, and silence.
    let mut silent = behind(&gateway, &header(None)[..15]).await;
    for client in [
        &mut hello,
        &mut version_1,
        &mut too_long,
        &mut past,
        &mut silent,
    ] {
        client.ended().await;
    }
    drop((hello, version_1, too_long, past, silent));
    baseline.assert_back_at(&gateway).await;
    let rejected = "pushgate_proxy_rejected_total";
    assert_eq!(count(&gateway, rejected, "malformed").await, 3);
    assert_eq!(count(&gateway, rejected, "untrusted").await, 1);
    let closed = "pushgate_connections_closed_total";
    assert_eq!(count(&gateway, closed, "protocol").await, 4);
    assert_eq!(count(&gateway, closed, "handshake_timeout").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let more = "proxy_protocol = true\ntrusted = ['127.0.0.0/8']\n[clients]\nmax_per_address = 1";
    let gateway = Gateway::start(&authority.listener("gate", more));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13]);
    let from = header(Some("192.0.2.7:1"));
    let client = behind(&gateway, &from).await.secured(&config).await;
    let mut client = Login::user("ada")
        .enter_over(client.expect("a handshake"))
        .await;
    let second = behind(&gateway, &from).await.secured(&config).await;
    assert!(second.is_err(), "the address has a connection already");
    client.assert_alive().await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
    assert_eq!(
        count(&gateway, "pushgate_connections_closed_total", "too_many").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_who_is_trusted() {
    let gateway = Gateway::start(BEHIND_PROXY);
    let baseline = Baseline::of(&gateway).await;
    let from = header(Some("192.0.2.7:1"));
    let before = behind(&gateway, &from).await;
    let mut before = Login::user("before").enter_over(before).await;
    gateway.rewrite(&BEHIND_PROXY.replace("['127.0.0.1']", "['127.0.0.2']"));
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 200, "{answer}");
    behind(&gateway, &from).await.ended().await;
    let other = "127.0.0.2".parse().expect("an address");
    let mut after = Client::connect_from(other, gateway.native).await;
    after.send_bytes(&from).await;
    let mut after = Login::user("after").enter_over(after).await;
    before.assert_alive().await;
    after.assert_alive().await;
    drop((before, after));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_one_client_hold_back_no_other_behind_the_same_balancer() {
    let gateway = Gateway::start(BEHIND_PROXY);
    let baseline = Baseline::of(&gateway).await;
    let fails = async |from: &str| {
        let mut client = behind(&gateway, &header(Some(from))).await;
        let asked = std::time::Instant::now();
        client.send_bytes(&Login::user("").encode()).await;
        assert_eq!(client.closed().await.code, CloseCode::Auth);
        asked.elapsed()
    };
    for _ in 0..4 {
        fails("192.0.2.7:1").await;
    }
    let two = std::time::Duration::from_secs(2);
    let (own, other) = (fails("192.0.2.7:1").await, fails("192.0.2.8:1").await);
    assert!(own >= two, "the fifth failure waits {own:?}");
    assert!(other < two, "the first one of another waits {other:?}");
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_closed_unheard_and_does_not_go_holds_a_seat_meanwhile() {
    let trusting_others = BEHIND_PROXY.replace("127.0.0.1']", "10.0.0.0/8']");
    let gateway = Gateway::start(&trusting_others);
    let baseline = Baseline::of(&gateway).await;
    let mut held = Vec::new();
    // A farewell is over after a second: where the look came too late, there is another.
    crate::support::eventually("a seat is taken", async || {
        held.push(Client::connect(gateway.native).await);
        let waiting = gateway.scrape().await.value("pushgate_unauthenticated");
        (waiting > 0).then_some(()).ok_or_else(|| "none".to_owned())
    })
    .await;
    drop(held);
    baseline.assert_back_at(&gateway).await;
}

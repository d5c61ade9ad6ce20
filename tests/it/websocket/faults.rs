//! What is against WebSocket ends one connection with the code that RFC 6455 has for it, and no
//! other connection notices.

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::CloseCode;
use pushgate::wire::websocket::{Opcode, put_masked};

use super::{DOORS, enter};
use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

const MASK: [u8; 4] = [9, 8, 7, 6];

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_masked(&mut bytes, opcode, payload, MASK);
    bytes
}

/// A frame whose first byte is another.
fn beginning(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(Opcode::Binary, payload);
    bytes[0] = first;
    bytes
}

/// What is wrong, the bytes, and the code that tells it.
fn cases() -> Vec<(&'static str, Vec<u8>, u16)> {
    vec![
        ("a frame without a mask", b"\x82\x01\x07".to_vec(), 1002),
        ("a reserved bit", beginning(0xc2, b"\x07"), 1002),
        ("an unknown opcode", beginning(0x83, b"\x07"), 1002),
        ("an unknown control opcode", beginning(0x8b, b"\x07"), 1002),
        ("a part of nothing", beginning(0x80, b"\x07"), 1002),
        ("a ping in parts", beginning(0x09, b""), 1002),
        ("a ping of 126 bytes", beginning(0x89, &[0; 126]), 1002),
        (
            "a close of half a code",
            frame(Opcode::Close, b"\x03"),
            1002,
        ),
        (
            "a close of code 1005",
            frame(Opcode::Close, b"\x03\xed"),
            1002,
        ),
        (
            "a message within another",
            [beginning(0x02, b"\x07"), frame(Opcode::Binary, b"\x07")].concat(),
            1002,
        ),
        (
            "a length in too many bytes",
            b"\x82\xfe\x00\x01\0\0\0\0\x07".to_vec(),
            1002,
        ),
        ("a text", frame(Opcode::Text, b"{}"), 1003),
        (
            "a reason that is not UTF-8",
            frame(Opcode::Close, b"\x03\xe8\xff"),
            1007,
        ),
        (
            "a message over the limit",
            b"\x82\xfe\xff\xff\0\0\0\0".to_vec(),
            1009,
        ),
        (
            "a length without end",
            b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(),
            1009,
        ),
        (
            "a message over the limit in parts",
            [beginning(0x02, &[7; 4_000]), beginning(0x00, &[7; 12_500])].concat(),
            1009,
        ),
    ]
}

async fn assert_failed(gateway: &Gateway, is_in: bool) {
    let baseline = Baseline::of(gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut other = enter(gateway, &Login::user("bob")).await;
    let mut sibling = Login::user("ada")
        .device("other")
        .enter(gateway.native)
        .await;
    let before = gateway.scrape().await;
    let cases = cases();
    let count = cases.len() as u64;
    for (last, (what, bytes, code)) in (2..).zip(cases) {
        // Each from an address of its own: the answers to one address would come ever later.
        let from = std::net::IpAddr::from([127, 0, 0, last]);
        let connected = Client::connect_from(from, gateway.door("web")).await;
        let mut client = connected.upgraded("/", "").await.expect("a WebSocket");
        if is_in {
            client = Login::user("ada").enter_over(client).await;
        }
        client.web().send_raw(&bytes).await;
        let told = client.closed().await;
        assert_eq!(told.code, CloseCode::Protocol, "{what}: {told:?}");
        let frame = client.web().close.clone().expect("a close frame");
        assert_eq!(frame, (code, told.reason), "{what}");
        let answer = sender.push(&[Target::All], what.as_bytes()).await;
        assert_eq!(answer.counts.written, 2, "{what}: {answer:?}");
        for bystander in [&mut other, &mut sibling] {
            assert_eq!(bystander.next_push().await.2, what.as_bytes());
        }
    }
    drop((other, sibling));
    baseline.assert_back_at(gateway).await;
    let closed = "pushgate_connections_closed_total";
    let after = gateway.scrape().await.at(closed, "protocol");
    assert_eq!(after - before.at(closed, "protocol"), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_hello() {
    assert_failed(&Gateway::start(DOORS), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_session() {
    assert_failed(&Gateway::start(DOORS), true).await;
}

/// A stranger gets no more than one HELLO's bytes out of it, whatever frames it sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_before_hello_are_bounded() {
    let gateway = Gateway::start(&format!("{DOORS}[clients]\nmax_hello = 1024\n"));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Client::connect_web(gateway.door("web")).await;
    for _ in 0..20 {
        client.web().send_frame(Opcode::Ping, &[0; 100]).await;
    }
    let told = client.closed().await;
    assert_eq!(told.code, CloseCode::Protocol, "{told:?}");
    assert!(
        client.web().pongs.len() <= 10,
        "{}",
        client.web().pongs.len()
    );
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn parts_of_a_hello_are_bounded_however_little_is_in_them() {
    let gateway = Gateway::start(&format!("{DOORS}[clients]\nmax_hello = 1024\n"));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Client::connect_web(gateway.door("web")).await;
    // A binary message that goes on, and goes on with nothing.
    let mut parts = beginning(0x02, b"");
    for _ in 0..100 {
        parts.extend_from_slice(&beginning(0x00, b""));
    }
    client.web().send_raw(&parts).await;
    let told = client.closed().await;
    assert_eq!(told.code, CloseCode::Protocol, "{told:?}");
    assert!(told.reason.contains("too many frames"), "{told:?}");
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

//! What is against the protocol ends one connection, in order and with its code, and no other.

use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::ClientFrame;
use pushgate::wire::reason::{CloseCode, RETRY_NEVER};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// A frame with any type and body.
fn frame(frame_type: u8, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 1).expect("short");
    [&length.to_be_bytes(), &[frame_type][..], fields].concat()
}

fn encoded(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Asserts that each of these ends its connection with CLOSE 6, also when nothing follows, and that
/// neither another user nor the same user's other device notices.
async fn assert_protocol(gateway: &Gateway, logged_in: bool, cases: Vec<(&str, Vec<u8>)>) {
    let baseline = Baseline::of(gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut other = Login::user("bob").enter(gateway.native).await;
    let mut sibling = Login::user("ada")
        .device("other")
        .enter(gateway.native)
        .await;
    let count = cases.len() as u64;
    let before = gateway.scrape().await;
    for (last, (what, bytes)) in (2..).zip(cases) {
        // Each from an address of its own: the answers to one address would come ever later.
        let from = std::net::IpAddr::from([127, 0, 0, last]);
        let mut client = match logged_in {
            true => Login::user("ada").enter(gateway.native).await,
            false => Client::connect_from(from, gateway.native).await,
        };
        client.send_bytes(&bytes).await;
        let closed = client.closed().await;
        assert_eq!(closed.code, CloseCode::Protocol, "{what}: {closed:?}");
        assert_eq!(closed.retry_after_ms, RETRY_NEVER, "{what}");
        assert!(!closed.reason.is_empty(), "{what}");
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
async fn what_is_no_hello_ends_the_connection() {
    let gateway = Gateway::start("");
    let hello = Login::user("ada").encode();
    let mut version_0 = hello.clone();
    version_0[5] = 0;
    let mut flags = hello.clone();
    flags[6] = 2;
    let trailing = frame(1, &[&hello[5..], b"!"].concat());
    let group = ClientFrame::Join { group: "room" };
    let cases = vec![
        ("length 0", vec![0; 4]),
        ("a HELLO over the limit", 16_385_u32.to_be_bytes().to_vec()),
        ("a length without end", u32::MAX.to_be_bytes().to_vec()),
        ("PING before HELLO", encoded(&ClientFrame::Ping(b"x"))),
        ("PONG before HELLO", encoded(&ClientFrame::Pong(b"x"))),
        ("ACK before HELLO", encoded(&ClientFrame::Ack { number: 0 })),
        ("JOIN before HELLO", encoded(&group)),
        ("BYE before HELLO", encoded(&ClientFrame::Bye)),
        ("an unknown type", frame(99, b"")),
        ("a type of the gateway", frame(129, b"")),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a truncated HELLO", frame(1, &hello[5..20])),
        ("version 0", version_0),
        ("an unknown flag", flags),
        ("trailing bytes", trailing),
    ];
    assert_protocol(&gateway, false, cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_ends_the_session() {
    let gateway = Gateway::start("");
    let ack = ClientFrame::Ack { number: 1 };
    let good = encoded(&ClientFrame::Pong(b"x"));
    let cases = vec![
        ("a second HELLO", Login::user("ada").encode()),
        ("length 0", vec![0; 4]),
        ("a frame over the limit", 4097_u32.to_be_bytes().to_vec()),
        ("a length without end", u32::MAX.to_be_bytes().to_vec()),
        ("an unknown type", frame(99, b"")),
        ("type 0", frame(0, b"")),
        ("PUSH from a client", frame(130, &[0; 16])),
        ("CLOSE from a client", frame(134, &[0, 1, 0, 0, 0, 0, 0, 0])),
        ("a PING of 9 bytes", frame(2, &[0; 9])),
        ("a JOIN that ends early", frame(5, b"\x05room")),
        ("a JOIN with trailing bytes", frame(5, b"\x04roomy")),
        ("a group without a name", frame(5, b"\x00")),
        ("a group with a star", frame(5, b"\x03ro*")),
        ("a group with a control character", frame(5, b"\x01\x07")),
        ("a group that is not UTF-8", frame(5, b"\x01\xff")),
        ("a BYE with a body", frame(7, b"!")),
        ("ACK of a number that was never sent", encoded(&ack)),
        (
            "an unknown type behind a good frame",
            [good, frame(99, b"")].concat(),
        ),
    ];
    assert_protocol(&gateway, true, cases).await;
}

const IMPATIENT: &str = "clients = { handshake_timeout = '300ms' }";

/// Sends one byte after the other until the gateway says something, which it has to do long before
/// they are all sent.
async fn trickle(client: &mut Client, bytes: &[u8]) {
    for byte in bytes {
        client.send_bytes(&[*byte]).await;
        let pause = Duration::from_millis(20);
        if tokio::time::timeout(pause, client.arrival()).await.is_ok() {
            return;
        }
    }
    panic!("the gateway took {} bytes one by one", bytes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_has_to_be_whole_in_time_whatever_trickles_in() {
    let gateway = Gateway::start(IMPATIENT);
    let baseline = Baseline::of(&gateway).await;
    let mut bystander = Login::user("bob").enter(gateway.native).await;
    let long = Login::user("ada").group("a".repeat(100)).encode();

    let mut silent = Client::connect(gateway.native).await;
    let mut begun = Client::connect(gateway.native).await;
    begun.send_bytes(&long[..1]).await;
    let mut half_a_frame = Login::user("ada").enter(gateway.native).await;
    half_a_frame.send_bytes(&[0, 0, 0]).await;
    let mut told = vec![
        silent.closed().await,
        begun.closed().await,
        half_a_frame.closed().await,
    ];
    let mut trickling = Client::connect(gateway.native).await;
    let many_groups = (0..200).map(|number| format!("group-{number}"));
    let longer = many_groups.fold(Login::user("ada"), Login::group).encode();
    trickle(&mut trickling, &longer[..longer.len() - 1]).await;
    told.push(trickling.closed().await);
    // No PING is to be taken for the answer.
    let quiet = Login::user("ada").heartbeat_s(3_600);
    let mut trickling = quiet.enter(gateway.native).await;
    trickle(&mut trickling, &frame(5, &[200; 500])[..500]).await;
    told.push(trickling.closed().await);
    for closed in &told {
        assert_eq!(closed.code, CloseCode::HandshakeTimeout, "{closed:?}");
        assert!(
            (500..=10_000).contains(&closed.retry_after_ms),
            "{closed:?}"
        );
    }

    // Whoever has said HELLO may be silent, and frames that are whole may come in pieces.
    bystander.assert_alive().await;
    for piece in encoded(&ClientFrame::Join { group: "room" }).chunks(3) {
        bystander.send_bytes(piece).await;
    }
    bystander.assert_alive().await;
    drop(bystander);
    baseline.assert_back_at(&gateway).await;
    let scrape = gateway.scrape().await;
    let closed = scrape.at("pushgate_connections_closed_total", "handshake_timeout");
    assert_eq!(closed, told.len() as u64);
}

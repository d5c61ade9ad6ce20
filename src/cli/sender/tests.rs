//! A sender against a gateway that is a script at the other end of a real socket.

use super::*;
use crate::wire::datagram::{Request, Unverified};
use crate::wire::reply::{Reply, encode_reply};

const PING: RequestBody<'_> = RequestBody::Ping(b"tick");

fn key() -> Key {
    Key::new(&[7; 32]).unwrap()
}

/// What the script knows of a datagram: its bytes, its header, and who sent it.
struct Received {
    bytes: Vec<u8>,
    header: Header,
    from: SocketAddr,
}

async fn pair() -> (Sender, UdpSocket) {
    let gateway = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = gateway.local_addr().unwrap();
    (
        Sender::connect(address, Some((7, key()))).await.unwrap(),
        gateway,
    )
}

async fn receive(gateway: &UdpSocket) -> Received {
    let mut buffer = vec![0; 2048];
    let (length, from) = gateway.recv_from(&mut buffer).await.unwrap();
    buffer.truncate(length);
    let verified = Unverified::parse(&buffer).unwrap().verify(&key()).unwrap();
    Request::decode(verified.op(), verified.body()).unwrap();
    let header = *verified.header();
    Received {
        bytes: buffer,
        header,
        from,
    }
}

async fn answer(gateway: &UdpSocket, to: &Received, status: Status, time_ms: u64) {
    answer_as(gateway, to, &to.header, status, time_ms, &key()).await;
}

async fn answer_as(
    gateway: &UdpSocket,
    to: &Received,
    header: &Header,
    status: Status,
    time_ms: u64,
    key: &Key,
) {
    let reply = Reply {
        status,
        counts: Counts::default(),
        elapsed_ms: 0,
        number: 0,
        tail: b"",
    };
    let mut out = Vec::new();
    encode_reply(&mut out, header, time_ms, &reply, Some(key));
    gateway.send_to(&out, to.from).await.unwrap();
}

#[tokio::test]
async fn an_unheard_request_is_repeated_byte_for_byte() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        let first = receive(&gateway).await;
        let second = receive(&gateway).await;
        assert_eq!(first.bytes, second.bytes);
        answer(&gateway, &second, Status::Done, second.header.time_ms).await;
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.status, Status::Done);
    assert!(outcome.datagrams >= 2);
}

#[tokio::test]
async fn what_is_not_the_answer_is_not_seen() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        let received = receive(&gateway).await;
        let now_ms = received.header.time_ms;
        gateway.send_to(b"noise", received.from).await.unwrap();
        gateway
            .send_to(&received.bytes, received.from)
            .await
            .unwrap();
        let forged = Key::new(&[8; 32]).unwrap();
        let header = received.header;
        answer_as(
            &gateway,
            &received,
            &header,
            Status::Denied,
            now_ms,
            &forged,
        )
        .await;
        let other_id = Header {
            request_id: [0; 16],
            ..header
        };
        answer_as(
            &gateway,
            &received,
            &other_id,
            Status::Denied,
            now_ms,
            &key(),
        )
        .await;
        let other_op = Header { op: 4, ..header };
        answer_as(
            &gateway,
            &received,
            &other_op,
            Status::Denied,
            now_ms,
            &key(),
        )
        .await;
        answer(&gateway, &received, Status::Done, now_ms).await;
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    assert_eq!(outcome.unwrap().status, Status::Done);
}

#[tokio::test]
async fn after_stale_the_clock_is_mended_and_the_id_is_new() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        let stale = receive(&gateway).await;
        let gateway_ms = stale.header.time_ms + 3_600_000;
        answer(&gateway, &stale, Status::Stale, gateway_ms).await;
        let mended = receive(&gateway).await;
        assert_ne!(mended.header.request_id, stale.header.request_id);
        assert!(
            mended.header.time_ms >= gateway_ms,
            "an hour later, as the gateway said"
        );
        answer(&gateway, &mended, Status::Done, mended.header.time_ms).await;
        let next = receive(&gateway).await;
        assert!(next.header.time_ms >= gateway_ms, "the offset stays");
        answer(&gateway, &next, Status::Done, next.header.time_ms).await;
    };
    let requests = async {
        assert_eq!(sender.request(&PING).await.unwrap().status, Status::Done);
        assert_eq!(sender.request(&PING).await.unwrap().status, Status::Done);
    };
    tokio::join!(requests, script);
}

#[tokio::test]
async fn a_gateway_that_always_says_stale_is_believed_in_the_end() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        for hours in 1..=3 {
            let stale = receive(&gateway).await;
            answer(
                &gateway,
                &stale,
                Status::Stale,
                stale.header.time_ms + hours * 3_600_000,
            )
            .await;
        }
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.status, outcome.datagrams), (Status::Stale, 3));
}

#[tokio::test]
async fn a_sender_asks_on_while_the_job_runs() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        let first = receive(&gateway).await;
        answer(&gateway, &first, Status::Accepted, first.header.time_ms).await;
        let again = receive(&gateway).await;
        assert_eq!(first.bytes, again.bytes);
        answer(&gateway, &again, Status::Done, again.header.time_ms).await;
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    assert_eq!(outcome.unwrap().status, Status::Done);
}

#[tokio::test]
async fn stale_after_accepted_is_not_sent_anew() {
    let (mut sender, gateway) = pair().await;
    let script = async {
        let first = receive(&gateway).await;
        answer(&gateway, &first, Status::Accepted, first.header.time_ms).await;
        let again = receive(&gateway).await;
        answer(
            &gateway,
            &again,
            Status::Stale,
            again.header.time_ms + 3_600_000,
        )
        .await;
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.status, outcome.datagrams), (Status::Stale, 2));
}

#[tokio::test]
async fn without_patience_accepted_is_the_outcome() {
    let (mut sender, gateway) = pair().await;
    sender.set_patience(Duration::ZERO);
    let script = async {
        let first = receive(&gateway).await;
        answer(&gateway, &first, Status::Timeout, first.header.time_ms).await;
    };
    let (outcome, ()) = tokio::join!(sender.request(&PING), script);
    assert_eq!(outcome.unwrap().status, Status::Timeout);
}

#[tokio::test]
async fn what_can_never_be_answered_is_refused_at_once() {
    let (mut sender, _gateway) = pair().await;
    let push = |reply, payload| RequestBody::Push {
        reply,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 0,
        targets: &[],
        payload,
    };
    let silent = sender.request(&push(ReplyMode::None, b"")).await;
    assert!(matches!(silent, Err(SendError::NeverAnswered)));
    let payload = vec![0; DATAGRAM_BYTES_MAX];
    let large = sender.request(&push(ReplyMode::One, &payload)).await;
    assert!(matches!(large, Err(SendError::TooLarge { bytes }) if bytes > DATAGRAM_BYTES_MAX));
}

//! A client against a gateway that is a script at the other end of a pipe, under a clock that
//! stands still unless everybody waits.

use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

const HEARTBEAT_S: u16 = 30;

fn welcome() -> Welcome {
    Welcome {
        version: PROTOCOL_VERSION,
        resumed: false,
        heartbeat_s: HEARTBEAT_S,
        max_frame: 1024,
        session: 9,
        epoch: 1,
        cursor: 0,
    }
}

fn encoded(frame: GatewayFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// The next whole frame that the client wrote, without its length.
async fn from_client(gateway: &mut DuplexStream) -> Vec<u8> {
    let length = gateway.read_u32().await.unwrap();
    let mut body = vec![0; length as usize];
    gateway.read_exact(&mut body).await.unwrap();
    body
}

/// A client whose HELLO was answered, and the gateway's end.
async fn connected() -> (Client<DuplexStream>, DuplexStream) {
    let (near, mut gateway) = duplex(64 * 1024);
    gateway
        .write_all(&encoded(GatewayFrame::Welcome(welcome())))
        .await
        .unwrap();
    let identity = Identity {
        token: b"ada".to_vec(),
        ..Identity::default()
    };
    let client = Client::handshake(near, &identity).await.unwrap();
    let body = from_client(&mut gateway).await;
    let ClientFrame::Hello(hello) = ClientFrame::decode(&body).unwrap() else {
        panic!("the first frame is {body:?}");
    };
    assert_eq!((hello.token, hello.resume), (&b"ada"[..], false));
    (client, gateway)
}

fn push(payload: &[u8]) -> Vec<u8> {
    encoded(GatewayFrame::Push {
        number: 0,
        scope: Scope::Group,
        group: "news",
        payload,
    })
}

#[tokio::test(start_paused = true)]
async fn a_push_that_arrives_byte_by_byte_is_one_event() {
    let (mut client, mut gateway) = connected().await;
    let send = async {
        for byte in push(b"hello") {
            gateway.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (event, ()) = tokio::join!(client.next(), send);
    let expected = Event::Push {
        number: 0,
        scope: Scope::Group,
        group: "news".to_owned(),
        payload: Bytes::from_static(b"hello"),
    };
    assert_eq!(event.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_bytes_while_the_client_waits() {
    let (mut client, mut gateway) = connected().await;
    gateway
        .write_all(&encoded(GatewayFrame::Ping(b"12345678")))
        .await
        .unwrap();
    tokio::select! {
        event = client.next() => panic!("a PING is no event: {event:?}"),
        body = from_client(&mut gateway) => {
            assert_eq!(ClientFrame::decode(&body).unwrap(), ClientFrame::Pong(b"12345678"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_pings_each_heartbeat_and_gives_a_silent_gateway_up() {
    let (mut client, mut gateway) = connected().await;
    let start = Instant::now();
    assert!(matches!(client.next().await, Err(Ended::Silent(_))));
    assert_eq!(start.elapsed().as_secs(), u64::from(HEARTBEAT_S) * 5 / 2);
    for _ in 0..2 {
        let body = from_client(&mut gateway).await;
        assert_eq!(ClientFrame::decode(&body).unwrap(), ClientFrame::Ping(b""));
    }
    drop(client);
    assert_eq!(
        gateway.read(&mut [0]).await.unwrap(),
        0,
        "two PINGs and no more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_answers_pings_is_never_given_up() {
    let (mut client, mut gateway) = connected().await;
    let answer = async {
        for _ in 0..10 {
            let body = from_client(&mut gateway).await;
            assert_eq!(ClientFrame::decode(&body).unwrap(), ClientFrame::Ping(b""));
            gateway
                .write_all(&encoded(GatewayFrame::Pong(b"")))
                .await
                .unwrap();
        }
        gateway.write_all(&push(b"still there")).await.unwrap();
    };
    let (event, ()) = tokio::join!(client.next(), answer);
    assert!(matches!(event.unwrap(), Event::Push { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_close_in_place_of_welcome_is_the_end() {
    let (near, mut gateway) = duplex(1024);
    let close = GatewayFrame::Close {
        code: CloseCode::Auth,
        retry_after_ms: RETRY_NEVER,
        reason: "no user",
    };
    gateway.write_all(&encoded(close)).await.unwrap();
    let ended = Client::handshake(near, &Identity::default())
        .await
        .unwrap_err();
    assert_eq!(ended.advice(), Advice::Stay);
    let words = ended.to_string();
    assert!(words.contains("(auth, code 7: no user)"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_what_welcome_allows_is_refused() {
    let (mut client, mut gateway) = connected().await;
    gateway.write_all(&1025_u32.to_be_bytes()).await.unwrap();
    let ended = client.next().await.unwrap_err();
    assert!(matches!(
        ended,
        Ended::Malformed(FrameError::TooLong {
            length: 1025,
            max: 1024
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn bye_is_the_last_frame_and_waits_for_the_gateway() {
    let (mut client, mut gateway) = connected().await;
    client.join("news");
    let close = async {
        let join = from_client(&mut gateway).await;
        assert_eq!(
            ClientFrame::decode(&join).unwrap(),
            ClientFrame::Join { group: "news" }
        );
        let bye = from_client(&mut gateway).await;
        assert_eq!(ClientFrame::decode(&bye).unwrap(), ClientFrame::Bye);
        assert_eq!(gateway.read(&mut [0]).await.unwrap(), 0);
        drop(gateway);
    };
    let start = Instant::now();
    tokio::join!(client.bye(), close);
    assert!(start.elapsed() < BYE_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ignores_bye_holds_nobody_up() {
    let (client, gateway) = connected().await;
    let start = Instant::now();
    client.bye().await;
    assert_eq!(start.elapsed().as_secs(), BYE_DEADLINE.as_secs());
    drop(gateway);
}

#[test]
fn every_close_code_says_whether_to_come_back() {
    let advice = |code, retry_after_ms| {
        Ended::Closed {
            code,
            retry_after_ms,
            reason: String::new(),
        }
        .advice()
    };
    for code in CloseCode::ALL {
        let expected = match code.code() {
            2 | 6 | 7 => Advice::Stay,
            8 => Advice::NewToken,
            _ => Advice::After(Duration::from_millis(2500)),
        };
        assert_eq!(advice(code, 2500), expected, "{code}");
        assert!(
            matches!(advice(code, RETRY_NEVER), Advice::Stay | Advice::NewToken),
            "{code}"
        );
    }
    assert_eq!(advice(CloseCode::Slow, 0), Advice::Jitter);
    assert_eq!(Ended::Eof.advice(), Advice::Jitter);
    assert_eq!(
        Ended::Silent(Duration::from_secs(75)).advice(),
        Advice::Jitter
    );
}

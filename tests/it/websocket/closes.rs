//! Every end has its code in the close frame, behind the CLOSE that says the same.

use pushgate::wire::datagram::{Kick, RequestBody};
use pushgate::wire::reason::{CloseCode, RETRY_NEVER, Status};
use pushgate::wire::websocket::Opcode;
use rustix::process::Signal;

use super::{DOORS, closed, enter};
use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// Reads CLOSE and the close frame behind it, which must agree, to an end in order.
async fn assert_told(client: &mut Client, code: CloseCode) -> u32 {
    let told = client.closed().await;
    assert_eq!(told.code, code, "{told:?}");
    let frame = client.web().close.clone().expect("a close frame");
    assert_eq!(frame, (4000 + code.code(), told.reason));
    told.retry_after_ms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_code_is_told_behind_4000() {
    let gateway = Gateway::start(&format!(
        "{DOORS}[clients]\nmax_devices = 1\nhandshake_timeout = '500ms'\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let web = gateway.door("web");

    let mut kicked = enter(&gateway, &Login::user("ada")).await;
    let kick = Kick {
        user: "ada",
        device: "",
        hold_s: 7,
        reason: "tidying up",
    };
    let answer = sender.ask(&RequestBody::Kick(kick)).await;
    assert_eq!(answer.status, Status::Done);
    assert_eq!(assert_told(&mut kicked, CloseCode::Kicked).await, 7_000);

    let mut unknown = Client::connect_web(web).await;
    unknown.send_bytes(&[0, 0, 0, 1, 99]).await;
    let retry = assert_told(&mut unknown, CloseCode::Protocol).await;
    assert_eq!(retry, RETRY_NEVER);

    let mut malformed = enter(&gateway, &Login::user("bob")).await;
    malformed.send_bytes(&[0, 0, 0, 2, 5, 1]).await;
    assert_told(&mut malformed, CloseCode::Protocol).await;

    let mut nobody = Client::connect_web(web).await;
    nobody.send_bytes(&Login::user("").encode()).await;
    assert_told(&mut nobody, CloseCode::Auth).await;

    let first = enter(&gateway, &Login::user("eve").device("1")).await;
    let mut second = Client::connect_web(web).await;
    second
        .send_bytes(&Login::user("eve").device("2").encode())
        .await;
    assert_told(&mut second, CloseCode::TooMany).await;

    let mut silent = Client::connect_web(web).await;
    assert_told(&mut silent, CloseCode::HandshakeTimeout).await;
    // Half a message of a client that is in; a ping between does not give it more time.
    let mut half = enter(&gateway, &Login::user("fay").heartbeat_s(3600)).await;
    half.web().send_raw(&[0x02, 0x80, 1, 2, 3, 4]).await;
    let pinging = async {
        loop {
            half.web().send_frame(Opcode::Ping, b"").await;
            let pause = std::time::Duration::from_millis(50);
            if tokio::time::timeout(pause, half.next_ever()).await.is_ok() {
                break;
            }
        }
    };
    crate::support::within("it is told so", pinging).await;
    assert_eq!(half.next().await, None);
    assert_eq!(half.web().close.as_ref().map(|close| close.0), Some(4010));
    drop((
        kicked, unknown, malformed, nobody, first, second, silent, half,
    ));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_is_answered_with_its_own_code() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    for (payload, expected) in [
        (&b""[..], 1005),
        (b"\x03\xe8", 1000),
        (b"\x03\xe9going away", 1001),
        (b"\x0f\xa1", 4001),
    ] {
        let mut client = enter(&gateway, &Login::user("ada")).await;
        let web = client.web();
        web.send_frame(Opcode::Close, payload).await;
        // Nothing that follows counts.
        web.send_frame(Opcode::Text, b"text").await;
        client.ended().await;
        assert_eq!(client.web().close, Some((expected, String::new())));
    }
    let mut early = Client::connect_web(gateway.door("web")).await;
    early.web().send_frame(Opcode::Close, b"\x03\xe8").await;
    early.ended().await;
    assert_eq!(early.web().close, Some((1000, String::new())));
    let mut silent = enter(&gateway, &Login::user("bob")).await;
    silent.shut_down().await;
    silent.ended().await;
    assert_eq!(silent.web().close, None, "its end has been read already");
    drop((early, silent));
    baseline.assert_back_at(&gateway).await;
    assert_eq!(
        (closed(&gateway, "bye").await, closed(&gateway, "eof").await),
        (5, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_drains_tells_pages_and_those_who_come() {
    let gateway = Gateway::start(&format!("{DOORS}[drain]\nlinger = '1s'\nspread = '4s'\n"));
    let mut page = enter(&gateway, &Login::user("ada")).await;
    let begun = Client::connect(gateway.door("web")).await;
    gateway.signal(Signal::TERM);
    eventually("the gateway is not ready", async || {
        let (status, word) = gateway.get("/readyz").await;
        (status == 503 && word.contains("draining"))
            .then_some(())
            .ok_or(word)
    })
    .await;
    let late = Client::connect(gateway.door("web")).await;
    for connection in [begun, late] {
        let answer = connection.upgraded("/", "").await.err().expect("it drains");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: "), "{answer}");
        assert!(answer.ends_with("\r\n\r\ndraining\n"), "{answer}");
    }
    let retry = assert_told(&mut page, CloseCode::Draining).await;
    assert!((500..=4_000).contains(&retry), "{retry}");
    drop(page);
    let (code, _) = gateway.finish().await;
    assert_eq!(code, Some(0));
}

//! WebSocket: a client sees over it what it sees over TCP, in one order with the others.

mod closes;
mod faults;
mod programs;
mod requests;

use std::time::Duration;

use pushgate::wire::datagram::{ReplyMode, RequestBody, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame, Scope};
use pushgate::wire::reason::{CloseCode, Status};
use pushgate::wire::websocket::Opcode;
use tokio::sync::oneshot;
use tokio_rustls::rustls::version::TLS13;

use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::client::{Client, Login};
use crate::support::crowd::Crowd;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;
use crate::support::{eventually, within};

/// A native door, and one of WebSocket beside it.
pub(crate) const DOORS: &str = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
    [[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\nprotocol = 'websocket'\n\
    origins = ['https://app.example']\n";

/// Comes in by the door of WebSocket.
pub(crate) async fn enter(gateway: &Gateway, login: &Login) -> Client {
    let connected = Client::connect_web(gateway.door("web")).await;
    login.enter_over(connected).await
}

async fn by_door(gateway: &Gateway, door: &str) -> u64 {
    let scrape = gateway.scrape().await;
    scrape.at("pushgate_sessions_by_door", door)
}

async fn closed(gateway: &Gateway, reason: &str) -> u64 {
    let scrape = gateway.scrape().await;
    scrape.at("pushgate_connections_closed_total", reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_doors_receive_the_same_in_the_same_order() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = |device: &str| Login::user("ada").device(device).group("news");
    let mut native = login("phone").enter(gateway.native).await;
    let mut web = enter(&gateway, &login("page")).await;
    assert_eq!(
        (
            by_door(&gateway, "native").await,
            by_door(&gateway, "websocket").await
        ),
        (1, 1)
    );
    let targets = [Target::All, Target::User("ada"), Target::Group("news")];
    // Every width of a length, and the longest payload that there is.
    for size in [0, 1, 100, 113, 114, 115, 300, 16_000, 65_000] {
        for target in targets {
            let payload = vec![b'.'; size];
            let answer = sender.push(&[target], &payload).await;
            assert_eq!((answer.status, answer.counts.written), (Status::Done, 2));
            let seen = native.next_push().await;
            assert_eq!(seen.2, payload);
            assert_eq!(web.next_push().await, seen);
        }
    }
    let many = sender
        .push(&[Target::Group("none"), Target::User("ada")], b"two")
        .await;
    assert_eq!(many.counts.written, 2);
    let seen = native.next_push().await;
    assert_eq!(seen, (Scope::User, String::new(), b"two".to_vec()));
    assert_eq!(web.next_push().await, seen);
    web.join("room").await;
    web.assert_alive().await;
    web.leave("room").await;
    web.send(&ClientFrame::Bye).await;
    web.ended().await;
    assert_eq!(web.web().close, Some((1000, String::new())));
    native.send(&ClientFrame::Bye).await;
    native.ended().await;
    drop((native, web));
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "bye").await, 2);
    assert_eq!(by_door(&gateway, "websocket").await, 0);
}

/// Small windows, so that messages are taken in part wherever the kernel likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_both_doors_sees_every_message_once_and_in_order() {
    const CLIENTS: u32 = 30;
    const PUSHES: u32 = 300;
    let gateway = Gateway::start(&format!("{DOORS}[clients]\nqueue_age = '60s'\n"));
    let baseline = Baseline::of(&gateway).await;
    let (native, web) = (gateway.native, gateway.door("web"));
    let logins = |door: &'static str| {
        (0..CLIENTS).map(move |number| Login::user(format!("{door}-{number}")))
    };
    let plain = Crowd::enter_through(logins("native"), || Client::connect_narrow(native)).await;
    let pages = Crowd::enter_through(logins("web"), || async move {
        let connected = Client::connect_narrow(web).await;
        connected.upgraded("/", "").await.expect("a WebSocket")
    })
    .await;
    let sender = Sender::unsigned(gateway.udp).await;
    for number in 0..PUSHES {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + (number as usize * 37) % 9_000, b'.');
        let answer = eventually("the senders are no faster than the clients", async || {
            let answer = sender.push(&[Target::All], &payload).await;
            let accepted = answer.status == Status::Done;
            accepted.then_some(answer).ok_or_else(|| "busy".to_owned())
        })
        .await;
        assert_eq!(
            (answer.counts.matched, answer.counts.refused),
            (2 * CLIENTS, 0)
        );
    }
    let numbers: Vec<u32> = (0..PUSHES).collect();
    plain.assert_saw(&numbers).await;
    pages.assert_saw(&numbers).await;
    plain.leave().await;
    pages.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_receives_what_was_kept_by_whichever_door_it_comes_back() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = Login::user("ada").device("phone");
    let keep = async |payload: &[u8]| {
        let body = RequestBody::Push {
            reply: ReplyMode::One,
            collapse: b"",
            ttl_s: 600,
            spread_ms: 0,
            targets: &[Target::User("ada")],
            payload,
        };
        sender.ask(&body).await.number
    };
    keep(b"before").await;
    let mut web = Client::connect_web(gateway.door("web")).await;
    web.send_bytes(&login.clone().resume((0, 0)).encode()).await;
    let (mut epoch, mut seen) = (0, Vec::new());
    loop {
        match web.next().await.expect("CURRENT comes") {
            GatewayFrame::Welcome(welcome) => epoch = welcome.epoch,
            GatewayFrame::Push {
                number, payload, ..
            } => seen.push((number, payload.to_vec())),
            GatewayFrame::Current { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [(1, b"before".to_vec())]);
    web.send(&ClientFrame::Ack { number: 1 }).await;
    web.send(&ClientFrame::Bye).await;
    web.ended().await;
    assert_eq!(keep(b"between").await, 2);
    // By the other door, from where it was; and back.
    for (number, connected) in (2..).zip([
        Client::connect(gateway.native).await,
        Client::connect_web(gateway.door("web")).await,
    ]) {
        let mut client = connected;
        client
            .send_bytes(&login.clone().resume((epoch, 1)).encode())
            .await;
        let welcome = client.next().await;
        let is_resumed =
            matches!(&welcome, Some(GatewayFrame::Welcome(welcome)) if welcome.resumed);
        assert!(is_resumed, "{number}: {welcome:?}");
        assert_eq!(client.next_push().await.2, b"between");
        client.send(&ClientFrame::Bye).await;
        client.ended().await;
    }
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_one_session_whichever_the_door() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = Login::user("ada").device("laptop");
    let mut native = login.enter(gateway.native).await;
    let mut web = enter(&gateway, &login).await;
    let told = native.closed().await;
    assert_eq!(told.code, CloseCode::Replaced, "{told:?}");
    let answer = sender.push(&[Target::User("ada")], b"one").await;
    assert_eq!((answer.counts.matched, answer.counts.written), (1, 1));
    assert_eq!(web.next_push().await.2, b"one");
    let (status, found) = gateway.get("/v1/sessions?user=ada").await;
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["sessions"][0]["door"], "websocket", "{found}");
    assert_eq!(found["sessions"].as_array().map(Vec::len), Some(1));
    let mut newer = login.enter(gateway.native).await;
    assert_eq!(web.closed().await.code, CloseCode::Replaced);
    let (code, reason) = web.web().close.clone().expect("a close frame");
    assert_eq!(code, 4002, "{reason}");
    newer.assert_alive().await;
    drop((native, web, newer));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_only_answers_pings_stays_and_one_that_does_not_goes() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = |user: &str| Login::user(user).heartbeat_s(5);
    let mut page = enter(&gateway, &login("page")).await;
    let mut mute = enter(&gateway, &login("mute")).await;
    mute.web().is_mute = true;
    // That something is pushed to them all the time neither keeps the one nor saves the other.
    let pushing = tokio::spawn(async move {
        loop {
            sender.push(&[Target::All], b"tick").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let (over, mut is_over) = oneshot::channel();
    let reading = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut is_over => return page,
                frame = page.next_ever() => {
                    assert!(matches!(frame, Some(GatewayFrame::Push { .. })), "{frame:?}");
                }
            }
        }
    });
    let told = mute.close_if_told().await.expect("it is told");
    assert_eq!(told.code, CloseCode::Heartbeat, "{told:?}");
    assert_eq!(mute.web().close.as_ref().map(|close| close.0), Some(4005));
    assert!(mute.web().pings > 0, "it was asked");
    over.send(()).expect("it was not closed");
    let mut page = reading.await.expect("it was not closed");
    assert!(page.web().pings > 0, "it was asked");
    pushing.abort();
    page.assert_alive().await;
    drop((page, mute));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_and_a_message_may_come_in_parts() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let mut client = Client::connect_web(gateway.door("web")).await;
    // HELLO in three parts, a ping between them.
    let hello = Login::user("ada").encode().split_off(4);
    let part = |first: u8, payload: &[u8]| {
        let mut bytes = Vec::new();
        pushgate::wire::websocket::put_masked(&mut bytes, Opcode::Binary, payload, [1, 2, 3, 4]);
        bytes[0] = first;
        bytes
    };
    let web = client.web();
    web.send_raw(&part(0x02, &hello[..3])).await;
    web.send_frame(Opcode::Ping, b"early").await;
    web.send_raw(&part(0x00, &hello[3..9])).await;
    web.send_frame(Opcode::Pong, b"nobody asked").await;
    web.send_raw(&part(0x80, &hello[9..])).await;
    client.greeted().await.expect("it is let in");
    assert_eq!(client.web().pongs, [b"early".to_vec()]);
    // And a JOIN, a byte at a time.
    client.web().send_frame(Opcode::Ping, &[b'x'; 125]).await;
    let join = [
        part(0x02, b"\x05\x04"),
        part(0x00, b""),
        part(0x80, b"room"),
    ]
    .concat();
    for byte in join {
        client.web().send_raw(&[byte]).await;
    }
    let joined = GatewayFrame::Joined { group: "room" };
    assert_eq!(client.next().await, Some(joined));
    assert_eq!(client.web().pongs[1], [b'x'; 125]);
    client.assert_alive().await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

/// A listener like those of the tests, with more keys.
fn listener(more: &str) -> String {
    format!(
        "[[listeners]]\nname = 'web'\naddress = '127.0.0.1:0'\nprotocol = 'websocket'\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_a_load_balancer_stand_before_it_as_before_any_other() {
    let authority = Authority::new();
    authority.certify("gate");
    let [cert, key] = ["gate.pem", "gate.key"].map(|file| authority.path(file));
    let tls = format!(
        "tls = {{ cert = '{}', key = '{}' }}",
        cert.display(),
        key.display()
    );
    let balanced = "proxy_protocol = true\ntrusted = ['127.0.0.0/8']";
    let gateway = Gateway::start(&listener(&format!("{tls}\n{balanced}")));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut connected = Client::connect(gateway.door("web")).await;
    // PROXY v2 for 192.0.2.7:9, then TLS, then the request.
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&[192, 0, 2, 7, 127, 0, 0, 1, 0, 9, 0, 1]);
    connected.send_bytes(&header).await;
    let secured = connected.secured(&authority.client(&[&TLS13])).await;
    let upgraded = secured.expect("a handshake").upgraded("/", "").await;
    let mut client = Login::user("ada")
        .enter_over(upgraded.expect("a WebSocket"))
        .await;
    for size in [1, 300, 40_000] {
        let payload = vec![b'x'; size];
        let answer = sender.push(&[Target::All], &payload).await;
        assert_eq!(answer.status, Status::Done);
        assert_eq!(client.next_push().await.2, payload);
    }
    let (_, found) = gateway.get("/v1/sessions?user=ada").await;
    assert!(found.contains("192.0.2.7:9"), "{found}");
    client.web().send_frame(Opcode::Close, &[]).await;
    client.ended().await;
    assert_eq!(client.web().close, Some((1005, String::new())));
    assert_eq!(client.broken, None, "close_notify comes before the FIN");
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_does_not_read_is_a_slow_consumer_alone() {
    let gateway = Gateway::start(&format!("{DOORS}[clients]\nqueue_age = '1s'\n"));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut reader = enter(&gateway, &Login::user("reader")).await;
    let narrow = Client::connect_narrow(gateway.door("web")).await;
    let narrow = narrow.upgraded("/", "").await.expect("a WebSocket");
    let mut stuck = Login::user("stuck").enter_over(narrow).await;
    let mut number = 0_u32;
    eventually("the one that does not read is closed", async || {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(30_000, b'.');
        let answer = sender.push(&[Target::All], &payload).await;
        if answer.status == Status::Done {
            assert_eq!(reader.next_push().await.2[..4], payload[..4]);
            number += 1;
        }
        let slow = closed(&gateway, "slow").await;
        (slow == 1)
            .then_some(())
            .ok_or_else(|| format!("{number} pushes"))
    })
    .await;
    // What was begun is ended, then it is told, if its socket still took that.
    if let Some(told) = within("the end", stuck.close_if_told()).await {
        assert_eq!(told.code, CloseCode::Slow);
        assert_eq!(stuck.web().close.as_ref().map(|close| close.0), Some(4004));
    }
    reader.assert_alive().await;
    drop((reader, stuck));
    baseline.assert_back_at(&gateway).await;
}

//! TLS: a client sees over it what it sees over TCP, and what goes wrong with it ends in order.

mod programs;

use std::io::ErrorKind;
use std::sync::Arc;

use pushgate::daemon::settings::Settings;
use pushgate::transport::tls::config;
use pushgate::wire::datagram::Target;
use pushgate::wire::frame::ClientFrame;
use pushgate::wire::reason::{CloseCode, Status};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion};

use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::client::{Client, Login};
use crate::support::crowd::Crowd;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;
use crate::support::{eventually, within};

async fn secured(gateway: &Gateway, config: &Arc<ClientConfig>) -> Client {
    let client = Client::connect(gateway.native).await;
    client.secured(config).await.expect("a handshake")
}

async fn failed(gateway: &Gateway) -> u64 {
    let scrape = gateway.scrape().await;
    scrape.value("pushgate_tls_handshakes_failed_total")
}

async fn closed(gateway: &Gateway, reason: &str) -> u64 {
    let scrape = gateway.scrape().await;
    scrape.at("pushgate_connections_closed_total", reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_carry_a_session_from_hello_to_bye() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for (version, negotiated) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let connected = secured(&gateway, &authority.client(&[version])).await;
        assert_eq!(connected.tls().protocol_version(), Some(negotiated));
        let mut client = Login::user("ada").enter_over(connected).await;
        client.join("news").await;
        for size in [0, 1, 16_000, 65_000] {
            let payload = vec![b'.'; size];
            let answer = sender.push(&[Target::Group("news")], &payload).await;
            assert_eq!((answer.status, answer.counts.matched), (Status::Done, 1));
            assert_eq!(client.next_push().await.2, payload);
        }
        client.assert_alive().await;
        client.send(&ClientFrame::Bye).await;
        client.ended().await;
        assert_eq!(client.broken, None, "close_notify comes before the FIN");
    }
    baseline.assert_back_at(&gateway).await;
    assert_eq!(
        (closed(&gateway, "bye").await, failed(&gateway).await),
        (2, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_followed_by_close_notify() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13]);
    // Turned away before there is a session,
    let mut nobody = secured(&gateway, &config).await;
    nobody.send_bytes(&Login::user("").encode()).await;
    // replaced while there is one,
    let mut old = Login::user("ada")
        .enter_over(secured(&gateway, &config).await)
        .await;
    let mut new = Login::user("ada")
        .enter_over(secured(&gateway, &config).await)
        .await;
    // and out of order.
    new.send_bytes(&[0, 0, 0, 1, 77]).await;
    for (client, code) in [
        (&mut nobody, CloseCode::Auth),
        (&mut old, CloseCode::Replaced),
        (&mut new, CloseCode::Protocol),
    ] {
        // That the stream ends in order is asked there.
        assert_eq!(client.closed().await.code, code);
    }
    drop((nobody, old, new));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_every_message_once_and_in_order() {
    const CLIENTS: u32 = 60;
    const PUSHES: u32 = 400;
    let authority = Authority::new();
    let more = "[clients]\naccept_rate = 0\nqueue_age = '60s'";
    let gateway = Gateway::start(&authority.listener("gate", more));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13, &TLS12]);
    let logins = (0..CLIENTS).map(|number| Login::user(format!("reader-{number}")));
    let address = gateway.native;
    let crowd = Crowd::enter_through(logins, || {
        let config = Arc::clone(&config);
        async move {
            // So small a window that records are taken in part.
            let client = Client::connect_narrow(address).await;
            client.secured(&config).await.expect("a handshake")
        }
    })
    .await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut refused = 0;
    for number in 0..PUSHES {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(
            4 + usize::try_from(number * 37 % 9_000).expect("fits"),
            b'.',
        );
        let answer = eventually("the senders are no faster than the clients", async || {
            let answer = sender.push(&[Target::All], &payload).await;
            let accepted = answer.status == Status::Done;
            accepted.then_some(answer).ok_or_else(|| "busy".to_owned())
        })
        .await;
        let counts = answer.counts;
        assert_eq!(counts.matched, CLIENTS);
        assert_eq!(
            counts.matched,
            counts.written + counts.waiting + counts.refused
        );
        refused += counts.refused;
    }
    assert_eq!(refused, 0);
    let numbers: Vec<u32> = (0..PUSHES).collect();
    crowd.assert_saw(&numbers).await;
    let scrape = gateway.scrape().await;
    let written = scrape.at("pushgate_deliveries_total", "written");
    assert_eq!(written, u64::from(CLIENTS * PUSHES));
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_client_is_cut_at_its_bound_and_the_others_go_on() {
    let authority = Authority::new();
    let more = "[clients]\nqueue_messages = 20";
    let gateway = Gateway::start(&authority.listener("gate", more));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13]);
    let narrow = Client::connect_narrow(gateway.native).await;
    let narrow = narrow.secured(&config).await.expect("a handshake");
    let stalled = Login::user("stalled").enter_over(narrow).await;
    let mut reader = Login::user("reader")
        .enter_over(secured(&gateway, &config).await)
        .await;
    let sender = Sender::unsigned(gateway.udp).await;
    let (mut pushed, mut read) = (0, 0);
    eventually("the stalled one is over its bound", async || {
        let answer = sender.push(&[Target::All], &[b'.'; 30_000]).await;
        pushed += u32::from(answer.status == Status::Done);
        while read < pushed {
            reader.next_push().await;
            read += 1;
        }
        let cut = answer.counts.matched == 1;
        cut.then_some(()).ok_or_else(|| format!("{answer:?}"))
    })
    .await;
    reader.assert_alive().await;
    drop((stalled, reader));
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "slow").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_handshake_and_silence_end_at_the_deadline() {
    let authority = Authority::new();
    let more = "[clients]\nhandshake_timeout = '300ms'";
    let gateway = Gateway::start(&authority.listener("gate", more));
    let baseline = Baseline::of(&gateway).await;
    let mut silent = Client::connect(gateway.native).await;
    // The header of a handshake record, and a few bytes of it.
    let mut begun = Client::connect(gateway.native).await;
    begun.send_bytes(&[22, 3, 1, 2, 0, 1, 0]).await;
    for client in [&mut silent, &mut begun] {
        // There is no way yet to tell them why.
        client.ended().await;
    }
    let config = authority.client(&[&TLS13]);
    let mut wordless = secured(&gateway, &config).await;
    assert_eq!(wordless.closed().await.code, CloseCode::HandshakeTimeout);
    drop((silent, begun, wordless));
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "handshake_timeout").await, 3);
    assert_eq!(failed(&gateway).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_at_a_tls_door_is_told_by_an_alert() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.native)
        .await
        .expect("a connection");
    let hello = Login::user("ada").encode();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello)
        .await
        .expect("written");
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    within("the end of the stream", read)
        .await
        .expect("no reset");
    // A fatal alert, in the clear.
    assert_eq!(
        (answer.first(), answer.len(), answer.get(5)),
        (Some(&21), 7, Some(&2))
    );
    drop(stream);
    // One that hangs up in between, and one that does not like the certificate.
    drop(Client::connect(gateway.native).await);
    let stranger = Authority::new().client(&[&TLS13]);
    let refused = Client::connect(gateway.native)
        .await
        .secured(&stranger)
        .await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::InvalidData)
    );
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "protocol").await, 2);
    assert_eq!(failed(&gateway).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_cap_nothing_is_said_in_the_clear() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", "[clients]\nmax_connections = 1"));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13]);
    let mut first = Login::user("ada")
        .enter_over(secured(&gateway, &config).await)
        .await;
    let second = Client::connect(gateway.native).await.secured(&config).await;
    let error = second.err().expect("there is no room").kind();
    let ends = [
        ErrorKind::UnexpectedEof,
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
    ];
    assert!(ends.contains(&error), "{error}");
    first.assert_alive().await;
    drop(first);
    baseline.assert_back_at(&gateway).await;
    assert_eq!(closed(&gateway, "too_many").await, 1);
}

/// In this process, since it is the daemon that replaces a certificate when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_to_new_clients_and_drops_nobody() {
    let authority = Authority::new();
    let text = authority.listener("first", "[udp]\nlisten = '127.0.0.1:0'")
        + "[admin]\nlisten = '127.0.0.1:0'\n[drain]\nlinger = '10ms'\n";
    let settings = Settings::parse(&text, &authority.path("pushgate.toml"));
    let gateway = pushgate::daemon::Gateway::bind(settings.expect("it can be run")).await;
    let gateway = gateway.expect("free ports");
    let (native, hub) = (gateway.addresses().clients, Arc::clone(gateway.hub()));
    let door = Arc::clone(gateway.doors().next().expect("a listener"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async {
        let _ = stopped.await;
    }));
    let config = authority.client(&[&TLS13]);
    let enter = async |user: &str| {
        let client = Client::connect(native).await.secured(&config).await;
        let client = Login::user(user)
            .enter_over(client.expect("a handshake"))
            .await;
        let chain = client.tls().peer_certificates().expect("a chain");
        (chain[0].to_vec(), client)
    };
    let (first, mut old) = enter("old").await;
    authority.certify("second");
    let [cert, key] = ["second.pem", "second.key"].map(|file| authority.path(file));
    let (config, _) = config::load(&cert, &key).expect("they fit");
    assert!(door.set_tls(config));
    let (second, mut new) = enter("new").await;
    assert_ne!(first, second);
    old.assert_alive().await;
    new.assert_alive().await;
    assert_eq!(hub.sessions(), 2);
    drop(stop);
    for client in [&mut old, &mut new] {
        assert_eq!(client.closed().await.code, CloseCode::Draining);
    }
    drop((old, new));
    within("the end", running)
        .await
        .expect("no panic")
        .expect("an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_another_certificate_from_the_same_files() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let config = authority.client(&[&TLS13]);
    let enter = async |user: &str| {
        let client = secured(&gateway, &config).await;
        let client = Login::user(user).enter_over(client).await;
        let chain = client.tls().peer_certificates().expect("a chain");
        (chain[0].to_vec(), client)
    };
    let (first, mut old) = enter("old").await;
    authority.certify("gate");
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["applied"], serde_json::json!(["listeners[0].tls"]));
    let (second, mut new) = enter("new").await;
    assert_ne!(first, second);
    old.assert_alive().await;
    new.assert_alive().await;
    drop((old, new));
    baseline.assert_back_at(&gateway).await;
}

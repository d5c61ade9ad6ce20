//! Places are counted by source, given back, and bounded by what holds now.

use std::sync::atomic::AtomicBool;
use std::time::Instant as Monotonic;

use arc_swap::ArcSwap;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::Semaphore;

use super::*;
use crate::clock::Clock;
use crate::hub::holds::Holds;
use crate::hub::{Hub, Options};
use crate::metrics::Metrics;
use crate::redaction::{Names, Redaction};
use crate::transport::auth::Auth;
use crate::transport::closed::ClosedRing;
use crate::transport::connection::ClientLimits;
use crate::transport::mqtt::Sessions;
use crate::transport::strangers::Strangers;
use crate::wire::encoding::Protocol;

fn doors(max_connections: usize, max_per_address: usize) -> Arc<Doors> {
    let metrics = Arc::new(Metrics::new());
    let options = Options {
        max_devices: 8,
        max_groups: 64,
        queue_messages: 1024,
        queue_bytes: 1 << 20,
        queue_age: Duration::from_secs(10),
        memory_budget: 1 << 30,
        retry_spread: Duration::from_secs(10),
        max_frame: 65_512,
        history_messages: 1000,
        history_bytes: 1 << 20,
        remember_groups: Duration::from_secs(300),
    };
    let ledger = Ledger::new(&metrics);
    let clients = Clients {
        strangers: Strangers::new(max_connections, &metrics),
        holds: Arc::new(Holds::default()),
        auth: ArcSwap::from_pointee(Auth::None),
        clock: Clock::system(),
        closed: ClosedRing::default(),
        limits: ArcSwap::from_pointee(ClientLimits {
            handshake_timeout: Duration::from_secs(10),
            heartbeat_s: 30,
            max_hello: 16_384,
            max_frame: 4_096,
            session_expiry_max_s: 3_600,
        }),
        sessions: Sessions::default(),
        storms: Arc::default(),
        names: Redaction::new(Names::Plain),
        turns: Semaphore::new(1),
        proxy_log: Throttle::new(LOG_PERIOD, &metrics),
        draining: AtomicBool::new(false),
        leaving: CancellationToken::new(),
        hub: Arc::new(Hub::new(options, metrics, 1, Monotonic::now())),
    };
    let bounds = bounds(max_connections, max_per_address);
    Arc::new(Doors::new(bounds, Arc::new(clients), ledger))
}

fn bounds(max_connections: usize, max_per_address: usize) -> Bounds {
    Bounds {
        max_connections,
        max_per_address,
        accept_rate: 0,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a test's address is one")
}

#[test]
fn the_cap_stays_below_the_descriptor_limit() {
    assert_eq!(max_connections(0, 20_000), 19_808);
    assert_eq!(max_connections(100_000, 20_000), 19_808);
    assert_eq!(max_connections(10, 20_000), 10);
    assert_eq!(max_connections(0, 64), 16);
}

#[tokio::test]
async fn an_ipv6_network_and_a_mapped_address_are_one_source_each() {
    let doors = doors(100, 2);
    let mut inside = Vec::new();
    for peer in [
        "2001:db8::1",
        "2001:db8::ffff:2",
        "192.0.2.1",
        "::ffff:192.0.2.1",
    ] {
        inside.push(doors.admit(Some(address(peer))).expect("there is a place"));
    }
    for peer in ["2001:db8::3", "::ffff:192.0.2.1", "192.0.2.1"] {
        assert!(doors.admit(Some(address(peer))).is_err(), "{peer}");
    }
    assert!(
        doors.admit(Some(address("2001:db8:0:1::1"))).is_ok(),
        "another /64"
    );
    assert_eq!(doors.admitted(), 4, "who was turned away holds nothing");
    drop(inside);
    assert_eq!(doors.admitted(), 0);
    assert!(doors.by_source().is_empty());
}

#[tokio::test]
async fn a_connection_is_counted_where_its_proxy_says_that_it_comes_from() {
    let doors = doors(100, 1);
    let (proxy, client) = (address("127.0.0.1"), address("192.0.2.1"));
    let first = doors.admit(Some(proxy)).expect("there is a place");
    assert!(doors.admit(Some(proxy)).is_err());
    first.set_address(client).expect("the first of its source");
    let second = doors
        .admit(Some(proxy))
        .expect("the proxy's place was given back");
    assert!(second.set_address(client).is_err());
    drop(first);
    second.set_address(client).expect("a place was given back");
    drop(second);
    assert_eq!(doors.admitted(), 0);
    assert!(doors.by_source().is_empty());
}

#[tokio::test]
async fn other_bounds_hold_for_those_who_come() {
    let doors = doors(2, 0);
    let peer = address("192.0.2.1");
    let inside = [(); 2].map(|()| doors.admit(Some(peer)).expect("there is a place"));
    assert!(doors.admit(Some(peer)).is_err());
    doors.set_bounds(bounds(4, 1));
    let third = doors
        .admit(Some(peer))
        .expect("those from before are not counted");
    assert!(doors.admit(Some(peer)).is_err(), "one of this source");
    let other = doors
        .admit(Some(address("192.0.2.2")))
        .expect("another source");
    doors.set_bounds(bounds(1, 0));
    assert!(doors.admit(Some(peer)).is_err());
    drop((inside, third, other));
    assert_eq!(doors.admitted(), 0);
    assert!(doors.by_source().is_empty());
}

#[tokio::test]
async fn other_bounds_give_strangers_other_seats() {
    let doors = doors(2, 0);
    let strangers = &doors.clients.strangers;
    let stranger = |peer| strangers.stranger(Source::of(address(peer)));
    let [mut first, mut second, mut third] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(stranger);
    let seated = first.wait(std::future::ready(())).await;
    seated.expect("two connections make one seat");
    assert!(second.wait(std::future::ready(())).await.is_err());
    doors.set_bounds(bounds(4, 0));
    let seated = third.wait(std::future::ready(())).await;
    seated.expect("four make two");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_accept_loop_does_not_hide_behind_another() {
    let doors = doors(10, 0);
    assert_eq!(doors.idle_for(), Duration::ZERO, "nobody serves yet");
    let stuck = Arc::new(Beat::default());
    doors.beats().push(stuck);
    let turning = Arc::new(Beat::default());
    doors.beats().push(Arc::clone(&turning));
    let while_ago = Duration::from_secs(6);
    tokio::time::advance(while_ago).await;
    turning.note();
    assert_eq!(doors.idle_for(), while_ago);
}

/// Whether the kernel watches over the connection at our end, to which `peer` is the other.
fn is_kept_alive(peer: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux has it");
    let remote = format!(":{:04X}", peer.port());
    let ours = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ours = ours.filter(|row| row.get(2).is_some_and(|to| to.ends_with(&remote)));
    ours.any(|row| row[5].starts_with("02:"))
}

#[tokio::test]
async fn a_passed_socket_outlives_who_serves_it() {
    let of_others = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = of_others.local_addr().expect("it is bound");
    let come = || {
        let stream = std::net::TcpStream::connect(address).expect("the kernel takes it");
        let name = stream.local_addr().expect("it is connected");
        (stream, name)
    };
    // Before the socket has our options.
    let (_early, early) = come();
    let ours = of_others.try_clone().expect("descriptors are left");
    let socket = socket::adopt_listener(ours.into()).expect("it listens");
    let (doors, stop) = (doors(10, 0), CancellationToken::new());
    let door = Arc::new(Door::new("native", Protocol::Native, None, None));
    let is_passed = true;
    let listening = Listening::new(socket, is_passed).expect("descriptors are left");
    let serve = Arc::clone(&doors).serve(listening, door, stop.clone());
    let serving = tokio::spawn(serve);
    let in_time = tokio::time::timeout(Duration::from_secs(20), async {
        while doors.admitted() < 1 || !is_kept_alive(early) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    in_time.await.expect("who came before has the options, too");
    doors.hand_over();
    doors.clients.draining.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(50)).await;
    let (_late, late) = come();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(doors.connections(), 1, "nobody is accepted any more");
    assert!(
        doors.idle_for() < Duration::from_secs(10),
        "and yet it turns"
    );
    stop.cancel();
    serving.await.expect("it does not panic");
    let (_, next) = of_others.accept().expect("somebody waits");
    assert_eq!(next, late);
}

/// A handshake is work for a processor: in a storm only so many are at it at a time, and those who
/// are in have the others.
#[tokio::test]
async fn a_handshake_of_tls_waits_for_its_turn() {
    let of = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(of.signing_key.serialize_der()).expect("a key");
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth();
    let server = server.with_single_cert(vec![of.cert.der().clone()], key);
    let mut roots = RootCertStore::empty();
    roots.add(of.cert.der().clone()).expect("an authority");
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let any = "127.0.0.1:0".parse().expect("an address");
    let socket = socket::listen(any).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let (doors, stop) = (doors(10, 0), CancellationToken::new());
    let tls = Some(Arc::new(server.expect("its key")));
    let door = Arc::new(Door::new("tls", Protocol::Native, tls, None));
    let listening = Listening::new(socket, false).expect("descriptors are left");
    let serving = tokio::spawn(Arc::clone(&doors).serve(listening, door, stop.clone()));
    // There is one turn here, and somebody has it.
    let turn = doors.clients.turns.acquire().await.expect("never closed");
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut handshake = std::pin::pin!(connector.connect(name, stream));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut handshake).await;
    assert!(early.is_err(), "without a turn: {early:?}");
    drop(turn);
    let ended = tokio::time::timeout(Duration::from_secs(20), handshake).await;
    ended.expect("its turn comes").expect("a handshake");
    stop.cancel();
    serving.await.expect("it does not panic");
}

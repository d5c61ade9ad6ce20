mod board;
mod exhausted;
mod pages;
mod slow;
mod stalled;

use std::io::Read;
use std::time::Duration;

use pprof::protos::{Message, Profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::Kind;
use crate::transport::phase::Phase;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A door that serves on loopback, and the state behind it.
pub(super) struct Door {
    pub(super) state: AdminState,
    stop: CancellationToken,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Door {
    pub(super) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl FnOnce(&mut AdminState)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(&metrics);
        let mut state = AdminState {
            services: Arc::new(services::of_a_test(&ledger, &metrics)),
            ledger,
            metrics,
            live: Arc::new(|| Live {
                sessions: 3,
                kernel_drops: 4,
                ..Live::default()
            }),
            inspect: Arc::new(board::Nobody),
            board: Arc::default(),
            phase: PhaseCell::starting(),
            health: Arc::new(|| Ok(())),
            leaks: Leaks::default(),
            gate: Arc::default(),
            reloads: Reloads::channel().0,
            storms: Arc::default(),
            log: None,
            address: listener.local_addr().unwrap(),
        };
        change(&mut state);
        let stop = CancellationToken::new();
        let listening = Listening::new(listener).unwrap();
        let serving = serve(listening, state.clone(), stop.clone());
        state.ledger.spawn(Kind::Admin, serving);
        Self { state, stop }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"))
            .await
    }

    /// Sends a request whose head this is, and reads the answer.
    pub(super) async fn ask(&self, head: &str) -> Answer {
        let mut stream = TcpStream::connect(self.state.address).await.unwrap();
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        parsed(&answer)
    }
}

fn parsed(answer: &[u8]) -> Answer {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    }
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

#[tokio::test]
async fn metrics_are_read_at_the_scrape() {
    let door = Door::open().await;
    let answer = door.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    assert!(
        answer.text().contains("\npushgate_sessions 3\n"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("\npushgate_kernel_drops_total 4\n"),
        "{}",
        answer.text()
    );
    let tasks = "\npushgate_tasks{kind=\"admin\"} 2\n";
    assert!(
        answer.text().contains(tasks),
        "the loop and this connection:\n{}",
        answer.text()
    );
    assert!(
        door.get("/metrics")
            .await
            .text()
            .contains("\npushgate_kernel_drops_total 4\n")
    );
}

#[tokio::test]
async fn ready_only_while_serving() {
    let door = Door::open().await;
    for (phase, status) in [
        (Phase::Starting, 503),
        (Phase::Ready, 200),
        (Phase::Draining, 503),
    ] {
        door.state.phase.advance(phase);
        let answer = door.get("/readyz").await;
        assert_eq!(
            (answer.status, answer.text()),
            (status, &*format!("{}\n", phase.word()))
        );
    }
}

#[tokio::test]
async fn healthy_as_long_as_nothing_says_otherwise() {
    assert_eq!(Door::open().await.get("/healthz").await.status, 200);
    let sick = Door::open_with(|state| {
        state.health = Arc::new(|| Err("the udp loop stands still".to_owned()));
    });
    let answer = sick.await.get("/healthz").await;
    assert_eq!(
        (answer.status, answer.text()),
        (503, "the udp loop stands still\n")
    );
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused() {
    let hosts = ["push.example".to_owned()].into();
    let gate = Gate { hosts, token: None };
    let door = Door::open_with(|state| state.gate = Arc::new(ArcSwap::from_pointee(gate))).await;
    let bound = format!("Host: {}\r\n", door.state.address);
    for (host, status) in [
        ("Host: evil.example\r\n", 403),
        ("", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("Host: push.example\r\n", 200),
        (&bound, 200),
    ] {
        let answer = door.ask(&format!("GET /healthz HTTP/1.1\r\n{host}")).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let absolute = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(door.ask(absolute).await.status, 403);
}

#[tokio::test]
async fn where_a_token_is_set_everybody_needs_it() {
    let door = Door::open().await;
    let token = Some(access::Token::new(TOKEN));
    door.state.gate.store(Arc::new(Gate {
        token,
        ..Gate::default()
    }));
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let refused = door.ask(head).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.head.contains("www-authenticate: bearer"),
        "{}",
        refused.head
    );
    for (header, status) in [
        (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
        (format!("authorization: bearer {TOKEN}\r\n"), 200),
        (format!("Authorization: Bearer {TOKEN}x\r\n"), 401),
        (format!("Authorization: Basic {TOKEN}\r\n"), 401),
        ("Authorization: Bearer\r\n".to_owned(), 401),
    ] {
        assert_eq!(
            door.ask(&format!("{head}{header}")).await.status,
            status,
            "{header}"
        );
    }
}

#[tokio::test]
async fn a_cpu_profile_runs_alone_and_decodes() {
    let door = Door::open().await;
    for query in ["seconds=0", "seconds=121", "seconds=x", "seconds=-1"] {
        let answer = door.get(&format!("/debug/pprof/profile?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let spinning = Arc::clone(&busy);
    let spin = std::thread::spawn(move || {
        while spinning.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let second = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        door.get("/debug/pprof/flamegraph?seconds=1").await
    };
    let (first, second) = tokio::join!(door.get("/debug/pprof/profile?seconds=1"), second);
    assert_eq!(
        first.status,
        200,
        "{}",
        String::from_utf8_lossy(&first.body)
    );
    assert_eq!(second.status, 409, "{}", second.text());
    let profile = Profile::decode(&*unzipped(&first.body)).unwrap();
    assert!(!profile.sample.is_empty(), "a thread was spinning");

    let flamegraph = door.get("/debug/pprof/flamegraph?seconds=1").await;
    assert_eq!(flamegraph.status, 200, "{}", flamegraph.text());
    assert!(
        flamegraph.head.contains("image/svg+xml"),
        "{}",
        flamegraph.head
    );
    assert!(flamegraph.text().contains("<svg"));
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    spin.join().unwrap();
}

#[tokio::test]
async fn tasks_are_listed_by_kind_and_site() {
    let door = Door::open().await;
    let session = std::future::pending::<()>();
    let line = line!() + 1;
    let _task = door.state.ledger.spawn(Kind::Session, session);
    let site = format!("{}:{line}", file!());

    let text = door.get("/debug/pprof/tasks?debug=1").await;
    assert_eq!(text.status, 200);
    for kind in Kind::ALL {
        assert!(
            text.text().contains(&format!("\n{:<12} ", kind.word())),
            "{}",
            text.text()
        );
    }
    assert!(text.text().contains(&site), "{}", text.text());

    let profile = door.get("/debug/pprof/tasks").await;
    let profile = Profile::decode(&*unzipped(&profile.body)).unwrap();
    let string = |index: i64| profile.string_table[usize::try_from(index).unwrap()].as_str();
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|kind| (string(kind.ty), string(kind.unit)))
        .collect();
    assert_eq!(types, [("tasks", "count"), ("oldest", "milliseconds")]);
    let function = |location: u64| {
        let location = profile
            .location
            .iter()
            .find(|found| found.id == location)
            .unwrap();
        let id = location.line[0].function_id;
        string(
            profile
                .function
                .iter()
                .find(|found| found.id == id)
                .unwrap()
                .name,
        )
    };
    let sample = profile
        .sample
        .iter()
        .find(|sample| function(sample.location_id[0]) == site);
    let sample = sample.unwrap();
    assert_eq!(function(sample.location_id[1]), "session");
    assert_eq!(sample.value[0], 1);
    assert_eq!(
        (string(sample.label[0].key), string(sample.label[0].str)),
        ("kind", "session")
    );
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let door = Door::open().await;
    let mut stream = TcpStream::connect(door.state.address).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 4_096];
        let bytes = stream.read(&mut answer).await.unwrap();
        assert_eq!(parsed(&answer[..bytes]).status, 200);
    }
}

#[tokio::test]
async fn past_the_bound_a_connection_waits_until_one_has_ended() {
    let door = Door::open().await;
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(TcpStream::connect(door.state.address).await.unwrap());
    }
    let waiting = tokio::time::timeout(Duration::from_millis(200), door.get("/healthz")).await;
    assert!(waiting.is_err(), "the 65th is not served");
    drop(held.pop());
    assert_eq!(door.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn the_door_and_its_connections_end_with_the_process() {
    let door = Door::open().await;
    let idle = TcpStream::connect(door.state.address).await.unwrap();
    let mut half = TcpStream::connect(door.state.address).await.unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: lo")
        .await
        .unwrap();
    assert_eq!(door.get("/healthz").await.status, 200);
    door.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), door.state.ledger.wait()).await;
    assert!(ended.is_ok(), "{:?}", door.state.ledger.sites());
    drop((idle, half));
}

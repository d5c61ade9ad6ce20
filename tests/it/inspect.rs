//! Looks at single sessions, at who is behind and at who has left; and the events of each second.

use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::ClientFrame;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;
use crate::support::{eventually, within, write_secret};

async fn json(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = gateway.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// The rows of a list, each as the texts and numbers of these fields.
fn rows<'a>(list: &'a Value, fields: &[&str]) -> Vec<Vec<&'a Value>> {
    let list = list.as_array().expect("a list");
    let row = |each: &'a Value| fields.iter().map(|field| &each[*field]).collect();
    list.iter().map(row).collect()
}

#[tokio::test]
async fn a_user_is_looked_up_with_all_that_there_is_to_know() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let name = "Ada & Co / \u{1f426} <b>";
    let phone = Login::user(name).device("phone").group("a&b").group("news");
    let phone = phone.heartbeat_s(60).from(9).enter(gateway.native).await;
    let desk = Login::user(name).enter(gateway.native).await;
    let other = Login::user("bob").group("news").enter(gateway.native).await;
    let path = "/v1/sessions?user=Ada+%26%20Co%20/%20%F0%9F%90%A6%20%3Cb%3E";
    let found = json(&gateway, path).await;
    assert_eq!(found["user"], name);
    let fields = ["user", "device", "session", "groups", "heartbeat_s"];
    let sessions = rows(&found["sessions"], &fields);
    let expected = serde_json::json!([
        [name, "phone", phone.session, ["a&b", "news"], 60],
        [name, "", desk.session, [], 30],
    ]);
    assert_eq!(serde_json::json!(sessions), expected);
    let peer = found["sessions"][0]["peer"].as_str().expect("an address");
    assert!(peer.starts_with("127.0.0.9:"), "{peer}");
    let behind = &found["sessions"][0]["behind"];
    assert_eq!(behind["messages"], 0, "{behind}");
    eventually("it grows older, and is silent", async || {
        let found = json(&gateway, path).await;
        let session = &found["sessions"][0];
        let old = session["age_s"].as_u64() >= Some(1) && session["silent_s"].as_u64() >= Some(1);
        old.then_some(()).ok_or_else(|| session.to_string())
    })
    .await;
    let nobody = json(&gateway, "/v1/sessions?user=eve").await;
    assert_eq!(nobody["sessions"], serde_json::json!([]));
    for path in [
        "/v1/sessions",
        "/v1/sessions?user=a&user=b",
        "/v1/sessions?name=a",
        "/v1/behind?limit=0",
        "/v1/behind?limit=1001",
        "/v1/behind?by=name",
        "/v1/closed?limit=10001",
        "/v1/closed?reason=nonsense",
        "/v1/jobs?limit=1",
        "/v1/overview?x=1",
    ] {
        assert_eq!(gateway.get(path).await.0, 400, "{path}");
    }
    drop((phone, desk, other));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_is_ranked_and_who_catches_up_is_not() {
    let gateway = Gateway::start("[clients]\nqueue_age = '10m'\nqueue_bytes = '64MiB'\n");
    let baseline = Baseline::of(&gateway).await;
    let mut held = Vec::new();
    for user in ["few", "many"] {
        let login = Login::user(user).device("narrow");
        let client = Client::connect_narrow(gateway.native).await;
        held.push(login.enter_over(client).await);
    }
    let level = Login::user("level").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let payload = vec![7; 60_000];
    // What the kernel takes for who does not read is a few megabytes.
    for (user, pushes) in [("few", 120), ("many", 240)] {
        for _ in 0..pushes {
            sender.push(&[Target::User(user)], &payload).await;
        }
    }
    let ranked = eventually("both are behind", async || {
        let found = json(&gateway, "/v1/behind").await;
        let count = found["sessions"].as_array().map_or(0, Vec::len);
        (count == 2)
            .then_some(found.clone())
            .ok_or_else(|| found.to_string())
    })
    .await;
    assert_eq!(ranked["sessions_behind"], 2);
    let users: Vec<_> = rows(&ranked["sessions"], &["user"]).concat();
    assert_eq!(users, ["many", "few"]);
    let behind = |place: usize, field: &str| {
        ranked["sessions"][place]["behind"][field]
            .as_u64()
            .expect("a number")
    };
    assert!(behind(0, "messages") > behind(1, "messages"), "{ranked}");
    assert!(
        behind(1, "bytes") >= 59_000 * (behind(1, "messages") - 1),
        "{ranked}"
    );
    let oldest = json(&gateway, "/v1/behind?by=age&limit=1").await;
    assert_eq!(rows(&oldest["sessions"], &["user"]), [["few"]]);
    let of_few = json(&gateway, "/v1/sessions?user=few").await;
    let lag = &of_few["sessions"][0]["behind"];
    assert!(
        lag["messages"].as_u64() > Some(0) && lag["oldest_ms"].as_u64() > Some(0),
        "{lag}"
    );
    let overview = json(&gateway, "/v1/overview").await;
    assert_eq!(overview["sessions_behind"], 2);
    assert_eq!(overview["behind"].as_array().map(Vec::len), Some(2));
    for (client, pushes) in held.iter_mut().zip([120, 240]) {
        for _ in 0..pushes {
            client.next_push().await;
        }
    }
    eventually("nobody is behind", async || {
        let found = json(&gateway, "/v1/behind").await;
        let is_level = found["sessions"] == serde_json::json!([]);
        is_level.then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
    drop((held, level));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn who_has_left_is_remembered_with_the_reason() {
    let config = "[clients]\nmax_connections = 3\nhandshake_timeout = '2s'\n";
    let gateway = Gateway::start(config);
    let baseline = Baseline::of(&gateway).await;
    let ada = Login::user("ada").device("phone").from(5);
    let mut first = ada.enter(gateway.native).await;
    let session = first.session;
    let second = ada.enter(gateway.native).await;
    assert_eq!(first.closed().await.code.word(), "replaced");
    second.reset();
    let mut bob = Login::user("bob").enter(gateway.native).await;
    bob.send(&ClientFrame::Bye).await;
    bob.ended().await;
    // Never let in: it says nothing.
    let mut silent = Client::connect(gateway.native).await;
    assert_eq!(silent.closed().await.code.word(), "handshake_timeout");
    let found = eventually("four have left", async || {
        let found = json(&gateway, "/v1/closed").await;
        let all = found["closed_total"] == 4;
        all.then_some(found.clone())
            .ok_or_else(|| found.to_string())
    })
    .await;
    assert_eq!(found["kept"], 4);
    let of = |reason: &str| {
        let list = found["connections"].as_array().expect("a list");
        let one = list.iter().find(|end| end["reason"] == reason);
        one.unwrap_or_else(|| panic!("no {reason}: {found}"))
    };
    let replaced = of("replaced");
    assert_eq!(replaced["user"], "ada");
    assert_eq!(replaced["device"], "phone");
    assert_eq!(replaced["session"], session);
    for reason in ["replaced", "reset"] {
        let peer = of(reason)["peer"].as_str().expect("an address");
        assert!(peer.starts_with("127.0.0.5:"), "{reason}: {peer}");
    }
    assert_eq!(of("bye")["user"], "bob");
    let never = of("handshake_timeout");
    assert_eq!(never["user"], Value::Null, "{never}");
    assert!(never["age_s"].as_f64() >= Some(1.8), "{never}");
    let now = json(&gateway, "/v1/overview").await["time_ms"].as_u64();
    assert!(never["time_ms"].as_u64() <= now, "{never}");
    // Who is turned away at the door is remembered too.
    let mut held = Vec::new();
    for user in ["one", "two", "three"] {
        held.push(Login::user(user).enter(gateway.native).await);
    }
    let fourth = Login::user("four").try_enter(gateway.native).await;
    assert_eq!(
        fourth.err().map(|closed| closed.code.word()),
        Some("too_many")
    );
    eventually("the refusal is noted", async || {
        let found = json(&gateway, "/v1/closed?reason=too_many").await;
        let rows = rows(&found["connections"], &["reason", "user"]);
        let is_it = rows.len() == 1 && rows[0][1].is_null();
        is_it.then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
    let of_ada = json(&gateway, "/v1/closed?user=ada&limit=1").await;
    assert_eq!(rows(&of_ada["connections"], &["user"]), [["ada"]]);
    drop(held);
    baseline.assert_back_at(&gateway).await;
}

/// A stream of events, read as it comes.
struct Events {
    stream: TcpStream,
    read: String,
}

impl Events {
    async fn open(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.admin).await.expect("is there");
        let mut events = Self {
            stream,
            read: String::new(),
        };
        let ask = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin);
        let written = events.stream.write_all(ask.as_bytes()).await;
        written.expect("a request is taken");
        events
    }

    /// Reads until this stands in what has come.
    async fn until(&mut self, wanted: &str) -> &str {
        let mut chunk = vec![0; 65_536];
        while !self.read.contains(wanted) {
            let count = within(wanted, self.stream.read(&mut chunk)).await;
            let count = count.expect("it is read from");
            assert!(count > 0, "it ends without {wanted}: {}", self.read);
            self.read += &String::from_utf8_lossy(&chunk[..count]);
        }
        &self.read
    }

    /// The data of the last whole event of this name.
    fn last(&self, name: &str) -> Value {
        let start = format!("event: {name}\ndata: ");
        let events = self.read.split(&start).skip(1);
        let whole = events.filter_map(|rest| Some(rest.split_once("\n\n")?.0));
        let last = whole.last().expect("one has come");
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_is_told_each_second_until_the_process_ends() {
    let gateway = Gateway::start("[drain]\nlinger = '1500ms'\n");
    let baseline = Baseline::of(&gateway).await;
    let mut events = Events::open(&gateway).await;
    let head = events.until("event: overview").await.to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert!(head.contains("event: history"), "{head}");
    eventually("there is a second to tell of", async || {
        let second = json(&gateway, "/v1/overview").await["second"].take();
        let is_there = second.is_object();
        is_there.then_some(()).ok_or_else(|| second.to_string())
    })
    .await;
    let client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    sender.push(&[Target::All], b"counted").await;
    events.until("\"written\":1").await;
    events.read.clear();
    events.until("event: overview").await;
    events.until("\n\n").await;
    let overview = events.last("overview");
    assert_eq!(overview["phase"], "ready");
    assert_eq!(overview["connections"]["sessions"], 1);
    assert_eq!(overview["deliveries"]["total"]["written"], 1);
    assert_eq!(overview["requests_total"]["push"]["done"], 1);
    assert_eq!(overview["second"]["sessions"], 1, "{overview}");
    // One more who watches is shown what was before.
    let second = eventually("the push is part of the past", async || {
        let mut second = Events::open(&gateway).await;
        second.until("event: overview").await;
        let pushes = second.last("history")["pushes"].take();
        let rates = pushes.as_array().expect("a row");
        let is_there = rates.iter().any(|rate| rate.as_f64() > Some(0.0));
        is_there.then_some(second).ok_or_else(|| pushes.to_string())
    })
    .await;
    eventually("two watch", async || {
        let open = gateway.scrape().await.value("pushgate_event_streams");
        (open == 2).then_some(()).ok_or_else(|| open.to_string())
    })
    .await;
    drop(second);
    eventually("its place is free", async || {
        let open = gateway.scrape().await.value("pushgate_event_streams");
        (open == 1).then_some(()).ok_or_else(|| open.to_string())
    })
    .await;
    drop(client);
    // A drain is watched through it, and it ends in order.
    gateway.signal(rustix::process::Signal::TERM);
    events.until("\"phase\":\"draining\"").await;
    events.until("\r\n0\r\n\r\n").await;
    drop(baseline);
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_few_and_leave_nothing() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let mut events = Events::open(&gateway).await;
        events.until("event: overview").await;
        open.push(events);
    }
    let mut refused = Events::open(&gateway).await;
    let said = refused.until("\r\n\r\n").await.to_lowercase();
    assert!(said.starts_with("http/1.1 503"), "{said}");
    assert!(said.contains("retry-after: 5"), "{said}");
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_event_streams"), 16);
    assert_eq!(scrape.value("pushgate_event_streams_refused_total"), 1);
    // All are told at the same time, those too who do not read just now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for events in &mut open {
        events.read.clear();
        events.until("event: overview").await;
    }
    drop((open, refused));
    baseline.assert_back_at(&gateway).await;
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_event_streams"), 0);
}

#[tokio::test]
async fn the_page_is_for_everybody_and_what_it_shows_is_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("token");
    write_secret(&path, "0123456789abcdef-of-the-admin");
    let gateway = Gateway::start(&format!("[admin]\ntoken_file = {path:?}\n"));
    let (status, page) = gateway.get_with("/", "Accept: text/html").await;
    assert_eq!(status, 200, "{page}");
    let mut files = vec!["ui/app.js"];
    for quoted in page.split('"').filter(|text| text.starts_with("ui/")) {
        files.push(quoted);
    }
    // What the scripts import, too.
    for file in ["app", "api", "chart", "dom", "format", "overview", "users"] {
        let (status, script) = gateway.get(&format!("/ui/{file}.js")).await;
        assert_eq!(status, 200, "{file}");
        let imports = script.split("from \"./").skip(1);
        for name in imports.filter_map(|rest| rest.split('"').next()) {
            assert_eq!(gateway.get(&format!("/ui/{name}")).await.0, 200, "{name}");
        }
        // It works where there is no other network than this gateway.
        assert!(
            !script
                .replace("http://www.w3.org/2000/svg", "")
                .contains("://"),
            "{file}"
        );
    }
    for file in files {
        assert_eq!(gateway.get(&format!("/{file}")).await.0, 200, "{file}");
    }
    let host = format!("Host: {}\r\n", gateway.admin);
    for path in [
        "/metrics",
        "/v1/events",
        "/v1/overview",
        "/v1/sessions?user=ada",
        "/v1/behind",
        "/v1/jobs",
        "/v1/closed",
        "/ui/other.js",
        "/ui/",
    ] {
        let (status, _) = gateway.ask(&format!("GET {path}"), &host, "").await;
        assert_eq!(status, 401, "{path}");
    }
    // Also to the page a foreign site has no way in.
    let foreign = "Host: rebound.evil.example\r\n";
    for path in ["/", "/ui/app.js"] {
        let (status, _) = gateway.ask(&format!("GET {path}"), foreign, "").await;
        assert_eq!(status, 403, "{path}");
    }
    // Who takes no HTML is told what there is, and that all of it is there.
    let (_, list) = gateway.get("/").await;
    let pages = list.lines().filter_map(|line| line.split(' ').next());
    let pages: Vec<_> = pages.filter(|page| page.starts_with('/')).collect();
    assert!(pages.len() > 8, "{list}");
}

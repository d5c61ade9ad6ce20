//! The profiles: `go tool pprof` opens every one, and heap samples are off until somebody switches
//! them on.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;

use flate2::read::GzDecoder;
use pprof::protos::{Message, Profile};
use pushgate::wire::datagram::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::sender::Sender;
use crate::support::{eventually, missing, within};

const SWITCH: &str = "POST /v1/profiling/heap";
/// Messages that one client does not read, and that the gateway holds for it.
const MESSAGES: usize = 200;
const PAYLOAD: usize = 60_000;
const CONFIG: &str = "clients = { queue_bytes = '64MiB', queue_age = '5m' }";

/// What the switch answers.
async fn switch(gateway: &Gateway, body: &str) -> (u16, String) {
    let (host, length) = (gateway.admin, body.len());
    let headers =
        format!("Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    gateway.ask(SWITCH, &headers, body).await
}

/// Has the gateway hold some megabytes for a client that does not read.
async fn hold_messages(gateway: &Gateway) -> Client {
    let mut client = Client::connect_narrow(gateway.native).await;
    client.send_bytes(&Login::user("slow").encode()).await;
    client.greeted().await.expect("the client is let in");
    let sender = Sender::unsigned(gateway.udp).await;
    for _ in 0..MESSAGES {
        let payload = vec![b'.'; PAYLOAD];
        sender.push(&[Target::User("slow")], &payload).await;
    }
    client
}

/// Bytes that the heap profile shows as held.
async fn held_bytes(gateway: &Gateway) -> i64 {
    let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
    let head = b"GET /debug/pprof/heap HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(head).await.expect("a write");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    within("a profile", read).await.expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = &answer[end.expect("a head ends") + 4..];
    let mut plain = Vec::new();
    let mut unzip = GzDecoder::new(body);
    unzip.read_to_end(&mut plain).expect("it is gzip");
    let profile = Profile::decode(&*plain).expect("it is a profile");
    // Objects, then bytes.
    profile.sample.iter().map(|sample| sample.value[1]).sum()
}

/// Pushes until it is aborted, so that there is CPU time to be seen.
fn keep_busy(gateway: &Gateway) -> JoinHandle<()> {
    let udp = gateway.udp;
    tokio::spawn(async move {
        let sender = Sender::unsigned(udp).await;
        loop {
            sender.push(&[Target::User("nobody")], b"hello").await;
        }
    })
}

/// What `go tool pprof -top` says of this page, fetched by itself; `None` without go.
fn top(admin: SocketAddr, page: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut go = Command::new("go");
    go.args(["tool", "pprof", "-top", "-nodecount=200"])
        .arg(format!("http://{admin}/debug/pprof/{page}"))
        .env("PPROF_TMPDIR", directory.path())
        .env("HOME", directory.path())
        .env("GOFLAGS", "-mod=mod");
    if let Err(error) = Command::new("go").arg("version").output() {
        missing(format_args!("go, to open {page}: {error}"));
        return None;
    }
    let (code, stdout, stderr) = Process::start(&mut go).finish();
    let said = stdout.join("\n");
    assert_eq!(code, Some(0), "{page}: {said}\n{}", stderr.join("\n"));
    Some(said)
}

async fn opened(gateway: &Gateway, page: &'static str) -> Option<String> {
    let admin = gateway.admin;
    let opening = tokio::task::spawn_blocking(move || top(admin, page));
    opening.await.expect("pprof opens it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_opens_every_profile() {
    let gateway = Gateway::start(CONFIG);
    assert_eq!(switch(&gateway, "{\"active\":true}").await.0, 200);
    let client = hold_messages(&gateway).await;
    let busy = keep_busy(&gateway);
    for (page, expected) in [
        ("profile?seconds=2", "Type: cpu"),
        ("tasks", "Type: tasks"),
        ("heap", "Type: inuse_space"),
    ] {
        let Some(said) = opened(&gateway, page).await else {
            return;
        };
        assert!(said.contains(expected), "{page}: {said}");
        // Each names what stands in this program.
        let known = match page {
            "tasks" => "src/transport/listener.rs:",
            _ => "pushgate::",
        };
        assert!(said.contains(known), "{page}: {said}");
        // What is shown of memory is who wanted it, not the allocator.
        let inside =
            page == "heap" && (said.contains("rjem") || said.contains("%  alloc::alloc::"));
        assert!(!inside, "{said}");
    }
    busy.abort();
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heap_samples_are_off_until_they_are_switched_on() {
    let gateway = Gateway::start(CONFIG);
    let baseline = Baseline::of(&gateway).await;
    let heap = || gateway.get("/debug/pprof/heap");
    let (status, said) = heap().await;
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("/v1/profiling/heap"), "{said}");
    for (body, status) in [
        ("", 400),
        ("{}", 400),
        ("{\"active\":1}", 400),
        ("{\"active\":true,\"seconds\":3}", 400),
        ("true", 400),
    ] {
        assert_eq!(switch(&gateway, body).await.0, status, "{body}");
    }
    assert_eq!(gateway.get("/v1/profiling/heap").await.0, 405);
    assert_eq!(heap().await.0, 409, "none of these switched it on");

    let (status, said) = switch(&gateway, "{\"active\":true}").await;
    assert_eq!(
        (status, &*said),
        (200, "{\"active\":true,\"sample_bytes\":524288}")
    );
    let client = hold_messages(&gateway).await;
    assert_eq!(heap().await.0, 200);
    // An estimate from a dozen samples or two of what the gateway holds, less what sockets took.
    let held = held_bytes(&gateway).await;
    let most = i64::try_from(4 * MESSAGES * PAYLOAD).expect("it fits");
    assert!((1_000_000..most).contains(&held), "{held}");
    let (_, index) = gateway.get("/debug/pprof/").await;
    assert!(index.contains("<td>on<td><a href=\"heap\">"), "{index}");

    assert_eq!(switch(&gateway, "{\"active\":false}").await.0, 200);
    assert_eq!(heap().await.0, 409);
    // What was sampled is forgotten, though it is held still.
    assert_eq!(switch(&gateway, "{\"active\":true}").await.0, 200);
    let after = held_bytes(&gateway).await;
    assert!(after < held / 2, "{held}, then {after}");
    assert_eq!(switch(&gateway, "{\"active\":false}").await.0, 200);
    client.reset();
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heap_samples_and_those_of_cpu_time_exclude_each_other() {
    let gateway = Gateway::start("");
    assert_eq!(switch(&gateway, "{\"active\":true}").await.0, 200);
    // Until the answer is that another profile runs.
    let occupied = async || {
        eventually("the CPU profile runs", async || {
            let (status, said) = gateway.get("/debug/pprof/heap").await;
            let is_it = status == 409 && said.contains("another profile");
            is_it.then_some(()).ok_or(said)
        })
        .await;
    };
    // Where a heap profile was faster, again.
    let profiled = async |seconds: u32| {
        let page = format!("/debug/pprof/profile?seconds={seconds}");
        while gateway.get(&page).await.0 == 409 {}
    };
    let meanwhile = async {
        occupied().await;
        // It would switch off what the CPU profile has paused, or switch it on under it.
        let (status, said) = switch(&gateway, "{\"active\":false}").await;
        assert_eq!(status, 409, "{said}");
        eventually("heap samples pause", async || {
            let (_, index) = gateway.get("/debug/pprof/").await;
            let is_off = index.contains("<td>off<td><a href=\"heap\">");
            is_off.then_some(()).ok_or(index)
        })
        .await;
    };
    tokio::join!(profiled(5), meanwhile);
    // And then they go on, and what was sampled before is there.
    assert_eq!(gateway.get("/debug/pprof/heap").await.0, 200);
    // Who closes the connection ends the one, and gives the other back, too.
    tokio::select! {
        () = profiled(120) => panic!("it ended"),
        () = occupied() => {}
    }
    eventually("heap samples go on", async || {
        let (status, said) = gateway.get("/debug/pprof/heap").await;
        (status == 200).then_some(()).ok_or(said)
    })
    .await;
}

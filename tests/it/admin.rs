//! The admin door and those who may not ask: foreign pages, foreign methods, too much of anything.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::scrape::Scrape;
use crate::support::{eventually, within, write_secret};

const TOKEN: &str = "0123456789abcdef-of-the-admin";

/// Every page that is read with GET.
const PAGES: [&str; 17] = [
    "/",
    "/ui/app.js",
    "/v1/overview",
    "/v1/sessions?user=ada",
    "/v1/behind",
    "/v1/jobs",
    "/v1/closed",
    "/metrics",
    "/healthz",
    "/readyz",
    "/debug/pprof/",
    "/debug/pprof/profile?seconds=1",
    "/debug/pprof/flamegraph?seconds=1",
    "/debug/pprof/tasks",
    "/debug/pprof/tasks?debug=1",
    "/v1/log",
    "/v1/storms",
];

fn reloads(scrape: &Scrape) -> u64 {
    scrape.sum("pushgate_reloads_total")
}

/// A request line, what follows it beside Host, a body, and the status that it gets.
type Row = (&'static str, &'static str, String, u16);

fn row(line: &'static str, headers: &'static str, body: &str, status: u16) -> Row {
    (line, headers, body.to_owned(), status)
}

#[tokio::test]
async fn who_may_not_ask_is_told_so_and_nothing_is_done() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let host = format!("Host: {}\r\n", gateway.admin);
    // A browser that a foreign page has sent here: the name of the page's own site resolves to
    // 127.0.0.1 by now, or the page asks the right address from a foreign origin.
    for (headers, status) in [
        ("Host: rebound.evil.example\r\n", 403),
        ("Host: rebound.evil.example:7401\r\n", 403),
        ("Host: 127.0.0.1.evil.example\r\n", 403),
        ("", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
        ("Host: localhost\r\nOrigin: localhost\r\n", 403),
        ("Host: localhost\r\nOrigin: http://localhost:81\r\n", 403),
        (
            "Host: localhost\r\nOrigin: http://localhost.evil.example\r\n",
            403,
        ),
        (
            "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://a\r\n",
            403,
        ),
        ("Host: localhost\r\nOrigin: http://localhost\r\n", 200),
        ("Host: localhost\r\n", 200),
    ] {
        assert_eq!(
            gateway.ask("GET /healthz", headers, "").await.0,
            status,
            "{headers}"
        );
        let reload = match status {
            403 => 403,
            // It gets as far as the body, which is not taken.
            _ => 413,
        };
        let long = format!("{headers}Content-Length: 1025\r\n");
        let body = "x".repeat(1_025);
        let (status, _) = gateway.ask("POST /v1/reload", &long, &body).await;
        assert_eq!(status, reload, "{headers}");
    }
    let mut rows: Vec<Row> = vec![
        row("GET /v1/reload", "", "", 405),
        row("HEAD /v1/reload", "", "", 405),
        row("PUT /v1/reload", "", "", 405),
        row("POST /v1/reload/", "", "", 404),
        row("POST /v1/%72eload", "", "", 404),
        row("POST /nothing", "", "", 404),
        row("POST /v1/reload?dry_run=1", "", "", 400),
        row("GET /healthz?verbose", "", "", 400),
        row("GET /debug/pprof/profile?second=1", "", "", 400),
        row("GET /debug/pprof/profile?seconds=1&hz=9", "", "", 400),
        row("GET /debug/pprof/profile?seconds=0", "", "", 400),
        row("GET /debug/pprof/profile?seconds=121", "", "", 400),
        row(
            "GET /debug/pprof/flamegraph?seconds=99999999999999999999",
            "",
            "",
            400,
        ),
        row("GET /debug/pprof/tasks?Debug=1", "", "", 400),
    ];
    for page in ["/", "/metrics", "/debug/pprof/profile"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let line = format!("{method} {page}").leak();
            rows.push(row(line, "", "", 405));
        }
    }
    // Forms, which a browser posts for anybody, and bodies that say what nobody would heed.
    for (headers, body, status) in [
        (
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "a=b",
            415,
        ),
        ("Content-Type: text/plain\r\n", "{}", 415),
        (
            "Content-Type: multipart/form-data; boundary=x\r\n",
            "--x--",
            415,
        ),
        ("Content-Type: application/jsonp\r\n", "{}", 415),
        (
            "Content-Type: application/json\r\n",
            "{\"dry_run\":true}",
            400,
        ),
        ("Content-Type: application/json\r\n", "[", 400),
    ] {
        let headers = format!("{headers}Content-Length: {}\r\n", body.len());
        rows.push(row("POST /v1/reload", headers.leak(), body, status));
    }
    let many = "X-Header: 1\r\n".repeat(101).leak();
    rows.push(row("GET /healthz", many, "", 431));
    let long = format!("X-Header: {}\r\n", "x".repeat(20_000)).leak();
    rows.push(row("GET /healthz", long, "", 431));
    for (line, headers, body, status) in rows {
        let (found, said) = gateway.ask(line, &format!("{host}{headers}"), &body).await;
        assert_eq!(found, status, "{line} {headers:.80}: {said}");
    }
    assert_eq!(reloads(&gateway.scrape().await), 0);
    // And this is how it is asked for.
    let json =
        format!("{host}Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n");
    assert_eq!(gateway.ask("POST /v1/reload", &json, "{}").await.0, 200);
    assert_eq!(gateway.reload().await.0, 200);
    assert_eq!(reloads(&gateway.scrape().await), 2);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_token_is_asked_for_wherever_it_is_set() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("token");
    write_secret(&path, TOKEN);
    // Not loopback, which is where it must be set: see the refused configurations.
    let config = format!("[admin]\nlisten = \"0.0.0.0:0\"\ntoken_file = {path:?}\n");
    let mut gateway = Gateway::start(&config);
    gateway.admin.set_ip([127, 0, 0, 1].into());
    let host = format!("Host: {}\r\n", gateway.admin);
    for (headers, status) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {TOKEN}x\r\n"), 401),
        (format!("Authorization: Bearer {}\r\n", &TOKEN[1..]), 401),
        (format!("Authorization: Basic {TOKEN}\r\n"), 401),
        (format!("Authorization: {TOKEN}\r\n"), 401),
        (format!("Cookie: token={TOKEN}\r\n"), 401),
        (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
    ] {
        let headers = format!("{host}{headers}");
        for line in ["GET /metrics", "GET /healthz", "POST /v1/reload"] {
            let (found, said) = gateway.ask(line, &headers, "").await;
            assert_eq!(found, status, "{line} {headers}: {said}");
        }
        let nothing = if status == 200 { 404 } else { 401 };
        // Who may not ask does not learn what there is.
        let (found, _) = gateway.ask("GET /nothing", &headers, "").await;
        assert_eq!(found, nothing, "{headers}");
    }
    let query = format!("GET /metrics?token={TOKEN}");
    assert_eq!(gateway.ask(&query, &host, "").await.0, 401);
}

#[tokio::test]
async fn reading_changes_nothing() {
    let gateway = Gateway::start("");
    let mut client = Login::user("ada").group("news").enter(gateway.native).await;
    /// What the gateway did and holds, beside the admin door's own tasks.
    const WORK: [&str; 13] = [
        "pushgate_sessions",
        "pushgate_connections",
        "pushgate_connections_opened_total",
        "pushgate_datagrams_received_total",
        "pushgate_repeats_total",
        "pushgate_replies_unsent_total",
        "pushgate_jobs",
        "pushgate_remembered_requests",
        "pushgate_log_messages",
        "pushgate_lanes",
        "pushgate_sessions_behind",
        "pushgate_push_timeouts_total",
        "pushgate_config_last_reload_successful",
    ];
    const SUMS: [&str; 4] = [
        "pushgate_requests_total",
        "pushgate_deliveries_total",
        "pushgate_connections_closed_total",
        "pushgate_reloads_total",
    ];
    let work = async || {
        let scrape = gateway.scrape().await;
        let values = WORK.map(|name| scrape.value(name));
        (values, SUMS.map(|name| scrape.sum(name)))
    };
    let before = work().await;
    for page in PAGES {
        // A profile takes its second, and longer to be drawn.
        let times = if page.contains("seconds=") { 1 } else { 2 };
        for _ in 0..times {
            let (status, body) = gateway.get(page).await;
            assert_eq!(status, 200, "{page}: {body}");
            assert_eq!(work().await, before, "{page}");
        }
    }
    client.assert_alive().await;
}

#[tokio::test]
async fn garbage_and_half_requests_hold_nobody_up() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin);
    let mut halves = Vec::new();
    // Behind a good request, in its place, and without an end.
    for garbage in [
        "\0\u{1}garbage\r\n\r\n",
        "GET\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        for before in [&*good, ""] {
            let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
            let bytes = format!("{before}{garbage}");
            stream.write_all(bytes.as_bytes()).await.expect("a write");
            let mut answer = Vec::new();
            // It closes; whether in order depends on what it has not read.
            let _ = within("the end", stream.read_to_end(&mut answer)).await;
            let answer = String::from_utf8_lossy(&answer);
            let oks = answer.matches("HTTP/1.1 200").count();
            assert_eq!(
                oks,
                usize::from(!before.is_empty()),
                "{garbage:?}: {answer}"
            );
        }
    }
    for half in [
        "",
        "GET /metr",
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
        stream.write_all(half.as_bytes()).await.expect("a write");
        halves.push(stream);
    }
    // Pipelined: each is answered, in turn.
    let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
    stream
        .write_all(good.repeat(20).as_bytes())
        .await
        .expect("a write");
    let (mut answers, mut chunk) = (String::new(), [0; 4096]);
    while answers.matches("HTTP/1.1 200").count() < 20 {
        let count = within("an answer", stream.read(&mut chunk))
            .await
            .expect("a read");
        assert_ne!(count, 0, "{answers}");
        answers += &String::from_utf8_lossy(&chunk[..count]);
    }
    assert_eq!(gateway.get("/healthz").await.0, 200);
    drop((halves, stream));
    eventually("nothing is left of them", async || {
        let scrape = gateway.scrape().await;
        let admin = scrape.at("pushgate_tasks", "admin");
        // The loop, and the connection that asks.
        (admin <= 2).then_some(()).ok_or_else(|| admin.to_string())
    })
    .await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn one_profile_runs_at_a_time_and_ends_with_who_asked() {
    let gateway = Gateway::start("");
    // The first profile opens what the profiler keeps.
    assert_eq!(gateway.get("/debug/pprof/profile?seconds=1").await.0, 200);
    let baseline = Baseline::of(&gateway).await;
    // Two minutes, of which nobody here waits for the end.
    let ask = format!(
        "GET /debug/pprof/profile?seconds=120 HTTP/1.1\r\nHost: {}\r\n\r\n",
        gateway.admin
    );
    // Where the look was faster than what it looks for, it is asked for again.
    let stream = eventually("it runs", async || {
        let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
        stream.write_all(ask.as_bytes()).await.expect("a write");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (status, _) = gateway.get("/debug/pprof/profile?seconds=1").await;
        match status {
            409 => Ok(stream),
            _ => Err(status.to_string()),
        }
    })
    .await;
    let (status, _) = gateway.get("/debug/pprof/flamegraph?seconds=1").await;
    assert_eq!(status, 409);
    drop(stream);
    eventually("its place is free", async || {
        let (status, _) = gateway.get("/debug/pprof/profile?seconds=1").await;
        (status == 200)
            .then_some(())
            .ok_or_else(|| status.to_string())
    })
    .await;
    baseline.assert_back_at(&gateway).await;
}

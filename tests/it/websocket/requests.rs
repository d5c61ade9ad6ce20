//! The request that a WebSocket begins with: who may, with which token, and what everybody else is
//! told.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pushgate::wire::datagram::Target;
use pushgate::wire::reason::CloseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{DOORS, closed};
use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;
use crate::support::web::request;
use crate::tokens::issuer::Issuer;

/// The whole answer of HTTP to these bytes.
async fn answer(gateway: &Gateway, bytes: &[u8]) -> String {
    answer_to(1, gateway, bytes).await
}

/// The same to 127.0.0.`last`.
async fn answer_to(last: u8, gateway: &Gateway, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let bound = socket.bind(([127, 0, 0, last], 0).into());
    bound.expect("loopback has many addresses");
    let connected = socket.connect(gateway.door("web")).await;
    let mut stream = connected.expect("a connection");
    // It may answer before it has read everything.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let read = crate::support::within("an answer", stream.read_to_end(&mut answer)).await;
    read.expect("the connection ends in order");
    String::from_utf8(answer).expect("an answer is text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_something_else_is_told_what_is_here() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let good = request("/", "");
    let long = "x".repeat(20_000);
    // Each from an address of its own: the answers to one address would come ever later.
    for (last, (status, bytes)) in (2..).zip([
        ("400 Bad Request", "hello\r\n\r\n".to_owned()),
        (
            "400 Bad Request",
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        ),
        (
            "403 Forbidden",
            request("/", "Origin: https://evil.example\r\n"),
        ),
        ("404 Not Found", request("/v1/sessions", "")),
        ("405 Method Not Allowed", good.replace("GET", "POST")),
        (
            "426 Upgrade Required",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        (
            "426 Upgrade Required",
            good.replace("Version: 13", "Version: 7"),
        ),
        (
            "431 Request Header Fields Too Large",
            request("/", &format!("A: {long}\r\n")),
        ),
        (
            "505 HTTP Version Not Supported",
            good.replace("HTTP/1.1", "HTTP/1.0"),
        ),
    ]) {
        let said = answer_to(last, &gateway, bytes.as_bytes()).await;
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(first, format!("HTTP/1.1 {status}"), "{said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        if status.starts_with("426") {
            assert!(said.contains("\r\nsec-websocket-version: 13\r\n"), "{said}");
        }
    }
    // A native client at the wrong door.
    let said = answer(&gateway, &Login::user("ada").encode()).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    baseline.assert_back_at(&gateway).await;
    let counts = (
        closed(&gateway, "protocol").await,
        closed(&gateway, "auth").await,
    );
    assert_eq!(
        counts,
        (9, 1),
        "a page that may not is one that is not allowed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_too_little_or_comes_too_late_is_told_by_http() {
    let config = "[clients]\nhandshake_timeout = '300ms'\nmax_connections = 1\n";
    let gateway = Gateway::start(&format!("{DOORS}{config}"));
    let baseline = Baseline::of(&gateway).await;
    let said = answer(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{said}"
    );
    let inside = eventually("the place is free", async || {
        let connected = Client::connect(gateway.native).await;
        let mut client = connected;
        client.send_bytes(&Login::user("ada").encode()).await;
        client.greeted().await.map_err(|closed| closed.reason)?;
        Ok(client)
    })
    .await;
    let said = answer(&gateway, request("/", "").as_bytes()).await;
    assert!(
        said.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{said}"
    );
    assert!(said.contains("\r\nretry-after: "), "{said}");
    assert!(said.ends_with("\r\n\r\ntoo many connections\n"), "{said}");
    drop(inside);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_configured_origins_may_connect_and_a_reload_changes_them() {
    let gateway = Gateway::start(DOORS);
    let baseline = Baseline::of(&gateway).await;
    let connect = async |origin: &str| {
        let connected = Client::connect(gateway.door("web")).await;
        connected
            .upgraded("/", &format!("Origin: {origin}\r\n"))
            .await
            .is_ok()
    };
    let (first, second) = ("https://app.example", "http://localhost:8080");
    assert_eq!((connect(first).await, connect(second).await), (true, false));
    let mut inside = Client::connect(gateway.door("web")).await;
    inside = inside
        .upgraded("/", &format!("Origin: {first}\r\n"))
        .await
        .expect("it may");
    let mut inside = Login::user("ada").enter_over(inside).await;
    gateway.rewrite(&DOORS.replace(first, second));
    let (status, report) = gateway.reload().await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(
        report["applied"],
        serde_json::json!(["listeners[1].origins"]),
        "{report}"
    );
    assert_eq!((connect(first).await, connect(second).await), (false, true));
    // Who is in stays.
    inside.assert_alive().await;
    let without = DOORS.replace("origins = ['https://app.example']\n", "");
    gateway.rewrite(&without);
    assert_eq!(gateway.reload().await.0, 200);
    assert_eq!(
        (connect(first).await, connect(second).await),
        (false, false)
    );
    gateway.rewrite(&DOORS.replace(
        "protocol = 'websocket'\norigins = ['https://app.example']",
        "",
    ));
    let (_, report) = gateway.reload().await;
    assert_eq!(
        report["needs_restart"],
        serde_json::json!(["listeners[1].protocol"]),
        "{report}"
    );
    drop(inside);
    baseline.assert_back_at(&gateway).await;
}

/// With mode "none" the token is the user's name, so it can be seen who came in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_in_hello_the_subprotocol_the_cookie_or_the_query() {
    let config = "[log]\nlevel = 'trace'\nusers = 'hidden'\n";
    let gateway = Gateway::start(&format!("{DOORS}{config}"));
    let baseline = Baseline::of(&gateway).await;
    // base64url of "by-protocol?>", which has both letters that plain base64 has not.
    let protocol = "Sec-WebSocket-Protocol: pushgate.v1, pushgate.token.YnktcHJvdG9jb2w_Pg\r\n";
    let cookie = "Cookie: theme=dark; pushgate_token=by-cookie\r\n";
    let query = "/?lang=en&token=by%2Dquery";
    let both = format!("{cookie}{protocol}");
    for (target, lines, own, user) in [
        (query, &*both, "by-hello", "by-hello"),
        (query, &*both, "", "by-protocol?>"),
        (query, cookie, "", "by-cookie"),
        (query, "", "", "by-query"),
    ] {
        let connected = Client::connect(gateway.door("web")).await;
        let mut client = connected
            .upgraded(target, lines)
            .await
            .expect("a WebSocket");
        let selected = client
            .web()
            .answer
            .contains("sec-websocket-protocol: pushgate.v1");
        assert_eq!(
            selected,
            lines.contains("pushgate.v1"),
            "{}",
            client.web().answer
        );
        assert!(
            !client.web().answer.contains("token"),
            "{}",
            client.web().answer
        );
        let client = Login::user(own).enter_over(client).await;
        let user = user.replace('?', "%3F").replace('>', "%3E");
        let (_, found) = gateway.get(&format!("/v1/sessions?user={user}")).await;
        assert!(found.contains("\"door\":\"websocket\""), "{user}: {found}");
        drop(client);
    }
    let nobody = Client::connect_web(gateway.door("web")).await;
    let mut nobody = nobody;
    nobody.send_bytes(&Login::user("").encode()).await;
    assert_eq!(nobody.closed().await.code, CloseCode::Auth);
    drop(nobody);
    baseline.assert_back_at(&gateway).await;
    let (_, metrics) = gateway.get("/metrics").await;
    gateway.signal(rustix::process::Signal::TERM);
    let (_, log) = gateway.finish().await;
    let log = log.concat();
    assert!(log.contains("session ended"), "the log is on: {log}");
    for secret in [
        "by-hello",
        "by-protocol",
        "by-cookie",
        "by-query",
        "YnktcHJvdG9jb2w",
        "by%2D",
    ] {
        assert!(!metrics.contains(secret), "{secret} in the metrics");
        assert!(!log.contains(secret), "{secret} in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_web_token_comes_by_the_request_and_its_end_is_told() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&format!("{DOORS}{}", issuer.auth("old")));
    let baseline = Baseline::of(&gateway).await;
    let claims = |ttl| ["--user", "ada", "--group", "news", "--ttl", ttl];
    let token = issuer.token("old", &claims("3s"));
    let encoded = URL_SAFE_NO_PAD.encode(&token);
    let protocol = format!("Sec-WebSocket-Protocol: pushgate.v1, pushgate.token.{encoded}\r\n");
    let connected = Client::connect(gateway.door("web")).await;
    let connected = connected
        .upgraded("/", &protocol)
        .await
        .expect("a WebSocket");
    // Its own token is empty; its user is the token's, and so is the group.
    let mut client = Login::user("").enter_over(connected).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let answer = sender.push(&[Target::Group("news")], b"for ada").await;
    assert_eq!(answer.counts.written, 1);
    assert_eq!(client.next_push().await.2, b"for ada");
    let told = client.closed().await;
    assert_eq!(told.code, CloseCode::Expired, "{told:?}");
    assert_eq!(
        client.web().close,
        Some((4008, "the token has expired".to_owned()))
    );
    let forged = issuer.token("new", &claims("1h"));
    let connected = Client::connect(gateway.door("web")).await;
    let target = format!("/?token={forged}");
    let mut forged = connected.upgraded(&target, "").await.expect("a WebSocket");
    forged.send_bytes(&Login::user("").encode()).await;
    assert_eq!(forged.closed().await.code, CloseCode::Auth);
    assert_eq!(forged.web().close.as_ref().map(|close| close.0), Some(4007));
    drop((client, forged));
    baseline.assert_back_at(&gateway).await;
}

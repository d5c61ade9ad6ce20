//! Requests, and how each is answered.

use super::*;

/// The example of RFC 6455, section 1.3, as a browser's page would send it to the gateway.
const REQUEST: &str = "GET / HTTP/1.1\r\n\
    Host: push.example\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

fn allowed(origin: &str) -> bool {
    origin == "https://app.example"
}

fn judged(request: &str) -> Result<Upgrade, Refusal> {
    judge(request.as_bytes(), allowed).map(|upgrade| upgrade.expect("it is whole"))
}

/// The request with these lines in its head.
fn with(lines: &str) -> String {
    REQUEST.replacen("Host:", &format!("{lines}\r\nHost:"), 1)
}

fn token(request: &str) -> String {
    let upgrade = judged(request).expect("it is granted");
    String::from_utf8(upgrade.token).expect("it is text")
}

#[test]
fn a_good_request_is_granted_with_the_key_of_the_rfc() {
    let upgrade = judged(REQUEST).expect("it is granted");
    assert_eq!(
        (upgrade.used, &upgrade.token[..]),
        (REQUEST.len(), &b""[..])
    );
    let answer = String::from_utf8(upgrade.answer).expect("it is text");
    let mut lines = answer.split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"));
    let lines: Vec<_> = lines.map(str::to_lowercase).collect();
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ] {
        assert!(lines.iter().any(|there| there == line), "{line}: {answer}");
    }
    assert!(answer.ends_with("\r\n\r\n"));
    assert!(!answer.contains("protocol:"), "none was offered: {answer}");
}

#[test]
fn a_request_is_waited_for_wherever_it_is_cut() {
    let request = with("Cookie: a=b");
    for cut in 0..request.len() {
        assert_eq!(
            judge(&request.as_bytes()[..cut], allowed),
            Ok(None),
            "{cut}"
        );
    }
    // What comes right behind it is the client's first frame.
    let upgrade = judged(&format!("{request}\u{1}\u{2}")).expect("it is granted");
    assert_eq!(upgrade.used, request.len());
}

#[test]
fn what_is_no_such_request_is_told_by_a_status() {
    let long = "a".repeat(HEAD_MAX);
    let many = "X: y\r\n".repeat(130);
    for (status, request) in [
        (400, "\u{0}\u{0}\u{0}\u{14}\u{1}".to_owned()),
        (400, "hello\r\n\r\n".to_owned()),
        (400, REQUEST.replace("Host: push.example\r\n", "")),
        (400, REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl")),
        (
            400,
            REQUEST.replace("Sec-WebSocket-Key", "Sec-WebSocket-Kei"),
        ),
        (400, with("Content-Length: 1")),
        (400, with("Transfer-Encoding: chunked")),
        (400, with("Sec-WebSocket-Protocol: mqtt, chat")),
        (
            400,
            with("Sec-WebSocket-Protocol: pushgate.v1, pushgate.token.a="),
        ),
        (403, with("Origin: https://app.example.evil.example")),
        (403, with("Origin: https://app.example/")),
        (403, with("Origin: https://APP.example")),
        (403, with("Origin: http://app.example")),
        (403, with("Origin: https://app.example:8443")),
        (403, with("Origin: null")),
        (403, with("Origin: ")),
        (
            403,
            with("Origin: https://app.example\r\nOrigin: https://app.example"),
        ),
        (404, REQUEST.replace("GET /", "GET /push")),
        (404, REQUEST.replace("GET /", "GET //")),
        (405, REQUEST.replace("GET /", "POST /")),
        (426, REQUEST.replace("Version: 13", "Version: 8")),
        (426, REQUEST.replace("Upgrade: websocket", "Upgrade: h2c")),
        (426, REQUEST.replace("keep-alive, Upgrade", "keep-alive")),
        (
            426,
            "GET / HTTP/1.1\r\nHost: push.example\r\n\r\n".to_owned(),
        ),
        (431, with(&format!("Cookie: {long}"))),
        (431, format!("GET /{long}")),
        (431, with(&format!("{many}X: y"))),
        (505, REQUEST.replace("HTTP/1.1", "HTTP/1.0")),
    ] {
        let shown: String = request.chars().take(400).collect();
        let refusal = judged(&request).expect_err(&shown);
        assert_eq!(refusal.status, status, "{}: {shown}", refusal.why);
    }
}

#[test]
fn a_page_of_an_allowed_origin_and_a_program_without_one_may_connect() {
    assert!(judged(REQUEST).is_ok());
    assert!(judged(&with("Origin: https://app.example")).is_ok());
}

#[test]
fn the_token_is_in_the_subprotocol_then_the_cookie_then_the_query() {
    let query = |request: &str| request.replace("GET /", "GET /?a=b&token=of%20the+query&token=2");
    let protocol = "Sec-WebSocket-Protocol: pushgate.v1, pushgate.token.b2YgdGhlIHByb3RvY29s";
    let cookie = "Cookie: a=b; pushgate_token=of-the-cookie; c=d";
    assert_eq!(token(&query(REQUEST)), "of the query");
    assert_eq!(token(&query(&with(cookie))), "of-the-cookie");
    let all = query(&with(&format!("{cookie}\r\n{protocol}")));
    assert_eq!(token(&all), "of the protocol");
    // Offered in a line of its own.
    let lines = protocol.replace(", ", "\r\nSec-WebSocket-Protocol: ");
    assert_eq!(token(&with(&lines)), "of the protocol");
    // Names that only begin or end like it.
    let others = with("Cookie: xpushgate_token=1; pushgate_tokens=2");
    assert_eq!(
        token(&others.replace("GET /", "GET /?tokens=1&xtoken=2")),
        ""
    );
}

#[test]
fn the_answer_selects_our_subprotocol_and_never_shows_the_token() {
    let offers = "Sec-WebSocket-Protocol: pushgate.token.c2VjcmV0, pushgate.v1";
    let upgrade = judged(&with(offers)).expect("it is granted");
    assert_eq!(upgrade.token, b"secret");
    let answer = String::from_utf8(upgrade.answer).expect("it is text");
    assert!(
        answer.contains("\r\nsec-websocket-protocol: pushgate.v1\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("c2VjcmV0"), "{answer}");
}

#[test]
fn a_refusal_is_an_answer_of_http() {
    let mut out = Vec::new();
    put_refusal(&mut out, 503, "draining", Some(1_001));
    let expected = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\n\
        content-type: text/plain; charset=utf-8\r\ncontent-length: 9\r\n\r\ndraining\n";
    assert_eq!(String::from_utf8(out).expect("it is text"), expected);
    let mut out = Vec::new();
    put_refusal(&mut out, 426, "why", None);
    let text = String::from_utf8(out).expect("it is text");
    assert!(text.contains("\r\nsec-websocket-version: 13\r\n"), "{text}");
    assert!(text.contains("\r\nupgrade: websocket\r\n"), "{text}");
    assert!(!text.contains("retry-after"), "{text}");
}

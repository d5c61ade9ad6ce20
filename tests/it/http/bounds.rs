//! What services can cost, and what they cannot: the way in of those who look why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{keys, secret};
use crate::support::baseline::Baseline;
use crate::support::gateway::Gateway;
use crate::support::http::{Api, BYTES};
use crate::support::{eventually, within};

/// Connections of services at a time.
const SERVICES: usize = 64;

#[tokio::test]
async fn bodies_have_a_bound() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin).secret(7, secret(7));
    let said = api.push("all", &vec![b'x'; 256 * 1024]).await;
    assert_eq!(said.code, 400, "it is read, and over push.max_payload");
    let said = api.push("all", &vec![b'x'; 256 * 1024 + 1]).await;
    assert_eq!(said.code, 413);
    // Without a length, in chunks.
    let mut chunked = String::from_utf8(api.request("POST", "/v1/push?all", &[BYTES], b""))
        .expect("a head is text")
        .replace("Content-Length: 0", "Transfer-Encoding: chunked")
        .into_bytes();
    for _ in 0..9 {
        chunked.extend_from_slice(b"8000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x8000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let said = api.send_as_it_is("POST", "/v1/push?all", &chunked).await;
    assert_eq!(said.code, 413);
    // Who is not known is not listened to for so long.
    let stranger = api.secret(7, secret(8));
    let said = stranger.push("all", &vec![b'x'; 256 * 1024 + 1]).await;
    assert_eq!(said.code, 401);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.at("pushgate_http_rejected_total", "too_large"), 2);
    assert_eq!(scrape.at("pushgate_http_rejected_total", "mac"), 1);
    baseline.assert_back_at(&gateway).await;
}

/// A service that is never idle for long: it asks again and again, on one connection as long as it
/// has one.
async fn keep_asking(admin: SocketAddr, request: Vec<u8>, on: Arc<AtomicBool>) {
    let mut chunk = [0; 4096];
    while on.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(admin).await.expect("is there");
        while on.load(Ordering::Relaxed) && stream.write_all(&request).await.is_ok() {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_services_does_not_lock_operators_out() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin).secret(7, secret(7));
    let request = api.request("GET", "/v1/presence?all", &[], b"");
    let request = String::from_utf8(request).expect("it is text");
    let request = request.replace("Connection: close\r\n", "").into_bytes();
    let (on, mut crowd) = (Arc::new(AtomicBool::new(true)), JoinSet::new());
    for _ in 0..SERVICES {
        crowd.spawn(keep_asking(gateway.admin, request.clone(), Arc::clone(&on)));
    }
    let refused = eventually("there is no place for one more", async || {
        let said = api.send("GET", "/v1/presence?all", &[], b"").await;
        match said.code {
            503 => Ok(said),
            code => Err(code.to_string()),
        }
    })
    .await;
    assert!(
        refused.head.contains("connection: close"),
        "{}",
        refused.head
    );
    // All the places of operators are free.
    let mut lookers = Vec::new();
    for number in 0..60 {
        let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
        let ask = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin);
        stream.write_all(ask.as_bytes()).await.expect("a write");
        let mut answer = [0; 12];
        let read = within(format!("looker {number}"), stream.read_exact(&mut answer)).await;
        read.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        lookers.push(stream);
    }
    drop(lookers);
    let scrape = gateway.scrape().await;
    assert!(scrape.at("pushgate_http_rejected_total", "connections") > 0);
    on.store(false, Ordering::Relaxed);
    crowd.join_all().await;
    eventually("there is a place again", async || {
        let said = api.send("GET", "/v1/presence?all", &[], b"").await;
        (said.code == 200)
            .then_some(())
            .ok_or_else(|| said.code.to_string())
    })
    .await;
    baseline.assert_back_at(&gateway).await;
}

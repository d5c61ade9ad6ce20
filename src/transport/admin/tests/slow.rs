//! Heads that do not end, on a clock that moves when everybody waits.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_sends_its_head_byte_by_byte_is_cut_off() {
    let door = Door::open().await;
    let mut slow = TcpStream::connect(door.state.address).await.unwrap();
    let began = tokio::time::Instant::now();
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    slow.write_all(head.as_bytes()).await.unwrap();
    // A byte a second, for longer than a head may take.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if slow.write_all(b"x").await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer).await;
    // A head has 10 s; this clock may run a step ahead of the socket.
    let took = began.elapsed();
    assert!(took <= Duration::from_secs(15), "after {took:?}");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    assert_eq!(door.state.ledger.kinds()[Kind::Admin.index()].live, 1);
}

//! A peer that asks and does not read is cut off: nobody waits for it, and nothing is kept for it.

use super::*;

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_counted() {
    let door = Door::open().await;
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stalled = socket.connect(door.state.address).await.unwrap();
    stalled.write_all(ask.as_bytes()).await.unwrap();
    let cut = async {
        while door.state.metrics.admin_stalled.get() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cut)
        .await
        .unwrap();
    assert_eq!(door.state.metrics.admin_stalled.get(), 1);
    // One who reads, however slowly, is none.
    let mut slow = TcpStream::connect(door.state.address).await.unwrap();
    slow.write_all(ask.as_bytes()).await.unwrap();
    let (mut some, mut read) = (vec![0; 65_536], 0);
    for _ in 0..30 {
        read += slow.read(&mut some).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(read > 0);
    assert_eq!(door.state.metrics.admin_stalled.get(), 1);
    drop((stalled, slow));
}

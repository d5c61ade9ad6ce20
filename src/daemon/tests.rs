//! What only a gateway inside this process can show.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use super::settings::Settings;
use super::{Drained, Gateway};
use crate::clock::Clock;
use crate::wire::datagram::{Header, RequestBody, encode_request};
use crate::wire::reply::decode_reply;

const DOORS: &str = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
                     [udp]\nlisten = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\n\
                     [drain]\nlinger = '1ms'\n";

/// The one thread of the runtime is this test's: while it waits in the kernel, no task has a turn.
#[tokio::test]
async fn datagrams_are_answered_while_no_task_has_a_turn() {
    let settings = Settings::parse(DOORS, Path::new("doors.toml")).unwrap();
    let gateway = Gateway::bind(settings).await.unwrap();
    let (udp, ledger) = (gateway.addresses().udp, gateway.ledger().clone());
    let (shutdown, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async {
        let _ = ended.await;
    }));
    tokio::task::yield_now().await;

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(udp).unwrap();
    let time = Some(Duration::from_secs(30));
    socket.set_read_timeout(time).unwrap();
    let body = RequestBody::Ping(b"still there?");
    let header = Header {
        op: body.op().code(),
        key_id: 0,
        time_ms: Clock::system().now_ms(),
        request_id: [7; 16],
    };
    let mut datagram = Vec::new();
    encode_request(&mut datagram, &header, &body, None);
    socket.send(&datagram).unwrap();
    let mut answer = [0; 2048];
    let count = socket.recv(&mut answer).expect("an answer");
    let (answered, _) = decode_reply(&answer[..count], None).unwrap();
    assert_eq!(answered.request_id, header.request_id);

    shutdown.send(()).unwrap();
    assert_eq!(running.await.unwrap().unwrap(), Drained::Full);
    assert_eq!(ledger.kinds().iter().map(|kind| kind.live).sum::<u64>(), 0);
}

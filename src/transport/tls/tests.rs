//! The stream as the hub drives it, against rustls's own client over a socket.

#![allow(clippy::large_futures, reason = "a test keeps its buffers where it is")]

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

struct Pair {
    server: Tls,
    socket: std::net::TcpStream,
    client: ClientConnection,
}

fn identity() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key: &KeyPair = &signing_key;
    (
        cert.der().clone(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
}

/// Both ends, behind the handshake; the client with a small window.
async fn pair(version: &'static SupportedProtocolVersion) -> Pair {
    let (cert, key) = identity();
    let server = config::server(vec![cert.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (stream, accepted) = tokio::join!(socket.connect(address), listener.accept());
    let (accepted, _) = accepted.unwrap();
    socket2::SockRef::from(&accepted)
        .set_send_buffer_size(8192)
        .unwrap();
    let mut pair = Pair {
        server: Tls::new(accepted, server).unwrap(),
        socket: stream.unwrap().into_std().unwrap(),
        client: ClientConnection::new(Arc::new(config), name).unwrap(),
    };
    while pair.client.is_handshaking() || pair.server.is_handshaking() {
        pair.drive().await;
        assert!(matches!(pair.look().await, Err(error) if would_block(&error)));
    }
    pair
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Pair {
    /// What the client has to say, and what came for it.
    async fn drive(&mut self) -> Vec<u8> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.socket).unwrap();
        }
        let mut plain = Vec::new();
        while let Ok(count @ 1..) = self.client.read_tls(&mut self.socket) {
            self.client.process_new_packets().unwrap();
            // Its end, when it is there, is left to be asked for.
            let _ = self.client.reader().read_to_end(&mut plain);
            assert_ne!(count, 0);
        }
        while self.client.wants_write() {
            self.client.write_tls(&mut self.socket).unwrap();
        }
        tokio::task::yield_now().await;
        plain
    }

    /// What the server reads.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        for _ in 0..1000 {
            match self.look().await {
                Err(error) if would_block(&error) => {}
                read => return read,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The same of what is there within a moment.
    async fn look(&mut self) -> io::Result<Vec<u8>> {
        let mut plain = [0; READ_MAX];
        let ready = self.server.stream().readable();
        let _ = tokio::time::timeout(Duration::from_millis(5), ready).await;
        let count = self.server.try_read(&mut plain)?;
        Ok(plain[..count].to_vec())
    }

    /// Offers bytes as the hub does, and returns how many it may forget.
    fn offer(&self, bytes: &[u8]) -> usize {
        let (head, payload) = bytes.split_at(bytes.len().min(9));
        let parts = [IoSlice::new(head), IoSlice::new(payload)];
        match self.server.try_write(&parts) {
            Ok(count) => count,
            Err(error) if would_block(&error) => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The hub goes on with what was begun, and may come with something else where nothing was.
async fn a_stream_of_begun_messages(version: &'static SupportedProtocolVersion) {
    let mut pair = pair(version).await;
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    let mut message: Vec<u8> = Vec::new();
    let mut blocked = 0;
    for number in 0..3_000_u32 {
        let begun = !message.is_empty();
        if !begun {
            // Also sizes at which a record ends within a message or right behind one.
            let sizes = [10, 200, 16_370, 16_384, 16_385, 40_000, 9];
            let size = sizes[usize::try_from(number).unwrap() % sizes.len()];
            message = number.to_be_bytes().repeat(size / 4 + 3);
            message.truncate(size.max(9));
        }
        let count = pair.offer(&message);
        sent.extend_from_slice(&message[..count]);
        message.drain(..count);
        if count == 0 {
            blocked += 1;
            if !begun {
                message.clear();
            }
            seen.extend(pair.drive().await);
            let _ = tokio::time::timeout(Duration::from_millis(1), pair.server.stream().writable())
                .await;
        }
        let held = pair.server.state().unsent.len();
        assert!(held <= SEALED_MAX, "{held} bytes are held back");
    }
    while !message.is_empty() {
        let count = pair.offer(&message);
        sent.extend_from_slice(&message[..count]);
        message.drain(..count);
        seen.extend(pair.drive().await);
        let _ =
            tokio::time::timeout(Duration::from_millis(1), pair.server.stream().writable()).await;
    }
    assert!(
        !pair.server.has_unsent(),
        "what was reported whole has gone whole"
    );
    while seen.len() < sent.len() {
        seen.extend(pair.drive().await);
    }
    assert!(blocked > 100, "blocked {blocked} times only");
    assert!(seen == sent, "the client saw other bytes than were taken");
}

#[tokio::test]
async fn what_is_reported_as_taken_is_what_the_client_sees_in_tls_13() {
    a_stream_of_begun_messages(&TLS13).await;
}

#[tokio::test]
async fn what_is_reported_as_taken_is_what_the_client_sees_in_tls_12() {
    a_stream_of_begun_messages(&TLS12).await;
}

#[tokio::test]
async fn an_idle_stream_holds_no_buffer() {
    let mut pair = pair(&TLS13).await;
    assert_eq!(pair.offer(&[7; 2000]), 2000);
    assert_eq!(pair.drive().await, [7; 2000]);
    io::Write::write_all(&mut pair.client.writer(), b"hello").unwrap();
    pair.drive().await;
    assert_eq!(pair.read().await.unwrap(), b"hello");
    let state = pair.server.state();
    assert_eq!((state.unsent.capacity(), state.incoming.capacity()), (0, 0));
    let bytes = size_of::<Tls>();
    assert!(
        bytes <= 1536,
        "a stream takes {bytes} bytes beside its keys"
    );
}

#[tokio::test]
async fn a_key_update_of_the_client_is_answered_and_goes_unnoticed() {
    let mut pair = pair(&TLS13).await;
    for round in 0..5 {
        pair.client.refresh_traffic_keys().unwrap();
        io::Write::write_all(&mut pair.client.writer(), b"hello").unwrap();
        pair.drive().await;
        assert_eq!(pair.read().await.unwrap(), b"hello");
        assert_eq!(pair.offer(&[round; 100]), 100);
        assert_eq!(pair.drive().await, [round; 100]);
    }
}

#[tokio::test]
async fn half_a_record_is_kept_until_the_rest_comes() {
    let mut pair = pair(&TLS13).await;
    io::Write::write_all(&mut pair.client.writer(), b"in two halves").unwrap();
    let mut record = Vec::new();
    pair.client.write_tls(&mut record).unwrap();
    for byte in &record[..record.len() - 1] {
        io::Write::write_all(&mut pair.socket, &[*byte]).unwrap();
        assert!(matches!(pair.look().await, Err(error) if would_block(&error)));
    }
    let last = record.len() - 1;
    io::Write::write_all(&mut pair.socket, &record[last..]).unwrap();
    assert_eq!(pair.read().await.unwrap(), b"in two halves");
}

#[tokio::test]
async fn both_ends_say_close_notify() {
    let mut pair = pair(&TLS13).await;
    assert_eq!(pair.offer(&[7; 2000]), 2000);
    pair.server.close();
    assert_eq!(pair.drive().await, [7; 2000]);
    assert_eq!(
        pair.client.reader().read(&mut [0]).unwrap(),
        0,
        "it was said"
    );
    io::Write::write_all(&mut pair.client.writer(), b"last words").unwrap();
    pair.client.send_close_notify();
    pair.drive().await;
    assert_eq!(pair.read().await.unwrap(), b"last words");
    assert!(
        pair.server.has_ended(),
        "the socket has nothing more to tell"
    );
    assert_eq!(pair.read().await.unwrap(), b"");
}

#[tokio::test]
async fn a_broken_record_ends_the_stream_with_an_alert() {
    let mut pair = pair(&TLS13).await;
    io::Write::write_all(&mut pair.socket, &[23, 3, 3, 0, 20].repeat(5)).unwrap();
    let error = pair.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    pair.client.read_tls(&mut pair.socket).unwrap();
    let told = pair.client.process_new_packets().unwrap_err();
    assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told}");
}

/// One that says it is long is not collected: nobody has shown yet who they are.
#[tokio::test]
async fn a_handshake_message_over_the_bound_ends_the_stream() {
    let (cert, key) = identity();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let server = Tls::new(accepted, config::server(vec![cert], key).unwrap()).unwrap();
    // A ClientHello of 60,000 bytes, in records of which each is good.
    let mut message = vec![1, 0, 0xea, 0x60];
    message.resize(4 + 60_000, 0);
    for part in message.chunks(PLAIN_MAX) {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        io::Write::write_all(&mut socket, &[&[22, 3, 1], &length[..], part].concat()).unwrap();
    }
    let mut plain = [0; READ_MAX];
    let error = loop {
        server.stream().readable().await.unwrap();
        match server.try_read(&mut plain) {
            Err(error) if would_block(&error) => {}
            read => break read.unwrap_err(),
        }
    };
    assert_eq!(error.to_string(), "a handshake message over the bound");
}

//! The clients of a measurement at a door of WebSocket: what they send, as it stands there.

use std::io::Write;
use std::net::TcpStream;

use crate::wire::frame::LENGTH_BYTES;
use crate::wire::websocket::{Opcode, put_masked};

/// A request, whose key is that of RFC 6455 (section 1.3): nobody looks at the answer to it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The request, and right behind it a HELLO given as a native frame: a round trip less for each of
/// a crowd, which the gateway does not mind.
pub(super) fn opening(hello: &[u8]) -> Vec<u8> {
    let mut bytes = REQUEST.to_vec();
    bytes.extend_from_slice(&message(hello));
    bytes
}

/// A native frame as a message.
pub(super) fn message(frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_masked(
        &mut bytes,
        Opcode::Binary,
        &frame[LENGTH_BYTES..],
        rand::random(),
    );
    bytes
}

/// Answers a ping.
pub(super) fn pong(mut stream: &TcpStream) {
    let mut bytes = Vec::new();
    put_masked(&mut bytes, Opcode::Pong, &[], rand::random());
    // A client that cannot say it is lost anyway, which the next read tells.
    let _ = stream.write(&bytes);
}

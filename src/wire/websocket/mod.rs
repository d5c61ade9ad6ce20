//! WebSocket (RFC 6455): the frames in which binary messages stand.

use super::frame::{GatewayFrame, LENGTH_BYTES};

/// The kinds of a frame (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a message.
    Continuation = 0,
    /// A message in UTF-8, or its first part.
    Text = 1,
    /// A message of any bytes, or its first part.
    Binary = 2,
    /// The sender's last frame.
    Close = 8,
    /// To be answered by a pong.
    Ping = 9,
    /// An answer to a ping.
    Pong = 10,
}

/// The first bit of a frame: nothing of its message follows.
const FIN: u8 = 0x80;
/// The longest length that stands in seven bits; above it, this marks one of 16 bits.
const SHORT_MAX: usize = 125;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Appends the head of a whole message from the gateway, which is not masked (section 5.2):
///
/// ```text
///  0        1        2            2                    2
/// +--------+--------+     +--------+--------+    +--------+-----+--------+
/// |FIN|code|0|length|     |0|126, length u16|    |0|127, length u64       |
/// +--------+--------+     +--------+--------+    +--------+-----+--------+
///           up to 125      up to 65,535           above
/// ```
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(FIN | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length <= SHORT_MAX => out.push(short),
        (_, Ok(long)) => {
            out.push(LENGTH_16);
            out.extend_from_slice(&long.to_be_bytes());
        }
        _ => {
            out.push(LENGTH_64);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a frame of the protocol as a binary message.
///
/// # Panics
/// As [`GatewayFrame::encode`].
pub fn put_message(out: &mut Vec<u8>, frame: &GatewayFrame<'_>) {
    let mut native = Vec::new();
    frame.encode(&mut native);
    let body = &native[LENGTH_BYTES..];
    put_header(out, Opcode::Binary, body.len());
    out.extend_from_slice(body);
}

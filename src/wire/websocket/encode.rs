//! Frames to be sent.

use super::{CONTROL_MAX, Opcode};
use crate::wire::frame::{GatewayFrame, LENGTH_BYTES};

/// The first bit of a frame: nothing of its message follows.
const FIN: u8 = 0x80;
/// The first bit of the length: a mask follows it.
const MASKED: u8 = 0x80;
/// The longest length that stands in seven bits; above it, these mark one of 16 or 64.
const SHORT_MAX: usize = 125;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Bytes of a client's mask.
pub const MASK_BYTES: usize = 4;

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
    put(out, opcode, length, 0);
}

fn put(out: &mut Vec<u8>, opcode: Opcode, length: usize, masked: u8) {
    out.push(FIN | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if length <= SHORT_MAX => out.push(masked | short),
        (_, Ok(long)) => {
            out.push(masked | LENGTH_16);
            out.extend_from_slice(&long.to_be_bytes());
        }
        _ => {
            out.push(masked | LENGTH_64);
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

/// Appends a ping or pong from the gateway; of more than 125 bytes it has the first ones.
pub fn put_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = &payload[..payload.len().min(CONTROL_MAX)];
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame from the gateway; of a reason over 123 bytes it has a beginning.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_MAX - 2)];
    put_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a whole frame of a client, masked with `mask`: for a binary message that is type and
/// fields. The mask keeps what a client says from being taken for something else on its way
/// (section 10.3), and is to be another one for each frame, and not foreseeable.
pub fn put_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; MASK_BYTES]) {
    put(out, opcode, payload.len(), MASKED);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

/// Masks, or takes the mask off (section 5.3).
pub(super) fn apply_mask(bytes: &mut [u8], mask: [u8; MASK_BYTES]) {
    for (byte, mask) in bytes.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

//! Frames that came in, and the messages that they are parts of.

use std::borrow::Cow;
use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::super::append::append_within;
use super::encode::apply_mask;
use super::{CONTROL_MAX, Fault, NO_CODE, Side};

/// What a frame was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The end of a binary message, and with it all of it.
    Message(Cow<'a, [u8]>),
    /// A part of one that goes on.
    Part,
    /// To be answered by a pong with these bytes.
    Ping(&'a [u8]),
    /// The bytes of the ping that it answers, or any.
    Pong(&'a [u8]),
    /// The other end says nothing more, for this reason.
    Close {
        /// Its code; [`NO_CODE`] where it gave none.
        code: u16,
        /// In words, maybe none.
        reason: &'a str,
    },
}

/// What has come of a message that goes on, of a stream that is read; `None` between messages.
pub type Parts = Option<Vec<u8>>;

/// Reads the first frame of what a stream has brought so far, takes its mask off where it lies,
/// and tells how many bytes it took. `None` when more bytes are needed. `max` bounds a message, in
/// bytes, however many parts it has.
///
/// # Errors
/// What is against WebSocket, as soon as the head of the frame is there.
pub fn decode<'a>(
    side: Side,
    bytes: &'a mut [u8],
    parts: &mut Parts,
    max: usize,
) -> Result<Option<(Item<'a>, usize)>, Fault> {
    let mut cursor = Cursor::new(&*bytes);
    let head = FrameHeader::parse(&mut cursor);
    // What it does not read is an opcode that nothing has.
    let head = head.map_err(|_| Fault::Protocol("a frame of an unknown kind"))?;
    let Some((head, length)) = head else {
        // A bad beginning is told before the rest of the head is there.
        return check_beginning(side, bytes).map(|()| None);
    };
    let at = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
    check(side, &head, length, at)?;
    check_place(&head, length, parts, max)?;
    let length = usize::try_from(length).map_err(|_| Fault::TooLong)?;
    let Some(payload) = bytes[at..].get_mut(..length) else {
        return Ok(None);
    };
    if let Some(mask) = head.mask {
        apply_mask(payload, mask);
    }
    let payload = &*payload;
    let item = match head.opcode {
        OpCode::Control(Control::Ping) => Item::Ping(payload),
        OpCode::Control(Control::Pong) => Item::Pong(payload),
        OpCode::Control(_) => close(payload)?,
        OpCode::Data(_) => data(&head, payload, (parts, max)),
    };
    Ok(Some((item, at + length)))
}

/// What two bytes of a head tell.
fn check_beginning(side: Side, bytes: &[u8]) -> Result<(), Fault> {
    let [first, second, ..] = *bytes else {
        return Ok(());
    };
    if first & 0x70 != 0 {
        return Err(RESERVED);
    }
    check_mask(side, second & 0x80 != 0)?;
    if first & 0x08 != 0 && usize::from(second & 0x7f) > CONTROL_MAX {
        return Err(LONG_CONTROL);
    }
    Ok(())
}

const RESERVED: Fault = Fault::Protocol("a reserved bit is set");
const LONG_CONTROL: Fault = Fault::Protocol("a control frame of more than 125 bytes");

fn check_mask(side: Side, is_masked: bool) -> Result<(), Fault> {
    match (side, is_masked) {
        (Side::Gateway, false) => Err(Fault::Protocol("a frame of a client without a mask")),
        (Side::Client, true) => Err(Fault::Protocol("a frame of the gateway with a mask")),
        _ => Ok(()),
    }
}

/// What a frame may be, wherever it stands. Its head took `at` bytes.
fn check(side: Side, head: &FrameHeader, length: u64, at: usize) -> Result<(), Fault> {
    if head.rsv1 || head.rsv2 || head.rsv3 {
        return Err(RESERVED);
    }
    check_mask(side, head.mask.is_some())?;
    if matches!(head.opcode, OpCode::Control(_)) {
        if length > CONTROL_MAX as u64 {
            return Err(LONG_CONTROL);
        }
        if !head.is_final {
            return Err(Fault::Protocol("a control frame in parts"));
        }
    }
    if at != head.len(length) {
        return Err(Fault::Protocol("a length in more bytes than it needs"));
    }
    Ok(())
}

/// What it may be at this place: between messages, or within one.
fn check_place(head: &FrameHeader, length: u64, parts: &Parts, max: usize) -> Result<(), Fault> {
    let before = match (head.opcode, parts) {
        (OpCode::Control(_), _) => return Ok(()),
        (OpCode::Data(Data::Text), _) => return Err(Fault::Text),
        (OpCode::Data(Data::Continue), None) => {
            return Err(Fault::Protocol("a part of no message"));
        }
        (OpCode::Data(Data::Continue), Some(parts)) => parts.len(),
        (OpCode::Data(_), Some(_)) => {
            return Err(Fault::Protocol("a message within another"));
        }
        (OpCode::Data(_), None) => 0,
    };
    match length.checked_add(before as u64) {
        Some(whole) if whole <= max as u64 => Ok(()),
        _ => Err(Fault::TooLong),
    }
}

/// All of a message of at most `max` bytes, or a part of it.
fn data<'a>(head: &FrameHeader, payload: &'a [u8], (parts, max): (&mut Parts, usize)) -> Item<'a> {
    match (parts.take(), head.is_final) {
        (None, true) => Item::Message(Cow::Borrowed(payload)),
        (before, is_final) => {
            let mut whole = before.unwrap_or_default();
            append_within(&mut whole, payload, max);
            if is_final {
                return Item::Message(Cow::Owned(whole));
            }
            *parts = Some(whole);
            Item::Part
        }
    }
}

/// The body of a close frame (section 5.5.1).
fn close(payload: &[u8]) -> Result<Item<'_>, Fault> {
    let (code, reason) = match *payload {
        [] => (NO_CODE, &[][..]),
        [_] => return Err(Fault::Protocol("half a close code")),
        [high, low, ref reason @ ..] => (u16::from_be_bytes([high, low]), reason),
    };
    if !payload.is_empty() && !CloseCode::from(code).is_allowed() {
        return Err(Fault::Protocol("a close code that is none"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
    Ok(Item::Close { code, reason })
}

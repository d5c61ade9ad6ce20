//! Frames counted as they come, in whatever pieces: nothing of a payload is copied but its stamp.

use super::foreign;
use crate::wire::frame::{LENGTH_BYTES, PING};
use crate::wire::websocket::Opcode;

/// Bytes of a payload that are looked at: when it was due, and which one it is.
pub const STAMP_BYTES: usize = 12;
/// Bytes of a PUSH before its payload, where no group is named: length, type, number, scope, n.
pub const PUSH_BYTES: usize = LENGTH_BYTES + 1 + 8 + 1 + 1;

/// What is kept of a frame that comes in pieces: all that anybody looks at, behind the longest
/// head of a WebSocket's frame from a gateway.
const HEAD_BYTES: usize = 10 + PUSH_BYTES - LENGTH_BYTES + STAMP_BYTES;
/// A length above this is a stream out of step and no frame.
const FRAME_BYTES_MAX: u64 = 1 << 20;
/// What the answer to a WebSocket's request begins and ends with.
const GRANTED: &[u8] = b"HTTP/1.1 101 ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A stream that does not hold frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfStep {
    /// Of no length, or of one that no frame has.
    #[error("a frame of {0} bytes: the stream is out of step")]
    Length(u64),
    /// Not whole, or of a client.
    #[error("a frame of WebSocket that no gateway sends")]
    Frame,
    /// The request was not granted.
    #[error("not granted as a WebSocket")]
    Refused,
}

/// What a stream is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// Frames behind their lengths.
    #[default]
    Native,
    /// The answer to the request of a WebSocket: so many bytes of it have come, and of its end.
    Answer { seen: u8, end: u8 },
    /// The frames of a WebSocket.
    Web,
    /// Packets of MQTT 5.
    Mqtt,
    /// The line that a server of NATS begins with.
    Info,
    /// The lines that follow, with a payload behind some.
    Nats,
}

/// The place in one connection's stream, between two reads.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    form: Form,
    head: [u8; HEAD_BYTES],
    kept: u8,
    /// Bytes of the frame still to come behind its kept head.
    left: u32,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            form: Form::Native,
            head: [0; HEAD_BYTES],
            kept: 0,
            left: 0,
        }
    }
}

/// What the beginning of a frame tells.
struct Beginning {
    /// Bytes before the body.
    prefix: usize,
    /// Bytes of the body.
    length: usize,
}

impl Parser {
    /// For a stream that begins with the answer to a WebSocket's request.
    pub fn web() -> Self {
        Self {
            form: Form::Answer { seen: 0, end: 0 },
            ..Self::default()
        }
    }

    /// For a stream of MQTT 5.
    pub fn mqtt() -> Self {
        Self {
            form: Form::Mqtt,
            ..Self::default()
        }
    }

    /// For a stream of NATS.
    pub fn nats() -> Self {
        Self {
            form: Form::Info,
            ..Self::default()
        }
    }

    /// Takes what a read brought and calls `frame` for each frame that is whole now, with its body
    /// from the type on: all of it, or its first 23 bytes. A ping of WebSocket is a PING, and what
    /// other protocols have is told as what it is in ours.
    ///
    /// # Errors
    /// [`OutOfStep`], also for a length of 0 or above 1 MiB.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        frame: &mut impl FnMut(&[u8]),
    ) -> Result<(), OutOfStep> {
        while !bytes.is_empty() {
            if let Form::Answer { seen, end } = self.form {
                bytes = self.answer((seen, end), bytes)?;
                continue;
            }
            if self.form == Form::Info {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    return Ok(());
                };
                self.form = Form::Nats;
                bytes = &bytes[end + 1..];
                continue;
            }
            if self.kept == 0
                && let Some(Beginning { prefix, length }) = self.form.beginning(bytes)?
                && let Some((whole, rest)) = bytes.split_at_checked(prefix + length)
            {
                self.form.tell(whole, prefix, frame);
                bytes = rest;
                continue;
            }
            bytes = self.piece(bytes, frame)?;
        }
        Ok(())
    }

    /// Takes a piece of a frame that does not stand whole in `bytes`; returns what is behind it.
    fn piece<'b>(
        &mut self,
        bytes: &'b [u8],
        frame: &mut impl FnMut(&[u8]),
    ) -> Result<&'b [u8], OutOfStep> {
        let mut used = 0;
        let Beginning { prefix, .. } = loop {
            let kept = usize::from(self.kept);
            let beginning = self.form.beginning(&self.head[..kept])?;
            // As long as it does not tell more, the next byte is wanted.
            let wanted = match &beginning {
                Some(Beginning { prefix, length }) => (prefix + length).min(HEAD_BYTES),
                None => kept + 1,
            };
            if kept == wanted
                && let Some(beginning) = beginning
            {
                break beginning;
            }
            let more = (bytes.len() - used).min(wanted - kept);
            if more == 0 {
                return Ok(&[]);
            }
            self.head[kept..kept + more].copy_from_slice(&bytes[used..used + more]);
            self.kept += u8::try_from(more).expect("a head is shorter than 256 bytes");
            used += more;
            let kept = usize::from(self.kept);
            if let Some(Beginning { prefix, length }) = self.form.beginning(&self.head[..kept])? {
                self.left =
                    u32::try_from(prefix + length - kept).expect("a frame is shorter than 2 MiB");
            }
        };
        let skipped = (bytes.len() - used).min(self.left as usize);
        self.left -= skipped as u32;
        if self.left == 0 {
            let (form, head) = (self.form, self.head);
            form.tell(&head[..usize::from(self.kept)], prefix, frame);
            self.kept = 0;
        }
        Ok(&bytes[used + skipped..])
    }

    /// Takes a piece of the answer to the request.
    fn answer<'b>(
        &mut self,
        (mut seen, mut end): (u8, u8),
        bytes: &'b [u8],
    ) -> Result<&'b [u8], OutOfStep> {
        for (at, byte) in bytes.iter().enumerate() {
            match GRANTED.get(usize::from(seen)) {
                Some(expected) if expected == byte => seen += 1,
                Some(_) => return Err(OutOfStep::Refused),
                None => {}
            }
            end = match END_OF_HEAD[usize::from(end)] == *byte {
                true => end + 1,
                false => u8::from(*byte == END_OF_HEAD[0]),
            };
            if usize::from(end) == END_OF_HEAD.len() {
                self.form = Form::Web;
                return Ok(&bytes[at + 1..]);
            }
        }
        self.form = Form::Answer { seen, end };
        Ok(&[])
    }
}

impl Form {
    /// What the first bytes of a frame tell; `None` while they are too few.
    fn beginning(self, bytes: &[u8]) -> Result<Option<Beginning>, OutOfStep> {
        let (prefix, length) = match (self, bytes) {
            (Self::Mqtt, _) => match foreign::mqtt_beginning(bytes)? {
                Some(beginning) => beginning,
                None => return Ok(None),
            },
            (Self::Nats, _) => match foreign::nats_beginning(bytes, HEAD_BYTES)? {
                Some(beginning) => beginning,
                None => return Ok(None),
            },
            (Self::Native, [a, b, c, d, ..]) => {
                (LENGTH_BYTES, u32::from_be_bytes([*a, *b, *c, *d]).into())
            }
            (Self::Native, _) | (_, [] | [_]) => return Ok(None),
            (_, [first, second, ..]) if first & 0xf0 != 0x80 || second & 0x80 != 0 => {
                return Err(OutOfStep::Frame);
            }
            (_, [_, 126, a, b, ..]) => (4, u16::from_be_bytes([*a, *b]).into()),
            (_, [_, 127, a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (_, [_, 126 | 127, ..]) => return Ok(None),
            (_, [_, length, ..]) => (2, (*length).into()),
        };
        // A ping has no bytes to send back.
        let is_empty = length == 0 && self == Self::Native;
        if is_empty || length > FRAME_BYTES_MAX {
            return Err(OutOfStep::Length(length));
        }
        let length = usize::try_from(length).expect("1 MiB at most");
        Ok(Some(Beginning { prefix, length }))
    }

    fn tell(self, whole: &[u8], prefix: usize, frame: &mut impl FnMut(&[u8])) {
        match self {
            Self::Mqtt => return foreign::tell_mqtt(whole, prefix, frame),
            Self::Nats => return foreign::tell_nats(whole, prefix, frame),
            _ => {}
        }
        let opcode = whole.first().map(|first| first & 0x0f);
        let is = |of: Opcode| self != Self::Native && opcode == Some(of as u8);
        if is(Opcode::Ping) {
            return frame(&[PING]);
        }
        // Behind a CLOSE, which has said it all.
        if !is(Opcode::Close) && !is(Opcode::Pong) {
            frame(&whole[prefix..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::websocket::{put_close, put_control, put_header};

    /// Bytes of a body that are told, however it comes.
    const LOOKED_AT: usize = HEAD_BYTES - 10;

    fn stream(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut bytes, mut heads) = (Vec::new(), Vec::new());
        for (index, length) in lengths.iter().enumerate() {
            let body: Vec<u8> = (0..*length).map(|at| (at + 7 * index) as u8).collect();
            bytes.extend_from_slice(&(*length as u32).to_be_bytes());
            bytes.extend_from_slice(&body);
            heads.push(body[..body.len().min(LOOKED_AT)].to_vec());
        }
        (bytes, heads)
    }

    #[test]
    fn every_frame_is_found_however_the_stream_is_cut() {
        let (bytes, heads) = stream(&[1, 2, 22, 23, 24, 100, 1, 5]);
        for size in 1..=bytes.len() {
            let (mut parser, mut found) = (Parser::default(), Vec::new());
            for piece in bytes.chunks(size) {
                let mut note = |body: &[u8]| {
                    found.push(body[..body.len().min(LOOKED_AT)].to_vec());
                };
                parser.feed(piece, &mut note).unwrap();
            }
            assert_eq!(found, heads, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_out_of_step_is_told() {
        for bad in [0, FRAME_BYTES_MAX + 1] {
            for size in 1..=5 {
                let mut bytes = u32::try_from(bad).unwrap().to_be_bytes().to_vec();
                bytes.push(130);
                let mut parser = Parser::default();
                let told = bytes
                    .chunks(size)
                    .any(|piece| parser.feed(piece, &mut |_| {}) == Err(OutOfStep::Length(bad)));
                assert!(told, "{bad} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_websocket_is_read_however_its_stream_is_cut() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n".to_vec();
        let mut heads = Vec::new();
        for (index, length) in [1, 22, 23, 24, 125, 126, 300, 70_000, 2]
            .into_iter()
            .enumerate()
        {
            let body: Vec<u8> = (0..length).map(|at| (at + 7 * index) as u8).collect();
            put_header(&mut bytes, Opcode::Binary, length);
            bytes.extend_from_slice(&body);
            heads.push(body[..body.len().min(LOOKED_AT)].to_vec());
            put_control(&mut bytes, Opcode::Ping, &[]);
            heads.push(vec![PING]);
        }
        put_close(&mut bytes, 4001, "draining");
        for size in (1..200).chain([1_000, 70_001, bytes.len()]) {
            let (mut parser, mut found) = (Parser::web(), Vec::new());
            for piece in bytes.chunks(size) {
                let mut note = |body: &[u8]| found.push(body[..body.len().min(LOOKED_AT)].to_vec());
                parser.feed(piece, &mut note).unwrap();
            }
            assert_eq!(found, heads, "in pieces of {size}");
        }
    }

    #[test]
    fn what_no_gateway_sends_is_told() {
        let fed = |bytes: &[u8]| {
            let mut parser = Parser::web();
            let answer = b"HTTP/1.1 101 \r\n\r\n";
            parser.feed(answer, &mut |_| {}).unwrap();
            parser.feed(bytes, &mut |_| {})
        };
        let refused = Parser::web().feed(b"HTTP/1.1 503 ", &mut |_| {});
        assert_eq!(refused, Err(OutOfStep::Refused));
        assert_eq!(fed(&[0x82, 0x81]), Err(OutOfStep::Frame), "with a mask");
        assert_eq!(fed(&[0x02, 0x01]), Err(OutOfStep::Frame), "in parts");
        let long = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(fed(&long), Err(OutOfStep::Length(1 << 24)));
    }
}

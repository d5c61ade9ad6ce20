//! Frames counted as they come, in whatever pieces: nothing of a payload is copied but its stamp.

use crate::wire::frame::LENGTH_BYTES;

/// Bytes of a payload that are looked at: when it was due, and which one it is.
pub const STAMP_BYTES: usize = 12;
/// Bytes of a PUSH before its payload, where no group is named: length, type, number, scope, n.
pub const PUSH_BYTES: usize = LENGTH_BYTES + 1 + 8 + 1 + 1;

/// What is kept of a frame that comes in pieces: all that anybody looks at.
const HEAD_BYTES: usize = PUSH_BYTES + STAMP_BYTES;
/// A length above this is a stream out of step and no frame.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A stream that does not hold frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes: the stream is out of step")]
pub struct OutOfStep(u32);

/// The place in one connection's stream, between two reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parser {
    head: [u8; HEAD_BYTES],
    kept: u8,
    /// Bytes of the frame still to come behind its kept head.
    left: u32,
}

impl Parser {
    /// Takes what a read brought and calls `frame` for each frame that is whole now, with its body
    /// from the type on: all of it, or its first 23 bytes.
    ///
    /// # Errors
    /// [`OutOfStep`] for a length of 0 or above 1 MiB.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        frame: &mut impl FnMut(&[u8]),
    ) -> Result<(), OutOfStep> {
        while !bytes.is_empty() {
            if self.kept == 0
                && let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>()
            {
                let length = length(*prefix)?;
                if let Some((body, rest)) = rest.split_at_checked(length as usize) {
                    frame(body);
                    bytes = rest;
                    continue;
                }
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
        let kept = usize::from(self.kept);
        let (mut used, wanted) = (0, self.wanted()?);
        if kept < wanted {
            used = bytes.len().min(wanted - kept);
            self.head[kept..kept + used].copy_from_slice(&bytes[..used]);
            self.kept += u8::try_from(used).expect("a head is shorter than 256 bytes");
            if usize::from(self.kept) == LENGTH_BYTES || usize::from(self.kept) < wanted {
                return Ok(&bytes[used..]);
            }
            let whole = LENGTH_BYTES as u32 + length(self.prefix())?;
            self.left = whole - u32::from(self.kept);
        }
        let skipped = (bytes.len() - used).min(self.left as usize);
        self.left -= skipped as u32;
        if self.left == 0 {
            frame(&self.head[LENGTH_BYTES..usize::from(self.kept)]);
            self.kept = 0;
        }
        Ok(&bytes[used + skipped..])
    }

    /// How many bytes of the frame are to be kept: its length first, then its head.
    fn wanted(&self) -> Result<usize, OutOfStep> {
        if usize::from(self.kept) < LENGTH_BYTES {
            return Ok(LENGTH_BYTES);
        }
        let whole = LENGTH_BYTES + length(self.prefix())? as usize;
        Ok(whole.min(HEAD_BYTES))
    }

    fn prefix(&self) -> [u8; LENGTH_BYTES] {
        let [a, b, c, d, ..] = self.head;
        [a, b, c, d]
    }
}

fn length(prefix: [u8; LENGTH_BYTES]) -> Result<u32, OutOfStep> {
    let length = u32::from_be_bytes(prefix);
    match length {
        1..=FRAME_BYTES_MAX => Ok(length),
        _ => Err(OutOfStep(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut bytes, mut heads) = (Vec::new(), Vec::new());
        for (index, length) in lengths.iter().enumerate() {
            let body: Vec<u8> = (0..*length).map(|at| (at + 7 * index) as u8).collect();
            bytes.extend_from_slice(&(*length as u32).to_be_bytes());
            bytes.extend_from_slice(&body);
            heads.push(body[..body.len().min(HEAD_BYTES - LENGTH_BYTES)].to_vec());
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
                    found.push(body[..body.len().min(HEAD_BYTES - LENGTH_BYTES)].to_vec());
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
                let mut bytes = u32::to_be_bytes(bad).to_vec();
                bytes.push(130);
                let mut parser = Parser::default();
                let told = bytes
                    .chunks(size)
                    .any(|piece| parser.feed(piece, &mut |_| {}) == Err(OutOfStep(bad)));
                assert!(told, "{bad} in pieces of {size}");
            }
        }
    }
}

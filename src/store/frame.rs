//! One record as it stands in a segment.
//!
//! ```text
//!  0          4          8               16         20
//!  | length   | crc of   | number        | crc of   | body: length bytes
//!  | and MORE | the body |               | 0 to 16  |
//!
//!  20            28           36       40           42          46
//!  | accepted_ms | expires_ms | key_id | collapse n | targets n | collapse | targets | payload
//! ```
//!
//! All integers are big-endian. The head has a checksum of its own, so that a record that was cut
//! off (its head is whole and says that more belongs to it) is told from one that was damaged, and
//! so that the records behind a damaged body are found.

use std::io;

use super::Record;

/// Bytes before the body.
pub(super) const HEAD_BYTES: usize = 20;
/// Bytes of the body before the collapse key.
const FIXED_BYTES: usize = 26;
/// Of one record's body: a payload, 512 targets and a collapse key are a fifth of it. What a head
/// declares beyond is damage.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// In the length: the batch goes on behind this record. The tail of the store ends with a batch.
const MORE: u32 = 1 << 31;
/// The highest number of a record. Twice as high a block behind it can be reserved.
pub(super) const NUMBER_MAX: u64 = u64::MAX >> 2;

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) body_bytes: usize,
    pub(super) more: bool,
    pub(super) number: u64,
    body_crc: u32,
}

impl Head {
    /// `None` when these are not the bytes of a head as it was written.
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_be_bytes(array(&bytes[at..at + 4]));
        if crc32fast::hash(&bytes[..16]) != word(16) {
            return None;
        }
        let head = Self {
            body_bytes: (word(0) & !MORE) as usize,
            more: word(0) & MORE != 0,
            number: u64::from_be_bytes(array(&bytes[8..16])),
            body_crc: word(4),
        };
        let sane = (FIXED_BYTES..=BODY_BYTES_MAX).contains(&head.body_bytes)
            && (1..=NUMBER_MAX).contains(&head.number);
        sane.then_some(head)
    }

    /// The bytes that [`Self::parse`] reads.
    pub(super) fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let length = self.body_bytes as u32 | if self.more { MORE } else { 0 };
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.body_crc.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The record, when this body is the one that was written with this head.
    pub(super) fn record<'a>(&self, body: &'a [u8]) -> Option<Record<'a>> {
        if body.len() != self.body_bytes || crc32fast::hash(body) != self.body_crc {
            return None;
        }
        let (fixed, rest) = body.split_at_checked(FIXED_BYTES)?;
        let collapse = usize::from(u16::from_be_bytes(array(&fixed[20..22])));
        let targets = u32::from_be_bytes(array(&fixed[22..26])) as usize;
        let (collapse, rest) = rest.split_at_checked(collapse)?;
        let (targets, payload) = rest.split_at_checked(targets)?;
        Some(Record {
            number: self.number,
            accepted_ms: u64::from_be_bytes(array(&fixed[..8])),
            expires_ms: u64::from_be_bytes(array(&fixed[8..16])),
            key_id: u32::from_be_bytes(array(&fixed[16..20])),
            collapse,
            targets,
            payload,
        })
    }
}

/// Bytes that a record takes in a segment.
///
/// # Errors
/// `InvalidInput` when it is none that could be read again: a number of 0 or of 2^62 or more, a
/// collapse key over 65,535 bytes, or more than 1 MiB in all.
pub(super) fn size(record: &Record<'_>) -> io::Result<usize> {
    let len = len(record) as usize;
    let body = len - HEAD_BYTES;
    let fits = body <= BODY_BYTES_MAX
        && record.collapse.len() <= usize::from(u16::MAX)
        && (1..=NUMBER_MAX).contains(&record.number);
    if !fits {
        let number = record.number;
        let text = format!("record {number} of {body} bytes exceeds {BODY_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(len)
}

/// Bytes that a record takes that was read.
pub(super) fn len(record: &Record<'_>) -> u64 {
    let variable = record.collapse.len() + record.targets.len() + record.payload.len();
    (HEAD_BYTES + FIXED_BYTES + variable) as u64
}

/// Appends a record whose size was asked for. `more`: the batch goes on behind it.
pub(super) fn encode(out: &mut Vec<u8>, record: &Record<'_>, more: bool) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.extend_from_slice(&record.accepted_ms.to_be_bytes());
    out.extend_from_slice(&record.expires_ms.to_be_bytes());
    out.extend_from_slice(&record.key_id.to_be_bytes());
    out.extend_from_slice(&(record.collapse.len() as u16).to_be_bytes());
    out.extend_from_slice(&(record.targets.len() as u32).to_be_bytes());
    out.extend_from_slice(record.collapse);
    out.extend_from_slice(record.targets);
    out.extend_from_slice(record.payload);
    let body = &out[start + HEAD_BYTES..];
    let head = Head {
        body_bytes: body.len(),
        more,
        number: record.number,
        body_crc: crc32fast::hash(body),
    };
    out[start..start + HEAD_BYTES].copy_from_slice(&head.bytes());
}

/// A slice of the array's length as the array.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

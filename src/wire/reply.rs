//! Replies to business services: what became of a request, in numbers.

use super::datagram::{
    HEADER_BYTES, Header, Op, PING_BYTES_MAX, PRESENCE_TARGETS_MAX, REPLY_OP, put_datagram,
};
use super::reader::{Reader, Truncated, clamped};
use super::reason::{RejectCause, Status};
use super::seal::{self, Key};

/// Bytes of a count of sessions in the answer to a PRESENCE.
const SESSIONS_BYTES: usize = 4;

/// How many sessions a request met, and how they fared. For a push, matched = written + waiting +
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions that the request addressed.
    pub matched: u32,
    /// Of those, the ones for which it is done (for a push: the kernel took the whole message).
    pub written: u32,
    /// Of those, the ones that have it ahead of them in the log.
    pub waiting: u32,
    /// Of those, the ones for which it could not be done.
    pub refused: u32,
}

/// The body of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// What became of the request.
    pub status: Status,
    /// How many sessions it met.
    pub counts: Counts,
    /// How long it has taken, in milliseconds.
    pub elapsed_ms: u32,
    /// The number of a kept message; 0 for anything else.
    pub number: u64,
    /// For a PRESENCE the sessions of each target, as [`Reply::sessions`] reads them (u32, big
    /// endian); for a PING its bytes; else empty.
    pub tail: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The answer to a PRESENCE: the sessions of each target, in the order of the request.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        let (sessions, _) = self.tail.as_chunks::<SESSIONS_BYTES>();
        sessions.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Why a datagram is not the reply that a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not a datagram of the gateway: whoever sent it, it is to be ignored.
    #[error(transparent)]
    Rejected(#[from] RejectCause),
    /// A field reaches behind the end of the datagram.
    #[error("reply ends early: a field needs {needs} bytes, {left} are left")]
    Truncated {
        /// Bytes that the field needs.
        needs: u32,
        /// Bytes that the datagram still has.
        left: u32,
    },
    /// A status that is not defined.
    #[error("unknown status {0}")]
    Status(u8),
    /// A reserved byte that is not zero.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// Bytes behind the fixed fields that do not fit the op; how many.
    #[error("{0} bytes behind the counts do not fit the op")]
    Tail(u32),
}

impl From<Truncated> for ReplyError {
    fn from(Truncated { needs, left }: Truncated) -> Self {
        Self::Truncated { needs, left }
    }
}

/// Appends the whole reply to `request`: its op and 128, its key id, its request id, and the
/// gateway's time `now_ms`; sealed with the request's key, or unsigned (with key id 0) without.
pub fn encode_reply(
    out: &mut Vec<u8>,
    request: &Header,
    now_ms: u64,
    reply: &Reply<'_>,
    key: Option<&Key>,
) {
    let header = Header {
        time_ms: now_ms,
        ..*request
    };
    put_datagram(out, &header, request.op | REPLY_OP, key, |out| {
        out.extend_from_slice(&[reply.status.code(), 0, 0, 0]);
        let Counts {
            matched,
            written,
            waiting,
            refused,
        } = reply.counts;
        for number in [matched, written, waiting, refused, reply.elapsed_ms] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&reply.number.to_be_bytes());
        out.extend_from_slice(reply.tail);
    });
}

/// Reads a whole reply, after checking that it is sealed with `key`, or properly unsigned without
/// one. The header that comes back has the op of the request and the gateway's time; whether the
/// request id is one that is waited for is the caller's to see.
///
/// ```text
///  64       65   66       68        72        76        80        84           88       96
/// +--------+----+--------+---------+---------+---------+---------+------------+--------+------+
/// | status | 0  | u16 0  | matched | written | waiting | refused | elapsed_ms | number | tail |
/// +--------+----+--------+---------+---------+---------+---------+------------+--------+------+
///  u8                     u32       u32       u32       u32       u32          u64
/// ```
///
/// # Errors
/// [`ReplyError::Rejected`] for what the gateway has not sent, the rest for what version 1 does
/// not define.
pub fn decode_reply<'a>(
    bytes: &'a [u8],
    key: Option<&Key>,
) -> Result<(Header, Reply<'a>), ReplyError> {
    let mut header = Header::parse(bytes)?;
    let op = header
        .op
        .checked_sub(REPLY_OP)
        .and_then(Op::from_code)
        .ok_or(RejectCause::Op)?;
    header.op = op.code();
    match key {
        Some(key) => seal::check_signed(bytes, key)?,
        None => seal::check_unsigned(bytes, header.key_id)?,
    }
    let mut reader = Reader::new(&bytes[HEADER_BYTES..]);
    let status = reader.u8()?;
    let status = Status::from_code(status).ok_or(ReplyError::Status(status))?;
    if reader.array()? != [0; 3] {
        return Err(ReplyError::Reserved);
    }
    let counts = Counts {
        matched: reader.u32()?,
        written: reader.u32()?,
        waiting: reader.u32()?,
        refused: reader.u32()?,
    };
    let (elapsed_ms, number) = (reader.u32()?, reader.u64()?);
    let tail = reader.rest();
    if !tail_fits(op, tail.len()) {
        return Err(ReplyError::Tail(clamped(tail.len())));
    }
    Ok((
        header,
        Reply {
            status,
            counts,
            elapsed_ms,
            number,
            tail,
        },
    ))
}

/// Whether a reply to `op` may end with so many bytes.
fn tail_fits(op: Op, bytes: usize) -> bool {
    match op {
        Op::Presence => {
            bytes.is_multiple_of(SESSIONS_BYTES)
                && bytes <= SESSIONS_BYTES * usize::from(PRESENCE_TARGETS_MAX)
        }
        Op::Ping => bytes <= PING_BYTES_MAX,
        Op::Push | Op::Join | Op::Leave | Op::Kick => bytes == 0,
    }
}

#[cfg(test)]
mod tests;

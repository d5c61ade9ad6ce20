//! Datagrams of business services (protocol, section 3): their header, and their requests.
//!
//! A datagram becomes a request in three steps, each a type: [`Unverified::parse`] looks at the
//! header, [`Unverified::verify`] proves where it is from, [`Request::decode`] reads the body.

mod build;
mod request;
mod target;

#[cfg(test)]
mod tests;

pub(crate) use build::put_targets;
pub use build::{RequestBody, encode_request};
pub use request::{
    BadRequest, HOLD_S_MAX, Kick, Membership, PING_BYTES_MAX, PRESENCE_TARGETS_MAX,
    PUSH_TARGETS_MAX, Push, ReplyMode, Request, USERS_MAX,
};
pub use target::{Target, Targets, TargetsIter};

pub use super::seal::Verified;

use super::reason::RejectCause;

/// The longest datagram, in bytes: what UDP over IPv4 carries.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Bytes of the header; the body begins behind them.
pub const HEADER_BYTES: usize = 64;

/// Where the MAC stands in the header, up to its end.
pub(super) const MAC_OFFSET: usize = 32;

/// A reply has the op of its request and this.
pub(super) const REPLY_OP: u8 = 128;

const MAGIC: [u8; 2] = *b"PG";

closed_list! {
    /// What a request asks for.
    Op: u8 {
        /// Send a message to its targets.
        Push = 1 "push",
        /// Put users into a group.
        Join = 2 "join",
        /// Take users out of a group.
        Leave = 3 "leave",
        /// End sessions of a user.
        Kick = 4 "kick",
        /// Count sessions.
        Presence = 5 "presence",
        /// Answer with the same bytes.
        Ping = 6 "ping",
    }
}

/// The fields of a header, but for its MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The code of the request's op, below 128; also in a reply, which has 128 more on the wire.
    pub op: u8,
    /// The key under which the datagram is signed; 0: unsigned.
    pub key_id: u32,
    /// Unix time in milliseconds: the sender's in a request, the gateway's in a reply.
    pub time_ms: u64,
    /// Unique for each request, and the same in its repeats and its reply.
    pub request_id: [u8; 16],
}

impl Header {
    /// Reads a header; its op is that of the wire, any byte. The MAC is not looked at.
    ///
    /// ```text
    ///  0       2         3    4        8         16            32            64
    /// +-------+---------+----+--------+---------+-------------+-------------+------ ...
    /// | "PG"  | version | op | key id | time_ms | request id  | MAC         | body
    /// +-------+---------+----+--------+---------+-------------+-------------+------ ...
    ///  50 47   1         u8   u32      u64       16 bytes      32 bytes
    /// |<------------------- signed ------------------------->|             |<- signed
    /// ```
    pub(super) fn parse(datagram: &[u8]) -> Result<Self, RejectCause> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(RejectCause::Short);
        }
        let Some(header) = datagram.first_chunk::<HEADER_BYTES>() else {
            return Err(RejectCause::Short);
        };
        if header[..2] != MAGIC {
            return Err(RejectCause::Magic);
        }
        if header[2] != super::frame::PROTOCOL_VERSION {
            return Err(RejectCause::Version);
        }
        Ok(Self {
            op: header[3],
            key_id: u32::from_be_bytes(field(header, 4)),
            time_ms: u64::from_be_bytes(field(header, 8)),
            request_id: field(header, 16),
        })
    }

    /// Appends the header, with this op and a MAC of zeros.
    fn put(&self, out: &mut Vec<u8>, op: u8, key_id: u32) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[super::frame::PROTOCOL_VERSION, op]);
        out.extend_from_slice(&key_id.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.request_id);
        out.extend_from_slice(&[0; HEADER_BYTES - MAC_OFFSET]);
    }
}

/// The `N` bytes at an offset of the header, both constants of its layout.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[offset..offset + N]);
    field
}

/// Appends a datagram: the header with `op`, then what `body` appends, sealed. Without a key it is
/// unsigned and has key id 0.
pub(super) fn put_datagram(
    out: &mut Vec<u8>,
    header: &Header,
    op: u8,
    key: Option<&super::seal::Key>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    header.put(out, op, if key.is_some() { header.key_id } else { 0 });
    body(out);
    if let Some(key) = key {
        super::seal::seal(&mut out[start..], key);
    }
}

/// A request whose header has been read, and nothing else: who sent it is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Unverified<'a> {
    bytes: &'a [u8],
    header: Header,
    op: Op,
}

impl<'a> Unverified<'a> {
    /// Reads the header of a datagram.
    ///
    /// # Errors
    /// In this order: [`RejectCause::Short`] (under 64 bytes, or over the maximum), `Magic`,
    /// `Version`, `Op` (a reply's, or one that is not known).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RejectCause> {
        let header = Header::parse(bytes)?;
        let op = Op::from_code(header.op).ok_or(RejectCause::Op)?;
        Ok(Self { bytes, header, op })
    }

    /// Which key it claims to be signed with; 0: none.
    pub fn key_id(&self) -> u32 {
        self.header.key_id
    }

    /// The header. Nothing of it is proven.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn op(&self) -> Op {
        self.op
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

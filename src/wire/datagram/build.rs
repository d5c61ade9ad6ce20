//! Requests as senders write them: their lists are slices.

use super::super::reader::put_short;
use super::super::seal::Key;
use super::{Header, Kick, Op, ReplyMode, Target, put_datagram};

/// The body of a request to be sent. Names have passed [`name`](crate::wire::name); that the
/// bounds of [`super::Request`] hold is the sender's care, since the gateway answers BAD_REQUEST.
#[derive(Clone, Copy, Debug)]
pub enum RequestBody<'a> {
    /// Send a message; the fields are those of [`super::Push`].
    Push {
        /// What to hear about it.
        reply: ReplyMode,
        /// Supersedes earlier messages with the same bytes here; empty: none. 255 bytes at most.
        collapse: &'a [u8],
        /// How long the message is kept, in seconds; 0: live, not kept.
        ttl_s: u32,
        /// Over which time its deliveries are spread, in milliseconds; only with ttl 0.
        spread_ms: u32,
        /// 1 to 512 targets, at least one of them no exception.
        targets: &'a [Target<'a>],
        /// The bytes for the clients, maybe none.
        payload: &'a [u8],
    },
    /// Put users into a group.
    Join {
        /// The group.
        group: &'a str,
        /// 1 to 512 users.
        users: &'a [&'a str],
    },
    /// Take users out of a group.
    Leave {
        /// The group.
        group: &'a str,
        /// 1 to 512 users.
        users: &'a [&'a str],
    },
    /// End sessions.
    Kick(Kick<'a>),
    /// Count sessions.
    Presence {
        /// 1 to 256 targets, none of them an exception.
        targets: &'a [Target<'a>],
    },
    /// Answer with the same bytes, 64 at most.
    Ping(&'a [u8]),
}

impl RequestBody<'_> {
    /// What is asked for.
    pub const fn op(&self) -> Op {
        match self {
            Self::Push { .. } => Op::Push,
            Self::Join { .. } => Op::Join,
            Self::Leave { .. } => Op::Leave,
            Self::Kick(_) => Op::Kick,
            Self::Presence { .. } => Op::Presence,
            Self::Ping(_) => Op::Ping,
        }
    }

    /// Appends the body alone, as it stands in a datagram.
    ///
    /// # Panics
    /// As [`encode_request`].
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Push {
                reply,
                collapse,
                ttl_s,
                spread_ms,
                targets,
                payload,
            } => {
                out.push(reply.code());
                put_short(out, collapse);
                out.extend_from_slice(&ttl_s.to_be_bytes());
                out.extend_from_slice(&spread_ms.to_be_bytes());
                put_targets(out, targets);
                out.extend_from_slice(payload);
            }
            Self::Join { group, users } | Self::Leave { group, users } => {
                put_short(out, group.as_bytes());
                put_count(out, users.len());
                for user in *users {
                    put_short(out, user.as_bytes());
                }
            }
            Self::Kick(Kick {
                user,
                device,
                hold_s,
                reason,
            }) => {
                put_short(out, user.as_bytes());
                put_short(out, device.as_bytes());
                out.extend_from_slice(&hold_s.to_be_bytes());
                put_short(out, reason.as_bytes());
            }
            Self::Presence { targets } => put_targets(out, targets),
            Self::Ping(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Appends a whole request: sealed with `key`, or unsigned (with key id 0) without one. The op is
/// that of `body`; `header.op` is not looked at. Whether it fits into a datagram
/// ([`DATAGRAM_BYTES_MAX`](super::DATAGRAM_BYTES_MAX)) is for the caller to see.
///
/// # Panics
/// With a name or collapse key over 255 bytes, or more than 65,535 targets or users.
pub fn encode_request(
    out: &mut Vec<u8>,
    header: &Header,
    body: &RequestBody<'_>,
    key: Option<&Key>,
) {
    put_datagram(out, header, body.op().code(), key, |out| body.put(out));
}

/// Appends `u16 targets` and the targets, 65,535 at most, as requests have them.
pub(crate) fn put_targets(out: &mut Vec<u8>, targets: &[Target<'_>]) {
    put_count(out, targets.len());
    for target in targets {
        out.push(target.code());
        put_short(out, target.name().as_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("a request has 512 targets or users at most");
    out.extend_from_slice(&count.to_be_bytes());
}

//! The bodies of requests. They are read only after the seal has been checked.

use super::super::name::{self, NameError, Names};
use super::super::reader::{Reader, Truncated, clamped};
use super::{Op, Targets};

/// The most targets of a PUSH.
pub const PUSH_TARGETS_MAX: u16 = 512;

/// The most targets of a PRESENCE.
pub const PRESENCE_TARGETS_MAX: u16 = 256;

/// The most users of a JOIN or LEAVE.
pub const USERS_MAX: u16 = 512;

/// The longest time that a KICK keeps somebody out, in seconds: a day.
pub const HOLD_S_MAX: u32 = 86_400;

/// The most bytes of a PING.
pub const PING_BYTES_MAX: usize = 64;

closed_list! {
    /// What a sender wants to hear about its push.
    ReplyMode: u8 {
        /// One reply, when the job has ended.
        One = 0 "one",
        /// No reply at all, whatever happens.
        None = 1 "none",
        /// ACCEPTED at once, and the reply when the job has ended.
        Two = 2 "two",
    }
}

/// Why the body of an authentic request is malformed or over a bound of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A field reaches behind the end of the datagram.
    #[error("request ends early: a field needs {needs} bytes, {left} are left")]
    Truncated {
        /// Bytes that the field needs.
        needs: u32,
        /// Bytes that the datagram still has.
        left: u32,
    },
    /// Bytes behind the last field; how many.
    #[error("{0} bytes behind the last field")]
    Trailing(u32),
    /// A reply mode that is not defined.
    #[error("unknown reply mode {0}")]
    ReplyMode(u8),
    /// A spread push with a ttl: only a live one can be spread.
    #[error("spread over {spread_ms} ms with a ttl of {ttl_s} s: only ttl 0 can be spread")]
    SpreadKept {
        /// The spread, in milliseconds.
        spread_ms: u32,
        /// The ttl, in seconds.
        ttl_s: u32,
    },
    /// No target, or too many.
    #[error("{count} targets are not 1 to {max}")]
    TargetCount {
        /// How many were declared.
        count: u16,
        /// How many there may be.
        max: u16,
    },
    /// Exceptions only: nobody is addressed.
    #[error("every target is an exception")]
    OnlyExceptions,
    /// A scope that is not defined, or not for this op.
    #[error("unknown scope {0}")]
    Scope(u8),
    /// A name where all are addressed.
    #[error("scope all has a name")]
    NamedAll,
    /// No user, or too many; how many were declared.
    #[error("{0} users are not 1 to 512")]
    UserCount(u16),
    /// A hold over a day, in seconds.
    #[error("hold of {0} s exceeds 86400")]
    Hold(u32),
    /// A PING that is too long; its bytes.
    #[error("ping of {0} bytes exceeds 64")]
    Ping(u32),
    /// A user, device, group or reason that is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl From<Truncated> for BadRequest {
    fn from(Truncated { needs, left }: Truncated) -> Self {
        Self::Truncated { needs, left }
    }
}

/// A request of a business service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Send a message.
    Push(Push<'a>),
    /// Put users into a group.
    Join(Membership<'a>),
    /// Take users out of a group.
    Leave(Membership<'a>),
    /// End sessions.
    Kick(Kick<'a>),
    /// Count the sessions of 1 to 256 targets, none of them an exception.
    Presence(Targets<'a>),
    /// Answer with the same bytes, 0 to 64.
    Ping(&'a [u8]),
}

/// A message and whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push<'a> {
    /// What the sender wants to hear.
    pub reply: ReplyMode,
    /// Supersedes earlier messages with the same bytes here; empty: none. 0 to 255 bytes, any.
    pub collapse: &'a [u8],
    /// How long the message is kept, in seconds; 0: live, not kept.
    pub ttl_s: u32,
    /// Over which time its deliveries are spread, in milliseconds; 0 when `ttl_s` is not.
    pub spread_ms: u32,
    /// 1 to 512 targets, at least one of them no exception.
    pub targets: Targets<'a>,
    /// The bytes for the clients, maybe none.
    pub payload: &'a [u8],
}

/// Users to put into a group, or to take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership<'a> {
    /// The group.
    pub group: &'a str,
    /// 1 to 512 users.
    pub users: Names<'a>,
}

/// Sessions to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kick<'a> {
    /// Their user.
    pub user: &'a str,
    /// Their device; empty: every device.
    pub device: &'a str,
    /// How long they stay out, in seconds, [`HOLD_S_MAX`] at most; 0 lifts an earlier hold.
    pub hold_s: u32,
    /// Why, in words for people; maybe empty.
    pub reason: &'a str,
}

impl<'a> Request<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Whatever the protocol calls malformed, and every bound that it sets itself. The bounds of
    /// a configuration (payload, spread, rate) are the caller's.
    pub fn decode(op: Op, body: &'a [u8]) -> Result<Self, BadRequest> {
        let mut reader = Reader::new(body);
        let request = match op {
            Op::Push => Self::Push(push(&mut reader)?),
            Op::Join => Self::Join(membership(&mut reader)?),
            Op::Leave => Self::Leave(membership(&mut reader)?),
            Op::Kick => Self::Kick(kick(&mut reader)?),
            Op::Presence => Self::Presence(presence(&mut reader)?),
            Op::Ping => Self::Ping(ping(&mut reader)?),
        };
        match reader.remaining().len() {
            0 => Ok(request),
            bytes => Err(BadRequest::Trailing(clamped(bytes))),
        }
    }

    /// What is asked for.
    pub const fn op(&self) -> Op {
        match self {
            Self::Push(_) => Op::Push,
            Self::Join(_) => Op::Join,
            Self::Leave(_) => Op::Leave,
            Self::Kick(_) => Op::Kick,
            Self::Presence(_) => Op::Presence,
            Self::Ping(_) => Op::Ping,
        }
    }
}

/// ```text
///  0       1   2             2 + n   6 + n       10 + n
/// +-------+---+-------------+-------+-----------+-------------+------------- ... +---------+
/// | reply | n | collapse[n] | ttl_s | spread_ms | u16 targets | targets times a  | payload |
/// +-------+---+-------------+-------+-----------+-------------+ target       ... +---------+
///  0 to 2                    u32     u32
/// ```
fn push<'a>(reader: &mut Reader<'a>) -> Result<Push<'a>, BadRequest> {
    let reply = reader.u8()?;
    let reply = ReplyMode::from_code(reply).ok_or(BadRequest::ReplyMode(reply))?;
    let collapse = reader.short_bytes()?;
    let ttl_s = reader.u32()?;
    let spread_ms = reader.u32()?;
    if ttl_s != 0 && spread_ms != 0 {
        return Err(BadRequest::SpreadKept { spread_ms, ttl_s });
    }
    let mut addresses_somebody = false;
    let targets = Targets::decode(reader, PUSH_TARGETS_MAX, |target| {
        addresses_somebody |= !target.is_exception();
        Ok(())
    })?;
    if !addresses_somebody {
        return Err(BadRequest::OnlyExceptions);
    }
    Ok(Push {
        reply,
        collapse,
        ttl_s,
        spread_ms,
        targets,
        payload: reader.rest(),
    })
}

/// ```text
///  0   1          1 + n       3 + n
/// +---+----------+-----------+---+---------+ ...
/// | n | group[n] | u16 users | n | user[n] |      users times
/// +---+----------+-----------+---+---------+ ...
/// ```
fn membership<'a>(reader: &mut Reader<'a>) -> Result<Membership<'a>, BadRequest> {
    let group = name::group(reader.short_bytes()?)?;
    let user_count = reader.u16()?;
    if !(1..=USERS_MAX).contains(&user_count) {
        return Err(BadRequest::UserCount(user_count));
    }
    let users = Names::decode::<BadRequest>(reader, user_count, name::name)?;
    Ok(Membership { group, users })
}

/// ```text
///  0   1         1 + n
/// +---+---------+---+-----------+------------+---+-----------+
/// | n | user[n] | n | device[n] | u32 hold_s | n | reason[n] |
/// +---+---------+---+-----------+------------+---+-----------+
/// ```
fn kick<'a>(reader: &mut Reader<'a>) -> Result<Kick<'a>, BadRequest> {
    let user = name::name(reader.short_bytes()?)?;
    let device = name::device(reader.short_bytes()?)?;
    let hold_s = reader.u32()?;
    if hold_s > HOLD_S_MAX {
        return Err(BadRequest::Hold(hold_s));
    }
    let reason = name::reason(reader.short_bytes()?)?;
    Ok(Kick {
        user,
        device,
        hold_s,
        reason,
    })
}

fn presence<'a>(reader: &mut Reader<'a>) -> Result<Targets<'a>, BadRequest> {
    Targets::decode(reader, PRESENCE_TARGETS_MAX, |target| {
        if target.is_exception() {
            Err(BadRequest::Scope(target.code()))
        } else {
            Ok(())
        }
    })
}

fn ping<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], BadRequest> {
    let bytes = reader.rest();
    if bytes.len() > PING_BYTES_MAX {
        return Err(BadRequest::Ping(clamped(bytes.len())));
    }
    Ok(bytes)
}

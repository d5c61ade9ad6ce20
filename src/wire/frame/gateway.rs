//! Frames to the client.

use super::super::name;
use super::super::reader::{Reader, put_long, put_short};
use super::super::reason::CloseCode;
use super::{
    CLOSE, CURRENT, FrameError, HELLO, JOIN, JOINED, LEAVE, LEFT, PING, PONG, PROTOCOL_VERSION,
    PUSH, REFUSED, Scope, TOKEN, WELCOME, finish, group, open, ping, put_frame,
};

/// The flag of a WELCOME that goes on where the client was.
pub const RESUMED: u8 = 1;

/// Type, number, scope and the length of the group: a PUSH before its group and payload.
const PUSH_FIXED_BYTES: usize = 1 + 8 + 1 + 1;

/// A frame from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayFrame<'a> {
    /// The first frame, unless it is a CLOSE.
    Welcome(Welcome),
    /// A message.
    Push {
        /// Its number in the epoch; 0 for a live one.
        number: u64,
        /// Under which of its targets the session was found.
        scope: Scope,
        /// The group when the scope is one, else empty.
        group: &'a str,
        /// The sender's bytes.
        payload: &'a [u8],
    },
    /// The session is in `group`.
    Joined {
        /// The group.
        group: &'a str,
    },
    /// The session is not in `group`.
    Left {
        /// The group.
        group: &'a str,
    },
    /// A frame, or one group of it, was not carried out; the connection stays.
    Refused {
        /// The type of the refused frame: HELLO, JOIN, LEAVE or TOKEN.
        frame_type: u8,
        /// Why.
        code: CloseCode,
        /// The group that was refused; empty for a TOKEN that is refused as such.
        group: &'a str,
    },
    /// Everything up to `cursor` that addresses the session has been sent.
    Current {
        /// A number that the client may take as its cursor.
        cursor: u64,
    },
    /// The last frame.
    Close {
        /// Why.
        code: CloseCode,
        /// When to come back, in milliseconds;
        /// [`RETRY_NEVER`](crate::wire::reason::RETRY_NEVER): not as it is.
        retry_after_ms: u32,
        /// Why, in words for people; maybe empty.
        reason: &'a str,
    },
    /// 0 to 8 bytes, to be sent back in a PONG.
    Ping(&'a [u8]),
    /// The bytes of the PING that it answers.
    Pong(&'a [u8]),
}

/// What the gateway grants to a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version in use: 1.
    pub version: u8,
    /// Whether everything after the client's cursor follows.
    pub resumed: bool,
    /// The heartbeat in use, in seconds.
    pub heartbeat_s: u16,
    /// The longest frame that the gateway sends, in bytes of type and fields.
    pub max_frame: u32,
    /// The session, unique within one run of the gateway.
    pub session: u64,
    /// The epoch of the numbers.
    pub epoch: u64,
    /// The client's own cursor when resumed, else the head of the log.
    pub cursor: u64,
}

impl<'a> GatewayFrame<'a> {
    /// Reads a body: type and fields. PING and PONG are those of [`super::ClientFrame::decode`].
    ///
    /// ```text
    ///  0             1         2       3             5           9         17      25
    /// +-------------+---------+-------+-------------+-----------+---------+-------+--------+
    /// | 129 WELCOME | version | flags | heartbeat_s | max_frame | session | epoch | cursor |
    /// +-------------+---------+-------+-------------+-----------+---------+-------+--------+
    ///                u8        u8      u16           u32         u64       u64     u64
    /// flags: 1 RESUMED
    ///
    ///  0          1        9       10  11         11 + n
    /// +----------+--------+-------+---+----------+--------------------+
    /// | 130 PUSH | number | scope | n | group[n] | payload (the rest) |    n = 0 unless scope 2
    /// +----------+--------+-------+---+----------+--------------------+
    ///             u64      u8      u8
    ///
    ///  0            1   2
    /// +------------+---+----------+
    /// | 131 JOINED | n | group[n] |    n at least 1
    /// | 132 LEFT   | n | group[n] |
    /// +------------+---+----------+
    ///
    ///  0             1              2      4   5
    /// +-------------+--------------+------+---+----------+
    /// | 133 REFUSED | refused type | code | n | group[n] |    n = 0 only for a TOKEN
    /// +-------------+--------------+------+---+----------+
    ///                u8             u16    u8
    ///
    ///  0           1      3                7   9
    /// +-----------+------+----------------+---+-----------+
    /// | 134 CLOSE | code | retry_after_ms | n | reason[n] |    n at most 255
    /// +-----------+------+----------------+---+-----------+
    ///              u16    u32              u16
    ///
    ///  0             1
    /// +-------------+------------+
    /// | 135 CURRENT | u64 cursor |
    /// +-------------+------------+
    /// ```
    ///
    /// # Errors
    /// Whatever the protocol calls malformed, also a type that only a client sends.
    pub fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (frame_type, mut reader) = open(body)?;
        let frame = match frame_type {
            WELCOME => Self::Welcome(welcome(&mut reader)?),
            PUSH => push(&mut reader)?,
            JOINED => Self::Joined {
                group: group(&mut reader)?,
            },
            LEFT => Self::Left {
                group: group(&mut reader)?,
            },
            REFUSED => refused(&mut reader)?,
            CLOSE => close(&mut reader)?,
            CURRENT => Self::Current {
                cursor: reader.u64()?,
            },
            PING => Self::Ping(ping(&mut reader)?),
            PONG => Self::Pong(ping(&mut reader)?),
            unknown => return Err(FrameError::Type(unknown)),
        };
        finish(reader)?;
        Ok(frame)
    }

    /// Appends the frame with its length.
    ///
    /// # Panics
    /// With a name or reason over 255 bytes, or a payload of 4 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Push {
            number,
            scope,
            group,
            payload,
        } = self
        {
            push_header(out, *number, *scope, group, payload.len());
            return out.extend_from_slice(payload);
        }
        put_frame(out, self.frame_type(), |out| match self {
            Self::Push { .. } => {}
            Self::Welcome(welcome) => welcome.put(out),
            Self::Joined { group } | Self::Left { group } => put_short(out, group.as_bytes()),
            Self::Refused {
                frame_type,
                code,
                group,
            } => {
                out.push(*frame_type);
                out.extend_from_slice(&code.code().to_be_bytes());
                put_short(out, group.as_bytes());
            }
            Self::Current { cursor } => out.extend_from_slice(&cursor.to_be_bytes()),
            Self::Close {
                code,
                retry_after_ms,
                reason,
            } => {
                out.extend_from_slice(&code.code().to_be_bytes());
                out.extend_from_slice(&retry_after_ms.to_be_bytes());
                put_long(out, reason.as_bytes());
            }
            Self::Ping(bytes) | Self::Pong(bytes) => out.extend_from_slice(bytes),
        });
    }

    /// The type byte.
    pub const fn frame_type(&self) -> u8 {
        match self {
            Self::Welcome(_) => WELCOME,
            Self::Push { .. } => PUSH,
            Self::Joined { .. } => JOINED,
            Self::Left { .. } => LEFT,
            Self::Refused { .. } => REFUSED,
            Self::Current { .. } => CURRENT,
            Self::Close { .. } => CLOSE,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
        }
    }
}

/// Appends all of a PUSH but its payload: length, type, number, scope and group. The payload is
/// shared by every session, so it is written from where it lies. Without its first
/// [`LENGTH_BYTES`](super::LENGTH_BYTES) bytes this is the head of a WebSocket message.
///
/// # Panics
/// With a group over 255 bytes, or a payload of 4 GiB.
pub fn push_header(out: &mut Vec<u8>, number: u64, scope: Scope, group: &str, payload_len: usize) {
    debug_assert_eq!(
        scope == Scope::Group,
        !group.is_empty(),
        "a group exactly in its scope"
    );
    let length = u32::try_from(PUSH_FIXED_BYTES + group.len() + payload_len)
        .expect("a payload is far below 4 GiB: its limit is in the configuration");
    out.extend_from_slice(&length.to_be_bytes());
    out.push(PUSH);
    out.extend_from_slice(&number.to_be_bytes());
    out.push(scope.code());
    put_short(out, group.as_bytes());
}

fn welcome(reader: &mut Reader<'_>) -> Result<Welcome, FrameError> {
    let version = reader.u8()?;
    // The gateway answers with a version that the client knows, which is 1.
    if version != PROTOCOL_VERSION {
        return Err(FrameError::Version(version));
    }
    let flags = reader.u8()?;
    if flags & !RESUMED != 0 {
        return Err(FrameError::Flags(flags));
    }
    Ok(Welcome {
        version,
        resumed: flags & RESUMED != 0,
        heartbeat_s: reader.u16()?,
        max_frame: reader.u32()?,
        session: reader.u64()?,
        epoch: reader.u64()?,
        cursor: reader.u64()?,
    })
}

impl Welcome {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.version, if self.resumed { RESUMED } else { 0 }]);
        out.extend_from_slice(&self.heartbeat_s.to_be_bytes());
        out.extend_from_slice(&self.max_frame.to_be_bytes());
        out.extend_from_slice(&self.session.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.cursor.to_be_bytes());
    }
}

fn push<'a>(reader: &mut Reader<'a>) -> Result<GatewayFrame<'a>, FrameError> {
    let number = reader.u64()?;
    let scope = reader.u8()?;
    let scope = Scope::from_code(scope).ok_or(FrameError::Scope(scope))?;
    let group = optional_group(reader, |named| named == (scope == Scope::Group))?;
    Ok(GatewayFrame::Push {
        number,
        scope,
        group,
        payload: reader.rest(),
    })
}

fn refused<'a>(reader: &mut Reader<'a>) -> Result<GatewayFrame<'a>, FrameError> {
    let frame_type = reader.u8()?;
    if !matches!(frame_type, HELLO | JOIN | LEAVE | TOKEN) {
        return Err(FrameError::RefusedType(frame_type));
    }
    let code = close_code(reader)?;
    // A TOKEN is refused as such without a group, and one of its groups by name.
    let group = optional_group(reader, |named| named || frame_type == TOKEN)?;
    Ok(GatewayFrame::Refused {
        frame_type,
        code,
        group,
    })
}

fn close<'a>(reader: &mut Reader<'a>) -> Result<GatewayFrame<'a>, FrameError> {
    Ok(GatewayFrame::Close {
        code: close_code(reader)?,
        retry_after_ms: reader.u32()?,
        reason: name::reason(reader.long_bytes()?)?,
    })
}

fn close_code(reader: &mut Reader<'_>) -> Result<CloseCode, FrameError> {
    let code = reader.u16()?;
    CloseCode::from_code(code).ok_or(FrameError::CloseCode(code))
}

/// `u8 n, group[n]`, where `fits` says whether there may be a name (or none).
fn optional_group<'a>(
    reader: &mut Reader<'a>,
    fits: impl FnOnce(bool) -> bool,
) -> Result<&'a str, FrameError> {
    let bytes = reader.short_bytes()?;
    if !fits(!bytes.is_empty()) {
        return Err(FrameError::Group(
            u8::try_from(bytes.len()).unwrap_or(u8::MAX),
        ));
    }
    if bytes.is_empty() {
        return Ok("");
    }
    Ok(name::group(bytes)?)
}

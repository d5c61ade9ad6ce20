//! The first frame of a connection: who the client is, and where in the log it was.

use super::super::name::{self, Names};
use super::super::reader::{Reader, put_long, put_short};
use super::{FrameError, HELLO, finish, put_frame};

const RESUME: u8 = 1;

/// A HELLO as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The highest version that the client knows, at least 1.
    pub version: u8,
    /// Whether the client goes on from `epoch` and `cursor`.
    pub resume: bool,
    /// The heartbeat that it asks for, in seconds, as it asks: 0 leaves the choice to the gateway.
    pub heartbeat_s: u16,
    /// The epoch of its cursor; 0 without `resume`, whatever was sent.
    pub epoch: u64,
    /// The last number that it has handled; 0 without `resume`, whatever was sent.
    pub cursor: u64,
    /// Its device, maybe empty.
    pub device: &'a str,
    /// The groups that it wants to be in, as many as it named (255 at most).
    pub groups: Names<'a>,
    /// Its token: any bytes. With `auth.mode = "none"` it must be a name, which is checked later.
    pub token: &'a [u8],
}

/// A HELLO to be sent, its groups in a slice.
#[derive(Clone, Copy, Debug)]
pub struct HelloFields<'a> {
    /// The highest version that the client knows: 1.
    pub version: u8,
    /// Whether the client goes on from `epoch` and `cursor`.
    pub resume: bool,
    /// The heartbeat that it asks for, in seconds; 0 leaves the choice to the gateway.
    pub heartbeat_s: u16,
    /// The epoch of its cursor; written as 0 without `resume`.
    pub epoch: u64,
    /// The last number that it has handled; written as 0 without `resume`.
    pub cursor: u64,
    /// Its device, maybe empty.
    pub device: &'a str,
    /// The groups that it wants to be in, 255 at most.
    pub groups: &'a [&'a str],
    /// Its token, 65,535 bytes at most.
    pub token: &'a [u8],
}

/// The fields of a HELLO.
///
/// ```text
///  0    1       2       3             5           13          21
/// +----+-------+-------+-------------+-----------+-----------+---+-----------+-- ...
/// | 1  |version| flags | heartbeat_s | u64 epoch | u64 cursor| n | device[n] |
/// +----+-------+-------+-------------+-----------+-----------+---+-----------+-- ...
///
///        ... +--------+---+----------+ ... +-------+----------+
///            | groups | n | group[n] |     | u16 n | token[n] |
///        ... +--------+---+----------+ ... +-------+----------+
///                     |<- groups times  -->|
/// flags: 1 RESUME. Above version 1, other flags and what follows the token are ignored.
/// ```
pub(super) fn decode<'a>(mut reader: Reader<'a>) -> Result<Hello<'a>, FrameError> {
    let version = reader.u8()?;
    if version == 0 {
        return Err(FrameError::Version(version));
    }
    let flags = reader.u8()?;
    if version == 1 && flags & !RESUME != 0 {
        return Err(FrameError::Flags(flags));
    }
    let resume = flags & RESUME != 0;
    let heartbeat_s = reader.u16()?;
    let (epoch, cursor) = (reader.u64()?, reader.u64()?);
    // Without RESUME the two mean nothing; nobody behind this line shall see them.
    let (epoch, cursor) = if resume { (epoch, cursor) } else { (0, 0) };
    let device = name::device(reader.short_bytes()?)?;
    let group_count = u16::from(reader.u8()?);
    let groups = Names::decode::<FrameError>(&mut reader, group_count, name::group)?;
    let token = reader.long_bytes()?;
    if version == 1 {
        finish(reader)?;
    }
    Ok(Hello {
        version,
        resume,
        heartbeat_s,
        epoch,
        cursor,
        device,
        groups,
        token,
    })
}

impl Hello<'_> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let fields = HelloFields {
            version: self.version,
            resume: self.resume,
            heartbeat_s: self.heartbeat_s,
            epoch: self.epoch,
            cursor: self.cursor,
            device: self.device,
            groups: &[],
            token: self.token,
        };
        put(out, &fields, self.groups.len(), |out| {
            out.extend_from_slice(self.groups.encoded())
        });
    }
}

/// Appends a HELLO with its length.
///
/// # Panics
/// With more than 255 groups, a name over 255 bytes or a token over 65,535 bytes: names have
/// passed [`name`](crate::wire::name), and a client bounds the rest.
pub fn encode_hello(out: &mut Vec<u8>, hello: &HelloFields<'_>) {
    put(out, hello, hello.groups.len(), |out| {
        for group in hello.groups {
            put_short(out, group.as_bytes());
        }
    });
}

fn put(
    out: &mut Vec<u8>,
    hello: &HelloFields<'_>,
    group_count: usize,
    put_groups: impl FnOnce(&mut Vec<u8>),
) {
    let (flags, epoch, cursor) = if hello.resume {
        (RESUME, hello.epoch, hello.cursor)
    } else {
        (0, 0, 0)
    };
    put_frame(out, HELLO, |out| {
        out.extend_from_slice(&[hello.version, flags]);
        out.extend_from_slice(&hello.heartbeat_s.to_be_bytes());
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&cursor.to_be_bytes());
        put_short(out, hello.device.as_bytes());
        out.push(u8::try_from(group_count).expect("a HELLO names 255 groups at most"));
        put_groups(out);
        put_long(out, hello.token);
    });
}

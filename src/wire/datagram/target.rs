//! Whom a push or a presence question addresses.

use super::super::frame::Scope;
use super::super::name;
use super::super::reader::Reader;
use super::BadRequest;

const EXCEPT_USER: u8 = 129;
const EXCEPT_GROUP: u8 = 130;

/// One target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// Every session.
    All,
    /// The sessions of a user.
    User(&'a str),
    /// The sessions in a group.
    Group(&'a str),
    /// Not the sessions of this user, whatever else addresses them.
    ExceptUser(&'a str),
    /// Not the sessions in this group, whatever else addresses them.
    ExceptGroup(&'a str),
}

impl<'a> Target<'a> {
    /// Reads a target.
    ///
    /// ```text
    ///  0       1   2
    /// +-------+---+---------+
    /// | scope | n | name[n] |    0 all (n = 0), 1 user, 2 group,
    /// +-------+---+---------+    129 except that user, 130 except that group
    /// ```
    fn decode(reader: &mut Reader<'a>) -> Result<Self, BadRequest> {
        let scope = reader.u8()?;
        let bytes = reader.short_bytes()?;
        match scope {
            0 if bytes.is_empty() => Ok(Self::All),
            0 => Err(BadRequest::NamedAll),
            1 => Ok(Self::User(name::name(bytes)?)),
            2 => Ok(Self::Group(name::group(bytes)?)),
            EXCEPT_USER => Ok(Self::ExceptUser(name::name(bytes)?)),
            EXCEPT_GROUP => Ok(Self::ExceptGroup(name::group(bytes)?)),
            unknown => Err(BadRequest::Scope(unknown)),
        }
    }

    /// The same without checking it again: bytes of a [`Targets`].
    fn decode_checked(reader: &mut Reader<'a>) -> Self {
        Self::decode(reader).expect("the targets were counted and checked when decoded")
    }

    /// The scope on the wire.
    pub(super) const fn code(&self) -> u8 {
        match self {
            Self::All => Scope::All.code(),
            Self::User(_) => Scope::User.code(),
            Self::Group(_) => Scope::Group.code(),
            Self::ExceptUser(_) => EXCEPT_USER,
            Self::ExceptGroup(_) => EXCEPT_GROUP,
        }
    }

    /// The user or group; empty for all.
    pub const fn name(&self) -> &'a str {
        match self {
            Self::All => "",
            Self::User(name)
            | Self::Group(name)
            | Self::ExceptUser(name)
            | Self::ExceptGroup(name) => name,
        }
    }

    /// Whether it takes sessions away from what the others address.
    pub const fn is_exception(&self) -> bool {
        matches!(self, Self::ExceptUser(_) | Self::ExceptGroup(_))
    }
}

/// The targets of a request: borrowed bytes that were checked when decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Targets<'a> {
    /// `count` times a target.
    bytes: &'a [u8],
    count: u16,
}

impl<'a> Targets<'a> {
    /// Reads `u16 targets` and as many targets, 1 to `max`, each of which `check` accepts.
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        max: u16,
        mut check: impl FnMut(&Target<'a>) -> Result<(), BadRequest>,
    ) -> Result<Self, BadRequest> {
        let count = reader.u16()?;
        if !(1..=max).contains(&count) {
            return Err(BadRequest::TargetCount { count, max });
        }
        let start = reader.remaining();
        for _ in 0..count {
            check(&Target::decode(reader)?)?;
        }
        let bytes = &start[..start.len() - reader.remaining().len()];
        Ok(Self { bytes, count })
    }

    /// As they stand in a datagram, their count first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.count.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.bytes);
        bytes
    }

    /// The same read again; `None` where it is not what [`to_bytes`](Self::to_bytes) made.
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let targets = Self::decode(&mut reader, u16::MAX, |_| Ok(())).ok()?;
        reader.remaining().is_empty().then_some(targets)
    }

    /// How many targets there are, exceptions included; one that stands twice counts twice.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a request has at least one target"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// The targets in their order.
    pub fn iter(&self) -> TargetsIter<'a> {
        TargetsIter {
            reader: Reader::new(self.bytes),
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for Targets<'a> {
    type Item = Target<'a>;
    type IntoIter = TargetsIter<'a>;

    fn into_iter(self) -> TargetsIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Targets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The targets of a [`Targets`], one after the other.
pub struct TargetsIter<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> Iterator for TargetsIter<'a> {
    type Item = Target<'a>;

    fn next(&mut self) -> Option<Target<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(Target::decode_checked(&mut self.reader))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for TargetsIter<'_> {}

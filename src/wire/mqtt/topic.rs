//! Topics of the gateway, and the filters by which a client asks for them.
//!
//! ```text
//! user            what is pushed to the client's user
//! all             what is pushed to everyone
//! group/<name>    what is pushed to that group; the name may hold slashes
//! ```
//!
//! A session receives each message once, under one topic. A group whose name holds `+` or `#` has
//! no topic, since these stand in no topic name (MQTT 5, 4.7.1): its messages are not for MQTT.

use super::super::frame::Scope;
use super::super::name;
use super::PacketError;

const USER: &str = "user";
const ALL: &str = "all";
const GROUP: &str = "group/";

/// A topic name, in the parts that it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a>(&'static str, &'a str);

impl<'a> Topic<'a> {
    /// The topic of what is pushed to a scope; `group` is empty unless it is one.
    pub const fn of(scope: Scope, group: &'a str) -> Self {
        match scope {
            Scope::All => Self(ALL, ""),
            Scope::User => Self(USER, ""),
            Scope::Group => Self(GROUP, group),
        }
    }

    /// Whether it can be a topic name: a group's name may hold what a topic may not.
    pub fn is_valid(&self) -> bool {
        !self.1.contains(['+', '#'])
    }

    /// Bytes of it.
    pub(super) const fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    /// Appends it behind its length.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let length = u16::try_from(self.len()).expect("a name has 255 bytes at most");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(self.1.as_bytes());
    }

    /// The scope and the group of a topic name; `None` for one that is not the gateway's.
    pub fn parse(topic: &'a str) -> Option<(Scope, &'a str)> {
        match topic {
            USER => Some((Scope::User, "")),
            ALL => Some((Scope::All, "")),
            _ => Some((Scope::Group, topic.strip_prefix(GROUP)?)),
        }
    }
}

/// What a topic filter asks for, where that can be had exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter<'a> {
    /// `user`, or `user/#`, which matches nothing else here.
    User,
    /// `all`, or `all/#`.
    All,
    /// `+`: the topics of one level, which are `user` and `all`.
    UserAndAll,
    /// `group/<name>`.
    Group(&'a str),
}

/// Why a well-formed topic filter is not one that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// `$share/...`.
    Shared,
    /// Its wildcard matches groups: a client is told messages of groups that it is in, and it is in
    /// those that it names.
    Wildcard,
    /// No topic of the gateway matches it.
    Unknown,
}

impl<'a> Filter<'a> {
    /// Reads a well-formed topic filter.
    ///
    /// # Errors
    /// Where what it asks for cannot be had.
    pub fn parse(filter: &'a str) -> Result<Self, FilterError> {
        match filter {
            "user" | "user/#" => return Ok(Self::User),
            "all" | "all/#" => return Ok(Self::All),
            "+" => return Ok(Self::UserAndAll),
            _ => {}
        }
        if filter.starts_with("$share/") {
            return Err(FilterError::Shared);
        }
        let is_wild = filter.contains(['+', '#']);
        let mut levels = filter.split('/');
        let first = levels.next().unwrap_or_default();
        // Those that match no group either are unknown, not wild.
        match (first, levels.next()) {
            ("#", _) => Err(FilterError::Wildcard),
            ("group" | "+", Some(_)) if is_wild => Err(FilterError::Wildcard),
            ("group", Some(_)) => {
                let group = name::group(&filter.as_bytes()[GROUP.len()..]);
                group.map(Self::Group).map_err(|_| FilterError::Unknown)
            }
            _ => Err(FilterError::Unknown),
        }
    }

    /// Whether it asks for what is pushed to `scope` (and `group`, for a group).
    pub fn matches(&self, scope: Scope, group: &str) -> bool {
        match self {
            Self::User => scope == Scope::User,
            Self::All => scope == Scope::All,
            Self::UserAndAll => scope != Scope::Group,
            Self::Group(name) => scope == Scope::Group && *name == group,
        }
    }
}

/// A topic name: at least one character, and no wildcard (MQTT 5, 4.7.1 and 4.7.3).
pub(super) fn name(topic: &str) -> Result<&str, PacketError> {
    match topic.is_empty() || topic.contains(['+', '#']) {
        true => Err(PacketError::Topic),
        false => Ok(topic),
    }
}

/// A well-formed topic filter (MQTT 5, 4.7.1): `#` alone in the last level, `+` alone in a level;
/// a shared one (4.8.2) has a name without wildcards and a filter behind it.
pub(super) fn filter(filter: &str) -> Result<&str, PacketError> {
    let asked = match filter.strip_prefix("$share/") {
        Some(shared) => match shared.split_once('/') {
            Some((name, rest)) if !name.is_empty() && !name.contains(['+', '#']) => rest,
            _ => return Err(PacketError::Filter),
        },
        None => filter,
    };
    if asked.is_empty() {
        return Err(PacketError::Filter);
    }
    let mut levels = asked.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        let is_good = match level {
            "#" => is_last,
            "+" => true,
            _ => !level.contains(['+', '#']),
        };
        if !is_good {
            return Err(PacketError::Filter);
        }
    }
    Ok(filter)
}

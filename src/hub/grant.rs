//! What the token of a session allows it, and until when.

use std::sync::Arc;

use super::Hub;
use super::session::{Session, Sink};
use crate::wire::frame::Scope;

/// Patterns are kept in one text, and no name holds a control character.
const BETWEEN: char = '\n';

/// What a token grants. A session without one may join every group and does not end by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    expires_ms: u64,
    /// Groups and prefixes of groups, one allocation for all: a session holds it for days.
    allowed: Box<str>,
}

impl Grant {
    /// A grant until `expires_ms` (unix milliseconds), for the groups of these patterns: names, or
    /// beginnings of names with a `*` at the end. They hold no control character.
    pub fn new<'p>(expires_ms: u64, patterns: impl IntoIterator<Item = &'p str>) -> Self {
        let mut allowed = String::new();
        for pattern in patterns {
            if !allowed.is_empty() {
                allowed.push(BETWEEN);
            }
            allowed.push_str(pattern);
        }
        Self {
            expires_ms,
            allowed: allowed.into(),
        }
    }

    /// Whether the session may join `group` itself.
    pub fn allows(&self, group: &str) -> bool {
        let mut patterns = self.allowed.split(BETWEEN);
        patterns.any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => group.starts_with(prefix),
            None => group == pattern,
        })
    }

    /// Whether it has ended by `now_ms`, in unix milliseconds.
    pub const fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms <= now_ms
    }
}

impl Hub {
    /// Gives a session what its token grants, in place of what an earlier one did. Groups that it
    /// is in stay.
    pub fn set_grant<S: ?Sized>(&self, session: &Session<S>, grant: Grant) {
        session.lock().aside.get_or_insert_default().grant = Some(grant);
    }

    /// Whether the session may ask to be in `group`: its token allows it, or it is in it already.
    pub fn may_join(&self, session: &Arc<Session>, group: &str) -> bool {
        let inner = session.lock();
        let allowed = inner.grant().is_none_or(|grant| grant.allows(group));
        let lane = || self.registry.find(Scope::Group, group);
        allowed || lane().is_some_and(|lane| inner.handle(&lane).is_some())
    }

    /// Whether the session is in `group`.
    pub fn is_in<S: Sink + ?Sized>(&self, session: &Session<S>, group: &str) -> bool {
        let lane = self.registry.find(Scope::Group, group);
        lane.is_some_and(|lane| session.lock().handle(&lane).is_some())
    }

    /// Whether the session is one of `user`; no one's once it is detached.
    pub fn is_of<S: ?Sized>(&self, session: &Session<S>, user: &str) -> bool {
        let inner = session.lock();
        let mut lanes = inner.handles.iter().map(|handle| &handle.lane);
        lanes.any(|lane| lane.scope == Scope::User && *lane.name == *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_allowed_whole_or_by_prefix() {
        let grant = Grant::new(10, ["news", "room/*"]);
        for (group, allowed) in [
            ("news", true),
            ("newsroom", false),
            ("room/", true),
            ("room/1", true),
            ("room", false),
            ("news\nroom/*", false),
            ("", false),
        ] {
            assert_eq!(grant.allows(group), allowed, "{group:?}");
        }
        assert!(Grant::new(0, ["*"]).allows("any"));
        assert!(!Grant::new(0, []).allows("any"));
    }

    #[test]
    fn a_grant_is_over_at_its_end_and_not_before() {
        let grant = Grant::new(10, []);
        assert!(!grant.is_over(9) && grant.is_over(10) && grant.is_over(11));
    }
}

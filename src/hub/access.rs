//! Which service may do what: keys, and what each is good for.

use std::collections::HashMap;

use super::log::Target;
use crate::wire::datagram::Op;
use crate::wire::frame::Scope;
use crate::wire::seal::Key;

/// What one key may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `None` for unsigned requests.
    pub key: Option<Key>,
    /// The ops it may use.
    pub ops: Vec<Op>,
    /// The scopes it may push to and ask about.
    pub scopes: Vec<Scope>,
    /// The groups it may use, a trailing `*` standing for any rest; `None` for all.
    pub groups: Option<Vec<String>>,
}

impl Grant {
    /// Everything, under `key`.
    pub fn everything(key: Option<Key>) -> Self {
        let scopes = vec![Scope::All, Scope::User, Scope::Group];
        Self {
            key,
            ops: Op::ALL.to_vec(),
            scopes,
            groups: None,
        }
    }

    /// Whether the key may use `op`.
    pub fn may_use(&self, op: Op) -> bool {
        self.ops.contains(&op)
    }

    /// Whether the key may use `group`.
    pub fn may_use_group(&self, group: &str) -> bool {
        self.groups.as_ref().is_none_or(|patterns| {
            patterns
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => group.starts_with(prefix),
                    None => group == pattern,
                })
        })
    }

    /// Whether the key may push to `target`, and ask about it.
    pub fn may_reach(&self, target: Target<'_>) -> bool {
        match target {
            Target::All => self.scopes.contains(&Scope::All),
            Target::User(_) => self.scopes.contains(&Scope::User),
            Target::Group(group) => {
                self.scopes.contains(&Scope::Group) && self.may_use_group(group)
            }
        }
    }
}

/// All keys of services, by id; id 0 stands for unsigned requests, where they are allowed.
#[derive(Clone, Debug)]
pub struct Keyring {
    grants: HashMap<u32, Grant>,
}

impl Keyring {
    /// The keys, and whether unsigned requests from loopback are carried out.
    pub fn new(keys: impl IntoIterator<Item = (u32, Grant)>, allow_unsigned: bool) -> Self {
        let mut grants: HashMap<u32, Grant> = keys.into_iter().collect();
        if allow_unsigned {
            grants.insert(0, Grant::everything(None));
        }
        Self { grants }
    }

    /// What the key may do; `None` for an unknown one.
    pub fn grant(&self, key_id: u32) -> Option<&Grant> {
        self.grants.get(&key_id)
    }

    /// The ids of all keys, 0 among them where unsigned requests are allowed.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.grants.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_matched_whole_or_by_prefix() {
        let mut grant = Grant::everything(None);
        assert!(grant.may_reach(Target::Group("any")));
        grant.groups = Some(vec!["room/*".into(), "news".into()]);
        for (group, allowed) in [
            ("room/1", true),
            ("room/", true),
            ("news", true),
            ("newsroom", false),
            ("roo", false),
        ] {
            assert_eq!(grant.may_reach(Target::Group(group)), allowed, "{group}");
        }
        assert!(grant.may_reach(Target::All));
        grant.scopes = vec![Scope::Group];
        assert!(!grant.may_reach(Target::All) && !grant.may_reach(Target::User("ada")));
    }

    #[test]
    fn unsigned_is_a_key_of_its_own_where_it_is_allowed() {
        assert!(Keyring::new([], true).grant(0).is_some());
        assert!(Keyring::new([], false).grant(0).is_none());
    }
}

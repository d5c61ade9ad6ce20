//! Which service may do what: keys, and what each is good for.

use std::collections::HashMap;
use std::sync::Arc;

use super::log::Target;
use super::usage::{KeyUse, Usage};
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
    /// Requests a second, and as many at once; 0: no bound.
    pub rate: u32,
    /// From when on it is known, in unix milliseconds.
    pub not_before_ms: u64,
    /// Until when it is known, that millisecond included.
    pub not_after_ms: u64,
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
            rate: 0,
            not_before_ms: 0,
            not_after_ms: u64::MAX,
        }
    }

    /// Whether the key is known at this unix time, in milliseconds.
    pub const fn is_valid_at(&self, unix_ms: u64) -> bool {
        self.not_before_ms <= unix_ms && unix_ms <= self.not_after_ms
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
///
/// A keyring does not change: a reload makes a new one, which takes over what the old one has
/// counted. Nobody who verifies a datagram waits for that.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: HashMap<u32, Held>,
}

/// A key of the ring, and what it has done.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) grant: Grant,
    pub(super) usage: Arc<Usage>,
}

impl Keyring {
    /// The keys, and whether unsigned requests from loopback are carried out.
    pub fn new(keys: impl IntoIterator<Item = (u32, Grant)>, allow_unsigned: bool) -> Self {
        let unsigned = allow_unsigned.then(|| (0, Grant::everything(None)));
        let held = |(id, grant)| {
            let usage = Arc::default();
            (id, Held { grant, usage })
        };
        let keys = keys.into_iter().chain(unsigned).map(held).collect();
        Self { keys }
    }

    /// The key of this id at this unix time, in milliseconds; `None` for an unknown one, which one
    /// outside its time is too.
    pub(super) fn find(&self, key_id: u32, unix_ms: u64) -> Option<&Held> {
        let held = self.keys.get(&key_id)?;
        held.grant.is_valid_at(unix_ms).then_some(held)
    }

    /// The key of this id, whatever the time: for whom `find` has found it at the beginning of a
    /// request that has taken a while to come.
    pub(super) fn held(&self, key_id: u32) -> Option<&Held> {
        self.keys.get(&key_id)
    }

    /// The ids of all keys, 0 among them where unsigned requests are allowed.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// Goes on counting where `old` stands, for each id that both have: a reload shall not fill the
    /// bucket of a key whose rate is used up.
    pub(super) fn take_over(&mut self, old: &Self) {
        for (id, held) in &mut self.keys {
            if let Some(old) = old.keys.get(id) {
                held.usage = Arc::clone(&old.usage);
            }
        }
    }

    /// What each key has been used for, in the order of the ids.
    pub fn uses(&self) -> Vec<KeyUse> {
        let mut uses: Vec<_> = self
            .keys
            .iter()
            .map(|(id, held)| held.usage.of(*id))
            .collect();
        uses.sort_unstable_by_key(|key| key.id);
        uses
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
        assert!(Keyring::new([], true).find(0, 0).is_some());
        assert!(Keyring::new([], false).find(0, 0).is_none());
    }

    #[test]
    fn a_key_outside_its_time_is_unknown() {
        let grant = Grant {
            not_before_ms: 10,
            not_after_ms: 20,
            ..Grant::everything(None)
        };
        let keyring = Keyring::new([(7, grant)], false);
        for (unix_ms, known) in [(0, false), (9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(keyring.find(7, unix_ms).is_some(), known, "at {unix_ms}");
        }
    }

    #[test]
    fn a_new_ring_goes_on_counting_where_the_old_one_stands() {
        let ring = |ids: &[u32]| {
            let grants = ids.iter().map(|id| (*id, Grant::everything(None)));
            Keyring::new(grants, false)
        };
        let old = ring(&[7, 8]);
        old.find(7, 0).unwrap().usage.note(1_000);
        let mut new = ring(&[7, 9]);
        new.take_over(&old);
        // One who still holds the old ring counts in the new one too.
        old.find(7, 0).unwrap().usage.note(2_000);
        let used = |id, datagrams, last_used_ms| KeyUse {
            id,
            datagrams,
            last_used_ms,
        };
        assert_eq!(new.uses(), [used(7, 2, 2_000), used(9, 0, 0)]);
    }
}

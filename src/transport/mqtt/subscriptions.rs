//! Which topics a client has asked for, and with what QoS.

use crate::wire::frame::Scope;
use crate::wire::mqtt::{Filter, Qos};

/// The filters that are no group. Two that ask for the same are two subscriptions (MQTT 5, 3.8.4),
/// so each has a place.
const STANDING: [(&str, Filter<'static>); 5] = [
    ("user", Filter::User),
    ("user/#", Filter::User),
    ("all", Filter::All),
    ("all/#", Filter::All),
    ("+", Filter::UserAndAll),
];

/// The subscriptions of one session: few, and bounded by `clients.max_groups`. A session holds them
/// for days, so most of them take no memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    standing: [Option<Qos>; STANDING.len()],
    groups: Vec<(Box<str>, Qos)>,
}

impl Subscriptions {
    /// Grants `filter`, in place of an earlier subscription with the same one.
    pub(super) fn grant(&mut self, filter: &str, qos: Qos) {
        if let Some(place) = place(filter) {
            self.standing[place] = Some(qos);
        } else if let Ok(Filter::Group(name)) = Filter::parse(filter) {
            self.groups.retain(|(group, _)| **group != *name);
            self.groups.push((name.into(), qos));
            self.groups.shrink_to_fit();
        }
    }

    /// Takes one away; false where there is none.
    pub(super) fn remove(&mut self, filter: &str) -> bool {
        if let Some(place) = place(filter) {
            return self.standing[place].take().is_some();
        }
        let Ok(Filter::Group(name)) = Filter::parse(filter) else {
            return false;
        };
        let before = self.groups.len();
        self.groups.retain(|(group, _)| **group != *name);
        self.groups.len() < before
    }

    /// The highest QoS among those that match (MQTT 5, 3.3.4); none where nothing does.
    pub(super) fn qos(&self, scope: Scope, name: &str) -> Option<Qos> {
        if scope == Scope::Group {
            let mut groups = self.groups.iter();
            return groups.find_map(|(group, qos)| (**group == *name).then_some(*qos));
        }
        let standing = self.matching(scope);
        standing.map(|(_, qos)| qos).max_by_key(|qos| qos.code())
    }

    /// Those that are no group and match, with their filters.
    fn matching(&self, scope: Scope) -> impl Iterator<Item = (&'static str, Qos)> {
        let all = STANDING.into_iter().zip(self.standing);
        all.filter_map(move |((text, filter), qos)| {
            let qos = qos.filter(|_| filter.matches(scope, ""))?;
            Some((text, qos))
        })
    }

    /// Whether something matches.
    pub(super) fn wants(&self, scope: Scope, group: &str) -> bool {
        self.qos(scope, group).is_some()
    }

    /// Whether there is one with this filter, of those that are no group.
    pub(super) fn has(&self, filter: &str) -> bool {
        place(filter).is_some_and(|place| self.standing[place].is_some())
    }

    /// Whether another than `filter` matches what is no group.
    pub(super) fn wants_but(&self, filter: &str, scope: Scope) -> bool {
        self.matching(scope).any(|(other, _)| other != filter)
    }

    /// The groups that it asks for.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|(group, _)| &**group)
    }

    /// Keeps those groups that `allowed` knows.
    pub(super) fn retain_groups(&mut self, allowed: impl Fn(&str) -> bool) {
        self.groups.retain(|(group, _)| allowed(group));
    }

    /// Bytes that they take beside themselves, roughly.
    pub(super) fn weight(&self) -> usize {
        let texts = self.groups.iter().map(|(group, _)| group.len());
        texts.sum::<usize>() + self.groups.len() * size_of::<(Box<str>, Qos)>()
    }
}

fn place(filter: &str) -> Option<usize> {
    STANDING.iter().position(|(text, _)| *text == filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_qos_of_those_that_match_counts() {
        let mut all = Subscriptions::default();
        assert_eq!(all.qos(Scope::User, ""), None);
        all.grant("+", Qos::AtMostOnce);
        all.grant("user", Qos::AtLeastOnce);
        all.grant("group/a/b", Qos::AtMostOnce);
        assert_eq!(all.qos(Scope::User, ""), Some(Qos::AtLeastOnce));
        assert_eq!(all.qos(Scope::All, ""), Some(Qos::AtMostOnce));
        assert_eq!(all.qos(Scope::Group, "a/b"), Some(Qos::AtMostOnce));
        assert!(!all.wants(Scope::Group, "a"));
        all.grant("user", Qos::AtMostOnce);
        assert_eq!(
            all.qos(Scope::User, ""),
            Some(Qos::AtMostOnce),
            "in place of the earlier"
        );
        assert_eq!(all.groups().collect::<Vec<_>>(), ["a/b"]);
    }

    #[test]
    fn each_filter_is_taken_away_by_itself() {
        let mut all = Subscriptions::default();
        all.grant("user", Qos::AtMostOnce);
        all.grant("user/#", Qos::AtMostOnce);
        assert!(all.remove("user"));
        assert!(!all.remove("user"));
        assert!(all.wants(Scope::User, ""), "the other one is still there");
        assert!(all.remove("user/#"));
        assert!(!all.wants(Scope::User, ""));
        all.grant("group/a", Qos::AtLeastOnce);
        all.grant("group/b", Qos::AtLeastOnce);
        all.retain_groups(|group| group == "b");
        assert_eq!(all.groups().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_stands_asks_for_what_it_says() {
        for (text, filter) in STANDING {
            assert_eq!(Filter::parse(text), Ok(filter));
        }
    }
}

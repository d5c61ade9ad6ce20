//! Which topics a client has asked for, and with what QoS.

use smallvec::SmallVec;

use crate::wire::frame::Scope;
use crate::wire::mqtt::{Filter, Qos};

/// A filter as it was granted. Two filters that ask for the same are two subscriptions (MQTT 5,
/// 3.8.4), so it is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Granted {
    filter: Box<str>,
    qos: Qos,
}

/// The subscriptions of one session: few, and bounded by `clients.max_groups` and the five ways to
/// ask for what is no group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions(SmallVec<[Granted; 1]>);

impl Subscriptions {
    /// Grants `filter`, in place of an earlier subscription with the same one.
    pub(super) fn grant(&mut self, filter: &str, qos: Qos) {
        match self.0.iter_mut().find(|granted| *granted.filter == *filter) {
            Some(granted) => granted.qos = qos,
            None => self.0.push(Granted {
                filter: filter.into(),
                qos,
            }),
        }
    }

    /// Takes one away; false where there is none.
    pub(super) fn remove(&mut self, filter: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|granted| *granted.filter != *filter);
        self.0.len() < before
    }

    /// The highest QoS among those that match (MQTT 5, 3.3.4); none where nothing does.
    pub(super) fn qos(&self, scope: Scope, group: &str) -> Option<Qos> {
        let matching = self.0.iter().filter(|granted| {
            let filter = Filter::parse(&granted.filter);
            filter.is_ok_and(|filter| filter.matches(scope, group))
        });
        matching
            .map(|granted| granted.qos)
            .max_by_key(|qos| qos.code())
    }

    /// Whether something matches.
    pub(super) fn wants(&self, scope: Scope, group: &str) -> bool {
        self.qos(scope, group).is_some()
    }

    /// Whether there is one with this filter.
    pub(super) fn has(&self, filter: &str) -> bool {
        self.0.iter().any(|granted| *granted.filter == *filter)
    }

    /// Whether another than `filter` matches what is no group.
    pub(super) fn wants_but(&self, filter: &str, scope: Scope) -> bool {
        let others = self.0.iter().filter(|granted| *granted.filter != *filter);
        let mut parsed = others.filter_map(|granted| Filter::parse(&granted.filter).ok());
        parsed.any(|other| other.matches(scope, ""))
    }

    /// The groups that it asks for.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|granted| match Filter::parse(&granted.filter) {
                Ok(Filter::Group(group)) => Some(group),
                _ => None,
            })
    }

    /// Keeps those groups that `allowed` knows.
    pub(super) fn retain_groups(&mut self, allowed: impl Fn(&str) -> bool) {
        self.0
            .retain(|granted| match Filter::parse(&granted.filter) {
                Ok(Filter::Group(group)) => allowed(group),
                _ => true,
            });
    }

    /// Bytes that they take, roughly.
    pub(super) fn weight(&self) -> usize {
        let texts = self.0.iter().map(|granted| granted.filter.len());
        texts.sum::<usize>() + self.0.len() * size_of::<Granted>()
    }
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
}

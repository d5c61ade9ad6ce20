//! How many events came from where: a table of bounded size.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::Named;
use crate::transport::source::Source;

/// Sources that are told apart; those that come when it is full are counted as one crowd. 24 bytes
/// each: 128 KiB at most.
const SOURCES_MAX: usize = 4_096;

/// Events by source.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_source: HashMap<Source, u64>,
    /// Events of sources beyond those.
    others: u64,
}

impl Tally {
    pub(super) fn add(&mut self, source: Source, events: u64) {
        if let Some(count) = self.by_source.get_mut(&source) {
            *count += events;
        } else if self.by_source.len() < SOURCES_MAX {
            self.by_source.insert(source, events);
        } else {
            self.others += events;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (source, events) in &other.by_source {
            self.add(*source, *events);
        }
        self.others += other.others;
    }

    /// Sources that are told apart.
    pub(super) fn len(&self) -> usize {
        self.by_source.len()
    }

    /// There were more than these.
    pub(super) const fn is_full(&self) -> bool {
        self.others > 0
    }

    /// The `max` sources of the most events. A network of 256 IPv4 addresses stands for its own
    /// where they together have twice as many as the first of them: a crowd of hosts in one place.
    pub(super) fn top(&self, max: usize) -> Vec<Named> {
        let mut networks: HashMap<u32, (u64, u64)> = HashMap::new();
        for (source, count) in &self.by_source {
            if let Some(address) = source.ipv4() {
                let (sum, most) = networks.entry(network(address)).or_default();
                (*sum, *most) = (*sum + count, (*most).max(*count));
            }
        }
        networks.retain(|_, (sum, most)| *sum >= 2 * *most);
        let alone = |source: &Source| {
            let address = source.ipv4();
            address.is_none_or(|address| !networks.contains_key(&network(address)))
        };
        let single = self.by_source.iter().filter(|(source, _)| alone(source));
        let single = single.map(|(source, count)| (source.to_string(), *count));
        let crowds = networks.iter().map(|(network, (sum, _))| {
            let address = Ipv4Addr::from_bits(network << 8);
            (format!("{address}/24"), *sum)
        });
        let named = single
            .chain(crowds)
            .map(|(name, count)| Named { name, count });
        let mut named: Vec<_> = named.collect();
        // By name where the counts are the same, so that two looks say the same.
        named.sort_by(|one, two| two.count.cmp(&one.count).then(one.name.cmp(&two.name)));
        named.truncate(max);
        named
    }
}

/// The first 24 bits.
const fn network(address: Ipv4Addr) -> u32 {
    address.to_bits() >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(events: &[(&str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (address, count) in events {
            let address = address.parse().expect("a test's address is one");
            tally.add(Source::of(address), *count);
        }
        tally
    }

    fn top(events: &[(&str, u64)]) -> String {
        super::super::list(&tally(events).top(3))
    }

    #[test]
    fn who_did_the_most_comes_first() {
        let events = [
            ("10.0.0.1", 5),
            ("2001:db8::1", 9),
            ("10.1.0.1", 7),
            ("10.2.0.1", 1),
        ];
        assert_eq!(
            top(&events),
            "2001:db8:: 9, 10.1.0.1 7, 10.0.0.1 5".replace(":: ", "::/64 ")
        );
        assert_eq!(top(&[("10.0.0.1", 1), ("10.0.0.1", 2)]), "10.0.0.1 3");
        assert_eq!(top(&[]), "");
    }

    #[test]
    fn a_crowd_of_neighbours_is_their_network() {
        let events = [
            ("10.0.0.1", 4),
            ("10.0.0.2", 3),
            ("10.0.0.3", 2),
            ("10.0.1.1", 5),
        ];
        assert_eq!(top(&events), "10.0.0.0/24 9, 10.0.1.1 5");
        assert_eq!(
            top(&[("10.0.0.1", 9), ("10.0.0.2", 1)]),
            "10.0.0.1 9, 10.0.0.2 1"
        );
    }

    #[test]
    fn it_is_bounded_and_says_so() {
        let mut tally = Tally::default();
        for number in 0..SOURCES_MAX as u32 {
            tally.add(Source::of(Ipv4Addr::from_bits(number << 8).into()), 1);
        }
        assert!(!tally.is_full());
        tally.add(Source::of(Ipv4Addr::new(192, 0, 2, 1).into()), 7);
        tally.add(Source::of(Ipv4Addr::from_bits(0).into()), 1);
        assert_eq!((tally.len(), tally.others), (SOURCES_MAX, 7));
        let mut sum = Tally::default();
        sum.merge(&tally);
        sum.merge(&tally);
        assert_eq!((sum.len(), sum.others), (SOURCES_MAX, 14));
        assert_eq!(sum.top(1)[0].count, 4);
    }
}

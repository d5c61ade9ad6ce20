//! What refusing costs, bounded by source: a wrong MAC is known only once it has been computed,
//! over up to 64 KiB.
//!
//! Each source has a budget of bytes whose MACs may turn out wrong. A datagram that the budget does
//! not hold is dropped before its MAC is computed. A source is an address (IPv6: a /64, which one
//! host commands whole), and one of a fixed number of slots stands for it: nobody can make this
//! grow, and addresses that share a slot share a budget.
//!
//! The source of a datagram can be forged, so a budget that locks a source out would be a weapon
//! against whoever lives there. This one cannot be aimed at a service:
//!
//! - What is authentic takes nothing from a budget. Only wrong MACs do.
//! - A flow (address and port) from which something fresh and authentic has come has a budget of
//!   its own, and is no longer judged by its address. A forger has to hit the very port.
//! - Until then, and if he does, what counts is whether the budget holds *this* datagram. A flood
//!   of large ones leaves nearly always enough for a small one. A flood of small ones has to be of
//!   more than 100,000 a second before it crowds anybody, and then a share of all gets through, of
//!   the honest ones as many in a hundred as of the others: a sender repeats until it is heard.
//!
//! Sources forged at random, each within its budget, are bounded by the network alone. What costs
//! no MAC (an unknown key, unsigned, no header) is dropped for less than its receipt has cost, and
//! takes nothing from a budget either.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Slots for addresses.
const SOURCES: usize = 4096;
/// Slots for flows that have proven themselves; of two in one slot the later one holds it.
const FLOWS: usize = 1024;
/// What a byte takes from a budget: 31 MB a second flow back.
const BYTE_NS: u64 = 32;
/// What every datagram takes besides its bytes: the fixed part of a MAC, in bytes that cost as
/// much.
const DATAGRAM_BYTES: u64 = 256;
/// What a budget holds: 1 MiB, sixteen of the largest datagrams.
const FULL_NS: u64 = BYTE_NS << 20;

/// A budget: when it will be full again, in nanoseconds of the caller's clock.
#[derive(Debug, Default)]
struct Budget(AtomicU64);

impl Budget {
    /// When it would be full after this datagram.
    fn after(&self, bytes: usize, now_ns: u64) -> u64 {
        let cost = (bytes as u64 + DATAGRAM_BYTES) * BYTE_NS;
        self.0.load(Relaxed).max(now_ns) + cost
    }
}

/// A flow that has proven itself, and its budget.
#[derive(Debug, Default)]
struct Flow {
    /// Its hash; 0: none yet.
    hash: AtomicU64,
    budget: Budget,
}

/// The budgets of all sources. One loop writes them: what two would lose to each other is a part of
/// a budget.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Keyed, so that nobody can aim at another's slot.
    hasher: RandomState,
    sources: Box<[Budget]>,
    flows: Box<[Flow]>,
}

/// The budget that a datagram is judged by.
pub(super) struct Account<'a> {
    budget: &'a Budget,
    flow: &'a Flow,
    hash: u64,
    now_ns: u64,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            sources: (0..SOURCES).map(|_| Budget::default()).collect(),
            flows: (0..FLOWS).map(|_| Flow::default()).collect(),
        }
    }
}

impl Strangers {
    /// Whose budget a datagram from `source` takes from at the moment `now` of the caller's clock.
    pub(super) fn account(&self, source: SocketAddr, now: Duration) -> Account<'_> {
        let address = source.ip().to_canonical();
        let hash = self.hasher.hash_one((address, source.port())).max(1);
        let flow = &self.flows[slot(hash, FLOWS)];
        let budget = if flow.hash.load(Relaxed) == hash {
            &flow.budget
        } else {
            &self.sources[slot(self.hasher.hash_one(network(address)), SOURCES)]
        };
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        Account {
            budget,
            flow,
            hash,
            now_ns,
        }
    }
}

impl Account<'_> {
    /// Whether the budget holds a datagram of so many bytes.
    pub(super) fn admits(&self, bytes: usize) -> bool {
        self.budget.after(bytes, self.now_ns) - self.now_ns <= FULL_NS
    }

    /// Its MAC was wrong.
    pub(super) fn refuse(&self, bytes: usize) {
        let after = self.budget.after(bytes, self.now_ns);
        self.budget.0.store(after, Relaxed);
    }

    /// It was authentic, and no repeat that anybody may have recorded on the way.
    pub(super) fn prove(&self) {
        if self.flow.hash.load(Relaxed) != self.hash {
            self.flow.hash.store(self.hash, Relaxed);
            self.flow.budget.0.store(0, Relaxed);
        }
    }
}

/// The part of an address that stands for one host or one household of hosts.
const fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u64,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

fn slot(hash: u64, slots: usize) -> usize {
    usize::try_from(hash % slots as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 65_507;
    const SMALL: usize = 200;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Wrong MACs from `source` at one moment until the budget holds no more of them; how many.
    fn exhaust(strangers: &Strangers, source: SocketAddr, bytes: usize, now: Duration) -> usize {
        let admitted = (0..100_000).take_while(|_| {
            let account = strangers.account(source, now);
            let admits = account.admits(bytes);
            if admits {
                account.refuse(bytes);
            }
            admits
        });
        admitted.count()
    }

    #[test]
    fn wrong_macs_of_a_source_are_bounded_and_flow_back() {
        let (strangers, source) = (Strangers::default(), at("192.0.2.1:5"));
        assert_eq!(exhaust(&strangers, source, LARGE, Duration::ZERO), 15);
        let second = Duration::from_secs(1);
        assert_eq!(
            exhaust(&strangers, source, LARGE, second),
            15,
            "no more than it holds"
        );
        // Over a second in steps: 31 MB.
        let steps = (1..=1000).map(|ms| second + Duration::from_millis(ms));
        let admitted: usize = steps
            .map(|now| exhaust(&strangers, source, LARGE, now))
            .sum();
        assert!((460..=480).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_flood_of_large_ones_leaves_room_for_a_small_one() {
        let (strangers, source) = (Strangers::default(), at("192.0.2.1:5"));
        let (mut small, mut tried) = (0, 0);
        for us in (0..1_000_000).step_by(50) {
            let account = strangers.account(source, Duration::from_micros(us));
            tried += 1;
            small += u32::from(account.admits(SMALL));
            if account.admits(LARGE) {
                account.refuse(LARGE);
            }
        }
        assert!(small * 100 > tried * 95, "{small} of {tried}");
    }

    #[test]
    fn what_is_authentic_costs_nothing() {
        let (strangers, source) = (Strangers::default(), at("192.0.2.1:5"));
        for _ in 0..10_000 {
            let account = strangers.account(source, Duration::ZERO);
            assert!(account.admits(LARGE));
            account.prove();
        }
    }

    #[test]
    fn a_flow_that_has_proven_itself_is_judged_by_itself() {
        let (strangers, now) = (Strangers::default(), Duration::from_secs(9));
        let (honest, forged) = (at("192.0.2.1:7000"), at("192.0.2.1:5"));
        strangers.account(honest, now).prove();
        exhaust(&strangers, forged, SMALL, now);
        assert!(!strangers.account(forged, now).admits(SMALL));
        assert!(
            !strangers.account(at("192.0.2.1:6"), now).admits(SMALL),
            "another port"
        );
        assert!(strangers.account(honest, now).admits(SMALL));
        // Whoever forges the very port takes from its own budget, which is bounded too.
        assert!(exhaust(&strangers, honest, LARGE, now) <= 16);
        assert!(!strangers.account(honest, now).admits(LARGE));
    }

    #[test]
    fn an_ipv6_host_has_one_budget_however_many_addresses_it_takes() {
        let (strangers, now) = (Strangers::default(), Duration::ZERO);
        exhaust(&strangers, at("[2001:db8::1]:5"), LARGE, now);
        assert!(
            !strangers
                .account(at("[2001:db8::ffff:1]:6"), now)
                .admits(LARGE)
        );
        exhaust(&strangers, at("192.0.2.1:5"), LARGE, now);
        assert!(
            !strangers
                .account(at("[::ffff:192.0.2.1]:6"), now)
                .admits(LARGE)
        );
        // One in 4096 shares a slot; eight do not.
        let others = (0..8).map(|n| at(&format!("[2001:db8:0:{}::1]:5", n + 1)));
        let free = others.filter(|other| strangers.account(*other, now).admits(LARGE));
        assert!(free.count() >= 7);
    }
}

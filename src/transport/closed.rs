//! The last connections that ended: who it was, from where, why, and after how long.
//!
//! An entry is 72 bytes and two names, so 10,000 of them are 2 MB with names of 30 bytes, and 6 MB
//! with the longest that there may be. A storm does not wait here: the lock is held for a push and
//! a pop, and what falls out is freed behind it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::reason::CloseReason;

/// Ends that are kept; the oldest goes first.
pub const KEPT: usize = 10_000;
/// Entries that one look copies before it lets go of the lock: about 20 us.
const LOOK: usize = 512;

/// An address and a port in 18 bytes: the library's type takes 32, and every connection has one.
/// The zone of a link-local address is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    ip: [u8; 16],
    port: [u8; 2],
}

impl Peer {
    /// As an address of the family that it was.
    pub fn address(self) -> SocketAddr {
        let ip = IpAddr::from(Ipv6Addr::from(self.ip)).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes(self.port))
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self {
            ip: ip.octets(),
            port: address.port().to_be_bytes(),
        }
    }
}

/// Whose connection it was, where it got as far as a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The session's number.
    pub session: u64,
    /// The user.
    pub user: Arc<str>,
    /// The user's device; may be empty.
    pub device: Arc<str>,
}

/// A connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When, in unix milliseconds.
    pub at_ms: u64,
    /// How long it stood, in tenths of a second.
    pub age_ds: u32,
    /// Why.
    pub reason: CloseReason,
    /// From where it came; behind a load balancer that is where its client is.
    pub peer: Peer,
    /// Whose it was; nobody's, if it was never let in.
    pub who: Option<Who>,
}

/// The last ends, newest last. Its lock is a leaf.
#[derive(Debug, Default)]
pub struct ClosedRing(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Closed>,
    /// Ends ever noted; the number of the newest.
    noted: u64,
}

impl ClosedRing {
    /// Notes an end.
    pub fn note(&self, closed: Closed) {
        let mut ring = self.lock();
        let oldest = match ring.entries.len() < KEPT {
            true => None,
            false => ring.entries.pop_front(),
        };
        ring.entries.push_back(closed);
        ring.noted += 1;
        drop(ring);
        drop(oldest);
    }

    /// Ends ever noted.
    pub fn noted(&self) -> u64 {
        self.lock().noted
    }

    /// Up to `max` ends that `wanted` takes, newest first. The lock is let go now and then: ends
    /// that are noted meanwhile are not among them.
    pub fn last(&self, max: usize, wanted: impl Fn(&Closed) -> bool) -> Vec<Closed> {
        let mut found = Vec::new();
        let mut before = u64::MAX;
        while found.len() < max {
            let ring = self.lock();
            // The number of the first entry: those before it have fallen out.
            let first = ring.noted - ring.entries.len() as u64;
            let end = before.min(ring.noted).max(first);
            let start = end.saturating_sub(LOOK as u64).max(first);
            let place = |number: u64| usize::try_from(number - first).unwrap_or(usize::MAX);
            let looked_at = ring.entries.range(place(start)..place(end));
            let room = max - found.len();
            found.extend(
                looked_at
                    .rev()
                    .filter(|end| wanted(end))
                    .take(room)
                    .cloned(),
            );
            if start == first {
                break;
            }
            before = start;
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reason::CloseCode;

    fn end(number: u64) -> Closed {
        let who = Who {
            session: number,
            user: format!("user{}", number % 10).into(),
            device: "".into(),
        };
        Closed {
            at_ms: number,
            age_ds: 0,
            reason: match number % 2 {
                0 => CloseReason::Eof,
                _ => CloseCode::Kicked.into(),
            },
            peer: SocketAddr::from(([127, 0, 0, 1], 1)).into(),
            who: Some(who),
        }
    }

    fn numbers(found: &[Closed]) -> Vec<u64> {
        found.iter().map(|end| end.at_ms).collect()
    }

    #[test]
    fn the_last_ones_are_kept_newest_first() {
        let ring = ClosedRing::default();
        assert!(ring.last(10, |_| true).is_empty());
        for number in 0..3 {
            ring.note(end(number));
        }
        assert_eq!(numbers(&ring.last(10, |_| true)), [2, 1, 0]);
        let beyond = KEPT as u64 + 100;
        for number in 3..beyond {
            ring.note(end(number));
        }
        let all = numbers(&ring.last(usize::MAX, |_| true));
        assert_eq!((all.len(), all[0], all[KEPT - 1]), (KEPT, beyond - 1, 100));
        assert!(all.windows(2).all(|pair| pair[0] == pair[1] + 1));
        assert_eq!(ring.noted(), beyond);
    }

    #[test]
    fn a_look_takes_what_it_wants_and_no_more_than_that() {
        let ring = ClosedRing::default();
        for number in 0..2_000 {
            ring.note(end(number));
        }
        let of_three = |end: &Closed| end.who.as_ref().is_some_and(|who| &*who.user == "user3");
        let found = numbers(&ring.last(150, of_three));
        assert_eq!((found.len(), found[0], found[149]), (150, 1_993, 503));
        let kicked = |end: &Closed| end.reason == CloseCode::Kicked.into();
        assert_eq!(numbers(&ring.last(2, kicked)), [1_999, 1_997]);
        assert_eq!(ring.last(usize::MAX, kicked).len(), 1_000);
        assert!(ring.last(0, |_| true).is_empty());
    }

    #[test]
    fn a_peer_is_the_address_that_it_was() {
        for text in ["127.0.0.1:7400", "[2001:db8::7]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().expect("is an address");
            assert_eq!(Peer::from(address).address(), address);
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:9".parse().expect("is an address");
        assert_eq!(Peer::from(mapped).address().to_string(), "192.0.2.1:9");
        assert_eq!(size_of::<Peer>(), 18);
    }

    /// What stands in README.md about the memory of the ring is computed from this.
    #[test]
    fn an_entry_holds_few_bytes() {
        let bytes = size_of::<Closed>();
        assert!(bytes <= 80, "an entry takes {bytes} bytes");
    }
}

//! Where a connection comes from, as far as it is counted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

/// One IPv4 address, or one IPv6 /64: what a provider gives to one customer, who can take any of
/// its 2^64 addresses for each connection. An IPv4-mapped IPv6 address is the IPv4 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(NonZeroU64);

/// Above all IPv4 addresses, and below all IPv6 networks that are given to anybody.
const V4: u64 = 1 << 32;

impl Source {
    /// The source that this address is part of.
    pub fn of(address: IpAddr) -> Self {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => V4 | u64::from(address.to_bits()),
            // Of what begins with 64 zeros only `::1` connects.
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// As a number that is not 0, for an atomic.
    pub(super) const fn number(self) -> u64 {
        self.0.get()
    }

    /// The IPv4 address that it is.
    pub(super) fn ipv4(self) -> Option<Ipv4Addr> {
        let number = self.number();
        let bits = u32::try_from(number & (V4 - 1)).ok()?;
        (number >> 32 == V4 >> 32).then(|| Ipv4Addr::from_bits(bits))
    }

    /// The source with this number; none is 0.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ipv4() {
            Some(address) => address.fmt(f),
            // Of what begins with 64 zeros only this one connects.
            None if self.0 == NonZeroU64::MIN => Ipv6Addr::LOCALHOST.fmt(f),
            None => {
                let network = Ipv6Addr::from_bits(u128::from(self.number()) << 64);
                write!(f, "{network}/64")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().expect("a test's address is one"))
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_source() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("::1"), source("2001:db8::1"));
    }

    #[test]
    fn it_is_shown_as_the_address_or_the_network_that_it_is() {
        for (address, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("::1", "::1"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(source(address).to_string(), shown);
        }
    }

    #[test]
    fn an_ipv4_address_is_one_source_mapped_or_not() {
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_ne!(source("0.0.0.0"), source("::"));
    }
}

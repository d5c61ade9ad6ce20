//! What stands before a client's HELLO at one listener: a load balancer's header, TLS, or nothing.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rustls::ServerConfig;

use crate::wire::encoding::Protocol;

/// One listener of the configuration, beside its socket. What is replaced counts for connections
/// that come in from then on; those that are there keep what they have.
pub struct Door {
    name: String,
    protocol: Protocol,
    tls: Option<ArcSwap<ServerConfig>>,
    trusted: Option<ArcSwap<Vec<IpNet>>>,
    /// The pages that may connect, by their origins; where WebSocket is spoken.
    origins: ArcSwap<Vec<String>>,
}

impl Door {
    /// A door named so, at which `protocol` is spoken; with `tls` it speaks TLS, with `trusted` it
    /// takes connections only from these networks, and only behind a PROXY header.
    pub fn new(
        name: impl Into<String>,
        protocol: Protocol,
        tls: Option<Arc<ServerConfig>>,
        trusted: Option<Vec<IpNet>>,
    ) -> Self {
        Self {
            name: name.into(),
            protocol,
            tls: tls.map(ArcSwap::new),
            trusted: trusted.map(ArcSwap::from_pointee),
            origins: ArcSwap::default(),
        }
    }

    /// The listener's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is spoken behind what stands before.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Replaces chain and key. False at a door that does not speak TLS: that it shall takes a
    /// restart, since a client cannot be told.
    pub fn set_tls(&self, config: Arc<ServerConfig>) -> bool {
        let tls = self.tls.as_ref();
        tls.map(|current| current.store(config)).is_some()
    }

    /// Replaces the networks of load balancers. False at a door without a PROXY header.
    pub fn set_trusted(&self, networks: Vec<IpNet>) -> bool {
        let trusted = self.trusted.as_ref();
        trusted
            .map(|current| current.store(Arc::new(networks)))
            .is_some()
    }

    /// Replaces the origins of pages that may connect: none until then. They are compared as they
    /// are, `scheme://host[:port]`.
    pub fn set_origins(&self, origins: Vec<String>) {
        self.origins.store(Arc::new(origins));
    }

    /// Whether pages of this origin may connect.
    pub(super) fn lets_in(&self, origin: &str) -> bool {
        self.origins.load().iter().any(|allowed| allowed == origin)
    }

    /// A client can be told something before it has said anything.
    pub(super) const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.trusted.is_none()
    }

    /// Connections come from a load balancer, which says whose they are.
    pub(super) const fn is_behind_proxy(&self) -> bool {
        self.trusted.is_some()
    }

    /// The TLS of a connection that comes in now.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(ArcSwap::load_full)
    }

    /// Whether what this peer says about others is believed.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let trusted = self.trusted.as_ref();
        trusted.is_some_and(|networks| networks.load().iter().any(|net| net.contains(&peer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(networks: &[&str]) -> Door {
        let networks = networks.iter().map(|network| network.parse().unwrap());
        Door::new("native", Protocol::Native, None, Some(networks.collect()))
    }

    #[test]
    fn a_door_trusts_its_networks_and_no_others() {
        let door = trusting(&["10.1.0.0/16", "fd00::/8"]);
        for (peer, trusted) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(door.trusts(peer.parse().unwrap()), trusted, "{peer}");
        }
        assert!(door.set_trusted(vec!["10.2.0.0/16".parse().unwrap()]));
        assert!(door.trusts("10.2.0.0".parse().unwrap()));
        assert!(!door.trusts("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn a_door_without_a_header_trusts_nobody() {
        let door = Door::new("native", Protocol::Native, None, None);
        assert!(!door.trusts("127.0.0.1".parse().unwrap()));
        assert!(!door.set_trusted(vec!["127.0.0.0/8".parse().unwrap()]));
        assert!(door.is_plain());
    }
}

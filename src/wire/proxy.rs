//! The PROXY protocol, version 2: what a load balancer says of the client behind it, before the
//! client's own bytes (haproxy, proxy-protocol.txt, 2.2). Version 1, a line of text, is refused:
//! its end has to be searched for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes from which the length of the rest is known.
pub const START_BYTES: usize = 16;
/// Bytes of a header at most, addresses and TLVs included: what every path carries in one segment,
/// as a sender has to see to. The longest addresses take 232.
pub const HEADER_BYTES_MAX: usize = 536;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with the command LOCAL, and with PROXY.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Address family and transport.
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The peer's own: a health check, or a client whose address cannot be told.
    Peer,
    /// That of a client at this address.
    Client(SocketAddr),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It does not begin as one of version 2 does.
    #[error("no PROXY header of version 2")]
    Signature,
    /// Another version, or a command that is not known.
    #[error("unknown version or command {0:#04x}")]
    Command(u8),
    /// Addresses of something that is no stream.
    #[error("unknown address family or transport {0:#04x}")]
    Family(u8),
    /// Longer than is taken, or too short for its addresses.
    #[error("{0} bytes of addresses")]
    Length(usize),
}

/// How many bytes follow the first 16.
///
/// # Errors
/// When no header can begin so, or it is too long.
pub fn rest_of(start: &[u8; START_BYTES]) -> Result<usize, ProxyError> {
    if start[..12] != SIGNATURE {
        return Err(ProxyError::Signature);
    }
    if !matches!(start[12], LOCAL | PROXY) {
        return Err(ProxyError::Command(start[12]));
    }
    let rest = usize::from(u16::from_be_bytes([start[14], start[15]]));
    if rest > HEADER_BYTES_MAX - START_BYTES {
        return Err(ProxyError::Length(rest));
    }
    Ok(rest)
}

/// Whose connection it is, by the first 16 bytes and the `rest` that they announced. What follows
/// the addresses (TLVs) is passed over.
///
/// # Errors
/// As [`rest_of`], and when the addresses are none.
pub fn source(start: &[u8; START_BYTES], rest: &[u8]) -> Result<Source, ProxyError> {
    if rest.len() != rest_of(start)? {
        return Err(ProxyError::Length(rest.len()));
    }
    if start[12] == LOCAL {
        return Ok(Source::Peer);
    }
    let short = ProxyError::Length(rest.len());
    match start[13] {
        UNSPEC | UNIX_STREAM => Ok(Source::Peer),
        // Source address, destination address, source port, destination port.
        TCP4 => {
            let (addresses, _) = rest.split_first_chunk::<12>().ok_or(short)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            Ok(Source::Client((Ipv4Addr::new(a, b, c, d), port).into()))
        }
        TCP6 => {
            let (addresses, _) = rest.split_first_chunk::<36>().ok_or(short)?;
            let (source, ports) = addresses.split_first_chunk::<16>().ok_or(short)?;
            let port = u16::from_be_bytes([ports[16], ports[17]]);
            Ok(Source::Client((Ipv6Addr::from(*source), port).into()))
        }
        other => Err(ProxyError::Family(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(command: u8, family: u8, rest: usize) -> [u8; START_BYTES] {
        let mut start = [0; START_BYTES];
        start[..12].copy_from_slice(&SIGNATURE);
        (start[12], start[13]) = (command, family);
        start[14..].copy_from_slice(&u16::try_from(rest).unwrap().to_be_bytes());
        start
    }

    fn parsed(command: u8, family: u8, rest: &[u8]) -> Result<Source, ProxyError> {
        source(&start(command, family, rest.len()), rest)
    }

    #[test]
    fn a_client_is_at_the_source_address() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
        let expected = Source::Client("192.0.2.7:12345".parse().unwrap());
        assert_eq!(parsed(PROXY, TCP4, &v4), Ok(expected));
        // TLVs behind it: AUTHORITY "ab".
        let with_tlv = [&v4[..], &[2, 0, 2, b'a', b'b']].concat();
        assert_eq!(parsed(PROXY, TCP4, &with_tlv), Ok(expected));
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0xfd, 1]);
        v6[15] = 9;
        v6[32..].copy_from_slice(&[0x30, 0x39, 0, 80]);
        let expected = Source::Client("[fd01::9]:12345".parse().unwrap());
        assert_eq!(parsed(PROXY, TCP6, &v6), Ok(expected));
    }

    #[test]
    fn a_health_check_is_the_peer_itself() {
        for (command, family, rest) in [
            (LOCAL, UNSPEC, 0),
            (LOCAL, TCP4, 12),
            // Of LOCAL nothing but the length counts.
            (LOCAL, 0xff, 3),
            (PROXY, UNSPEC, 0),
            (PROXY, UNSPEC, 40),
            (PROXY, UNIX_STREAM, 216),
        ] {
            assert_eq!(parsed(command, family, &vec![0; rest]), Ok(Source::Peer));
        }
    }

    #[test]
    fn every_fault_has_its_error() {
        let longest = HEADER_BYTES_MAX - START_BYTES;
        for (command, family, rest, error) in [
            (0x11, TCP4, 12, ProxyError::Command(0x11)),
            (0x22, TCP4, 12, ProxyError::Command(0x22)),
            (PROXY, 0x12, 12, ProxyError::Family(0x12)),
            (PROXY, 0x41, 12, ProxyError::Family(0x41)),
            (PROXY, TCP4, 11, ProxyError::Length(11)),
            (PROXY, TCP6, 35, ProxyError::Length(35)),
            (PROXY, TCP4, longest + 1, ProxyError::Length(longest + 1)),
        ] {
            assert_eq!(parsed(command, family, &vec![0; rest]), Err(error));
        }
        assert!(parsed(PROXY, TCP4, &vec![0; longest]).is_ok());
        let version_1 = b"PROXY TCP4 192.0";
        assert_eq!(rest_of(version_1), Err(ProxyError::Signature));
        let cut = source(&start(PROXY, TCP4, 13), &[0; 12]);
        assert_eq!(cut, Err(ProxyError::Length(12)), "not what was announced");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::array::uniform4(any::<u8>()),
            rest in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut start = start(bytes[0], bytes[1], 0);
            (start[14], start[15]) = (bytes[2] & 3, bytes[3]);
            let _ = source(&start, &rest);
            let parsed = parsed(PROXY, TCP4, &rest);
            prop_assert_eq!(parsed.is_ok(), (12..=520).contains(&rest.len()));
        }
    }
}

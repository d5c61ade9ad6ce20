//! The MAC of datagrams, over raw bytes: the only maker of a [`Verified`] datagram.
//!
//! HMAC-SHA256 of everything but the MAC field itself: bytes 0 to 31, then 64 to the end.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::datagram::{HEADER_BYTES, Header, MAC_OFFSET, Op, Unverified};
use super::reason::RejectCause;

/// The fewest bytes of a secret: as many as its MACs have.
pub const SECRET_BYTES_MIN: usize = 32;

const MAC_BYTES: usize = HEADER_BYTES - MAC_OFFSET;

/// A service's key. Its debug output holds no part of the secret.
///
/// What it holds is not the secret but two states of SHA-256 that the secret has gone into, and
/// they suffice to sign. They are not wiped when it is dropped: the library gives no way to. The
/// secret's own bytes are, here and wherever they were read.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a secret is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too few bytes; how many there are.
    #[error("secret of {0} bytes is shorter than 32")]
    Short(usize),
    /// A character that is not a hexadecimal digit; its byte offset.
    #[error("secret is not hexadecimal at character {0}")]
    NotHex(usize),
    /// An odd number of hexadecimal digits; how many.
    #[error("secret has an odd number of hexadecimal digits, {0}")]
    Odd(usize),
}

impl Key {
    /// A key from the bytes of its secret.
    ///
    /// # Errors
    /// [`KeyError::Short`] with fewer than [`SECRET_BYTES_MIN`].
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Short(secret.len()));
        }
        // Keys of every length are taken (RFC 2104, section 2).
        let key = Hmac::new_from_slice(secret);
        key.map(Self).map_err(|_| KeyError::Short(secret.len()))
    }

    /// A key from the hexadecimal digits of its secret, of either case.
    ///
    /// # Errors
    /// As [`Key::new`], and for what is not an even number of digits.
    pub fn from_hex(digits: &str) -> Result<Self, KeyError> {
        let digits = digits.as_bytes();
        if let Some(at) = digits.iter().position(|digit| !digit.is_ascii_hexdigit()) {
            return Err(KeyError::NotHex(at));
        }
        if !digits.len().is_multiple_of(2) {
            return Err(KeyError::Odd(digits.len()));
        }
        let bytes = digits
            .chunks_exact(2)
            .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]));
        // The iterator knows its length: no growing copy is left behind.
        let secret = Zeroizing::new(bytes.collect::<Vec<u8>>());
        Self::new(&secret)
    }

    /// Whether this is the key of the same secret: two MACs under them are compared, since the
    /// secrets themselves are not kept. In constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        let message: &[&[u8]] = &[b"pushgate key"];
        self.verifies(message, &other.sign(message))
    }

    /// The MAC of `parts`, one behind the other: for what is no datagram, and does not begin like
    /// one.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Whether `mac` is that of `parts`, in constant time.
    pub fn verifies(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.over(parts).verify_slice(mac).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// What the MAC of a datagram is of, which has at least a header.
fn signed(datagram: &[u8]) -> [&[u8]; 2] {
    [&datagram[..MAC_OFFSET], &datagram[HEADER_BYTES..]]
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Fills in the MAC of a datagram whose other bytes are complete.
pub(super) fn seal(datagram: &mut [u8], key: &Key) {
    let mac = key.sign(&signed(datagram));
    datagram[MAC_OFFSET..HEADER_BYTES].copy_from_slice(&mac);
}

/// Whether the MAC is that of the bytes under the key. Reads no field of the body.
pub(super) fn check_signed(datagram: &[u8], key: &Key) -> Result<(), RejectCause> {
    let mac = &datagram[MAC_OFFSET..HEADER_BYTES];
    let is_right = key.verifies(&signed(datagram), mac);
    is_right.then_some(()).ok_or(RejectCause::Mac)
}

/// Whether the datagram is what an unsigned one must be: key id 0, and a MAC of zeros.
pub(super) fn check_unsigned(datagram: &[u8], key_id: u32) -> Result<(), RejectCause> {
    if key_id != 0 || datagram[MAC_OFFSET..HEADER_BYTES] != [0; MAC_BYTES] {
        return Err(RejectCause::Unsigned);
    }
    Ok(())
}

/// A request that is what its sender sent (or unsigned, where that is accepted): its body may be
/// read now. There is no other way to one than [`Unverified::verify`] and
/// [`Unverified::accept_unsigned`].
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(Unverified<'a>);

impl<'a> Unverified<'a> {
    /// Checks the MAC under the key that [`Unverified::key_id`] names, in constant time, before
    /// the body is read.
    ///
    /// # Errors
    /// [`RejectCause::Mac`].
    pub fn verify(self, key: &Key) -> Result<Verified<'a>, RejectCause> {
        check_signed(self.bytes(), key)?;
        Ok(Verified(self))
    }

    /// Accepts the datagram without a key, where the caller has decided that it may.
    ///
    /// # Errors
    /// [`RejectCause::Unsigned`] when the key id or a byte of the MAC is not zero.
    pub fn accept_unsigned(self) -> Result<Verified<'a>, RejectCause> {
        check_unsigned(self.bytes(), self.key_id())?;
        Ok(Verified(self))
    }
}

impl<'a> Verified<'a> {
    /// The header.
    pub fn header(&self) -> &Header {
        self.0.header()
    }

    /// What the request asks for.
    pub fn op(&self) -> Op {
        self.0.op()
    }

    /// Everything behind the header.
    pub fn body(&self) -> &'a [u8] {
        &self.0.bytes()[HEADER_BYTES..]
    }

    /// The whole datagram: a repeat has the same.
    pub fn bytes(&self) -> &'a [u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_32_bytes_or_more() {
        assert_eq!(Key::new(&[1; 31]).err(), Some(KeyError::Short(31)));
        assert_eq!(Key::from_hex("").err(), Some(KeyError::Short(0)));
        assert_eq!(
            Key::from_hex(&"ab".repeat(31)).err(),
            Some(KeyError::Short(31))
        );
        assert!(Key::new(&[1; 32]).is_ok() && Key::new(&[1; 100]).is_ok());
    }

    #[test]
    fn hexadecimal_digits_of_either_case_are_the_bytes() {
        let datagram = [0xee; 80];
        let mac = |key: Key| key.sign(&[&datagram]);
        let bytes: Vec<u8> = (0x9a..0xba).collect();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = mac(Key::new(&bytes).unwrap());
        assert_eq!(mac(Key::from_hex(&digits).unwrap()), expected);
        assert_eq!(
            mac(Key::from_hex(&digits.to_uppercase()).unwrap()),
            expected
        );
    }

    #[test]
    fn what_is_not_hexadecimal_is_refused_with_its_place() {
        let digits = "ab".repeat(32);
        assert_eq!(
            Key::from_hex(&format!("{digits}a")).err(),
            Some(KeyError::Odd(65))
        );
        assert_eq!(
            Key::from_hex(&format!("{digits}\n")).err(),
            Some(KeyError::NotHex(64))
        );
        assert_eq!(
            Key::from_hex(&format!("0x{digits}")).err(),
            Some(KeyError::NotHex(1))
        );
        assert_eq!(Key::from_hex("ü").err(), Some(KeyError::NotHex(0)));
    }

    #[test]
    fn debug_output_holds_nothing_of_the_secret() {
        assert_eq!(
            format!("{:?}", Key::new(&[0xab; 32]).unwrap()),
            "Key { .. }"
        );
    }

    #[test]
    fn a_mac_is_right_only_in_every_byte() {
        let key = Key::new(&[7; 32]).unwrap();
        let message: &[&[u8]] = &[b"one", b"two"];
        let mac = key.sign(message);
        assert!(key.verifies(&[b"onetwo"], &mac));
        for at in 0..mac.len() {
            let mut other = mac;
            other[at] ^= 0x80;
            assert!(!key.verifies(message, &other), "byte {at}");
        }
        assert!(!key.verifies(message, &mac[..31]) && !key.verifies(message, b""));
    }
}

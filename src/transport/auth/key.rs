//! The keys that tokens are checked with.

use std::fmt;

use jsonwebtoken::DecodingKey;
use spki::der::asn1::ObjectIdentifier;
use spki::der::{Decode, Document};
use spki::{SubjectPublicKeyInfoRef, der};
use zeroize::Zeroizing;

use crate::wire::seal;

/// Bytes of a PEM file: an RSA key of 8,192 bits takes 1.5 KB as a public key, 6.5 KB as a private
/// one.
pub const PEM_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the modulus of an RSA key of 2,048 bits, the fewest that ring takes; the whole public
/// key (RFC 8017, A.1.1) has a few more.
const RSA_BYTES_MIN: usize = 256;
const ED25519_BYTES: usize = 32;
/// An uncompressed point of P-256.
const P256_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;

// RFC 8017, 5480 and 8410.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a token is signed (RFC 7518, 3.1, and RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA256 under a secret that both sides know.
    Hs256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2,048 to 8,192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::EdDsa, Self::Rs256, Self::Es256];

    /// Its name in a token's header and in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
        }
    }
}

/// A key with the one algorithm that it goes with. Its debug output holds no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    algorithm: Algorithm,
    /// The secret, or the public key as ring takes it.
    bytes: Zeroizing<Vec<u8>>,
}

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret that is none.
    #[error(transparent)]
    Secret(#[from] seal::KeyError),
    /// No PEM, or not the one that is meant; the label that is.
    #[error("not a PEM file of a {0}")]
    Pem(&'static str),
    /// A key of another kind than the algorithm takes.
    #[error("a key of another kind than {} takes", .0.word())]
    Kind(Algorithm),
    /// An RSA key below 2,048 bits.
    #[error("an RSA key of less than 2048 bits")]
    Small,
}

impl Key {
    /// A secret for HS256 from its hexadecimal digits, of either case.
    ///
    /// # Errors
    /// [`KeyError::Secret`] for fewer than 32 bytes and for what is not hexadecimal.
    pub fn from_hex(digits: &str) -> Result<Self, KeyError> {
        // The rules of every secret; after it, each pair is a byte.
        seal::Key::from_hex(digits)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
        for at in (0..digits.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_default());
        }
        let algorithm = Algorithm::Hs256;
        Ok(Self { algorithm, bytes })
    }

    /// A public key as OpenSSL writes it: PEM of a SubjectPublicKeyInfo (RFC 7468, 13).
    ///
    /// # Errors
    /// When it is no such file, or holds a key of another kind.
    pub fn from_public_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let not_pem = KeyError::Pem("PUBLIC KEY");
        let (label, document) = Document::from_pem(pem.trim_start()).map_err(|_| not_pem)?;
        if label != "PUBLIC KEY" {
            return Err(not_pem);
        }
        let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(|_| not_pem)?;
        let bytes = info.subject_public_key.raw_bytes();
        let oids = info.algorithm.oids();
        let (kind, curve) = oids.map_err(|_: der::Error| KeyError::Kind(algorithm))?;
        let fits = match algorithm {
            Algorithm::Hs256 => false,
            Algorithm::EdDsa => kind == ED25519 && bytes.len() == ED25519_BYTES,
            Algorithm::Rs256 => kind == RSA_ENCRYPTION,
            Algorithm::Es256 => {
                let is_point = bytes.len() == P256_BYTES && bytes[0] == UNCOMPRESSED;
                kind == EC_PUBLIC_KEY && curve == Some(SECP256R1) && is_point
            }
        };
        if !fits {
            return Err(KeyError::Kind(algorithm));
        }
        if algorithm == Algorithm::Rs256 && bytes.len() < RSA_BYTES_MIN {
            return Err(KeyError::Small);
        }
        let bytes = Zeroizing::new(bytes.to_vec());
        Ok(Self { algorithm, bytes })
    }

    /// The one algorithm that it goes with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        match self.algorithm {
            Algorithm::Hs256 => DecodingKey::from_secret(&self.bytes),
            Algorithm::EdDsa => DecodingKey::from_ed_der(&self.bytes),
            Algorithm::Rs256 => DecodingKey::from_rsa_der(&self.bytes),
            Algorithm::Es256 => DecodingKey::from_ec_der(&self.bytes),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

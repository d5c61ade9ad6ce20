//! Making a token: for `pushgate token` and for tests. The gateway itself makes none.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};
use spki::der::SecretDocument;

use super::key::{Algorithm, Key, KeyError};
use super::provider;

/// A key that tokens are made with. Its debug output holds no part of it.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SigningError(#[from] jsonwebtoken::errors::Error);

impl SigningKey {
    /// A private key as `openssl genpkey` writes it: PEM of PKCS#8 (RFC 7468, 10), not encrypted.
    ///
    /// # Errors
    /// When it is no such file or no key for `algorithm`.
    pub fn from_private_pem(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let not_pem = KeyError::Pem("PRIVATE KEY");
        let (label, document) = SecretDocument::from_pem(pem.trim_start()).map_err(|_| not_pem)?;
        if label != "PRIVATE KEY" {
            return Err(not_pem);
        }
        let der = document.as_bytes();
        let key = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::Kind(algorithm)),
            Algorithm::EdDsa => EncodingKey::from_ed_der(der),
            Algorithm::Rs256 => EncodingKey::from_rsa_der(der),
            Algorithm::Es256 => EncodingKey::from_ec_der(der),
        };
        let key = Self { algorithm, key };
        // ring reads the key when it signs: an empty token shows whether it can.
        key.sign(None, &Map::new())
            .map_err(|_| KeyError::Kind(algorithm))?;
        Ok(key)
    }

    /// The signing side of a secret; `None` for a public key, which has none.
    pub fn of_secret(key: &Key) -> Option<Self> {
        let algorithm = key.algorithm();
        (algorithm == Algorithm::Hs256).then(|| Self {
            algorithm,
            key: EncodingKey::from_secret(key.bytes()),
        })
    }

    /// A token with these claims, as they are.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(
        &self,
        kid: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<String, SigningError> {
        provider::install();
        let mut header = Header::new(self.algorithm.into());
        header.kid = kid.map(str::to_owned);
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

//! The cryptography of jsonwebtoken, by ring, which TLS has too: of its own backends neither is one
//! that the process has already.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use ring::{error, hmac};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // For keys in JSON, which the gateway does not read.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's backend, once; before the first token is made or checked.
pub(super) fn install() {
    // The second time it is there already.
    let _ = RING.install_default();
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> signature::Result<()> {
        let key = self
            .key
            .try_get_as_bytes()
            .map_err(|_| signature::Error::new())?;
        let by = |algorithm: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        let verified = match self.algorithm {
            Algorithm::HS256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                hmac::verify(&key, message, signature)
            }
            Algorithm::EdDSA => by(&ED25519),
            Algorithm::RS256 => by(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::ES256 => by(&ECDSA_P256_SHA256_FIXED),
            _ => Err(error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A private key as ring holds it.
enum Pair {
    Hmac(hmac::Key),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
}

struct RingSigner {
    algorithm: Algorithm,
    pair: Pair,
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let rejected = |_| new_error(ErrorKind::InvalidKeyFormat);
    let bytes = key.as_bytes();
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    let pair = match algorithm {
        Algorithm::HS256 => Pair::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes)),
        // OpenSSL writes the private key alone (PKCS#8 version 1).
        Algorithm::EdDSA => {
            Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).map_err(rejected)?)
        }
        Algorithm::RS256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(bytes).map_err(rejected)?)),
        Algorithm::ES256 => {
            let (how, rng) = (&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(how, bytes, rng).map_err(rejected)?)
        }
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    Ok(Box::new(RingSigner {
        algorithm: *algorithm,
        pair,
    }))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> signature::Result<Vec<u8>> {
        let rng = SystemRandom::new();
        let failed = |_| signature::Error::new();
        Ok(match &self.pair {
            Pair::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signed)
                    .map_err(failed)?;
                signed
            }
            Pair::Ecdsa(pair) => pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec(),
        })
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

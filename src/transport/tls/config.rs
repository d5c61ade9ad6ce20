//! Chain and key of a door: read from PEM files, checked to belong together.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};

/// A chain is a few certificates of a few KB; more is the wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// SHA-256 of what stands in both files: the same, the same TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// Which of the two files is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The chain.
    Cert,
    /// The private key.
    Key,
}

/// Why a door cannot speak TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// What is in it is no PEM, or not of the kind that is wanted.
    #[error("holds no {0} in PEM")]
    Empty(&'static str),
    /// The key is not that of the chain's first certificate.
    #[error("is not the key of the first certificate of the chain")]
    Mismatch,
    /// rustls takes neither of them.
    #[error("is not taken: {0}")]
    Refused(rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "relative paths start at the directory of this file",
            Self::Empty("certificate") => {
                "write the server's certificate first, then those that lead to its authority, \
                 each as -----BEGIN CERTIFICATE-----"
            }
            Self::Empty(_) => {
                "write it without a passphrase, as -----BEGIN PRIVATE KEY----- (PKCS#8), RSA or EC"
            }
            Self::Mismatch => "name the key that the certificate was made for, and put it first",
            Self::Refused(_) => {
                "take an RSA key of 2048 bits or more, ECDSA P-256 or P-384, or \
                                 Ed25519, and a certificate of X.509 version 3"
            }
        }
    }
}

/// Reads the chain in `cert` and the private key in `key`. Blocks on the disk.
///
/// TLS 1.3 and 1.2, and no client certificates. There is no resumption, by tickets or otherwise: it
/// saves a signature (some 20 us for ECDSA), and costs that a key of the server's opens what was
/// said under its tickets, and that after a change of the certificate clients come in that never
/// saw the new one.
///
/// # Errors
/// What is wrong, and with which of the files.
pub fn load(cert: &Path, key: &Path) -> Result<(Arc<ServerConfig>, Digest), (File, TlsError)> {
    let chain = read(cert).map_err(|error| (File::Cert, TlsError::Unreadable(error)))?;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    digest.update(&(chain.len() as u64).to_be_bytes());
    digest.update(&chain);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or((File::Cert, TlsError::Empty("certificate")))?;
    let secret = read(key).map_err(|error| (File::Key, TlsError::Unreadable(error)))?;
    digest.update(&secret);
    let secret = PrivateKeyDer::from_pem_slice(&secret)
        .map_err(|_| (File::Key, TlsError::Empty("private key")))?;
    let digest = Digest(digest.finish().as_ref().try_into().unwrap_or_default());
    let config = server(chain, secret).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            (File::Key, TlsError::Mismatch)
        }
        rustls::Error::InvalidCertificate(_) => (File::Cert, TlsError::Refused(error)),
        error => (File::Key, TlsError::Refused(error)),
    });
    Ok((config?, digest))
}

/// The same of what was read already.
pub(super) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    // Named, so that no other crate of the build can choose another one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        return Err(io::Error::other(format!(
            "more than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}

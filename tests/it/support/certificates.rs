//! Certificates of an authority that exists for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// An authority, and the directory in which its certificates stand.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = name("an authority of a test");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        write(&directory.path().join("ca.pem"), &certificate.pem());
        Self {
            directory,
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
        }
    }

    /// Makes a certificate for localhost, in `<name>.pem` with its key in `<name>.key`.
    pub(crate) fn certify(&self, name_of_files: &str) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = name(name_of_files);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        write(
            &self.path(&format!("{name_of_files}.pem")),
            &certificate.pem(),
        );
        write(
            &self.path(&format!("{name_of_files}.key")),
            &key.serialize_pem(),
        );
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// A listener of a configuration that speaks TLS with such a certificate.
    pub(crate) fn listener(&self, name_of_files: &str, more: &str) -> String {
        self.certify(name_of_files);
        let [cert, key] = ["pem", "key"].map(|end| self.path(&format!("{name_of_files}.{end}")));
        let (cert, key) = (cert.display(), key.display());
        format!(
            "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
             tls = {{ cert = '{cert}', key = '{key}' }}\n{more}\n"
        )
    }

    /// A client that trusts this authority alone and speaks these versions.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring knows the versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is writable");
}

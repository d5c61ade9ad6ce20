//! `pushgate listen` over TLS: whom to believe, and the stream.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::client::{CONNECT_DEADLINE, Client, Ended, Identity};
use super::exit::Failure;
use super::heard::Witness;
use super::mqtt::{Credential, MqttStream};
use super::web::WebStream;

/// How a client comes to speak TLS.
#[derive(Debug, Args)]
pub(super) struct TlsArgs {
    /// Speak TLS, and trust the authorities of this machine
    #[arg(long)]
    tls: bool,
    /// Trust the authorities in this PEM file instead
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// The name that the gateway's certificate has to be for [default: the host of --to]
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
}

/// Who the gateway has to be, by whose word.
pub(super) struct Secure {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// What a session runs over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

impl TlsArgs {
    /// What to connect with to the gateway at `to`; nothing without TLS.
    pub(super) fn secure(&self, to: &str) -> Result<Option<Secure>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::usage(format!("{name:?} cannot be the name of a gateway")))?;
        let roots = match &self.ca {
            Some(path) => authorities(path).map_err(Failure::configuration)?,
            None => authorities_here(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Some(Secure { connector, name }))
    }
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let what = || format!("cannot take authorities from {}", path.display());
    for certificate in CertificateDer::pem_file_iter(path).with_context(what)? {
        roots
            .add(certificate.with_context(what)?)
            .with_context(what)?;
    }
    if roots.is_empty() {
        anyhow::bail!("{} holds no certificate in PEM", path.display());
    }
    Ok(roots)
}

/// Those that this machine trusts. What of them cannot be read is left out; without any, nobody is
/// trusted, and the connection says so.
fn authorities_here() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What is spoken at the gateway's door.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door<'a> {
    /// Our own frames.
    Native,
    /// WebSocket, of this host and path.
    Web(&'a str, &'a str),
    /// MQTT.
    Mqtt(Credential),
}

/// Connects, under TLS and by another protocol where it is to be, says HELLO, and waits for
/// WELCOME, for at most 30 s in all.
pub(super) async fn connect(
    address: SocketAddr,
    (secure, door): (Option<&Secure>, Door<'_>),
    identity: &Identity,
) -> Result<Client<Box<dyn Duplex>>, Ended> {
    let deadline = Instant::now() + CONNECT_DEADLINE;
    let witness = Witness::default();
    let open = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| {
            let what = format!("{address}: {error}");
            Ended::Unreachable(io::Error::new(error.kind(), what))
        })?;
        // A PONG is small and must not wait for the next one.
        stream.set_nodelay(true).map_err(Ended::Unreachable)?;
        let stream = match secure {
            None => Box::new(stream) as Box<dyn Duplex>,
            Some(Secure { connector, name }) => {
                let below = Witness::default();
                let secured = connector.connect(name.clone(), below.of(stream)).await;
                Box::new(secured.map_err(|error| {
                    below.explain_without_tls(match error.kind() {
                        io::ErrorKind::InvalidData => Ended::Untrusted(error),
                        _ => Ended::Unreachable(error),
                    })
                })?)
            }
        };
        let stream = witness.of(stream);
        let stream = match door {
            Door::Native => Box::new(stream) as Box<dyn Duplex>,
            Door::Web(host, path) => {
                let opened = WebStream::open(stream, host, path).await;
                Box::new(opened.map_err(|ended| witness.explain(ended, door))?)
            }
            Door::Mqtt(credential) => Box::new(MqttStream::new(stream, credential)),
        };
        Ok::<_, Ended>(stream)
    };
    let opened = timeout_at(deadline, open).await;
    let stream = opened.map_err(|_| Ended::Unreachable(io::ErrorKind::TimedOut.into()))??;
    let handshake = Client::handshake(stream, identity);
    let entered = timeout_at(deadline, handshake).await;
    let entered = entered.unwrap_or(Err(Ended::NoWelcome));
    entered.map_err(|ended| witness.explain(ended, door))
}

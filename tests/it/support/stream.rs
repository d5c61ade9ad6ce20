//! A client's stream, plain or under TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::web::Web;
use super::within;

thread_local! {
    /// What a thread reads into: thousands of clients wait most of the time, without a buffer each.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

/// Plain, or under TLS.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Either of them, as the frames that are carried by WebSocket.
    Web(Box<Web>),
}

/// A receive buffer so small that the gateway soon notices who does not read.
pub(super) fn narrow(socket: &TcpSocket) -> io::Result<()> {
    socket.set_recv_buffer_size(4096)
}

/// From this address of the host: loopback has many.
pub(super) fn from(address: IpAddr) -> impl FnOnce(&TcpSocket) -> io::Result<()> {
    move |socket| socket.bind(SocketAddr::new(address, 0))
}

impl Stream {
    /// Connects a socket that is prepared first.
    pub(super) async fn connect(
        gateway: SocketAddr,
        prepare: impl FnOnce(&TcpSocket) -> io::Result<()>,
    ) -> io::Result<Self> {
        let socket = match gateway {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.expect("a socket");
        prepare(&socket).expect("the socket's options");
        let connected = within("a connection", socket.connect(gateway)).await?;
        Ok(Self::Tcp(connected))
    }

    /// Goes on under TLS, or says why it cannot. It takes any name that the certificate has to be
    /// for: it is the gateway's, by the authority in `config`.
    pub(super) async fn secured(self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let Self::Tcp(stream) = self else {
            panic!("it is under TLS already");
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::clone(config));
        let secured = within("a handshake", connector.connect(name, stream)).await?;
        Ok(Self::Tls(Box::new(secured)))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Web(web) => web.below.socket(),
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Web(web) => Box::pin(web.write_frames(bytes)).await,
        }
    }

    /// Ends this side in order.
    pub(super) async fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Web(web) => Box::pin(web.below.shut_down()).await,
        }
    }

    /// Appends what has come to `arrived`; 0 at the end.
    pub(super) async fn read(&mut self, arrived: &mut BytesMut) -> io::Result<usize> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => return stream.read_buf(arrived).await,
            Self::Web(web) => return Box::pin(web.read(arrived)).await,
        };
        loop {
            stream.readable().await?;
            let read: io::Result<usize> = SCRATCH.with_borrow_mut(|scratch| {
                let count = stream.try_read(scratch)?;
                arrived.extend_from_slice(&scratch[..count]);
                Ok(count)
            });
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

//! A client's stream, plain or under TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::web::Web;

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

impl Stream {
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

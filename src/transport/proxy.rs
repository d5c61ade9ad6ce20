//! The header of a load balancer, read before anything of the client.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::link::end_of;
use crate::wire::proxy::{self, HEADER_BYTES_MAX, ProxyError, START_BYTES, Source};
use crate::wire::reason::CloseReason;

/// Why a connection does not come in.
#[derive(Debug)]
pub(super) enum Fault {
    /// What came is no header.
    Malformed(ProxyError),
    /// The stream ended before it.
    Ended(CloseReason),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Ended(end_of(&error))
    }
}

/// Reads the header and not a byte more, and tells whose connection it is. It has no deadline of
/// its own.
pub(super) async fn read(stream: &TcpStream) -> Result<Option<SocketAddr>, Fault> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let (start, behind) = bytes
        .split_first_chunk_mut::<START_BYTES>()
        .ok_or(io::ErrorKind::InvalidData)
        .map_err(io::Error::from)?;
    read_exact(stream, start).await?;
    let rest = proxy::rest_of(start).map_err(Fault::Malformed)?;
    read_exact(stream, &mut behind[..rest]).await?;
    match proxy::source(start, &behind[..rest]).map_err(Fault::Malformed)? {
        Source::Peer => Ok(None),
        Source::Client(address) => Ok(Some(address)),
    }
}

async fn read_exact(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        stream.readable().await?;
        match stream.try_read(&mut bytes[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

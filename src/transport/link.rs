//! A client's stream, plain or TLS: how the hub writes to it, how its task reads from it, and how
//! it is closed without a reset.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::mqtt::Mqtt;
use super::socket;
use super::tls::{READ_MAX, Tls};
use super::websocket::Web;
use crate::hub::{Begun, Closing, Due, Sink};
use crate::wire::encoding::{Encoding, Protocol};
use crate::wire::frame::GatewayFrame;
use crate::wire::reason::{CloseCode, CloseReason};

/// How long a client has to take its CLOSE, and how much it may still send, so that no reset
/// overtakes it.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 64 * 1024;

thread_local! {
    /// What a worker reads into: so much that what a client may cause by one read (an answer to
    /// each of its frames) stays in proportion. Borrowed between two awaits, never over one.
    pub(super) static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into());
}

/// A connection as the hub writes to it.
pub(super) enum Link {
    /// The frames as they are.
    Tcp(TcpStream),
    /// Boxed, since most of it is keys, and a plain connection shall not pay for them.
    Tls(Box<Tls>),
    /// Either of them through a load balancer, and the address for which that connects.
    Behind(Box<(Self, SocketAddr)>),
    /// Any of them, over which WebSocket is spoken.
    Web(Box<Web>),
    /// Any of the others, over which MQTT is.
    Mqtt(Box<Mqtt>),
}

impl Link {
    /// The same connection, which comes from `client` through a load balancer.
    pub(super) fn coming_from(self, client: SocketAddr) -> Self {
        Self::Behind(Box::new((self, client)))
    }

    /// The same connection, over which `protocol` is spoken from now on.
    pub(super) fn speaking(self, protocol: Protocol) -> Self {
        match protocol {
            Protocol::Native => self,
            Protocol::WebSocket => Self::Web(Box::new(Web::new(self))),
            Protocol::Mqtt => Self::Mqtt(Box::new(Mqtt::new(self))),
        }
    }

    /// What is below, where this is a layer over another.
    fn below(&self) -> Option<&Self> {
        match self {
            Self::Tcp(_) | Self::Tls(_) => None,
            Self::Behind(behind) => Some(&behind.0),
            Self::Web(web) => Some(&web.link),
            Self::Mqtt(mqtt) => Some(mqtt.link()),
        }
    }

    /// The socket, for its options and its address.
    pub(super) fn stream(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(tls) => tls.stream(),
            Self::Behind(behind) => behind.0.stream(),
            Self::Web(web) => web.link.stream(),
            Self::Mqtt(mqtt) => mqtt.link().stream(),
        }
    }

    /// Reads what is there; 0 at the end. `buffer` is [`READ`].
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => read_some(stream, buffer),
            Self::Tls(tls) => tls.try_read(buffer),
            Self::Behind(behind) => behind.0.try_read(buffer),
            Self::Web(web) => web.link.try_read(buffer),
            Self::Mqtt(mqtt) => mqtt.link().try_read(buffer),
        }
    }

    /// Whether [`try_read`](Self::try_read) may find something. What was encrypted and not sent
    /// goes out meanwhile, when the socket takes it.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(below) = self.below() {
            return below.poll_read_ready(cx);
        }
        if let Self::Tls(tls) = self {
            while tls.has_unsent() && self.stream().poll_write_ready(cx)?.is_ready() {
                match tls.flush() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        return Poll::Ready(Err(error));
                    }
                    _ => {}
                }
            }
            if tls.has_ended() {
                return Poll::Ready(Ok(()));
            }
        }
        self.stream().poll_read_ready(cx)
    }

    /// Waits until [`try_read`](Self::try_read) may find something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Who may be there cannot be told anything yet.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(tls) => tls.is_handshaking(),
            Self::Behind(behind) => behind.0.is_handshaking(),
            Self::Web(web) => web.link.is_handshaking(),
            Self::Mqtt(mqtt) => mqtt.link().is_handshaking(),
        }
    }

    /// Ends our direction, behind what was written, as far as the socket takes that.
    pub(super) fn shut_down(&self) {
        if let Some(below) = self.below() {
            return below.shut_down();
        }
        if let Self::Tls(tls) = self
            && !tls.is_handshaking()
        {
            tls.close();
        }
        socket::shut_down_write(self.stream());
    }
}

/// Reads what is there; 0 at the end. A read that does not fill the buffer has taken everything
/// (epoll(7), question 9), and the runtime is told so: the next wait is for something new, and
/// needs no read that finds nothing. What comes between the two is a new event, and not lost.
fn read_some(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    let read = stream.try_io(Interest::READABLE, || {
        count = rustix::io::read(stream, &mut *buffer)?;
        match count {
            0 => Ok(()),
            some if some == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => Ok(count),
        read => read.map(|()| count),
    }
}

/// Writes what the socket takes now. The runtime's note of whether it takes anything is a cold line
/// of memory for each of thousands of sockets, so the system call comes first; only where it finds
/// no room it is made once more by the runtime, which then waits for room.
fn write_some(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let written = match parts {
        [one] => rustix::net::send(stream, one, flags),
        many => rustix::io::writev(stream, many),
    };
    match written {
        Err(Errno::WOULDBLOCK | Errno::INTR) => stream.try_write_vectored(parts),
        written => Ok(written?),
    }
}

impl Sink for Link {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, parts) {
            (Self::Tcp(stream), parts) => write_some(stream, parts),
            (Self::Tls(tls), parts) => tls.try_write(parts),
            (Self::Behind(behind), parts) => behind.0.try_write(parts),
            (Self::Web(web), parts) => web.link.try_write(parts),
            (Self::Mqtt(mqtt), parts) => mqtt.try_write(parts),
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::Behind(_) => Protocol::Native,
            Self::Web(_) => Protocol::WebSocket,
            Self::Mqtt(mqtt) => mqtt.protocol(),
        }
    }

    /// A page cannot send a ping, and its browser sends none by itself.
    fn has_to_be_asked(&self) -> bool {
        matches!(self, Self::Web(_))
    }

    fn encoding(&self, due: &Due<'_>) -> Option<Encoding> {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::Behind(_) => Some(Encoding::Native),
            Self::Web(_) => Some(Encoding::WebSocket),
            Self::Mqtt(mqtt) => mqtt.encoding(due),
        }
    }

    fn admits(&self, number: u64, begun: Begun) -> bool {
        match self {
            Self::Mqtt(mqtt) => mqtt.admits(number, begun),
            _ => true,
        }
    }

    fn answers_for(&self, due: &Due<'_>) -> bool {
        match self {
            Self::Mqtt(mqtt) => mqtt.answers_for(due),
            _ => true,
        }
    }

    fn has_name_for(&self, group: &str) -> bool {
        match self {
            Self::Mqtt(mqtt) => mqtt.has_name_for(group),
            _ => true,
        }
    }

    fn sent(&self, number: u64, encoding: Encoding) {
        if let Self::Mqtt(mqtt) = self {
            mqtt.sent(number, encoding);
        }
    }

    fn answer(&self, frame: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::Behind(_) => frame.encode(out),
            Self::Web(_) => Web::answer(frame, out),
            Self::Mqtt(mqtt) => mqtt.answer(frame, out),
        }
    }

    fn close(&self, closing: &Closing<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Web(web) => web.close(closing, out),
            Self::Mqtt(mqtt) => mqtt.close(closing, out),
            _ => {
                let close = closing.frame();
                close.inspect(|close| close.encode(out)).is_some()
            }
        }
    }

    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Behind(behind) => Some(behind.1),
            Self::Web(web) => web.link.peer(),
            Self::Mqtt(mqtt) => mqtt.peer(),
            link => link.stream().peer_addr().ok(),
        }
    }
}

/// What an error of the stream means for the connection.
pub(super) fn end_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
        io::ErrorKind::UnexpectedEof => CloseReason::Eof,
        // It does not speak TLS, or not as it should; an alert has told it.
        io::ErrorKind::InvalidData => CloseReason::Code(CloseCode::Protocol),
        _ => CloseReason::Io,
    }
}

/// Tells a client that it may not come in, and closes in order.
pub(super) async fn turn_away(link: &Link, code: CloseCode, retry: u32, text: &str) {
    if !link.is_handshaking() && say_close(link, code, retry, text) {
        farewell(link, Instant::now() + FAREWELL).await;
    }
}

/// Tells a client so without waiting for it: what it has sent already is read, since a close over
/// unread bytes is a reset, which could destroy the CLOSE.
pub(super) fn turn_away_at_once(link: &Link, code: CloseCode, retry: u32, text: &str) {
    if !link.is_handshaking() && say_close(link, code, retry, text) {
        link.shut_down();
        let _ = READ.with_borrow_mut(|buffer| link.stream().try_read(buffer));
    }
}

/// Writes a CLOSE as it is said there. A fresh socket takes it whole; one that does not has a peer
/// which does not listen.
fn say_close(link: &Link, code: CloseCode, retry: u32, text: &str) -> bool {
    let mut words = Vec::new();
    link.close(&Closing::code(code, retry, text), &mut words);
    link.try_write(&[IoSlice::new(&words)])
        .is_ok_and(|count| count == words.len())
}

/// Ends our side, and discards what still comes until the peer has ended its own. Under TLS nobody
/// decrypts it.
pub(super) async fn farewell(link: &Link, deadline: Instant) {
    link.shut_down();
    let stream = link.stream();
    let mut left = FAREWELL_BYTES;
    let discarded = async {
        while left > 0 && stream.readable().await.is_ok() {
            let read = READ.with_borrow_mut(|buffer| stream.try_read(buffer));
            match read {
                Ok(0) => break,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    // A peer that goes on sending, or never closes, is cut off.
    drop(timeout_at(deadline, discarded).await);
}

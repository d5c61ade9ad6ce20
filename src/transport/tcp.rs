//! A client's TCP stream: how the hub writes to it, and how it is closed without a reset.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::socket;
use crate::hub::Sink;
use crate::wire::frame::GatewayFrame;
use crate::wire::reason::{CloseCode, CloseReason};

/// How long a client has to take its CLOSE, and how much it may still send, so that no reset
/// overtakes it.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 64 * 1024;
/// One read takes this much; what a client may cause by it (an answer to each of its frames) stays
/// in proportion.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// What a worker reads into. Borrowed between two awaits, never over one.
    pub(super) static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A TCP connection as the hub writes to it.
pub(super) struct TcpSink(TcpStream);

impl TcpSink {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.0
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.0
    }
}

impl Sink for TcpSink {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [one] => self.0.try_write(one),
            many => self.0.try_write_vectored(many),
        }
    }
}

/// What an error of the socket means for the connection.
pub(super) fn end_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
        io::ErrorKind::UnexpectedEof => CloseReason::Eof,
        _ => CloseReason::Io,
    }
}

/// Tells a client that it may not come in, and closes in order.
pub(super) async fn turn_away(stream: &TcpStream, code: CloseCode, retry: u32, text: &str) {
    if say_close(stream, code, retry, text) {
        farewell(stream, Instant::now() + FAREWELL).await;
    }
}

/// Tells a client so without waiting for it: what it has sent already is read, since a close over
/// unread bytes is a reset, which could destroy the CLOSE.
pub(super) fn turn_away_at_once(stream: &TcpStream, code: CloseCode, retry: u32, text: &str) {
    if say_close(stream, code, retry, text) {
        socket::shut_down_write(stream);
        let _ = READ.with_borrow_mut(|buffer| stream.try_read(buffer));
    }
}

/// Writes a CLOSE. A fresh socket takes it whole; one that does not has a peer which does not
/// listen.
fn say_close(stream: &TcpStream, code: CloseCode, retry: u32, text: &str) -> bool {
    let mut frame = Vec::new();
    GatewayFrame::Close {
        code,
        retry_after_ms: retry,
        reason: text,
    }
    .encode(&mut frame);
    stream
        .try_write(&frame)
        .is_ok_and(|count| count == frame.len())
}

/// Ends our side, and discards what still comes until the peer has ended its own.
pub(super) async fn farewell(stream: &TcpStream, deadline: Instant) {
    socket::shut_down_write(stream);
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

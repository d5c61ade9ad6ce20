//! What a server says first: by that a door is known which is not the one that was meant.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Ended;
use super::secure::Door;
use crate::wire::{frame, mqtt};

/// Bytes that tell: as many as a frame has before its body.
const BYTES: usize = 5;

/// What a server spoke, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It hung up, or has not said anything.
    Nothing,
    /// An answer of HTTP, as doors of WebSocket and of operators give it.
    Http,
    /// A record of TLS (RFC 8446, section 5.1): an alert, or a handshake.
    Tls,
    /// CONNACK or DISCONNECT.
    Mqtt,
    /// WELCOME or CLOSE.
    Native,
    /// Anything else.
    Other,
}

impl Heard {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match *bytes {
            [] => Self::Nothing,
            [b'H', b'T', b'T', b'P', b'/', ..] => Self::Http,
            [0x15 | 0x16, 3, ..] => Self::Tls,
            [first, length, ..]
                if length < 0x80
                    && [mqtt::CONNACK << 4, mqtt::DISCONNECT << 4].contains(&first) =>
            {
                Self::Mqtt
            }
            [0, 0, _, _, frame::WELCOME | frame::CLOSE, ..] => Self::Native,
            _ => Self::Other,
        }
    }

    /// What to do about it, for one who spoke this, and whether that is certain.
    fn hint(self, door: Door<'_>) -> Option<(&'static str, bool)> {
        Some(match (self, door) {
            (Self::Http, Door::Native | Door::Mqtt(_)) => (
                "what answers there speaks HTTP: for a door of WebSocket use --ws",
                true,
            ),
            (Self::Tls, _) => ("what answers there speaks TLS: use --tls", true),
            (Self::Mqtt, Door::Native | Door::Web(..)) => {
                ("what answers there speaks MQTT: use --mqtt", true)
            }
            (Self::Native, Door::Web(..)) => (
                "what answers there speaks pushgate's own frames: leave out --ws",
                true,
            ),
            (Self::Native, Door::Mqtt(_)) => (
                "what answers there speaks pushgate's own frames: leave out --mqtt",
                true,
            ),
            (Self::Nothing, Door::Native | Door::Web(..)) => (
                "nothing was said: if it is a door of MQTT, use --mqtt",
                false,
            ),
            _ => return None,
        })
    }

    /// The same for one who spoke TLS, and was not answered so.
    const fn hint_without_tls(self) -> Option<(&'static str, bool)> {
        Some(match self {
            Self::Http => (
                "what answers there speaks HTTP without TLS: leave out --tls, use --ws",
                true,
            ),
            Self::Mqtt => (
                "what answers there speaks MQTT without TLS: leave out --tls, use --mqtt",
                true,
            ),
            Self::Native => ("what answers there speaks no TLS: leave out --tls", true),
            Self::Nothing => (
                "nothing was said: if it speaks no TLS, leave out --tls",
                false,
            ),
            Self::Tls | Self::Other => return None,
        })
    }
}

/// What is told of a stream after it has gone into others.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<OnceLock<Heard>>);

impl Witness {
    /// A stream that it listens to.
    pub(super) fn of<S>(&self, stream: S) -> Witnessed<S> {
        Witnessed {
            stream,
            first: Vec::new(),
            witness: self.clone(),
        }
    }

    fn heard(&self) -> Heard {
        self.0.get().copied().unwrap_or(Heard::Nothing)
    }

    /// The end of a connection that never was a session, with what to do where the stream shows it.
    pub(super) fn explain(&self, ended: Ended, door: Door<'_>) -> Ended {
        explained(ended, self.heard().hint(door))
    }

    /// The same where TLS was asked for, and did not come to be.
    pub(super) fn explain_without_tls(&self, ended: Ended) -> Ended {
        explained(ended, self.heard().hint_without_tls())
    }
}

fn explained(ended: Ended, hint: Option<(&'static str, bool)>) -> Ended {
    // A CLOSE has said why; nobody was reached; the time was over.
    let is_told = matches!(ended, Ended::Closed { .. } | Ended::NoWelcome);
    match hint {
        Some((hint, is_certain)) if !is_told => Ended::WrongDoor {
            ended: Box::new(ended),
            hint,
            is_certain,
        },
        _ => ended,
    }
}

/// A stream whose first bytes are noted.
pub(super) struct Witnessed<S> {
    stream: S,
    first: Vec<u8>,
    witness: Witness,
}

impl<S> Witnessed<S> {
    fn note(&mut self, bytes: &[u8]) {
        if self.first.len() < BYTES {
            let room = BYTES - self.first.len();
            self.first
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        // Fewer may be all that comes; what has been told once is not told otherwise.
        let heard = Heard::of(&self.first);
        if self.first.len() == BYTES || !matches!(heard, Heard::Nothing | Heard::Other) {
            let _ = self.witness.0.set(heard);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Witnessed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if this.witness.0.get().is_none() {
            this.note(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Witnessed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_known_by_what_they_say_first() {
        for (bytes, heard) in [
            (&b""[..], Heard::Nothing),
            (b"HTTP/1.1 400 Bad Request", Heard::Http),
            (b"\x15\x03\x03\x00\x02\x02\x32", Heard::Tls),
            (b"\x20\x03\x00\x84\x00", Heard::Mqtt),
            (b"\xe0\x02\x82\x00", Heard::Mqtt),
            (b"\x00\x00\x00\x09\x86\x00\x06", Heard::Native),
            (b"\x00\x00\x00\x26\x81\x01", Heard::Native),
            (b"SSH-2.0", Heard::Other),
            (b"\x20\x03", Heard::Mqtt),
            (b"\x00", Heard::Other),
        ] {
            assert_eq!(Heard::of(bytes), heard, "{bytes:?}");
        }
    }
}

//! The client side of MQTT 5: a stream of native frames over its packets, so that the client is the
//! same whichever the door.

mod translate;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::frame::split as split_frame;
use crate::wire::mqtt::{self, Packet};
use translate::Translator;

/// Far over any packet, in either direction.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// Bytes that one read asks for.
const READ_BYTES: usize = 16 * 1024;

/// How a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// The token is the user's name.
    User,
    /// It is a token, and goes as the password.
    Password,
}

/// MQTT, read and written as the frames that its packets stand for.
pub(super) struct MqttStream<S> {
    stream: S,
    translator: Translator,
    /// What came and is no whole packet.
    incoming: BytesMut,
    /// What was written of a frame that is not whole.
    begun: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> MqttStream<S> {
    pub(super) fn new(stream: S, credential: Credential) -> Self {
        Self {
            stream,
            translator: Translator::new(credential),
            incoming: BytesMut::new(),
            begun: BytesMut::new(),
        }
    }

    /// Sends what is there to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.translator.packets.is_empty() {
            let mut stream = Pin::new(&mut self.stream);
            let count = ready!(stream.as_mut().poll_write(cx, &self.translator.packets))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.translator.packets.advance(count);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Takes every packet that is whole.
    fn take_packets(&mut self) -> io::Result<()> {
        loop {
            let found = mqtt::split(&self.incoming, PACKET_BYTES_MAX).map_err(io::Error::other)?;
            let Some(Packet { used, .. }) = found else {
                return Ok(());
            };
            let packet = self.incoming.split_to(used).freeze();
            self.translator.packet(&packet).map_err(io::Error::other)?;
        }
    }

    /// Takes every frame that is whole.
    fn take_frames(&mut self) -> io::Result<()> {
        loop {
            let found = split_frame(&self.begun, PACKET_BYTES_MAX).map_err(io::Error::other)?;
            let Some((body, used)) = found else {
                return Ok(());
            };
            self.translator.frame(body).map_err(io::Error::other)?;
            self.begun.advance(used);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MqttStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What a write could not send goes when the socket takes it.
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        while this.translator.frames.is_empty() {
            let mut bytes = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.incoming.extend_from_slice(read.filled());
            this.take_packets()?;
        }
        let frames = &mut this.translator.frames;
        let count = frames.len().min(buffer.remaining());
        buffer.put_slice(&frames[..count]);
        frames.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MqttStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What was whole before goes first: no more than a frame and a write are held.
        ready!(this.poll_send(cx))?;
        this.begun.extend_from_slice(bytes);
        this.take_frames()?;
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

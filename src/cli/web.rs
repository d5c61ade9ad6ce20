//! The client side of a WebSocket: a stream of native frames over one of its messages, so that the
//! client is the same whichever the door.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_core::Stream;
use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::http::{Response, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::client::Ended;
use crate::wire::frame::split;

/// Far over any message, in either direction.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A WebSocket, read and written as the frames that its messages are.
pub(super) struct WebStream<S> {
    messages: WebSocketStream<S>,
    /// Frames that came and were not read.
    arrived: BytesMut,
    /// What was written of a frame that is not whole.
    begun: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebStream<S> {
    /// Asks for a WebSocket over `stream`, at this host (as it stands in a URL) and path.
    pub(super) async fn open(stream: S, host: &str, path: &str) -> Result<Self, Ended> {
        let refused = |why: String| Ended::NoWebSocket {
            why,
            retry_after: None,
        };
        let request = format!("ws://{host}{path}").into_client_request();
        let request = request.map_err(|error| refused(error.to_string()))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let opened = client_async_with_config(request, stream, Some(config)).await;
        let (messages, _) = opened.map_err(|error| match error {
            tungstenite::Error::Http(response) => Ended::NoWebSocket {
                why: words(&response),
                retry_after: retry_after(&response),
            },
            tungstenite::Error::Io(error) => Ended::Broken(error),
            other => refused(other.to_string()),
        })?;
        Ok(Self {
            messages,
            arrived: BytesMut::new(),
            begun: BytesMut::new(),
        })
    }

    /// Sends what is whole of what was written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let whole = split(&self.begun, MESSAGE_BYTES_MAX).map_err(io::Error::other)?;
            let Some((body, used)) = whole else {
                return Poll::Ready(Ok(()));
            };
            let message = Message::binary(body.to_vec());
            let mut messages = Pin::new(&mut self.messages);
            ready!(messages.as_mut().poll_ready(cx)).map_err(broken)?;
            messages.start_send(message).map_err(broken)?;
            self.begun.advance(used);
        }
    }
}

/// Status and words of an answer that is not 101.
fn words(response: &Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    // What answers may be anything that speaks HTTP, and have pages.
    match body.trim().lines().next() {
        None => response.status().to_string(),
        Some(text) => format!("{}: {text}", response.status()),
    }
}

/// When to come back, where the answer says so.
fn retry_after(response: &Response<Option<Vec<u8>>>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?;
    seconds.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.arrived.is_empty() {
            // A ping is answered in here.
            match ready!(Pin::new(&mut this.messages).poll_next(cx)) {
                Some(Ok(Message::Binary(body))) => {
                    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
                    this.arrived.extend_from_slice(&length.to_be_bytes());
                    this.arrived.extend_from_slice(&body);
                }
                // CLOSE has said why; this is the end.
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = this.arrived.len().min(buffer.remaining());
        buffer.put_slice(&this.arrived[..count]);
        this.arrived.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What was whole before goes first: no more than a frame and a write are held.
        ready!(this.poll_send(cx))?;
        this.begun.extend_from_slice(bytes);
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        // The client writes whole frames and does not flush.
        let _ = Pin::new(&mut this.messages)
            .poll_flush(cx)
            .map_err(broken)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.messages).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.messages).poll_close(cx).map_err(broken)
    }
}

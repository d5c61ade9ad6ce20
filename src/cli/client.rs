//! The reference client: one connection, from HELLO to its end.
//!
//! It keeps the heartbeat by itself while [`Client::next`] is awaited: it answers PING, sends PING
//! after a heartbeat of silence, and takes the gateway for lost after 2.5 heartbeats without a
//! frame. Coming back is its caller's: [`Ended::advice`] says whether and when.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::codec::FramedRead;

use crate::wire::codec::{CodecError, GatewayCodec};
use crate::wire::frame::{
    ClientFrame, FrameError, GatewayFrame, HelloFields, PROTOCOL_VERSION, Scope, Welcome,
    encode_hello,
};
use crate::wire::reason::{CloseCode, RETRY_NEVER};

/// From the first packet to WELCOME. A gateway that paces its accepts lets a client wait.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// Until the gateway has closed its side after BYE.
const BYE_DEADLINE: Duration = Duration::from_secs(2);
/// Before WELCOME there is only WELCOME itself or a CLOSE with a reason of 255 bytes.
const FIRST_FRAME_BYTES_MAX: usize = 264;
/// Whatever WELCOME says: the longest frame that this client takes, far over any payload.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Answers that wait to be written; past it PINGs go unanswered, and the heartbeat finds the fault.
const UNSENT_BYTES_MAX: usize = 4096;

/// Who a client is and where in the log it was.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The token; with `auth.mode = "none"` the user's name. 65,535 bytes at most.
    pub token: Vec<u8>,
    /// The device, which may be empty.
    pub device: String,
    /// The groups to be in from the start, 255 at most.
    pub groups: Vec<String>,
    /// The heartbeat to ask for, in seconds; 0 leaves the choice to the gateway.
    pub heartbeat_s: u16,
    /// Where to resume, if anywhere.
    pub place: Option<Place>,
}

/// A client's whole memory of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The epoch of the numbers.
    pub epoch: u64,
    /// The last number that was handled.
    pub cursor: u64,
}

/// A connection with a session behind it.
#[derive(Debug)]
pub struct Client<S = TcpStream> {
    frames: FramedRead<ReadHalf<S>, GatewayCodec>,
    writer: WriteHalf<S>,
    unsent: BytesMut,
    welcome: Welcome,
    heartbeat: Duration,
    heard_at: Instant,
    sent_at: Instant,
}

/// What the gateway tells a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Push {
        /// The number of a kept message, 0 for a live one.
        number: u64,
        /// Under which kind of target it was found.
        scope: Scope,
        /// The group, empty unless the scope is one.
        group: String,
        /// The message.
        payload: Bytes,
    },
    /// The session is in this group now.
    Joined(String),
    /// The session is not in this group any more.
    Left(String),
    /// A HELLO's group, a JOIN, a LEAVE or a TOKEN was refused; the session lives.
    Refused {
        /// The type of the refused frame.
        frame_type: u8,
        /// Why.
        code: CloseCode,
        /// The group; empty for a token.
        group: String,
    },
    /// Everything up to this number that addresses the session has been sent.
    Current(u64),
}

/// Why a connection ended, or was never made.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The gateway closed it.
    #[error("closed by the gateway: {}", close_words(*.code, .reason))]
    Closed {
        /// Why.
        code: CloseCode,
        /// When to come back, in milliseconds; `0xFFFF_FFFF`: not as you are.
        retry_after_ms: u32,
        /// Words for people, maybe none.
        reason: String,
    },
    /// There was no connection to be had.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// It does not speak TLS, or cannot show that it is the gateway.
    #[error("no TLS with this gateway: {0}")]
    Untrusted(io::Error),
    /// The gateway grants no WebSocket.
    #[error("no WebSocket with this gateway: {why}")]
    NoWebSocket {
        /// What it said, or what was wrong with that.
        why: String,
        /// When to come back, where it said so.
        retry_after: Option<Duration>,
    },
    /// What answers is no door of this kind, or most likely none.
    #[error("{ended}; {hint}")]
    WrongDoor {
        /// How it ended.
        ended: Box<Self>,
        /// What answers there, and what to do about it.
        hint: &'static str,
        /// What it said leaves no doubt.
        is_certain: bool,
    },
    /// The gateway did not answer HELLO in time.
    #[error("no WELCOME within {} s", CONNECT_DEADLINE.as_secs())]
    NoWelcome,
    /// The gateway closed its side without a CLOSE.
    #[error("the connection ended without a CLOSE")]
    Eof,
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// No frame came for 2.5 heartbeats.
    #[error("nothing was heard from the gateway for {} s", .0.as_secs())]
    Silent(Duration),
    /// The gateway sent what the protocol does not know.
    #[error("the gateway broke the protocol: {0}")]
    Malformed(FrameError),
    /// The gateway sent a frame out of its order.
    #[error("the gateway sent a frame of type {0} out of order")]
    OutOfOrder(u8),
}

/// What a client that lost its connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Come back after this time, which the gateway chose for this client.
    After(Duration),
    /// Come back with full jitter.
    Jitter,
    /// Come back with a new token, and not with this one.
    NewToken,
    /// Do not come back as you are.
    Stay,
}

impl Ended {
    /// Whether and when to come back.
    pub fn advice(&self) -> Advice {
        let (code, retry_after_ms) = match self {
            Self::Closed {
                code,
                retry_after_ms,
                ..
            } => (*code, *retry_after_ms),
            Self::NoWebSocket { retry_after, .. } => {
                return retry_after.map_or(Advice::Stay, Advice::After);
            }
            Self::Untrusted(_) | Self::Malformed(_) | Self::OutOfOrder(_) => {
                return Advice::Stay;
            }
            Self::WrongDoor {
                is_certain: true, ..
            } => return Advice::Stay,
            Self::WrongDoor { ended, .. } => return ended.advice(),
            _ => return Advice::Jitter,
        };
        match code {
            CloseCode::Replaced | CloseCode::Protocol | CloseCode::Auth => Advice::Stay,
            CloseCode::Expired => Advice::NewToken,
            _ if retry_after_ms == RETRY_NEVER => Advice::Stay,
            // At once for everybody would be a storm.
            _ if retry_after_ms == 0 => Advice::Jitter,
            _ => Advice::After(Duration::from_millis(retry_after_ms.into())),
        }
    }
}

/// The meaning of a close code, and what the gateway added to it.
fn close_words(code: CloseCode, reason: &str) -> String {
    let meaning = match code {
        CloseCode::Draining => "it is draining",
        CloseCode::Replaced => "a newer connection of the same device took over",
        CloseCode::Kicked => "a business service ended the session",
        CloseCode::Slow => "this client was too slow",
        CloseCode::Heartbeat => "it heard nothing from this client for too long",
        CloseCode::Protocol => "this client broke the protocol",
        CloseCode::Auth => "not authenticated, or not allowed",
        CloseCode::Expired => "the token has expired",
        CloseCode::TooMany => "too many connections, devices or attempts",
        CloseCode::HandshakeTimeout => "the handshake took too long",
    };
    let number = code.code();
    if reason.is_empty() || reason == code.word() {
        return format!("{meaning} ({code}, code {number})");
    }
    format!("{meaning} ({code}, code {number}: {reason})")
}

impl From<CodecError> for Ended {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Frame(error) => Self::Malformed(error),
            CodecError::Io(error) => Self::Broken(error),
        }
    }
}

impl Client<TcpStream> {
    /// Connects, says HELLO, and waits for WELCOME, for at most 30 s in all.
    pub async fn connect(address: SocketAddr, identity: &Identity) -> Result<Self, Ended> {
        let deadline = Instant::now() + CONNECT_DEADLINE;
        let connected = timeout_at(deadline, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| Ended::Unreachable(io::ErrorKind::TimedOut.into()))?;
        let stream = stream.map_err(Ended::Unreachable)?;
        // A PONG is small and must not wait for the next one.
        stream.set_nodelay(true).map_err(Ended::Unreachable)?;
        let handshake = Self::handshake(stream, identity);
        timeout_at(deadline, handshake)
            .await
            .unwrap_or(Err(Ended::NoWelcome))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Says HELLO over a stream that stands already, and waits for WELCOME. It has no deadline of
    /// its own.
    pub async fn handshake(stream: S, identity: &Identity) -> Result<Self, Ended> {
        let (reader, mut writer) = tokio::io::split(stream);
        writer
            .write_all(&hello(identity))
            .await
            .map_err(Ended::Broken)?;
        let mut frames = FramedRead::new(reader, GatewayCodec::new(FIRST_FRAME_BYTES_MAX));
        let body = next_body(&mut frames).await?;
        let welcome = match GatewayFrame::decode(&body).map_err(Ended::Malformed)? {
            GatewayFrame::Welcome(welcome) => welcome,
            other => return Err(ended_by(&other)),
        };
        let frame_bytes_max = usize::try_from(welcome.max_frame).unwrap_or(usize::MAX);
        frames
            .decoder_mut()
            .set_max(frame_bytes_max.min(FRAME_BYTES_MAX));
        let now = Instant::now();
        Ok(Self {
            frames,
            writer,
            unsent: BytesMut::new(),
            heartbeat: Duration::from_secs(welcome.heartbeat_s.max(1).into()),
            welcome,
            heard_at: now,
            sent_at: now,
        })
    }

    /// What the gateway granted.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The next event. Cancel-safe: what was read or written in part goes on at the next call.
    /// After an error there is nothing more to be had.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            let ping_at = self.sent_at + self.heartbeat;
            let lost_at = self.heard_at + self.heartbeat * 5 / 2;
            let has_unsent = self.unsent.has_remaining();
            tokio::select! {
                body = next_body(&mut self.frames) => {
                    let body = body?;
                    self.heard_at = Instant::now();
                    if let Some(event) = self.handle(&body)? {
                        return Ok(event);
                    }
                }
                written = self.writer.write_buf(&mut self.unsent), if has_unsent => {
                    written.map_err(Ended::Broken)?;
                }
                () = sleep_until(ping_at.min(lost_at)) => {
                    if lost_at <= ping_at {
                        return Err(Ended::Silent(self.heard_at.elapsed()));
                    }
                    self.queue(&ClientFrame::Ping(b""));
                }
            }
        }
    }

    /// Asks to be in a group; [`Event::Joined`] or [`Event::Refused`] follows. It is sent while
    /// [`Client::next`] is awaited.
    pub fn join(&mut self, group: &str) {
        self.queue(&ClientFrame::Join { group });
    }

    /// Asks not to be in a group any more; [`Event::Left`] follows.
    pub fn leave(&mut self, group: &str) {
        self.queue(&ClientFrame::Leave { group });
    }

    /// Confirms every kept message up to this number, which must have been received here.
    pub fn ack(&mut self, number: u64) {
        self.queue(&ClientFrame::Ack { number });
    }

    /// Says BYE and waits for the gateway to close its side, for at most 2 s.
    pub async fn bye(mut self) {
        self.queue(&ClientFrame::Bye);
        let leave = async {
            self.writer.write_all_buf(&mut self.unsent).await?;
            self.writer.shutdown().await?;
            // What is left unread would turn the close into a reset.
            while next_body(&mut self.frames).await.is_ok() {}
            Ok::<_, io::Error>(())
        };
        // A gateway that is gone already need not be told.
        let _ = timeout(BYE_DEADLINE, leave).await;
    }

    fn handle(&mut self, body: &Bytes) -> Result<Option<Event>, Ended> {
        let event = match GatewayFrame::decode(body).map_err(Ended::Malformed)? {
            GatewayFrame::Push {
                number,
                scope,
                group,
                payload,
            } => Event::Push {
                number,
                scope,
                group: group.to_owned(),
                payload: body.slice_ref(payload),
            },
            GatewayFrame::Joined { group } => Event::Joined(group.to_owned()),
            GatewayFrame::Left { group } => Event::Left(group.to_owned()),
            GatewayFrame::Refused {
                frame_type,
                code,
                group,
            } => Event::Refused {
                frame_type,
                code,
                group: group.to_owned(),
            },
            GatewayFrame::Current { cursor } => Event::Current(cursor),
            GatewayFrame::Ping(bytes) => {
                self.queue(&ClientFrame::Pong(bytes));
                return Ok(None);
            }
            GatewayFrame::Pong(_) => return Ok(None),
            other @ (GatewayFrame::Welcome(_) | GatewayFrame::Close { .. }) => {
                return Err(ended_by(&other));
            }
        };
        Ok(Some(event))
    }

    fn queue(&mut self, frame: &ClientFrame<'_>) {
        self.sent_at = Instant::now();
        if self.unsent.len() > UNSENT_BYTES_MAX && matches!(frame, ClientFrame::Pong(_)) {
            return;
        }
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.unsent.extend_from_slice(&bytes);
    }
}

fn hello(identity: &Identity) -> Vec<u8> {
    let groups: Vec<&str> = identity.groups.iter().map(String::as_str).collect();
    let place = identity.place.unwrap_or(Place {
        epoch: 0,
        cursor: 0,
    });
    let mut out = Vec::new();
    encode_hello(
        &mut out,
        &HelloFields {
            version: PROTOCOL_VERSION,
            resume: identity.place.is_some(),
            heartbeat_s: identity.heartbeat_s,
            epoch: place.epoch,
            cursor: place.cursor,
            device: &identity.device,
            groups: &groups,
            token: &identity.token,
        },
    );
    out
}

/// How a frame that is not expected here ends the connection.
fn ended_by(frame: &GatewayFrame<'_>) -> Ended {
    match *frame {
        GatewayFrame::Close {
            code,
            retry_after_ms,
            reason,
        } => Ended::Closed {
            code,
            retry_after_ms,
            reason: reason.to_owned(),
        },
        _ => Ended::OutOfOrder(frame.frame_type()),
    }
}

/// The body of the next frame. Cancel-safe, as the reader keeps what it has.
async fn next_body<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, GatewayCodec>,
) -> Result<Bytes, Ended> {
    let mut frames = std::pin::Pin::new(frames);
    match std::future::poll_fn(|context| frames.as_mut().poll_next(context)).await {
        Some(body) => Ok(body?),
        None => Err(Ended::Eof),
    }
}

#[cfg(test)]
mod tests;

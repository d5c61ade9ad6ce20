//! A WebSocket as bare as the protocol allows: its messages are the frames that the other clients
//! of the tests know, and what else comes is kept to be looked at.

use std::io;

use bytes::{Buf, BytesMut};
use pushgate::wire::frame::split;
use pushgate::wire::websocket::{Item, Opcode, Parts, Side, decode, put_masked};

use super::stream::Stream;

/// No message of the gateway is longer, in any configuration.
const MESSAGE_MAX: usize = 70_000;

/// One that is open.
pub(crate) struct Web {
    pub(super) below: Stream,
    /// Bytes of frames that are not whole.
    arrived: BytesMut,
    parts: Parts,
    /// The head of the answer to its request.
    pub(crate) answer: String,
    /// Pings that came. Each has been answered, unless it is mute.
    pub(crate) pings: usize,
    /// It answers no ping.
    pub(crate) is_mute: bool,
    /// What the pongs that came held.
    pub(crate) pongs: Vec<Vec<u8>>,
    /// Code and reason of the close frame, once it has come.
    pub(crate) close: Option<(u16, String)>,
}

impl Web {
    /// Asks for one, with these lines in the head of the request; the whole answer where it is not
    /// granted.
    pub(super) async fn open(mut below: Stream, target: &str, lines: &str) -> Result<Self, String> {
        let request = request(target, lines);
        let written = below.write_all(request.as_bytes()).await;
        // One who was turned away at once has an answer all the same.
        drop(written);
        let mut arrived = BytesMut::new();
        loop {
            let end = arrived.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end
                && arrived.starts_with(b"HTTP/1.1 101 ")
            {
                let answer = String::from_utf8_lossy(&arrived[..end]).into_owned();
                arrived.advance(end + 4);
                return Ok(Self {
                    below,
                    arrived,
                    parts: None,
                    answer,
                    pings: 0,
                    is_mute: false,
                    pongs: Vec::new(),
                    close: None,
                });
            }
            match below.read(&mut arrived).await {
                Ok(1..) => {}
                // An answer that is none ends with its connection.
                Ok(0) => return Err(String::from_utf8_lossy(&arrived).into_owned()),
                Err(error) => return Err(format!("{error}: {arrived:?}")),
            }
        }
    }

    /// Sends frames, each as a message.
    pub(super) async fn write_frames(&mut self, mut frames: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        while !frames.is_empty() {
            let whole = split(frames, MESSAGE_MAX).expect("frames that are well-formed");
            let (body, used) = whole.expect("whole frames");
            put_masked(&mut bytes, Opcode::Binary, body, rand::random());
            frames = &frames[used..];
        }
        self.below.write_all(&bytes).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        // That the gateway has closed is no error: what it said is read.
        drop(self.below.write_all(bytes).await);
    }

    /// Sends one frame.
    pub(crate) async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        put_masked(&mut bytes, opcode, payload, rand::random());
        self.send_raw(&bytes).await;
    }

    /// Appends to `frames` what has come; 0 at the end.
    pub(super) async fn read(&mut self, frames: &mut BytesMut) -> io::Result<usize> {
        loop {
            let before = frames.len();
            self.take(frames).await?;
            if frames.len() > before {
                return Ok(frames.len() - before);
            }
            if self.below.read(&mut self.arrived).await? == 0 {
                assert!(self.arrived.is_empty(), "the stream ends within a frame");
                return Ok(0);
            }
        }
    }

    async fn take(&mut self, frames: &mut BytesMut) -> io::Result<()> {
        loop {
            let decoded = decode(
                Side::Client,
                &mut self.arrived,
                &mut self.parts,
                MESSAGE_MAX,
            );
            let Some((item, used)) = decoded.expect("the gateway keeps to WebSocket") else {
                return Ok(());
            };
            assert_eq!(self.close, None, "the close frame is the last: {item:?}");
            let mut pong = Vec::new();
            match item {
                Item::Message(body) => {
                    let length = u32::try_from(body.len()).expect("short");
                    frames.extend_from_slice(&length.to_be_bytes());
                    frames.extend_from_slice(&body);
                }
                Item::Part => panic!("the gateway sends whole messages"),
                Item::Ping(payload) => {
                    self.pings += 1;
                    if !self.is_mute {
                        put_masked(&mut pong, Opcode::Pong, payload, rand::random());
                    }
                }
                Item::Pong(payload) => self.pongs.push(payload.to_vec()),
                Item::Close { code, reason } => self.close = Some((code, reason.to_owned())),
            }
            self.arrived.advance(used);
            if !pong.is_empty() {
                self.below.write_all(&pong).await?;
            }
        }
    }
}

/// A request as a program makes it, with these lines in its head.
pub(crate) fn request(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

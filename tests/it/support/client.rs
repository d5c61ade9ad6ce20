//! A client as bare as the protocol allows, cheap enough for thousands in one process.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pushgate::wire::frame::{ClientFrame, GatewayFrame, LENGTH_BYTES, Scope, Welcome, split};
use pushgate::wire::reason::CloseCode;
use tokio::net::TcpSocket;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

pub(crate) use super::login::Login;
use super::stream::{Stream, from, narrow};
use super::web::Web;
use super::within;

/// No frame of the gateway is longer, in any configuration.
const FRAME_MAX: usize = 70_000;

/// What a CLOSE said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: CloseCode,
    pub(crate) retry_after_ms: u32,
    pub(crate) reason: String,
}

/// A connection to the gateway, and what of its frames has come.
pub(crate) struct Client {
    stream: Stream,
    arrived: BytesMut,
    body: Bytes,
    /// From the WELCOME; 0 before.
    pub(crate) session: u64,
    /// How the stream ended, where it did not end in order.
    pub(crate) broken: Option<ErrorKind>,
}

impl Client {
    /// Connects, and says nothing.
    pub(crate) async fn connect(gateway: SocketAddr) -> Self {
        Self::connect_with(gateway, |_| Ok(())).await
    }

    /// Connects from this address of the host: loopback has many.
    pub(crate) async fn connect_from(address: IpAddr, gateway: SocketAddr) -> Self {
        Self::connect_with(gateway, from(address)).await
    }

    /// Connects with so small a receive buffer that the gateway soon notices who does not read.
    pub(crate) async fn connect_narrow(gateway: SocketAddr) -> Self {
        Self::connect_with(gateway, narrow).await
    }

    /// Connects, unless that is refused.
    pub(crate) async fn try_connect(gateway: SocketAddr) -> std::io::Result<Self> {
        Stream::connect(gateway, |_| Ok(())).await.map(Self::over)
    }

    async fn connect_with(
        gateway: SocketAddr,
        prepare: impl FnOnce(&TcpSocket) -> std::io::Result<()>,
    ) -> Self {
        let connected = Stream::connect(gateway, prepare).await;
        Self::over(connected.expect("the gateway takes connections"))
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            arrived: BytesMut::new(),
            body: Bytes::new(),
            session: 0,
            broken: None,
        }
    }

    /// Goes on under TLS, or says why it cannot.
    pub(crate) async fn secured(self, config: &Arc<ClientConfig>) -> Result<Self, std::io::Error> {
        self.stream.secured(config).await.map(Self::over)
    }

    /// Goes on as a WebSocket, with these lines in the head of its request; or the answer of HTTP.
    pub(crate) async fn upgraded(self, target: &str, lines: &str) -> Result<Self, String> {
        let web = Web::open(self.stream, target, lines);
        let web = within("an answer to the request", web).await?;
        Ok(Self::over(Stream::Web(Box::new(web))))
    }

    /// Connects to a door of WebSocket.
    pub(crate) async fn connect_web(gateway: SocketAddr) -> Self {
        let connected = Self::connect(gateway).await.upgraded("/", "").await;
        connected.expect("a WebSocket")
    }

    /// What its WebSocket has seen beside messages.
    pub(crate) fn web(&mut self) -> &mut Web {
        match &mut self.stream {
            Stream::Web(web) => web,
            _ => panic!("it is no WebSocket"),
        }
    }

    /// What TLS has found out about the gateway.
    pub(crate) fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1,
            _ => panic!("it is not under TLS"),
        }
    }

    /// Reads all that follows a HELLO, up to CURRENT.
    pub(crate) async fn greeted(&mut self) -> Result<Welcome, Closed> {
        let mut welcome = None;
        loop {
            match self.next().await {
                Some(GatewayFrame::Welcome(first)) => welcome = Some(first),
                Some(GatewayFrame::Current { .. }) => {
                    let welcome = welcome.expect("WELCOME comes first");
                    self.session = welcome.session;
                    return Ok(welcome);
                }
                Some(GatewayFrame::Close {
                    code,
                    retry_after_ms,
                    reason,
                }) => {
                    return Err(Closed {
                        code,
                        retry_after_ms,
                        reason: reason.to_owned(),
                    });
                }
                Some(_) => {}
                None => panic!("the stream ended ({:?}) without a word", self.broken),
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// Sends bytes as they are. That the gateway has closed is no error: what it said is read.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        match within("a write", self.stream.write_all(bytes)).await {
            Ok(()) => {}
            Err(error) => self.broken = Some(error.kind()),
        }
    }

    /// The next frame, whichever it is; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<GatewayFrame<'_>> {
        within("a frame", self.next_ever()).await
    }

    /// The same for as long as it takes.
    pub(crate) async fn next_ever(&mut self) -> Option<GatewayFrame<'_>> {
        loop {
            let found = split(&self.arrived, FRAME_MAX).expect("the gateway keeps to the protocol");
            if let Some((_, used)) = found {
                self.body = self.arrived.split_to(used).freeze();
                self.body.advance(LENGTH_BYTES);
                let frame = GatewayFrame::decode(&self.body);
                return Some(frame.expect("the gateway keeps to the protocol"));
            }
            match self.stream.read(&mut self.arrived).await {
                Ok(0) if self.arrived.is_empty() => return None,
                Ok(0) => panic!("the stream ends within a frame: {:?}", self.arrived),
                Ok(_) => {}
                Err(error) => {
                    self.broken = Some(error.kind());
                    return None;
                }
            }
        }
    }

    /// Waits until something is there to be read.
    pub(crate) async fn arrival(&self) {
        // Peeking, since what is called readable may have been read already.
        let peeked = self.stream.socket().peek(&mut [0]).await;
        peeked.expect("the gateway says why before it closes");
    }

    /// The next message, with PINGs answered and all else passed over.
    pub(crate) async fn next_push(&mut self) -> (Scope, String, Vec<u8>) {
        loop {
            match self.next().await {
                Some(GatewayFrame::Push {
                    scope,
                    group,
                    payload,
                    ..
                }) => return (scope, group.to_owned(), payload.to_vec()),
                Some(GatewayFrame::Ping(_)) => self.send(&ClientFrame::Pong(&[])).await,
                Some(GatewayFrame::Close { code, reason, .. }) => {
                    panic!("closed while a message was waited for: {code:?} {reason}")
                }
                Some(_) => {}
                None => panic!("no message, but the end: {:?}", self.broken),
            }
        }
    }

    /// Joins a group, and waits until it is in.
    pub(crate) async fn join(&mut self, group: &str) {
        self.send(&ClientFrame::Join { group }).await;
        let joined = GatewayFrame::Joined { group };
        while self.next().await.expect("JOINED comes") != joined {}
    }

    /// Leaves a group, and waits until it is out.
    pub(crate) async fn leave(&mut self, group: &str) {
        self.send(&ClientFrame::Leave { group }).await;
        let left = GatewayFrame::Left { group };
        while self.next().await.expect("LEFT comes") != left {}
    }

    /// Shows that the connection is served both ways. What else comes meanwhile is passed over.
    pub(crate) async fn assert_alive(&mut self) {
        self.send(&ClientFrame::Ping(b"alive?")).await;
        let pong = GatewayFrame::Pong(b"alive?");
        while self.next().await.expect("PONG comes") != pong {}
    }

    /// Reads up to the CLOSE, which has to be the last frame, and to the end of the stream.
    pub(crate) async fn closed(&mut self) -> Closed {
        let closed = loop {
            match self.next().await {
                Some(GatewayFrame::Close {
                    code,
                    retry_after_ms,
                    reason,
                }) => {
                    break Closed {
                        code,
                        retry_after_ms,
                        reason: reason.to_owned(),
                    };
                }
                Some(_) => {}
                None => panic!("the stream ended ({:?}) without a CLOSE", self.broken),
            }
        };
        assert_eq!(self.next().await, None, "CLOSE is the last frame");
        assert_eq!(self.broken, None, "the stream ends in order");
        closed
    }

    /// Reads to the end of the stream; the CLOSE, if one came before a reset did.
    pub(crate) async fn close_if_told(&mut self) -> Option<Closed> {
        let mut told = None;
        while let Some(frame) = self.next().await {
            if let GatewayFrame::Close {
                code,
                retry_after_ms,
                reason,
            } = frame
            {
                let reason = reason.to_owned();
                told = Some(Closed {
                    code,
                    retry_after_ms,
                    reason,
                });
            }
        }
        told
    }

    /// Reads to the end of the stream, which must not say CLOSE.
    pub(crate) async fn ended(&mut self) {
        while let Some(frame) = self.next().await {
            assert!(!matches!(frame, GatewayFrame::Close { .. }), "{frame:?}");
        }
    }

    /// Ends this side in order; the other one may still send.
    pub(crate) async fn shut_down(&mut self) {
        let shut_down = self.stream.shut_down().await;
        shut_down.expect("a FIN can be sent");
    }

    /// Cuts the connection with a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.socket());
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("a socket may linger");
    }
}

//! A business service: datagrams out, answers in by their request id.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pushgate::clock::Clock;
use pushgate::wire::datagram::{DATAGRAM_BYTES_MAX, Header, ReplyMode, RequestBody, Target};
use pushgate::wire::reason::Status;
use pushgate::wire::reply::{Counts, Reply, decode_reply};
use pushgate::wire::seal::Key;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::process::STEP;

/// The first pause before the same bytes are sent again; it doubles, up to the second.
const REPEAT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// The pause before a BUSY request is sent again.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) request_id: [u8; 16],
    pub(crate) time_ms: u64,
    pub(crate) status: Status,
    pub(crate) counts: Counts,
    pub(crate) elapsed_ms: u32,
    pub(crate) number: u64,
    /// Of a PING.
    pub(crate) tail: Vec<u8>,
    /// Of a PRESENCE.
    pub(crate) sessions: Vec<u32>,
}

/// A request as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) id: [u8; 16],
    pub(crate) bytes: Vec<u8>,
}

/// The answers to one request, as they come.
pub(crate) struct Answers(UnboundedReceiver<Answer>);

impl Answers {
    /// The next one.
    pub(crate) async fn next(&mut self) -> Answer {
        super::within("an answer", self.0.recv())
            .await
            .expect("the sender listens as long as it lives")
    }

    /// One that is there already.
    pub(crate) fn try_next(&mut self) -> Option<Answer> {
        self.0.try_recv().ok()
    }
}

#[derive(Default)]
struct Inbox {
    expected: HashMap<[u8; 16], UnboundedSender<Answer>>,
    unexpected: Vec<Answer>,
}

/// A sender with a socket of its own.
pub(crate) struct Sender {
    socket: Arc<UdpSocket>,
    key: Option<(u32, Key)>,
    inbox: Arc<Mutex<Inbox>>,
    listening: JoinHandle<()>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Sender {
    /// One without a key.
    pub(crate) async fn unsigned(gateway: SocketAddr) -> Self {
        Self::new(any(gateway), gateway, None).await
    }

    /// One that signs with this secret, in hex.
    pub(crate) async fn signed(gateway: SocketAddr, key_id: u32, secret: &str) -> Self {
        Self::signed_from(any(gateway), gateway, key_id, secret).await
    }

    /// The same from this address of the host: loopback has many.
    pub(crate) async fn signed_from(
        address: &str,
        gateway: SocketAddr,
        key_id: u32,
        secret: &str,
    ) -> Self {
        let key = Key::from_hex(secret).expect("a test's key is one");
        Self::new(address, gateway, Some((key_id, key))).await
    }

    async fn new(address: &str, gateway: SocketAddr, key: Option<(u32, Key)>) -> Self {
        let socket = UdpSocket::bind(address).await.expect("a socket");
        socket.connect(gateway).await.expect("a socket connects");
        let (socket, inbox) = (Arc::new(socket), Arc::<Mutex<Inbox>>::default());
        let listen = listen(
            Arc::clone(&socket),
            key.as_ref().map(|(_, key)| key.clone()),
            Arc::clone(&inbox),
        );
        Self {
            listening: tokio::spawn(listen),
            socket,
            key,
            inbox,
        }
    }

    /// A request of this moment with a fresh id.
    pub(crate) fn encode(&self, body: &RequestBody<'_>) -> Datagram {
        self.encode_at(Clock::system().now_ms(), rand::random(), body)
    }

    /// A request of any time and id.
    pub(crate) fn encode_at(&self, time_ms: u64, id: [u8; 16], body: &RequestBody<'_>) -> Datagram {
        let header = Header {
            op: body.op().code(),
            key_id: self.key.as_ref().map_or(0, |(id, _)| *id),
            time_ms,
            request_id: id,
        };
        let key = self.key.as_ref().map(|(_, key)| key);
        let mut bytes = Vec::new();
        pushgate::wire::datagram::encode_request(&mut bytes, &header, body, key);
        Datagram { id, bytes }
    }

    /// From now on the answers to `id` go here.
    pub(crate) fn expect(&self, id: [u8; 16]) -> Answers {
        let (tx, rx) = unbounded_channel();
        self.inbox().expected.insert(id, tx);
        Answers(rx)
    }

    /// The answers that nobody expected, so far.
    pub(crate) fn unexpected(&self) -> Vec<Answer> {
        self.inbox().unexpected.clone()
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no holder panics")
    }

    /// Sends any bytes, once.
    pub(crate) async fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).await.expect("a datagram is sent");
    }

    /// Sends, the same bytes again while nothing comes, and returns the first answer.
    pub(crate) async fn ask(&self, body: &RequestBody<'_>) -> Answer {
        self.ask_datagram(&self.encode(body)).await
    }

    /// Sends once, and waits for the answer: `None` where none comes.
    pub(crate) async fn ask_once(&self, datagram: &Datagram) -> Option<Answer> {
        let mut answers = self.expect(datagram.id);
        self.send(&datagram.bytes).await;
        let answer = timeout(STEP, answers.0.recv()).await.ok().flatten();
        self.inbox().expected.remove(&datagram.id);
        answer
    }

    /// The same for a request that is encoded already.
    pub(crate) async fn ask_datagram(&self, datagram: &Datagram) -> Answer {
        let mut answers = self.expect(datagram.id);
        let (deadline, mut pause) = (Instant::now() + STEP, REPEAT.0);
        while Instant::now() < deadline {
            self.send(&datagram.bytes).await;
            if let Ok(answer) = timeout(pause, answers.0.recv()).await {
                self.inbox().expected.remove(&datagram.id);
                return answer.expect("the sender listens as long as it lives");
            }
            pause = (pause * 2).min(REPEAT.1);
        }
        panic!("no answer within {STEP:?}");
    }

    /// Sends, again while nothing comes or it still runs, until it is known how it ended (or that
    /// it had not ended at the deadline).
    pub(crate) async fn ask_for_the_end(&self, datagram: &Datagram) -> Answer {
        let deadline = Instant::now() + STEP;
        loop {
            let answer = self.ask_datagram(datagram).await;
            if answer.status != Status::Accepted {
                return answer;
            }
            assert!(Instant::now() < deadline, "ACCEPTED for {STEP:?}");
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// Pushes, and returns how it ended.
    pub(crate) async fn push(&self, targets: &[Target<'_>], payload: &[u8]) -> Answer {
        self.ask_for_the_end(&self.encode(&push(targets, payload)))
            .await
    }

    /// Pushes, again while the gateway is BUSY; how often it was, beside the other answer.
    pub(crate) async fn push_patiently(
        &self,
        targets: &[Target<'_>],
        payload: &[u8],
    ) -> (Answer, u32) {
        let (deadline, mut busy) = (Instant::now() + STEP, 0);
        loop {
            let answer = self.push(targets, payload).await;
            if answer.status != Status::Busy {
                return (answer, busy);
            }
            assert!(Instant::now() < deadline, "BUSY for {STEP:?}");
            busy += 1;
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// Waits until all that was sent before has been taken in: one socket is served in order.
    /// Only answers of jobs may still be on their way then.
    pub(crate) async fn barrier(&self) {
        let answer = self.ask(&RequestBody::Ping(b"barrier")).await;
        assert_eq!(answer.tail, b"barrier");
    }
}

/// Where a sender is bound unless it wants to be elsewhere.
const fn any(gateway: SocketAddr) -> &'static str {
    match gateway {
        SocketAddr::V4(_) => "127.0.0.1:0",
        SocketAddr::V6(_) => "[::1]:0",
    }
}

/// A live push, answered when it has ended.
pub(crate) const fn push<'a>(targets: &'a [Target<'a>], payload: &'a [u8]) -> RequestBody<'a> {
    push_with(ReplyMode::One, targets, payload)
}

/// A live push, answered in any of the ways.
pub(crate) const fn push_with<'a>(
    reply: ReplyMode,
    targets: &'a [Target<'a>],
    payload: &'a [u8],
) -> RequestBody<'a> {
    RequestBody::Push {
        reply,
        collapse: &[],
        ttl_s: 0,
        spread_ms: 0,
        targets,
        payload,
    }
}

async fn listen(socket: Arc<UdpSocket>, key: Option<Key>, inbox: Arc<Mutex<Inbox>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is one of an earlier send: nobody was there.
        let Ok(count) = socket.recv(&mut buffer).await else {
            continue;
        };
        let (header, reply) = decode_reply(&buffer[..count], key.as_ref())
            .unwrap_or_else(|error| panic!("the gateway answered nonsense: {error}"));
        let answer = answer(&header, &reply);
        let mut inbox = inbox.lock().expect("no holder panics");
        match inbox.expected.get(&answer.request_id) {
            // Whoever expected it may have seen enough.
            Some(expected) => drop(expected.send(answer)),
            None => inbox.unexpected.push(answer),
        }
    }
}

fn answer(header: &Header, reply: &Reply<'_>) -> Answer {
    use pushgate::wire::datagram::Op;
    let Counts {
        matched,
        written,
        waiting,
        refused,
    } = reply.counts;
    let is_presence = header.op == Op::Presence.code();
    assert!(
        is_presence || matched == written + waiting + refused,
        "the counts of {reply:?} do not add up"
    );
    Answer {
        request_id: header.request_id,
        time_ms: header.time_ms,
        status: reply.status,
        counts: reply.counts,
        elapsed_ms: reply.elapsed_ms,
        number: reply.number,
        tail: reply.tail.to_vec(),
        sessions: reply.sessions().filter(|_| is_presence).collect(),
    }
}

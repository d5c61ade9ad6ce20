//! A sender that never waits: datagrams go out when they are due, answers are counted as they come.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::clock::Clock;
use crate::wire::datagram::{
    DATAGRAM_BYTES_MAX, Header, ReplyMode, RequestBody, Target, encode_request,
};
use crate::wire::reason::Status;
use crate::wire::reply::{Counts, decode_reply};
use crate::wire::seal::Key;

/// How long the first answer may take: a gateway that has only just started says STALE for a
/// second.
const FIRST_ANSWER: Duration = Duration::from_secs(15);
/// How often it is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What the gateway has answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    /// DONE.
    pub done: u64,
    /// BUSY: nothing was sent to anybody.
    pub busy: u64,
    /// Anything else: TIMEOUT, DENIED, STALE and so on.
    pub other: u64,
    /// The last of those.
    pub last_other: Option<Status>,
    /// Requests that were sent again.
    pub repeats: u64,
    /// Deliveries that the kernel took at once.
    pub written: u64,
    /// Deliveries that waited in the log when the job ended.
    pub waiting: u64,
    /// Deliveries that could not be made.
    pub refused: u64,
}

/// A request without an answer.
struct Sent {
    due: Instant,
    at: Instant,
    bytes: Box<[u8]>,
    again: Instant,
    pause: Duration,
}

/// The sender. What is not answered it sends again, as senders shall.
pub struct Pusher {
    socket: UdpSocket,
    key: Option<(u32, Key)>,
    clock: Clock,
    /// The gateway's clock minus ours, in milliseconds.
    ahead_ms: i64,
    prefix: [u8; 8],
    count: u64,
    sent: HashMap<u64, Sent>,
    /// When it is looked for what has to be sent again.
    look: Instant,
    bytes: Vec<u8>,
    /// What came back.
    pub answers: Answers,
}

impl Pusher {
    /// A sender whom the gateway has answered.
    ///
    /// # Errors
    /// When there is no answer within 15 s, which is also what a wrong key gets.
    pub fn connect(gateway: SocketAddr, key: Option<(u32, Key)>) -> anyhow::Result<Self> {
        let any: SocketAddr = match gateway {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).context("no UDP socket")?;
        socket
            .connect(gateway)
            .with_context(|| format!("cannot reach {gateway}"))?;
        let mut prefix = [0; 8];
        OsRng
            .try_fill_bytes(&mut prefix)
            .context("the system gave no random bytes")?;
        let mut pusher = Self {
            socket,
            key,
            clock: Clock::system(),
            ahead_ms: 0,
            prefix,
            count: 0,
            sent: HashMap::new(),
            look: Instant::now(),
            bytes: Vec::new(),
            answers: Answers::default(),
        };
        pusher.meet()?;
        pusher.socket.set_nonblocking(true).context("a socket")?;
        Ok(pusher)
    }

    /// The socket, to be waited for.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Requests without an answer so far.
    pub fn unanswered(&self) -> usize {
        self.sent.len()
    }

    /// How long the longest datagram of such a push is.
    pub fn push_bytes(&self, target: Target<'_>, payload: &[u8]) -> usize {
        let mut bytes = Vec::new();
        self.encode(&mut bytes, 0, &push(&[target], payload, 0));
        bytes.len()
    }

    /// Sends a push that is answered when it is done, as [`push_due`](Self::push_due), due now.
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, target: Target<'_>, payload: &[u8]) -> anyhow::Result<bool> {
        self.push_due(target, payload, Instant::now())
    }

    /// The same of a push that is kept for `ttl_s` seconds.
    ///
    /// # Errors
    /// As there.
    pub fn keep(&mut self, target: Target<'_>, payload: &[u8], ttl_s: u32) -> anyhow::Result<bool> {
        self.send(&push(&[target], payload, ttl_s), Instant::now())
    }

    /// Sends a push that is answered when it is done, and whose answer counts from when it was
    /// due. `false`: the kernel has no room now.
    ///
    /// # Errors
    /// When the gateway's socket is gone, or the datagram too long.
    pub fn push_due(
        &mut self,
        target: Target<'_>,
        payload: &[u8],
        due: Instant,
    ) -> anyhow::Result<bool> {
        self.send(&push(&[target], payload, 0), due)
    }

    fn send(&mut self, body: &RequestBody<'_>, due: Instant) -> anyhow::Result<bool> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.encode(&mut bytes, self.count, body);
        anyhow::ensure!(
            bytes.len() <= DATAGRAM_BYTES_MAX,
            "a push of {} bytes is no datagram",
            bytes.len()
        );
        let sent = self.socket.send(&bytes);
        let pushed = match sent {
            Ok(_) => {
                let at = Instant::now();
                let again = at + ASK_EVERY;
                let (bytes, pause) = (bytes.as_slice().into(), ASK_EVERY);
                let sent = Sent {
                    due,
                    at,
                    bytes,
                    again,
                    pause,
                };
                self.sent.insert(self.count, sent);
                self.count += 1;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("cannot send"),
        };
        self.bytes = bytes;
        pushed
    }

    /// Takes every answer that is there; `answered` hears how long each took since it was due, and
    /// since it was sent.
    ///
    /// # Errors
    /// When the gateway's socket is gone.
    pub fn poll(&mut self, answered: &mut dyn FnMut(Duration, Duration)) -> anyhow::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let count = match self.socket.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the gateway's UDP door"),
            };
            let key = self.key.as_ref().map(|(_, key)| key);
            let Ok((header, reply)) = decode_reply(&buffer[..count], key) else {
                continue;
            };
            // Of one that was sent again and whose job runs: its result comes.
            if reply.status == Status::Accepted {
                continue;
            }
            if let Some(sent) = self.number(&header).and_then(|n| self.sent.remove(&n)) {
                answered(sent.due.elapsed(), sent.at.elapsed());
                self.answers.note(reply.status, &reply.counts);
            }
        }
        self.send_again(Instant::now());
        Ok(())
    }

    /// Sends again what is not answered for so long: after 250 ms, doubling to 4 s.
    fn send_again(&mut self, now: Instant) {
        const LONGEST: Duration = Duration::from_secs(4);
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        if self.sent.is_empty() || now < self.look {
            return;
        }
        self.look = now + LOOK_EVERY;
        for sent in self.sent.values_mut().filter(|sent| sent.again <= now) {
            sent.pause = (2 * sent.pause).min(LONGEST);
            sent.again = now + sent.pause;
            // Where it does not go out this time it will the next.
            let _ = self.socket.send(&sent.bytes);
            self.answers.repeats += 1;
        }
    }

    /// Pings until it is answered DONE, and takes over the gateway's time.
    fn meet(&mut self) -> anyhow::Result<()> {
        self.socket
            .set_read_timeout(Some(ASK_EVERY))
            .context("a socket")?;
        let (mut buffer, deadline) = ([0; 2048], Instant::now() + FIRST_ANSWER);
        while Instant::now() < deadline {
            let mut bytes = Vec::new();
            self.encode(&mut bytes, self.count, &RequestBody::Ping(b"bench"));
            self.count += 1;
            // Nobody may listen yet.
            let asked = self.socket.send(&bytes);
            let Ok(count) = asked.and_then(|_| self.socket.recv(&mut buffer)) else {
                std::thread::sleep(ASK_EVERY.min(Duration::from_millis(20)));
                continue;
            };
            let key = self.key.as_ref().map(|(_, key)| key);
            match decode_reply(&buffer[..count], key) {
                Ok((_, reply)) if reply.status == Status::Done => return Ok(()),
                Ok((header, reply)) if reply.status == Status::Stale => {
                    self.ahead_ms = header.time_ms.cast_signed() - self.now_ms();
                    std::thread::sleep(ASK_EVERY);
                }
                Ok((_, reply)) => anyhow::bail!("the gateway answers {}", reply.status.word()),
                Err(_) => {}
            }
        }
        anyhow::bail!(
            "the gateway does not answer: a wrong address, or a wrong key, which is silent"
        )
    }

    fn encode(&self, out: &mut Vec<u8>, number: u64, body: &RequestBody<'_>) {
        let mut request_id = [0; 16];
        request_id[..8].copy_from_slice(&self.prefix);
        request_id[8..].copy_from_slice(&number.to_be_bytes());
        let header = Header {
            op: body.op().code(),
            key_id: self.key.as_ref().map_or(0, |(id, _)| *id),
            time_ms: (self.now_ms() + self.ahead_ms).cast_unsigned(),
            request_id,
        };
        encode_request(out, &header, body, self.key.as_ref().map(|(_, key)| key));
    }

    fn number(&self, header: &Header) -> Option<u64> {
        let number = header.request_id.strip_prefix(&self.prefix)?;
        number.first_chunk().copied().map(u64::from_be_bytes)
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms().cast_signed()
    }
}

fn push<'a>(targets: &'a [Target<'a>], payload: &'a [u8], ttl_s: u32) -> RequestBody<'a> {
    RequestBody::Push {
        reply: ReplyMode::One,
        collapse: b"",
        ttl_s,
        spread_ms: 0,
        targets,
        payload,
    }
}

impl Answers {
    fn note(&mut self, status: Status, counts: &Counts) {
        match status {
            Status::Done => self.done += 1,
            Status::Busy => self.busy += 1,
            other => {
                self.other += 1;
                self.last_other = Some(other);
            }
        }
        self.written += u64::from(counts.written);
        self.waiting += u64::from(counts.waiting);
        self.refused += u64::from(counts.refused);
    }
}

//! The reference sender: one request at a time over one UDP socket.
//!
//! It sends a datagram, repeats the same bytes until it is answered, asks on while the gateway says
//! ACCEPTED or TIMEOUT, and mends its clock after STALE. What does not bear its request's id, or
//! does not verify under its key, it does not see.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout_at};

use super::schedule::{ASK_EVERY, WINDOW, pause_after, pause_after_stale};
use crate::clock::Clock;
use crate::wire::datagram::{DATAGRAM_BYTES_MAX, Header, ReplyMode, RequestBody, encode_request};
use crate::wire::reason::Status;
use crate::wire::reply::{Counts, decode_reply};
use crate::wire::seal::Key;

/// Longer than any reply: 64 bytes of header, 28 of body, four for each of 256 targets of a
/// PRESENCE.
const REPLY_BYTES_MAX: usize = 2048;
/// How often a request is sent anew, with a new id and a mended clock, after STALE.
const STALE_RETRIES: u32 = 2;
/// How long a sender asks on after ACCEPTED or TIMEOUT unless it is told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sender: a socket, a key, and what it has learnt of the gateway's clock.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    address: SocketAddr,
    key: Option<(u32, Key)>,
    clock: Clock,
    /// The gateway's clock minus ours, in milliseconds, as the last STALE showed it.
    offset_ms: i64,
    patience: Duration,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The last status that the gateway answered: ACCEPTED or TIMEOUT only where the patience ended
    /// before the job did.
    pub status: Status,
    /// Sessions matched, written, waiting and refused.
    pub counts: Counts,
    /// How long the gateway worked on it, in milliseconds.
    pub elapsed_ms: u32,
    /// The kept message's number; 0 for everything else.
    pub number: u64,
    /// For PRESENCE a big-endian u32 for each target, for PING the request's bytes.
    pub tail: Vec<u8>,
    /// From the first transmission of the answered request id to the answer.
    pub round_trip: Duration,
    /// Datagrams sent in all, repeats among them.
    pub datagrams: u32,
    /// The gateway's clock minus this machine's, in milliseconds, as the answer showed it.
    pub clock_ahead_ms: i64,
}

impl Outcome {
    /// The sessions of each target of a PRESENCE, in the request's order.
    pub fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        let (sessions, _) = self.tail.as_chunks();
        sessions.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] io::Error),
    /// The request does not fit into one datagram.
    #[error("the request takes {bytes} bytes, and a datagram holds {DATAGRAM_BYTES_MAX}")]
    TooLarge {
        /// Bytes of the whole datagram.
        bytes: usize,
    },
    /// The request asks for no reply, so there is nothing to wait for: see [`Sender::send`].
    #[error("a push in reply mode none is never answered")]
    NeverAnswered,
    /// Nobody answered within the window.
    #[error(
        "no answer from {address} within {} s to {datagrams} datagrams: {}",
        waited.as_secs(),
        if *refused {
            "nothing listens there"
        } else {
            "nothing listens there, or they were dropped in silence, as those with an unknown key, \
             a wrong MAC, or no key where one is needed are"
        }
    )]
    Silent {
        /// Where the datagrams went.
        address: SocketAddr,
        /// How long the sender listened.
        waited: Duration,
        /// How many times it sent the request.
        datagrams: u32,
        /// The machine said that nobody has the port.
        refused: bool,
    },
}

/// One request id on its way.
struct Exchange {
    header: Header,
    datagram: Vec<u8>,
    first_sent: Instant,
    sent: u32,
    refused: bool,
}

impl Sender {
    /// A sender to the gateway at `address`; its datagrams are signed with the key, or unsigned
    /// without one. Nothing is sent yet.
    pub async fn connect(address: SocketAddr, key: Option<(u32, Key)>) -> io::Result<Self> {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        Ok(Self {
            socket,
            address,
            key,
            clock: Clock::system(),
            offset_ms: 0,
            patience: PATIENCE,
        })
    }

    /// How long to ask on, once a second, after the first ACCEPTED or TIMEOUT; zero takes that as
    /// the outcome.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends the request once and waits for nothing: for reply mode none.
    pub async fn send(&mut self, body: &RequestBody<'_>) -> Result<(), SendError> {
        let mut exchange = self.begin(body)?;
        self.transmit(&mut exchange).await
    }

    /// Sends the request and stays with it until its outcome: within the 15 s of the window for a
    /// first answer, and the patience after ACCEPTED or TIMEOUT. After STALE the request is sent
    /// anew with a mended clock, at most twice.
    pub async fn request(&mut self, body: &RequestBody<'_>) -> Result<Outcome, SendError> {
        if matches!(
            body,
            RequestBody::Push {
                reply: ReplyMode::None,
                ..
            }
        ) {
            return Err(SendError::NeverAnswered);
        }
        let mut datagrams = 0;
        let mut retries = STALE_RETRIES;
        loop {
            let mut exchange = self.begin(body)?;
            let (mut outcome, accepted) = self.exchange(&mut exchange).await?;
            datagrams += exchange.sent;
            outcome.datagrams = datagrams;
            // After ACCEPTED, STALE means that the gateway has forgotten a request that it had
            // begun: sending it anew could carry it out twice.
            if outcome.status != Status::Stale || accepted || retries == 0 {
                return Ok(outcome);
            }
            retries -= 1;
            let correction_ms = outcome.clock_ahead_ms - self.offset_ms;
            self.offset_ms = outcome.clock_ahead_ms;
            sleep(pause_after_stale(correction_ms)).await;
        }
    }

    /// A datagram with a new id and the time of now.
    fn begin(&self, body: &RequestBody<'_>) -> Result<Exchange, SendError> {
        let header = Header {
            op: body.op().code(),
            key_id: self.key.as_ref().map_or(0, |(id, _)| *id),
            time_ms: self.clock.now_ms().saturating_add_signed(self.offset_ms),
            request_id: rand::random(),
        };
        let mut datagram = Vec::new();
        encode_request(
            &mut datagram,
            &header,
            body,
            self.key.as_ref().map(|(_, key)| key),
        );
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(SendError::TooLarge {
                bytes: datagram.len(),
            });
        }
        Ok(Exchange {
            header,
            datagram,
            first_sent: Instant::now(),
            sent: 0,
            refused: false,
        })
    }

    /// Sends, repeats, listens, asks on. Gives the last answer and whether an ACCEPTED or a TIMEOUT
    /// came before it.
    async fn exchange(&self, exchange: &mut Exchange) -> Result<(Outcome, bool), SendError> {
        let mut give_up = exchange.first_sent + WINDOW;
        let mut running: Option<Outcome> = None;
        loop {
            self.transmit(exchange).await?;
            let pause = if running.is_some() {
                ASK_EVERY
            } else {
                pause_after(exchange.sent)
            };
            let again = Instant::now() + pause;
            while let Some(outcome) = self.listen(exchange, again.min(give_up)).await? {
                if !matches!(outcome.status, Status::Accepted | Status::Timeout) {
                    return Ok((outcome, running.is_some()));
                }
                if running.is_none() {
                    give_up = Instant::now() + self.patience;
                }
                running = Some(outcome);
            }
            if again < give_up {
                continue;
            }
            return match running {
                Some(outcome) => Ok((outcome, true)),
                None => Err(SendError::Silent {
                    address: self.address,
                    waited: exchange.first_sent.elapsed(),
                    datagrams: exchange.sent,
                    refused: exchange.refused,
                }),
            };
        }
    }

    async fn transmit(&self, exchange: &mut Exchange) -> Result<(), SendError> {
        exchange.sent += 1;
        match self.socket.send(&exchange.datagram).await {
            Ok(_) => Ok(()),
            // What the one before met; the gateway may be starting.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                exchange.refused = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next answer to this request, or nothing when the deadline passes without one.
    async fn listen(
        &self,
        exchange: &mut Exchange,
        deadline: Instant,
    ) -> Result<Option<Outcome>, SendError> {
        let mut buffer = [0; REPLY_BYTES_MAX];
        loop {
            let Ok(received) = timeout_at(deadline, self.socket.recv(&mut buffer)).await else {
                return Ok(None);
            };
            match received {
                Ok(length) => {
                    if let Some(outcome) = self.read(exchange, &buffer[..length]) {
                        return Ok(Some(outcome));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    exchange.refused = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What a datagram says, when it is an answer to this request under this key.
    fn read(&self, exchange: &Exchange, bytes: &[u8]) -> Option<Outcome> {
        let key = self.key.as_ref().map(|(_, key)| key);
        let (header, reply) = decode_reply(bytes, key).ok()?;
        let request = Header {
            time_ms: header.time_ms,
            ..exchange.header
        };
        if header != request {
            return None;
        }
        Some(Outcome {
            status: reply.status,
            counts: reply.counts,
            elapsed_ms: reply.elapsed_ms,
            number: reply.number,
            tail: reply.tail.to_vec(),
            round_trip: exchange.first_sent.elapsed(),
            datagrams: exchange.sent,
            clock_ahead_ms: header.time_ms.wrapping_sub(self.clock.now_ms()) as i64,
        })
    }
}

#[cfg(test)]
mod tests;

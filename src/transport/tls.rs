//! A TLS stream as the hub writes to it: records are made and written at once, under the session's
//! lock, by whoever pumps.
//!
//! rustls holds the keys and no buffer: ciphertext is decrypted and encrypted in memory of the
//! worker, and a session holds only what the socket did not take, or half a record that came in. An
//! idle one holds neither.
//!
//! # What "taken" means here
//!
//! The hub may offer other bytes than before when a write would block: a message that was not begun
//! can be superseded or left. What is in a record cannot be taken back. So a record is made only
//! when everything before it has gone to the kernel; at most one is ever held back, 16 KiB. Of a
//! record that the kernel did not take whole all but its last byte is reported as taken. That byte
//! the hub offers again, first, since its message is begun; it is not encrypted twice, but reported
//! when the record is gone. Thus the hub counts the last message of a record as written when the
//! kernel has taken all of it, as on TCP. Messages before it in the same record count as written
//! when the kernel has begun with the record.

mod record;

pub mod config;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use tokio::net::TcpStream;

use record::{PLAIN_MAX, fill};

/// The longest record on the wire (RFC 8446, 5.2; RFC 5246, 6.2.3), with its header.
const RECORD_MAX: usize = 5 + PLAIN_MAX + 2048;
/// What one read takes of the socket. Its plaintext is no longer, and the longest record fits.
pub(super) const READ_MAX: usize = 20 * 1024;
/// Room for a record and what may have to go before it (a key update).
const SEALED_MAX: usize = RECORD_MAX + 1024;
/// Bytes of handshake that wait for the socket: a chain of certificates and then some.
const UNSENT_MAX: usize = 128 * 1024;
/// Steps of one call into rustls: a read holds at most this many empty records, and then some.
const STEPS_MAX: usize = READ_MAX / 5;

struct Scratch {
    incoming: [u8; READ_MAX],
    plain: [u8; PLAIN_MAX],
    sealed: [u8; SEALED_MAX],
}

thread_local! {
    /// What a worker decrypts and encrypts in. Borrowed between two awaits, never over one.
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        incoming: [0; READ_MAX],
        plain: [0; PLAIN_MAX],
        sealed: [0; SEALED_MAX],
    }));
}

type Writable<'a> = WriteTraffic<'a, ServerConnectionData>;

/// One client's TLS stream, the server's side.
pub(super) struct Tls {
    stream: TcpStream,
    /// Taken after the session's lock, and nothing after it.
    state: Mutex<State>,
}

struct State {
    connection: UnbufferedServerConnection,
    /// The beginning of a record.
    incoming: Vec<u8>,
    /// Ciphertext that the socket did not take.
    unsent: Vec<u8>,
    /// The last byte of a record in `unsent` was not yet reported as taken.
    held: bool,
    /// The peer has said that nothing more comes.
    ended: bool,
}

impl Tls {
    /// A stream on which nothing was said yet.
    ///
    /// # Errors
    /// Those of rustls: it has no randomness, or the configuration cannot be.
    pub(super) fn new(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let state = State {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            unsent: Vec::new(),
            held: false,
            ended: false,
        };
        Ok(Self {
            stream,
            state: Mutex::new(state),
        })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing can be said to the client before this is over.
    pub(super) fn is_handshaking(&self) -> bool {
        self.state().connection.is_handshaking()
    }

    /// Ciphertext waits for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        !self.state().unsent.is_empty()
    }

    /// The end of the stream is known, though the socket has nothing to tell.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// `WouldBlock` when some of it still does; others are the socket's.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.state().flush(&self.stream)
    }

    /// Reads once from the socket and decrypts, or goes on with the handshake. Returns how much of
    /// `plain` was filled; 0 at the end of the stream, with or without a `close_notify`: frames say
    /// themselves whether they are whole.
    ///
    /// # Errors
    /// `WouldBlock` when there is no plaintext, `InvalidData` when the peer does not speak TLS as
    /// it should (it is told by an alert); others are the socket's.
    pub(super) fn try_read(&self, plain: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.ended {
            return Ok(0);
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let Scratch {
                incoming, sealed, ..
            } = &mut **scratch;
            let before = state.incoming.len();
            incoming[..before].copy_from_slice(&state.incoming);
            let count = self.stream.try_read(&mut incoming[before..])?;
            if count == 0 {
                return Ok(None);
            }
            let bytes = &mut incoming[..before + count];
            state.process(bytes, plain, sealed).map(Some)
        });
        // Also when it went wrong: the alert says why.
        let flushed = state.flush(&self.stream);
        match (read?, flushed) {
            (None, _) => Ok(0),
            (Some(0), _) if state.ended => Ok(0),
            (_, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            (Some(0), _) => Err(io::ErrorKind::WouldBlock.into()),
            (Some(count), _) => Ok(count),
        }
    }

    /// Encrypts and writes as much as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when that is nothing; others end the connection.
    pub(super) fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        state.flush(&self.stream)?;
        let mut taken = usize::from(std::mem::take(&mut state.held));
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { plain, sealed, .. } = &mut **scratch;
            loop {
                let count = fill(parts, taken, plain);
                if count == 0 {
                    return Ok(taken);
                }
                let length = state.seal(&plain[..count], sealed)?;
                if !state.send(&self.stream, &sealed[..length])? {
                    state.held = true;
                    return match taken + count - 1 {
                        0 => Err(io::ErrorKind::WouldBlock.into()),
                        reported => Ok(reported),
                    };
                }
                taken += count;
            }
        })
    }

    /// Says `close_notify`, behind everything else, as far as the socket takes it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let _ = SCRATCH.with_borrow_mut(|scratch| {
            let sealed = &mut scratch.sealed;
            let length = state.writing(sealed, |traffic, sealed| {
                traffic.queue_close_notify(sealed).map_err(io::Error::other)
            })?;
            state.send(&self.stream, &sealed[..length])
        });
    }
}

impl State {
    /// Decrypts what is in `bytes` into `plain`, and keeps the rest for the next time.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut [u8],
        sealed: &mut [u8],
    ) -> io::Result<usize> {
        let (mut used, mut filled) = (0, 0);
        for _ in 0..STEPS_MAX {
            let status = self.connection.process_tls_records(&mut bytes[used..]);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?.payload;
                        let room = plain.get_mut(filled..filled + record.len());
                        room.ok_or_else(|| invalid("more plaintext than ciphertext"))?
                            .copy_from_slice(record);
                        filled += record.len();
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let length = data.encode(sealed).map_err(unencodable)?;
                    self.unsent.extend_from_slice(&sealed[..length]);
                }
                // `unsent` is sent in order, and before anything that comes later.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    self.incoming = Vec::new();
                    return Ok(filled);
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    return self.keep(&bytes[used..], filled);
                }
                Ok(other) => return Err(invalid(format!("{other:?} where none can be"))),
                Err(error) => {
                    self.alert(&mut bytes[used..], sealed);
                    return Err(invalid(error));
                }
            }
        }
        Err(invalid("a read that does not come to its end"))
    }

    fn keep(&mut self, rest: &[u8], filled: usize) -> io::Result<usize> {
        if rest.len() >= RECORD_MAX || self.unsent.len() > UNSENT_MAX {
            return Err(invalid("a handshake message over the bound"));
        }
        // A vector of its own length, which most often is none.
        self.incoming = rest.to_vec();
        Ok(filled)
    }

    /// Takes the alert that rustls has for the peer.
    fn alert(&mut self, bytes: &mut [u8], sealed: &mut [u8]) {
        let status = self.connection.process_tls_records(bytes);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state
            && let Ok(length) = data.encode(sealed)
        {
            self.unsent.extend_from_slice(&sealed[..length]);
        }
    }

    /// Makes one record of `plain`, and returns its length.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        self.writing(sealed, |traffic, sealed| {
            traffic.encrypt(plain, sealed).map_err(io::Error::other)
        })
    }

    /// Brings rustls to where it lets us write, with what has to go first put into `unsent`.
    fn writing(
        &mut self,
        sealed: &mut [u8],
        write: impl FnOnce(&mut Writable<'_>, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut used = 0;
        let mut written = Err(io::Error::other("TLS does not come to a writable state"));
        for _ in 0..STEPS_MAX {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut incoming[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    written = write(&mut traffic, sealed);
                    break;
                }
                Ok(ConnectionState::TransmitTlsData(mut data)) => {
                    debug_assert!(data.may_encrypt_app_data().is_some());
                    data.done();
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let length = data.encode(sealed).map_err(unencodable)?;
                    self.unsent.extend_from_slice(&sealed[..length]);
                }
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                _ => break,
            }
        }
        incoming.drain(..used);
        self.incoming = incoming;
        written
    }

    /// Writes `record` behind what waits; false when not all of it was taken.
    fn send(&mut self, stream: &TcpStream, record: &[u8]) -> io::Result<bool> {
        let mut written = 0;
        if self.unsent.is_empty() {
            written = match stream.try_write(record) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        if written < record.len() {
            self.unsent.extend_from_slice(&record[written..]);
        }
        match self.flush(stream) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let written = stream.try_write(&self.unsent)?;
            if written == self.unsent.len() {
                self.unsent = Vec::new();
            } else {
                self.unsent.drain(..written);
            }
        }
        Ok(())
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn unencodable(error: EncodeError) -> io::Error {
    io::Error::other(error)
}

//! Datagrams that the gateway has to refuse, many a second, from a socket and a thread of their
//! own.
//!
//! They are sent one datagram an entry of sendmmsg(2) and not as segments of one large one: so the
//! gateway's socket counts each that it drops, and every one sent is found again.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::beside::Beside;
use crate::clock::Clock;
use crate::wire::datagram::{Header, ReplyMode, RequestBody, Target, encode_request};
use crate::wire::seal::Key;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// How far it may fall behind; what is further behind is not sent, so that a pause of this thread
/// is not followed by a burst.
const BEHIND: Duration = Duration::from_millis(20);
/// The longest pause between two batches.
const PAUSE: Duration = Duration::from_millis(1);

/// What kinds of bad datagrams are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// A push of a known key with a wrong MAC: the dearest to refuse.
    Mac,
    /// That, and every other cause in turn.
    Mix,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flooded {
    /// Datagrams that the kernel took.
    pub(super) sent: u64,
    /// For how long.
    pub(super) elapsed: Duration,
}

impl Flooded {
    /// Datagrams a second; 0 of no time.
    pub(super) fn rate(&self) -> f64 {
        match self.elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.sent as f64 / seconds,
        }
    }
}

/// Starts to send `rate` datagrams a second, each as long as a push of `size` bytes.
pub(super) fn start(
    gateway: SocketAddr,
    key_id: u32,
    size: usize,
    bad: Bad,
    rate: f64,
) -> anyhow::Result<Beside<Flooded>> {
    let any: SocketAddr = match gateway {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).context("no UDP socket")?;
    socket
        .connect(gateway)
        .with_context(|| format!("cannot reach {gateway}"))?;
    let datagrams = datagrams(key_id, size, bad)?;
    Beside::start(move |stop| send(&socket, &datagrams, rate, stop))
}

fn send(
    socket: &UdpSocket,
    datagrams: &[Vec<u8>],
    rate: f64,
    stop: &AtomicBool,
) -> anyhow::Result<Flooded> {
    let in_turn = || datagrams.iter().cycle();
    let slices: Vec<[IoSlice<'_>; 1]> = in_turn()
        .take(BATCH + datagrams.len())
        .map(|bytes| [IoSlice::new(bytes)])
        .collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = slices
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let mut messages: Vec<MMsgHdr<'_>> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    let mut pace = Pace::new(rate);
    let (start, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let owed = pace.owed(start.elapsed()).min(BATCH as u64) as usize;
        if owed == 0 {
            std::thread::sleep(pace.pause());
            continue;
        }
        // Begins where the last batch ended, so that every kind has its turn.
        let first = (sent % datagrams.len() as u64) as usize;
        let batch = &mut messages[first..first + owed];
        match sendmmsg(socket, batch, SendFlags::DONTWAIT) {
            Ok(count) => {
                sent += count as u64;
                pace.offered += count as u64;
            }
            // No room: what is owed now is let go.
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => pace.offered += owed as u64,
            Err(error) => return Err(error).context("the flood cannot send"),
        }
    }
    let elapsed = start.elapsed();
    Ok(Flooded { sent, elapsed })
}

/// How many datagrams are due.
struct Pace {
    rate: f64,
    /// Those that were sent or let go.
    offered: u64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { rate, offered: 0 }
    }

    fn owed(&mut self, elapsed: Duration) -> u64 {
        let due = (elapsed.as_secs_f64() * self.rate) as u64;
        let behind = (BEHIND.as_secs_f64() * self.rate).max(1.0) as u64;
        self.offered = self.offered.max(due.saturating_sub(behind));
        due.saturating_sub(self.offered)
    }

    /// Until about half a batch is due, so that the system calls are few.
    fn pause(&self) -> Duration {
        Duration::from_secs_f64(BATCH as f64 / 2.0 / self.rate).min(PAUSE)
    }
}

/// One of each kind.
fn datagrams(key_id: u32, size: usize, bad: Bad) -> anyhow::Result<Vec<Vec<u8>>> {
    let payload = vec![0; size];
    let targets = [Target::All];
    let body = RequestBody::Push {
        reply: ReplyMode::One,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 0,
        targets: &targets,
        payload: &payload,
    };
    let header = Header {
        op: body.op().code(),
        key_id,
        time_ms: Clock::system().now_ms(),
        request_id: [0x5a; 16],
    };
    // Nobody has this key: whoever knows it knows it from here.
    let nobody = Key::new(&[0x5a; 32]).context("a key")?;
    let mut mac = Vec::new();
    encode_request(&mut mac, &header, &body, Some(&nobody));
    if bad == Bad::Mac {
        return Ok(vec![mac]);
    }
    let with = |at: usize, byte: u8| {
        let mut datagram = mac.clone();
        datagram[at] = byte;
        datagram
    };
    let key = with(4, 0xff);
    let mut unsigned = mac.clone();
    unsigned[4..8].fill(0);
    let short = mac[..SHORT].to_vec();
    let (magic, version, op) = (with(0, b'X'), with(2, 9), with(3, 99));
    Ok(vec![mac, key, unsigned, short, magic, version, op])
}

/// Bytes of a datagram that is none: shorter than a header.
const SHORT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::datagram::Unverified;
    use crate::wire::reason::RejectCause;

    #[test]
    fn every_datagram_is_bad_in_its_own_way() {
        let right = Key::new(&[7; 32]).unwrap();
        let cause = |bytes: &[u8]| match Unverified::parse(bytes) {
            Err(cause) => cause,
            Ok(unverified) if unverified.key_id() == 0 => RejectCause::Unsigned,
            Ok(unverified) if unverified.key_id() != 1 => RejectCause::Key,
            Ok(unverified) => unverified.verify(&right).err().unwrap(),
        };
        let of = |bad| -> Vec<RejectCause> {
            let datagrams = datagrams(1, 100, bad).unwrap();
            datagrams.iter().map(|bytes| cause(bytes)).collect()
        };
        assert_eq!(of(Bad::Mac), [RejectCause::Mac]);
        let mut mix = of(Bad::Mix);
        mix.sort_by_key(|cause| cause.index());
        // Without a flood before it none is refused for its source.
        let all = RejectCause::ALL.iter().copied();
        assert!(
            mix.into_iter()
                .eq(all.filter(|cause| *cause != RejectCause::Source))
        );
    }

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let mut pace = Pace::new(100_000.0);
        assert_eq!(pace.owed(Duration::from_millis(1)), 100);
        pace.offered += 100;
        assert_eq!(pace.owed(Duration::from_millis(1)), 0);
        // A second without a turn: 20 ms of it are made up for, the rest is let go.
        assert_eq!(pace.owed(Duration::from_secs(1)), 2_000);
        assert_eq!(Pace::new(5.0).owed(Duration::from_millis(200)), 1);
    }

    #[test]
    fn what_is_sent_arrives_at_the_pace() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let to = receiver.local_addr().unwrap();
        let flood = start(to, 1, 100, Bad::Mix, 10_000.0).unwrap();
        let mut buffer = [0; 2048];
        for _ in 0..20 {
            receiver.recv(&mut buffer).unwrap();
        }
        let flooded = flood.end().unwrap();
        assert!(flooded.sent >= 20 && flooded.rate() > 0.0, "{flooded:?}");
    }
}

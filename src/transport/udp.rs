//! The datagram door: batches in, answers out, jobs and those who wait for them spawned.
//!
//! Its loop has a thread of its own. Among the clients' tasks it would wait for its turn behind all
//! of them that are ready, and in a storm these are hundreds: a push to one user took 35 times as
//! long as in peace while 5,000 clients came back for what was kept for them (p99; 2026-11-27, one
//! core for the gateway). The kernel shares a core between two threads, and lets one that sleeps
//! most of the time go first.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::{trace, warn};

use super::beat::Beat;
use super::outbox::{Outbox, Return};
use super::report;
use super::source::Source;
use super::storms::Storms;
use crate::clock::{Clock, monotonic};
use crate::hub::Hub;
use crate::hub::intake::{Answer, Handled, Intake, Moment, Pending};
use crate::hub::pump::Pump;
use crate::hub::remembered::{Ended, Progress};
use crate::ledger::{Kind, Ledger};
use crate::throttle::Throttle;

/// Room for one receive call: the kernel may join datagrams of one sender up to this.
const BUFFER_BYTES: usize = 64 * 1024;
/// From one buffer to the next: at a power of two the first lines of all of them, which most
/// datagrams fit in, would share a few places of the processor's cache.
const BUFFER_STRIDE: usize = BUFFER_BYTES + 13 * 64;
/// Work on one batch before its answers go out: several times what one of small pushes takes.
const TURN: Duration = Duration::from_millis(2);
/// One log line of a kind in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The datagram door.
pub struct UdpDoor {
    socket: UdpSocket,
    state: UdpSocketState,
    hub: Arc<Hub>,
    intake: Arc<Intake>,
    ledger: Ledger,
    clock: Clock,
    storms: Arc<Storms>,
    /// How long a handler waits for its job, in nanoseconds.
    deadline_ns: AtomicU64,
    beat: Beat,
    unsent: Throttle,
}

/// The loop of the datagrams, about to begin.
pub struct Receiving {
    door: Arc<UdpDoor>,
    own: runtime::Runtime,
    ready: net::UdpSocket,
}

impl Receiving {
    /// Receives until `stop`, on this thread, which it keeps. Jobs run on `main`.
    pub fn serve(self, main: &Handle, stop: CancellationToken) {
        let Self { door, own, ready } = self;
        own.block_on(door.run(&ready, main, stop));
    }
}

impl UdpDoor {
    /// Around a bound socket that does not block.
    ///
    /// # Errors
    /// Those of the system calls that set the socket up.
    pub fn new(
        socket: UdpSocket,
        hub: Arc<Hub>,
        intake: Arc<Intake>,
        ledger: Ledger,
        clock: Clock,
        storms: Arc<Storms>,
        deadline: Duration,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        want_less(&socket);
        let unsent = Throttle::new(LOG_PERIOD, hub.metrics());
        Ok(Self {
            socket,
            state,
            hub,
            intake,
            ledger,
            clock,
            storms,
            deadline_ns: AtomicU64::new(nanos(deadline)),
            beat: Beat::default(),
            unsent,
        })
    }

    /// The socket, for what the kernel counts about it.
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// How long a handler waits for its job, from the next one on.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline_ns.store(nanos(deadline), Ordering::Relaxed);
    }

    /// How long a handler waits for its job now.
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline_ns.load(Ordering::Relaxed))
    }

    /// How long ago the loop was last seen to turn.
    pub fn idle_for(&self) -> Duration {
        self.beat.idle_for()
    }

    /// What a thread of its own receives with.
    ///
    /// # Errors
    /// The kernel gives no descriptors to wait with: known before anybody is told that the gateway
    /// is ready.
    pub fn receiving(self: &Arc<Self>) -> io::Result<Receiving> {
        let own = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ready = {
            let _inside = own.enter();
            // The same socket: the answers of handlers go out without this loop.
            let same = self.socket.try_clone();
            same.and_then(net::UdpSocket::from_std)
        };
        match ready {
            Ok(ready) => Ok(Receiving {
                door: Arc::clone(self),
                own,
                ready,
            }),
            Err(error) => {
                // A runtime does not wait for its end inside another one.
                own.shutdown_background();
                Err(error)
            }
        }
    }

    async fn run(self: &Arc<Self>, ready: &net::UdpSocket, main: &Handle, stop: CancellationToken) {
        let mut buffers = vec![0; BATCH_SIZE * BUFFER_STRIDE];
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let (mut out, mut outbox) = (Vec::new(), Outbox::default());
        let mut stopped = std::pin::pin!(stop.cancelled());
        // The watchdog asks whether this loop turns; without datagrams it turns once a second.
        let mut beats = interval(Duration::from_secs(1));
        loop {
            self.beat.note();
            let received = tokio::select! {
                () = &mut stopped => return,
                received = self.receive(ready, &mut buffers, &mut metas) => received,
                _ = beats.tick() => continue,
            };
            match received {
                Ok(count) => {
                    let chunks = buffers.chunks(BUFFER_STRIDE).zip(&metas).take(count);
                    self.handle_batch(chunks, main, &mut out, &mut outbox);
                }
                Err(error) => {
                    // An ICMP error of an earlier answer, or a shortage of memory: neither ends the
                    // door.
                    if let Some(suppressed) = self.unsent.admit(Instant::now()) {
                        warn!(%error, suppressed, "receive failed");
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    /// Waits for datagrams and takes a batch of them. Where it is no whole one there were no more:
    /// the runtime is told so, which saves the call that would find nothing.
    async fn receive(
        &self,
        ready: &net::UdpSocket,
        buffers: &mut [u8],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        loop {
            ready.readable().await?;
            let mut count = 0;
            let received = ready.try_io(Interest::READABLE, || {
                let mut slices = buffers.chunks_mut(BUFFER_STRIDE);
                let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                    std::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
                count = self.state.recv((&self.socket).into(), &mut slices, metas)?;
                match count {
                    BATCH_SIZE => Ok(()),
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match received {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ if count > 0 => return Ok(count),
                _ => {}
            }
        }
    }

    fn handle_batch<'a>(
        self: &Arc<Self>,
        batch: impl Iterator<Item = (&'a [u8], &'a RecvMeta)>,
        main: &Handle,
        out: &mut Vec<u8>,
        outbox: &mut Outbox,
    ) {
        let mut moment = self.moment();
        let mut cx = Pump::new(moment.instant);
        let mut rejected = None;
        for (buffer, meta) in batch {
            let back = Return {
                to: meta.addr,
                from: meta.dst_ip,
            };
            let received = &buffer[..meta.len.min(buffer.len())];
            // An empty datagram has no stride to be cut by, and is one all the same.
            let datagrams = match received {
                [] => received.chunks(1).chain(Some(received)),
                _ => received.chunks(meta.stride.max(1)).chain(None),
            };
            for datagram in datagrams {
                // A JOIN of many users writes to all of them: what follows it is of a later moment,
                // and who was answered before hears it now.
                if cx.latest.saturating_duration_since(moment.instant) > TURN {
                    self.answer(&mut cx, outbox);
                    moment = self.moment();
                    (cx.now, cx.latest) = (moment.instant, moment.instant);
                }
                out.clear();
                match self
                    .intake
                    .handle(datagram, meta.addr, moment, &mut cx, out)
                {
                    Handled::Silent(cause) => {
                        trace!(peer = %meta.addr, cause = cause.word(), "datagram dropped");
                        self.note_rejected(&mut rejected, Source::of(meta.addr.ip()));
                    }
                    Handled::Quiet => {}
                    Handled::Answered => {
                        if outbox.push(out, back, self.state.max_gso_segments()) {
                            self.answer(&mut cx, outbox);
                        }
                    }
                    Handled::Job(pending) => {
                        cx.merge(self.hub.metrics());
                        self.start(*pending, main, back, out);
                    }
                }
            }
        }
        self.answer(&mut cx, outbox);
        if let Some((source, count)) = rejected {
            self.storms.note(source, count);
        }
    }

    /// Sends the answers so far. What they answer has been counted before: whoever has one finds it
    /// in the metrics.
    fn answer(&self, cx: &mut Pump, outbox: &mut Outbox) {
        cx.merge(self.hub.metrics());
        outbox.drain(|transmit, answers| self.transmit(transmit, answers));
    }

    /// A flood comes from one source after the other, and is noted so: not each datagram by itself.
    fn note_rejected(&self, run: &mut Option<(Source, u64)>, source: Source) {
        match run {
            Some((same, count)) if *same == source => *count += 1,
            _ => {
                if let Some((other, count)) = run.replace((source, 1)) {
                    self.storms.note(other, count);
                }
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            instant: monotonic(),
            unix_ms: self.clock.now_ms(),
        }
    }

    /// Gives the job its task, and whoever waits for it another: neither waits for this loop, nor
    /// it for them.
    fn start(self: &Arc<Self>, pending: Pending, main: &Handle, back: Return, out: &[u8]) {
        let Pending {
            job,
            answer,
            accepted,
        } = pending;
        if accepted {
            self.send(out, back);
        }
        let (progress, spread) = (job.progress(), job.spread());
        let (report, reported) = oneshot::channel();
        let _main = main.enter();
        self.ledger.spawn(Kind::PushJob, job.run(report));
        if let Some(answer) = answer {
            let handler = Arc::clone(self).wait(answer, back, reported, (progress, spread));
            self.ledger.spawn(Kind::PushHandler, handler);
        }
    }

    fn wait(
        self: Arc<Self>,
        answer: Answer,
        back: Return,
        reported: oneshot::Receiver<Ended>,
        (progress, spread): (Arc<Progress>, Duration),
    ) -> impl Future<Output = ()> {
        // It counts from the end of the spread.
        let (started, deadline) = (Instant::now(), spread + self.deadline());
        async move {
            let (metrics, stop) = (self.hub.metrics(), self.ledger.stop_token());
            let until = (deadline, stop);
            let ended = report::awaited(reported, until, started, &progress, metrics).await;
            let mut out = Vec::with_capacity(128);
            answer.encode(&mut out, self.clock.now_ms(), &ended, &[]);
            self.send(&out, back);
        }
    }

    /// Sends one answer.
    fn send(&self, contents: &[u8], back: Return) {
        let (destination, src_ip) = (back.to, back.from);
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip,
        };
        self.transmit(&transmit, 1);
    }

    /// Sends answers if the socket takes them; a lost one is asked for again by its sender.
    fn transmit(&self, transmit: &Transmit<'_>, answers: u64) {
        if let Err(error) = self.state.try_send((&self.socket).into(), transmit) {
            self.hub.metrics().replies_unsent.inc_by(answers);
            if let Some(suppressed) = self.unsent.admit(Instant::now()) {
                warn!(%error, to = %transmit.destination, suppressed, "an answer was not sent");
            }
        }
    }
}

/// What the state asks the kernel to tell of each datagram, and nobody here reads: its time (for
/// which the kernel then takes the time of every packet of the machine) and its class. A kernel
/// that goes on telling costs only that.
fn want_less(socket: &UdpSocket) {
    let _ = setsockopt(socket.as_raw_fd(), sockopt::ReceiveTimestampns, &false);
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_tos_v4(false);
    let _ = socket.set_recv_tclass_v6(false);
}

/// 584 years fit: longer than any setting.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

//! Many clients, each a task with a real connection, and what they saw together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::LOOK_EVERY;
use crate::cli::client::{Client, Ended, Event, Identity};
use crate::ledger::{Kind, Ledger};
use crate::metrics::Metrics;

/// The payloads of the pushes, by which a client knows which one it saw.
pub(super) const PUSHES: [&str; 4] = ["to one user", "to a group", "to all", "to all but a group"];
/// The group of every second client.
pub(super) const GROUP: &str = "even";

/// Handshakes at once: well below the 128 connections that wait for an accept on older kernels.
const HANDSHAKES_MAX: usize = 64;
/// How long all clients together may take to say BYE.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// Clients with a session each.
pub(super) struct Crowd {
    board: Arc<Board>,
    leave: CancellationToken,
    clients: Vec<JoinHandle<Result<(), Ended>>>,
}

/// How one push arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Arrivals; as many as clients that saw it when each saw it once.
    pub(super) count: u32,
    /// The first one.
    pub(super) first: Option<Instant>,
    /// The last one so far.
    pub(super) last: Option<Instant>,
}

/// What became of the clients.
pub(super) struct Left {
    /// How each push arrived in the end.
    pub(super) seen: [Seen; PUSHES.len()],
    /// Clients that did not stay until they were told to leave.
    pub(super) lost: usize,
    /// Why the first of those did not.
    pub(super) why: Option<String>,
}

/// What all clients write to.
#[derive(Default)]
struct Board {
    /// One for each of [`PUSHES`], held for a few instructions.
    seen: [Mutex<Seen>; PUSHES.len()],
}

/// The name of the `number`th client, counted from 1.
pub(super) fn user(number: u32) -> String {
    format!("client-{number}")
}

/// How many of so many clients are in the group.
pub(super) fn members(clients: u32) -> u32 {
    clients / 2
}

impl Crowd {
    /// Connects clients 1 to `count`; `connected` is called for each. The first that fails ends it.
    pub(super) async fn connect(
        count: u32,
        address: SocketAddr,
        connected: impl Fn(),
    ) -> Result<Self, Ended> {
        let ledger = Ledger::new(&Metrics::new());
        let mut crowd = Self {
            board: Arc::default(),
            leave: CancellationToken::new(),
            clients: Vec::with_capacity(count as usize),
        };
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let (report, mut reports) = mpsc::channel(HANDSHAKES_MAX);
        for number in 1..=count {
            let board = Arc::clone(&crowd.board);
            let leave = crowd.leave.clone();
            let handshakes = Arc::clone(&handshakes);
            let report = report.clone();
            let task = async move {
                let permit = handshakes.acquire().await;
                let client = Client::connect(address, &identity(number)).await;
                drop(permit);
                let (client, result) = match client {
                    Ok(client) => (Some(client), Ok(())),
                    Err(ended) => (None, Err(ended)),
                };
                // Nobody listens any more when another one has failed.
                let _ = report.send(result).await;
                // The last one that has reported ends the wait.
                drop(report);
                match client {
                    Some(client) => attend(client, &board, &leave).await,
                    None => Ok(()),
                }
            };
            crowd.clients.push(ledger.spawn(Kind::Client, task));
        }
        drop(report);
        while let Some(result) = reports.recv().await {
            result?;
            connected();
        }
        Ok(crowd)
    }

    /// How the push with this payload has arrived, as soon as `expected` clients saw it, or at the
    /// deadline.
    pub(super) async fn seen(&self, payload: &str, expected: u32, deadline: Instant) -> Seen {
        loop {
            let seen = self.board.look(payload);
            if expected <= seen.count || deadline <= Instant::now() {
                return seen;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets every client say BYE, for at most 10 s in all.
    pub(super) async fn leave(mut self) -> Left {
        self.leave.cancel();
        let deadline = Instant::now() + LEAVE_DEADLINE;
        let (mut lost, mut why) = (0, None);
        for client in std::mem::take(&mut self.clients) {
            let reason = match timeout_at(deadline, client).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(ended))) => ended.to_string(),
                Ok(Err(error)) => format!("its task failed: {error}"),
                Err(_) => format!("it did not leave within {} s", LEAVE_DEADLINE.as_secs()),
            };
            lost += 1;
            why.get_or_insert(reason);
        }
        Left {
            seen: PUSHES.map(|payload| self.board.look(payload)),
            lost,
            why,
        }
    }
}

impl Drop for Crowd {
    /// Whatever ends the demonstration ends its clients.
    fn drop(&mut self) {
        self.leave.cancel();
    }
}

impl Board {
    fn note(&self, payload: &[u8]) {
        let now = Instant::now();
        let Some(index) = PUSHES.iter().position(|push| push.as_bytes() == payload) else {
            return;
        };
        let mut seen = self.seen[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        seen.first = Some(seen.first.map_or(now, |first| first.min(now)));
        seen.last = Some(seen.last.map_or(now, |last| last.max(now)));
    }

    fn look(&self, payload: &str) -> Seen {
        let index = PUSHES.iter().position(|push| *push == payload);
        let seen = index.map(|index| &self.seen[index]);
        seen.map_or_else(Seen::default, |seen| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }
}

fn identity(number: u32) -> Identity {
    let groups = if number.is_multiple_of(2) {
        vec![GROUP.to_owned()]
    } else {
        Vec::new()
    };
    Identity {
        token: user(number).into_bytes(),
        groups,
        ..Identity::default()
    }
}

/// One client's life: it notes what arrives until it is told to leave.
async fn attend(mut client: Client, board: &Board, leave: &CancellationToken) -> Result<(), Ended> {
    loop {
        tokio::select! {
            event = client.next() => {
                if let Event::Push { payload, .. } = event? {
                    board.note(&payload);
                }
            }
            () = leave.cancelled() => {
                client.bye().await;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;
    use crate::cli::sender::Sender;
    use crate::daemon::Gateway;
    use crate::wire::datagram::{ReplyMode, RequestBody, Target};

    #[test]
    fn the_group_has_the_members_that_the_plan_counts() {
        for count in 2..20 {
            let in_group = (1..=count)
                .filter(|number| !identity(*number).groups.is_empty())
                .count();
            assert_eq!(in_group, members(count) as usize);
        }
    }

    #[test]
    fn a_push_that_comes_twice_counts_twice_and_a_strange_one_never() {
        let board = Board::default();
        board.note(PUSHES[1].as_bytes());
        board.note(PUSHES[1].as_bytes());
        board.note(b"something else");
        let counts = PUSHES.map(|payload| board.look(payload).count);
        assert_eq!(counts, [0, 2, 0, 0]);
        let seen = board.look(PUSHES[1]);
        assert!(seen.first <= seen.last && seen.first.is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_connects_sees_a_push_once_each_and_leaves() {
        const CLIENTS: u32 = 100;
        let gateway = Gateway::bind(super::super::settings()).await.unwrap();
        let addresses = *gateway.addresses();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = gateway.run(async {
            let _ = stopped.await;
        });
        let story = async {
            let connected = AtomicU32::new(0);
            let count = || {
                connected.fetch_add(1, Ordering::Relaxed);
            };
            let crowd = Crowd::connect(CLIENTS, addresses.clients, count)
                .await
                .unwrap();
            assert_eq!(connected.load(Ordering::Relaxed), CLIENTS);
            let mut sender = Sender::connect(addresses.udp, None).await.unwrap();
            let body = RequestBody::Push {
                reply: ReplyMode::One,
                collapse: b"",
                ttl_s: 0,
                spread_ms: 0,
                targets: &[Target::Group(GROUP)],
                payload: PUSHES[1].as_bytes(),
            };
            let outcome = sender.request(&body).await.unwrap();
            assert_eq!(outcome.counts.matched, members(CLIENTS));
            let deadline = Instant::now() + Duration::from_secs(20);
            let seen = crowd.seen(PUSHES[1], members(CLIENTS), deadline).await;
            assert_eq!(seen.count, members(CLIENTS));
            let left = crowd.leave().await;
            assert_eq!((left.lost, left.why), (0, None));
            assert_eq!(
                left.seen.map(|seen| seen.count),
                [0, members(CLIENTS), 0, 0]
            );
            let _ = stop.send(());
        };
        let (ended, ()) = tokio::join!(run, story);
        ended.unwrap();
    }

    #[tokio::test]
    async fn a_crowd_without_a_gateway_fails_instead_of_waiting() {
        let nobody = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let refused = Crowd::connect(100, nobody, || {}).await;
        assert!(matches!(refused, Err(Ended::Unreachable(_))));
    }
}

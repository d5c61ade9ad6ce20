//! Many clients that read, each in a task, and what each of them has seen.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use super::client::{Client, Closed, Login};
use super::eventually;

/// Clients that come in at a time.
const ENTERING: usize = 64;

/// What one client has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The number that each message begins with (u32, big endian), in the order of arrival.
    pub(crate) numbers: Vec<u32>,
    /// The CLOSE, if there was one.
    pub(crate) closed: Option<Closed>,
    /// The stream has ended.
    pub(crate) ended: bool,
}

/// Clients that read whatever comes.
pub(crate) struct Crowd {
    seen: Vec<Arc<Mutex<Seen>>>,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Lets them in, all of them, in no particular order.
    pub(crate) async fn enter(
        gateway: SocketAddr,
        logins: impl IntoIterator<Item = Login>,
    ) -> Self {
        Self::enter_by(ENTERING, gateway, logins).await
    }

    /// The same with so many on their way in at a time.
    pub(crate) async fn enter_by(
        at_a_time: usize,
        gateway: SocketAddr,
        logins: impl IntoIterator<Item = Login>,
    ) -> Self {
        let enter = move |login: Login| async move { login.enter(gateway).await };
        Self::let_in(at_a_time, logins, enter).await
    }

    /// The same over connections that `connect` makes.
    pub(crate) async fn enter_through<F>(
        logins: impl IntoIterator<Item = Login>,
        connect: impl Fn() -> F,
    ) -> Self
    where
        F: Future<Output = Client> + Send + 'static,
    {
        let enter = |login: Login| {
            let connecting = connect();
            async move { login.enter_over(connecting.await).await }
        };
        Self::let_in(ENTERING, logins, enter).await
    }

    async fn let_in<F>(
        at_a_time: usize,
        logins: impl IntoIterator<Item = Login>,
        enter: impl Fn(Login) -> F,
    ) -> Self
    where
        F: Future<Output = Client> + Send + 'static,
    {
        let entering = Arc::new(Semaphore::new(at_a_time));
        let (is_in, mut entered) = unbounded_channel();
        let (mut seen, mut tasks) = (Vec::new(), JoinSet::new());
        for login in logins {
            let cell = Arc::new(Mutex::new(Seen::default()));
            seen.push(Arc::clone(&cell));
            let (entering, is_in) = (Arc::clone(&entering), is_in.clone());
            let client = enter(login);
            tasks.spawn(async move {
                let turn = entering.acquire_owned().await;
                let client = client.await;
                drop(turn);
                // Whoever lets them in may have given up.
                let _ = is_in.send(());
                read(client, &cell).await;
            });
        }
        let crowd = Self { seen, tasks };
        for number in 0..crowd.len() {
            super::within(format!("client {number} of a crowd is in"), entered.recv()).await;
        }
        crowd
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// What client `index` has seen so far.
    pub(crate) fn seen(&self, index: usize) -> MutexGuard<'_, Seen> {
        self.seen[index]
            .lock()
            .expect("a client's task does not panic")
    }

    /// Waits until everybody has seen so many messages. Nobody may be closed.
    pub(crate) async fn await_messages(&self, expected: usize) {
        let mut last = 0;
        let mut arrived = async || {
            let counts = self.seen.iter().enumerate().map(|(index, _)| {
                let seen = self.seen(index);
                assert_eq!(seen.closed, None, "client {index} was closed");
                assert!(!seen.ended, "client {index} lost its connection");
                seen.numbers.len()
            });
            let (total, least) = counts.fold((0, usize::MAX), |(total, least), count| {
                (total + count, least.min(count))
            });
            // As long as messages come in there is no reason to give up.
            let moves = total > last;
            last = total;
            match least >= expected {
                true => Ok(true),
                false if moves => Ok(false),
                false => Err(format!(
                    "of {expected} messages somebody has {least}, all together {total}"
                )),
            }
        };
        while !eventually("everybody has every message", &mut arrived).await {}
    }

    /// Waits until everybody has seen exactly these messages, in this order, and nobody is closed.
    pub(crate) async fn assert_saw(&self, numbers: &[u32]) {
        self.await_messages(numbers.len()).await;
        for index in 0..self.len() {
            let seen = self.seen(index);
            assert!(
                seen.numbers == numbers,
                "client {index}: {:?}",
                first_difference(&seen.numbers, numbers)
            );
        }
    }

    /// Everybody hangs up.
    pub(crate) async fn leave(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Where two lists part, and what each has there.
fn first_difference(one: &[u32], two: &[u32]) -> String {
    let same = one.iter().zip(two).take_while(|(one, two)| one == two);
    let place = same.count();
    let (has, should) = (one.get(place), two.get(place));
    format!("message {place} is {has:?} and should be {should:?}")
}

async fn read(mut client: Client, cell: &Mutex<Seen>) {
    loop {
        let mut pong = false;
        {
            let frame = client.next_ever().await;
            let mut seen = cell.lock().expect("no holder panics");
            match frame {
                Some(GatewayFrame::Push { payload, .. }) => {
                    let number = payload.first_chunk().copied().unwrap_or_default();
                    seen.numbers.push(u32::from_be_bytes(number));
                }
                Some(GatewayFrame::Close {
                    code,
                    retry_after_ms,
                    reason,
                }) => {
                    let reason = reason.to_owned();
                    seen.closed = Some(Closed {
                        code,
                        retry_after_ms,
                        reason,
                    });
                }
                Some(GatewayFrame::Ping(_)) => pong = true,
                Some(_) => {}
                None => {
                    seen.ended = true;
                    return;
                }
            }
        }
        if pong {
            client.send(&ClientFrame::Pong(&[])).await;
        }
    }
}

//! A restart without a gap, under load: no connection is refused, and no datagram stays unanswered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use pushgate::wire::reason::{CloseCode, Status};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::manager::{Manager, Told};
use crate::support::sender::{Sender, push};
use crate::support::{eventually, within, write_secret};

const CLIENTS: u32 = 200;
const RESTARTS: u32 = 2;
/// A datagram that is signed less than this before the signal may meet the drain, or the next
/// process: the machine is busy.
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// `drain.spread`, in milliseconds.
const SPREAD_MS: u32 = 3_000;
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CONFIG: &str = "[[keys]]\nid = 7\nsecret_file = '$CREDENTIALS_DIRECTORY/key-7'\n\
                      [udp]\nfuture = '1s'\n[drain]\nlinger = '300ms'\nspread = '3s'\n";

/// What became of everything.
#[derive(Default)]
struct Books {
    is_over: AtomicBool,
    connects: AtomicU32,
    refused: AtomicU32,
    /// Those who stay and are in now.
    staying: AtomicU32,
    /// Those who came in, again and again, and those who came once.
    entered: AtomicU32,
    /// CLOSE 1 to one who was in, with its `retry_after_ms`.
    told: Mutex<Vec<u32>>,
    /// CLOSE 1 to one who came.
    turned_away: AtomicU32,
    /// When each datagram was signed, and its answer.
    answers: Mutex<Vec<(Instant, Option<Status>)>>,
}

impl Books {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    async fn connect(&self, gateway: SocketAddr) -> Option<Client> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        let client = Client::try_connect(gateway).await;
        if client.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        client.ok()
    }

    /// Comes in, if it is let in. A connection that ends without a word is a panic.
    async fn enter(&self, gateway: SocketAddr, user: String) -> Result<Client, Duration> {
        let Some(mut client) = self.connect(gateway).await else {
            return Err(Duration::from_millis(100));
        };
        client.send_bytes(&Login::user(user).encode()).await;
        match client.greeted().await {
            Ok(_) => {
                self.entered.fetch_add(1, Ordering::Relaxed);
                Ok(client)
            }
            Err(closed) => {
                assert_eq!(closed.code, CloseCode::Draining);
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                Err(Duration::from_millis(closed.retry_after_ms.into()))
            }
        }
    }
}

/// One that stays, and comes back when it was told to.
async fn stay(books: Arc<Books>, gateway: SocketAddr, number: u32) {
    while !books.is_over() {
        let mut client = match books.enter(gateway, format!("user-{number}")).await {
            Ok(client) => client,
            Err(pause) => {
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        books.staying.fetch_add(1, Ordering::Relaxed);
        let retry = loop {
            match client.next_ever().await {
                Some(GatewayFrame::Close {
                    code,
                    retry_after_ms,
                    ..
                }) => {
                    assert_eq!(code, CloseCode::Draining);
                    break retry_after_ms;
                }
                Some(GatewayFrame::Ping(_)) => {}
                Some(_) => continue,
                None => panic!("a stream ends ({:?}) without a word", client.broken),
            }
            client.send(&ClientFrame::Pong(&[])).await;
        };
        books.staying.fetch_sub(1, Ordering::Relaxed);
        books.told.lock().expect("no holder panics").push(retry);
        drop(client);
        tokio::time::sleep(Duration::from_millis(retry.into())).await;
    }
}

/// Those who come just now, whenever that is, and go again.
async fn come_and_go(books: Arc<Books>, gateway: SocketAddr) {
    let mut visits = JoinSet::new();
    for number in 0.. {
        if books.is_over() {
            break;
        }
        let books = Arc::clone(&books);
        visits.spawn(async move {
            // Its retry, if it is given one, is longer than it wants to stay.
            let _ = books.enter(gateway, format!("visitor-{number}")).await;
        });
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    while let Some(ended) = visits.join_next().await {
        ended.expect("nobody ends without a word");
    }
}

/// Signs and sends each datagram once, every 20 ms, whether or not the one before is answered.
async fn send_on(books: Arc<Books>, sender: Arc<Sender>) {
    let mut waiting = JoinSet::new();
    let mut number = 0_u32;
    while !books.is_over() {
        number += 1;
        let (sender, books) = (Arc::clone(&sender), Arc::clone(&books));
        waiting.spawn(async move {
            let user = format!("user-{}", number % CLIENTS);
            // Of one in twenty everybody is to hear.
            let target = match number % 20 {
                0 => Target::All,
                _ => Target::User(&user),
            };
            let signed = Instant::now();
            let datagram = sender.encode(&push(&[target], b"news"));
            let answer = sender.ask_once(&datagram).await;
            let answer = (signed, answer.map(|answer| answer.status));
            books.answers.lock().expect("no holder panics").push(answer);
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while let Some(ended) = waiting.join_next().await {
        ended.expect("waiting does not panic");
    }
}

async fn all_are_in(books: &Books) {
    eventually("everybody is in", async || {
        let staying = books.staying.load(Ordering::Relaxed);
        match staying == CLIENTS {
            true => Ok(()),
            false => Err(format!("{staying} are in")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_nobody_and_leaves_no_datagram_unanswered() {
    let manager = Manager::new();
    write_secret(&manager.credentials.path().join("key-7"), SECRET);
    let mut gateway = manager.start(CONFIG);
    let baseline = Baseline::of(&gateway).await;
    let (address, books) = (manager.address(), Arc::new(Books::default()));
    let sender = Arc::new(Sender::signed(gateway.udp, 7, SECRET).await);
    let mut load = JoinSet::new();
    for number in 0..CLIENTS {
        load.spawn(stay(Arc::clone(&books), address, number));
    }
    load.spawn(come_and_go(Arc::clone(&books), address));
    for _ in 0..3 {
        load.spawn(send_on(Arc::clone(&books), Arc::clone(&sender)));
    }
    let is_ready = |told: &Told| told.value("READY") == Some("1");
    let first = manager.await_told("READY", 0, is_ready).await;
    let mut serving = vec![(first.at, None)];
    for _ in 0..RESTARTS {
        all_are_in(&books).await;
        let heard = manager.told().len();
        let (_, until) = serving.last_mut().expect("the first is there");
        *until = Some(Instant::now());
        gateway.signal(Signal::TERM);
        let (code, log) = gateway.finish().await;
        assert_eq!(code, Some(0), "{log:#?}");
        let lines = log.iter().filter(|line| line.contains("draining")).count();
        assert_eq!(lines, 1, "it is said once: {log:#?}");
        // Nobody is there: what comes waits in the sockets.
        tokio::time::sleep(Duration::from_millis(500)).await;
        gateway = manager.start(CONFIG);
        let ready = manager.await_told("READY", heard, is_ready).await;
        serving.push((ready.at, None));
    }
    all_are_in(&books).await;
    books.is_over.store(true, Ordering::Relaxed);
    // Those who stay go when they are told to the next time; all others end by themselves.
    gateway_at_rest(&mut load, &gateway, &baseline).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().await.0, Some(0));
    judge(&books, &serving);
}

/// Everybody leaves, and the gateway holds what it held before they came.
async fn gateway_at_rest(load: &mut JoinSet<()>, gateway: &Gateway, baseline: &Baseline) {
    // The visitors and the senders, and with them every answer.
    for _ in 0..4 {
        let ended = within("the load ends", load.join_next()).await;
        let ended = ended.expect("it is not empty");
        ended.expect("nobody ends without a word");
    }
    load.shutdown().await;
    baseline.assert_back_at(gateway).await;
}

fn judge(books: &Books, serving: &[(Instant, Option<Instant>)]) {
    let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
    let answers = books.answers.lock().expect("no holder panics");
    let mut by_status = BTreeMap::new();
    for (_, status) in answers.iter() {
        let word = status.map_or("unanswered", Status::word);
        *by_status.entry(word).or_insert(0_u32) += 1;
    }
    eprintln!(
        "{RESTARTS} restarts: {} connections, {} of them refused; {} let in, {} told to come \
         later; {} datagrams: {by_status:?}",
        of(&books.connects),
        of(&books.refused),
        of(&books.entered),
        of(&books.turned_away),
        answers.len(),
    );
    assert_eq!(of(&books.refused), 0);
    assert_eq!(
        of(&books.connects),
        of(&books.entered) + of(&books.turned_away)
    );
    // All that may be: it was done, or the gateway was leaving, or had just come.
    let words: Vec<&str> = by_status.keys().copied().collect();
    assert_eq!(words, ["done", "draining", "stale"], "{by_status:?}");
    // From READY on until it is told to stop everything is done.
    for (signed, status) in answers.iter() {
        let is_served = serving.iter().any(|(ready, until)| {
            ready < signed && until.is_none_or(|until| *signed + IN_FLIGHT < until)
        });
        assert!(!is_served || *status == Some(Status::Done), "{status:?}");
    }
    // Everybody was told each time, at a moment of the span, and not all at the same.
    let told = books.told.lock().expect("no holder panics");
    assert_eq!(told.len() as u32, CLIENTS * RESTARTS);
    let within = told.iter().all(|retry| (500..=SPREAD_MS).contains(retry));
    assert!(within, "{told:?}");
    let early = told
        .iter()
        .filter(|retry| **retry < (500 + SPREAD_MS) / 2)
        .count();
    let quarter = told.len() / 4;
    assert!(
        (quarter..=3 * quarter).contains(&early),
        "{early} early of {}",
        told.len()
    );
}

/// Nothing is under load here, and so every step can be seen.
#[tokio::test]
async fn what_comes_between_two_processes_waits_for_the_next() {
    let manager = Manager::new();
    let config = "[drain]\nlinger = '2s'\n";
    let gateway = manager.start(config);
    let sender = Sender::unsigned(gateway.udp).await;
    let heard = manager.told().len();
    gateway.signal(Signal::TERM);
    let stops = |told: &Told| told.value("STOPPING") == Some("1");
    manager.await_told("STOPPING", heard, stops).await;
    // It still answers services, and leaves clients to the next.
    let answer = sender.push(&[Target::All], b"news").await;
    assert_eq!(answer.status, Status::Draining);
    let mut client = Client::connect(manager.address()).await;
    client.send_bytes(&Login::user("ada").encode()).await;
    assert_eq!(gateway.finish().await.0, Some(0));
    let early = sender.encode(&push(&[Target::All], b"news"));
    let answer = tokio::spawn(async move { sender.ask_once(&early).await });
    let gateway = manager.start(config);
    let answer = within("an answer", answer)
        .await
        .expect("it does not panic");
    assert_eq!(answer.map(|answer| answer.status), Some(Status::Stale));
    client.greeted().await.expect("it is let in");
    drop((client, gateway));
}

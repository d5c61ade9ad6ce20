//! A gateway that is killed and started again: everybody comes back at once, and those who are in,
//! and those who push, do not pay for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pushgate::transport::socket::raise_descriptor_limit;
use pushgate::wire::datagram::Target;
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use pushgate::wire::reason::Status;
use rustix::process::Signal;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// Clients that come back; `PUSHGATE_STORM` says how many where the machine has descriptors for
/// more, or little time.
const CLIENTS: usize = 5_000;
/// Clients that are connected before the others come back: half of them ask, half are asked.
const HOLDERS: usize = 20;

fn clients() -> usize {
    let asked = std::env::var("PUSHGATE_STORM").ok();
    asked.map_or(CLIENTS, |count| count.parse().expect("a number of clients"))
}

/// The same clients each time, from two addresses, all in one group.
fn logins() -> impl Iterator<Item = Login> {
    (0..clients()).map(|number| {
        let login = Login::user(format!("user-{number}")).group("storm");
        login.from(if number % 2 == 0 { 2 } else { 3 })
    })
}

/// Pushes, one request after the other, until it is told to stop; how each of them ended.
fn push_steadily(gateway: &Gateway, stop: &Arc<AtomicBool>) -> JoinHandle<BTreeMap<u8, u64>> {
    let (udp, stop) = (gateway.udp, Arc::clone(stop));
    tokio::spawn(async move {
        let sender = Sender::unsigned(udp).await;
        let mut ended = BTreeMap::new();
        for number in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let user = format!("user-{}", number % 100);
            let target = match number % 20 {
                0 => Target::Group("storm"),
                _ => Target::User(&user),
            };
            // It panics where there is no answer.
            let answer = sender.push(&[target], &number.to_be_bytes()).await;
            *ended.entry(answer.status.code()).or_default() += 1;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        ended
    })
}

/// What the kernel says of its accept queues: overflows and drops.
fn listen_counts() -> [u64; 2] {
    let netstat = std::fs::read_to_string("/proc/net/netstat").expect("there is a procfs");
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let mut columns = || lines.next().expect("two lines").split(' ');
    let counts: BTreeMap<&str, &str> = columns().zip(columns()).collect();
    ["ListenOverflows", "ListenDrops"].map(|name| counts[name].parse().expect("a number"))
}

/// Asks again and again until the storm is over; how often it was answered.
async fn asks(login: Login, gateway: std::net::SocketAddr, over: Arc<AtomicBool>) -> usize {
    let (mut client, mut answers) = (login.enter(gateway).await, 0);
    while !over.load(Ordering::Relaxed) {
        client.assert_alive().await;
        answers += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    answers
}

/// Says nothing but PONG; it has to be asked.
async fn is_asked(login: Login, gateway: std::net::SocketAddr, inside: Arc<AtomicUsize>) {
    let mut client = login.enter(gateway).await;
    inside.fetch_add(1, Ordering::Relaxed);
    match client.next().await {
        Some(GatewayFrame::Ping(bytes)) => {
            let bytes = bytes.to_vec();
            client.send(&ClientFrame::Pong(&bytes)).await;
        }
        other => panic!("{other:?}"),
    }
    client.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_comes_back_at_once_after_a_kill() {
    raise_descriptor_limit();
    // The default pace: a storm is what it is for.
    let paced = "clients = { accept_rate = 2000 }";
    let first = Gateway::start(paced);
    let crowd = Crowd::enter(first.native, logins()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let pushing = push_steadily(&first, &stop);
    eventually("pushes are answered", async || {
        let done = first.scrape().await.requests("push", "done");
        (done > 0)
            .then_some(())
            .ok_or_else(|| "none yet".to_owned())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(pushing.await.expect("every push is answered").len(), 1);

    let (native, udp, admin) = (first.native, first.udp, first.admin);
    first.signal(Signal::KILL);
    assert_eq!(first.finish().await.0, None);
    eventually("everybody has lost the connection", async || {
        let left = (0..crowd.len()).filter(|index| !crowd.seen(*index).ended);
        match left.count() {
            0 => Ok(()),
            left => Err(format!("{left} have not")),
        }
    })
    .await;
    crowd.leave().await;

    let before = listen_counts();
    let gateway = Gateway::start(&format!(
        "listeners = [{{ name = 'native', address = '{native}' }}]
         [clients]\naccept_rate = 2000\n[udp]\nlisten = '{udp}'\n[admin]\nlisten = '{admin}'"
    ));
    let baseline = Baseline::of(&gateway).await;
    let over = Arc::new(AtomicBool::new(false));
    let inside = Arc::new(AtomicUsize::new(0));
    let (mut asking, mut asked) = (JoinSet::new(), JoinSet::new());
    for number in 0..HOLDERS / 2 {
        let login = |what| Login::user(format!("{what}-{number}")).heartbeat_s(5);
        asking.spawn(asks(login("asks"), native, Arc::clone(&over)));
        asked.spawn(is_asked(login("is-asked"), native, Arc::clone(&inside)));
    }
    eventually("they are in", async || {
        let sessions = gateway.scrape().await.value("pushgate_sessions");
        (sessions == HOLDERS as u64)
            .then_some(())
            .ok_or_else(|| format!("{sessions} sessions"))
    })
    .await;

    let stop = Arc::new(AtomicBool::new(false));
    let pushing = push_steadily(&gateway, &stop);
    let crowd = Crowd::enter_by(clients(), native, logins()).await;
    let sessions = gateway.scrape().await.value("pushgate_sessions");
    assert_eq!(sessions, (clients() + HOLDERS) as u64, "all are back");
    over.store(true, Ordering::Relaxed);
    for answers in asking.join_all().await {
        assert!(answers > 1, "{answers} answers during the storm");
    }
    asked.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let ended = pushing.await.expect("every push is answered");
    let (done, stale) = (Status::Done.code(), Status::Stale.code());
    let others = ended.keys().filter(|code| ![done, stale].contains(code));
    assert_eq!(others.count(), 0, "{ended:?}");
    assert!(ended.get(&done).is_some_and(|done| *done > 1), "{ended:?}");

    // What the kernel dropped at the accept queue, if it did, is seen.
    let metrics = ["overflows", "drops"].map(|what| format!("pushgate_listen_{what}_total"));
    eventually("the metrics are the kernel's", async || {
        let scrape = gateway.scrape().await;
        let told = [&metrics[0], &metrics[1]].map(|name| scrape.value(name));
        let kernel = listen_counts();
        eprintln!("{before:?} before, {kernel:?} now, {ended:?}");
        (told == kernel)
            .then_some(())
            .ok_or_else(|| format!("{told:?}, and the kernel says {kernel:?}"))
    })
    .await;
    let scrape = gateway.scrape().await;
    assert!(scrape.value("pushgate_accept_backlog") > 0);
    assert_eq!(scrape.value("pushgate_accept_queue"), 0);
    let closed = scrape.sum("pushgate_connections_closed_total");
    assert_eq!(closed, HOLDERS as u64, "nobody else was closed");
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

//! The watch for leaks: tasks that nothing explains are found while the gateway serves.

use std::future::pending;
use std::time::Duration;

use pushgate::daemon::Gateway;
use pushgate::daemon::settings::Settings;
use pushgate::ledger::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::client::Login;
use crate::support::scrape::Scrape;
use crate::support::within;

/// Tasks of a kind that are hung onto the gateway's own ledger: what a leak looks like.
const LEAKED: usize = 40;
const SECOND: Duration = Duration::from_secs(1);

async fn scrape(admin: std::net::SocketAddr) -> Scrape {
    let mut stream = TcpStream::connect(admin).await.expect("is there");
    let request = b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("a write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head ends");
    Scrape::parse(body)
}

/// Until the gauges of these kinds are 1, and all others 0. A second goes by between two looks.
async fn suspected(admin: std::net::SocketAddr, kinds: &[Kind]) {
    let found = async {
        loop {
            let scrape = scrape(admin).await;
            let is_so = Kind::ALL.iter().all(|kind| {
                let gauge = scrape.at("pushgate_leak_suspected", kind.word());
                gauge == u64::from(kinds.contains(kind))
            });
            if is_so {
                return;
            }
            tokio::time::advance(SECOND).await;
        }
    };
    within(format!("{kinds:?} are suspected"), found).await;
}

/// The gateway's own clock goes by as this test says, from when all clients are in: it looks every
/// five seconds, and three times.
#[tokio::test]
async fn tasks_that_nothing_explains_are_found_and_forgotten_when_they_end() {
    let mut settings = Settings::default();
    for listener in &mut settings.listeners {
        listener.address.set_port(0);
    }
    settings.udp.listen.set_port(0);
    settings.admin.listen.set_port(0);
    settings.drain.linger = Duration::ZERO;
    let gateway = Gateway::bind(settings).await.expect("free ports");
    let (addresses, ledger) = (*gateway.addresses(), gateway.ledger().clone());
    // Also where it fails: a thread that receives would hold the test up.
    let _end = ledger.stop_token().clone().drop_guard();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async {
        let _ = stopped.await;
    }));
    // Sessions that have a client are explained, however many.
    let mut clients = Vec::new();
    for number in 0..3 * LEAKED {
        let login = Login::user(format!("user-{number}"));
        clients.push(login.enter(addresses.clients).await);
    }
    let mut leaked = Vec::new();
    for kind in [Kind::Session, Kind::PushHandler] {
        for _ in 0..LEAKED {
            leaked.push(ledger.spawn(kind, pending::<()>()));
        }
    }
    tokio::time::pause();
    suspected(addresses.admin, &[Kind::Session, Kind::PushHandler]).await;
    for task in leaked {
        task.abort();
    }
    suspected(addresses.admin, &[]).await;
    tokio::time::resume();
    let sessions = scrape(addresses.admin).await.value("pushgate_sessions");
    assert_eq!(sessions, clients.len() as u64);
    drop(clients);
    stop.send(()).expect("it runs");
    let ended = within("the end", running).await.expect("no panic");
    ended.expect("it served");
    assert!(
        ledger.kinds().iter().all(|kind| kind.live == 0),
        "{ledger:?}"
    );
}

//! A hundred reloads a second, of good files and bad ones, while clients and services go on.

use std::cell::Cell;
use std::time::Duration;

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;
use rustix::process::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

use super::{SECRET, key};

/// In three seconds, where the machine keeps up.
const RELOADS: u32 = 300;
const PERIOD: Duration = Duration::from_millis(10);
/// Those after which the process has its size.
const WARM_UP: u32 = 50;
/// What the rest may add to its size: a leak of one configuration a reload (2 KB as text, ten times
/// that in memory) would be more, the noise of the allocator is less.
const GROWTH_MAX: u64 = 4 << 20;
const CLIENTS: usize = 20;

/// A good file; each other one differs in keys, bounds and level.
fn good(number: u32) -> String {
    let (odd, level) = (number % 2, ["info", "warn"][(number % 2) as usize]);
    // Forty keys, of which the second half is there every other time.
    let keys: String = (100..120 + odd * 20).map(|id| key(id, "")).collect();
    format!(
        "{}{keys}[clients]\nmax_devices = {}\nqueue_messages = {}\n[log]\nlevel = \"{level}\"\n",
        key(7, ""),
        8 + odd,
        1_024 + odd,
    )
}

#[tokio::test]
async fn three_hundred_reloads_leak_nothing_and_disturb_nobody() {
    let gateway = Gateway::start(&good(0));
    let baseline = Baseline::of(&gateway).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let login = Login::user(format!("user {number}"));
        clients.push(login.enter(gateway.native).await);
    }
    let sender = Sender::signed(gateway.udp, 7, SECRET).await;
    let (done, pushes) = (Cell::new(false), Cell::new(0_u32));
    let push = async {
        let mut ticks = interval(PERIOD / 2);
        while !done.get() {
            ticks.tick().await;
            let answer = sender
                .push(&[Target::All], &pushes.get().to_be_bytes())
                .await;
            assert_eq!(answer.status, Status::Done);
            assert_eq!(answer.counts.matched, u32::try_from(CLIENTS).unwrap_or(0));
            pushes.set(pushes.get() + 1);
        }
    };
    let reload = async {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut size = 0;
        for number in 0..RELOADS {
            ticks.tick().await;
            match number % 2 {
                0 => gateway.rewrite(&good(number / 2)),
                // Everything but the last line is good, and another than before.
                _ => gateway.rewrite_as_it_is(&format!("{}colour = 1\n", good(number / 2 + 1))),
            }
            if number % 10 == 0 {
                gateway.signal(Signal::HUP);
            }
            let (status, answer) = gateway.reload().await;
            assert_eq!(
                status,
                [200, 422][(number % 2) as usize],
                "{number}: {answer}"
            );
            if number == WARM_UP {
                size = gateway.resident_bytes();
            }
        }
        done.set(true);
        gateway.resident_bytes().saturating_sub(size)
    };
    let (grown, ()) = tokio::join!(reload, push);
    assert!(
        grown <= GROWTH_MAX,
        "{grown} bytes more than after {WARM_UP}"
    );
    let scrape = gateway.scrape().await;
    let of = |result| scrape.at("pushgate_reloads_total", result);
    // Of the signals, those that came while one was asked for are that one.
    let asked = u64::from(RELOADS);
    let ended = of("applied") + of("unchanged") + of("refused");
    assert!((asked..=asked + asked / 10).contains(&ended), "{ended}");
    assert!(of("applied") >= asked / 2 - 1, "{}", of("applied"));
    assert!(of("refused") >= asked / 2, "{}", of("refused"));
    // The kernel has held it all for them.
    for client in &mut clients {
        for expected in 0..pushes.get() {
            assert_eq!(client.next_push().await.2, expected.to_be_bytes());
        }
        client.assert_alive().await;
    }
    drop((clients, sender));
    gateway.rewrite(&good(0));
    assert_eq!(gateway.reload().await.0, 200);
    baseline.assert_back_at(&gateway).await;
}

//! One order for all: every client sees its messages in the order of one log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pushgate::wire::datagram::Target;
use pushgate::wire::reason::Status;
use tokio::task::JoinSet;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

/// Of 23 messages 20 go to the user, two to the group and one to all: 10,000, 1,000 and 500.
const ROUND: u32 = 23;
const MESSAGES: u32 = 500 * ROUND;
const IN_FLIGHT: usize = 64;

fn target(number: u32) -> Target<'static> {
    match number % ROUND {
        0..20 => Target::User("ada"),
        20 | 21 => Target::Group("news"),
        _ => Target::All,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_sees_its_messages_in_one_and_the_same_order() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let ada = |device: &str| Login::user("ada").device(device);
    // The first one is addressed by every message: its order is the one to compare with.
    let mut logins = vec![
        ada("phone").group("news"),
        ada("web"),
        ada("tv").group("news"),
    ];
    logins.extend((0..20).map(|number| Login::user(format!("member{number}")).group("news")));
    logins.extend((0..20).map(|number| Login::user(format!("other{number}"))));
    let crowd = Crowd::enter(gateway.native, logins.clone()).await;
    let (next, mut senders) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    let sender = Arc::new(Sender::unsigned(gateway.udp).await);
    for _ in 0..IN_FLIGHT {
        let (sender, next) = (Arc::clone(&sender), Arc::clone(&next));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return;
                }
                let payload = number.to_be_bytes();
                let (answer, _) = sender.push_patiently(&[target(number)], &payload).await;
                assert_eq!(answer.status, Status::Done);
                assert_eq!(answer.counts.refused, 0, "{answer:?}");
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("every message is carried out");
    }
    let matches = |login: &Login, number: u32| match target(number) {
        Target::User(user) => login.user == user,
        Target::Group(_) => !login.groups.is_empty(),
        _ => true,
    };
    eventually(
        "everybody has as many messages as are for them",
        async || {
            for (index, login) in logins.iter().enumerate() {
                let expected = (0..MESSAGES)
                    .filter(|number| matches(login, *number))
                    .count();
                let count = crowd.seen(index).numbers.len();
                if count != expected {
                    return Err(format!("{login:?} has {count} of {expected}"));
                }
            }
            Ok(())
        },
    )
    .await;
    let order = crowd.seen(0).numbers.clone();
    let place: HashMap<u32, usize> = (0..)
        .zip(&order)
        .map(|(at, number)| (*number, at))
        .collect();
    assert_eq!(place.len(), order.len(), "no message came twice");
    for (index, login) in logins.iter().enumerate() {
        let expected: Vec<u32> = order
            .iter()
            .copied()
            .filter(|number| matches(login, *number))
            .collect();
        assert!(
            crowd.seen(index).numbers == expected,
            "{login:?} saw another order"
        );
    }
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

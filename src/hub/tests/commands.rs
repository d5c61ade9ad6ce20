//! Commands come from many threads; datagrams do not.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::access::Keyring;
use super::super::command::{Command, Commanded, OPERATOR_RATE};
use super::super::freshness::Freshness;
use super::super::holds::Holds;
use super::super::intake::{Intake, IntakeOptions, Moment};
use super::super::job::Jobs;
use super::super::remembered::Remembered;
use super::*;
use crate::wire::datagram::{Op, RequestBody};

fn intake(allow_unsigned: bool) -> Intake {
    let hub = Arc::new(Hub::new(
        options(),
        Arc::new(Metrics::new()),
        1,
        Instant::now(),
    ));
    let keyring = Keyring::new([], allow_unsigned);
    let remembered = Arc::new(Remembered::new(1_000, keyring.ids(), 27));
    let (jobs, holds) = (Arc::new(Jobs::new(10, 1)), Arc::new(Holds::default()));
    let bounds = IntakeOptions {
        freshness: Freshness::new(15_000, 1_000, 0),
        max_payload: 65_000,
        max_ttl: Duration::from_secs(60),
        max_spread: Duration::from_secs(60),
    };
    Intake::new(hub, keyring, remembered, jobs, holds, bounds)
}

fn moment() -> Moment {
    Moment {
        instant: Instant::now(),
        unix_ms: 1_790_000_000_000,
    }
}

#[test]
fn of_two_commands_of_one_id_one_is_carried_out() {
    const THREADS: usize = 4;
    const ROUNDS: u8 = 250;
    let intake = intake(true);
    // Something that takes a while: between the look at what is known and the note of it.
    let users: Vec<String> = (0..512).map(|number| number.to_string()).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let join = RequestBody::Join {
        group: "g",
        users: &users,
    };
    let mut body = Vec::new();
    join.put(&mut body);
    let (barrier, firsts) = (Barrier::new(THREADS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let command = Command {
                        op: Op::Join,
                        id: [round; 16],
                        digest: 0,
                        time_ms: None,
                        body: Some(&body),
                    };
                    let loopback = [127, 0, 0, 1].into();
                    let caller = intake.unsigned(loopback, 0).expect("it is allowed");
                    barrier.wait();
                    let mut cx = Pump::new(Instant::now());
                    match intake.command(&caller, &command, moment(), &mut cx) {
                        Commanded::Ended { .. } => {
                            firsts.fetch_add(1, Ordering::Relaxed);
                        }
                        Commanded::Repeat(_) => {}
                        Commanded::OtherBytes | Commanded::Job(_) => panic!("it is neither"),
                    }
                }
            });
        }
    });
    assert_eq!(firsts.into_inner(), usize::from(ROUNDS));
    assert_eq!(intake.remembered.len(), usize::from(ROUNDS));
}

#[test]
fn only_this_machine_is_unsigned_and_only_where_that_is_allowed() {
    for (source, allowed, expected) in [
        ("127.0.0.1", true, true),
        ("127.9.9.9", true, true),
        ("::1", true, true),
        ("::ffff:127.0.0.1", true, true),
        ("192.0.2.1", true, false),
        ("::ffff:192.0.2.1", true, false),
        ("2001:db8::1", true, false),
        ("127.0.0.1", false, false),
    ] {
        let source_ip = source.parse().expect("an address");
        let caller = intake(allowed).unsigned(source_ip, 0);
        assert_eq!(caller.is_some(), expected, "{source}, {allowed}");
    }
    assert!(intake(true).claim(0, 0).is_none(), "0 is no key");
}

/// Where nothing unsigned is carried out, and within a rate of their own.
#[test]
fn operators_are_heard_without_a_key() {
    let intake = intake(false);
    let mut body = Vec::new();
    let targets = [crate::wire::datagram::Target::All];
    RequestBody::Push {
        reply: crate::wire::datagram::ReplyMode::One,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 0,
        targets: &targets,
        payload: b"",
    }
    .put(&mut body);
    let now = moment();
    let mut cx = Pump::new(now.instant);
    let mut done = 0;
    for number in 0..2 * OPERATOR_RATE {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let command = Command {
            op: Op::Push,
            id,
            digest: 0,
            time_ms: None,
            body: Some(&body),
        };
        match intake.command(&Intake::operator(), &command, now, &mut cx) {
            Commanded::Ended { ended, .. } => {
                done += u32::from(ended.status == crate::wire::reason::Status::Done);
            }
            _ => panic!("it is new, and to nobody"),
        }
    }
    assert_eq!(done, OPERATOR_RATE);
}

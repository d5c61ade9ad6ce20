//! One fact a test.

use super::*;
use crate::hub::{Closing, Refused};
use crate::wire::reason::{CloseCode, CloseReason};

fn group(name: &str) -> Target<'_> {
    Target::Group(name)
}

#[test]
fn a_message_reaches_its_targets_and_nobody_else() {
    let bench = Bench::new(options());
    let ada = bench.attach("ada", "phone", &["news"]);
    let bob = bench.attach("bob", "", &[]);
    assert_eq!(bench.push(&[Target::User("ada")], b"1"), counts(1, 1, 0, 0));
    assert_eq!(bench.push(&[group("news")], b"2"), counts(1, 1, 0, 0));
    assert_eq!(bench.push(&[Target::All], b"3"), counts(2, 2, 0, 0));
    assert_eq!(
        bench.push(&[Target::User("eve"), group("none")], b"4"),
        counts(0, 0, 0, 0)
    );
    let seen: Vec<_> = ada.sink().pushes();
    assert_eq!(
        seen,
        [
            (Scope::User, String::new(), b"1".to_vec()),
            (Scope::Group, "news".into(), b"2".to_vec()),
            (Scope::All, String::new(), b"3".to_vec()),
        ]
    );
    assert_eq!(
        bob.sink().pushes(),
        [(Scope::All, String::new(), b"3".to_vec())]
    );
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn many_targets_are_one_message_under_the_first_that_matches() {
    let bench = Bench::new(options());
    let ada = bench.attach("ada", "phone", &["news", "room"]);
    bench.attach("bob", "", &["room"]);
    let targets = [
        group("none"),
        group("room"),
        group("news"),
        Target::User("ada"),
        group("room"),
    ];
    assert_eq!(bench.push(&targets, b"x"), counts(2, 2, 0, 0));
    assert_eq!(
        ada.sink().pushes(),
        [(Scope::Group, "room".into(), b"x".to_vec())]
    );
}

#[test]
fn exceptions_narrow() {
    let bench = Bench::new(options());
    let ada = bench.attach("ada", "", &["muted"]);
    let bob = bench.attach("bob", "", &[]);
    let eve = bench.attach("eve", "", &[]);
    let push = Push {
        targets: &[Target::All],
        exceptions: &[group("muted"), Target::User("bob"), Target::User("nobody")],
        payload: b"x",
        ..Push::default()
    };
    let appended = bench.hub.append(&push, bench.start).expect("there is room");
    assert_eq!(bench.finish(appended), counts(1, 1, 0, 0));
    assert_eq!(
        [&ada, &bob, &eve].map(|session| session.sink().pushes().len()),
        [0, 0, 1]
    );
}

#[test]
fn a_blocked_client_waits_alone_and_gets_everything_in_order() {
    let bench = Bench::new(options());
    let slow = bench.attach("slow", "", &[]);
    let fast = bench.attach("fast", "", &[]);
    slow.sink().set_room(Some(7));
    assert_eq!(bench.push(&[Target::All], b"0"), counts(2, 1, 1, 0));
    for number in 1..200u8 {
        assert_eq!(bench.push(&[Target::All], &[number]), counts(2, 1, 1, 0));
    }
    assert_eq!(fast.sink().pushes().len(), 200);
    assert_eq!(
        (bench.hub.sessions_behind(), bench.hub.deliveries_waiting()),
        (1, 200)
    );
    slow.sink().set_room(None);
    assert_eq!(bench.pump(&slow), Pumped::Level);
    assert_eq!(slow.sink().pushes()[1..], fast.sink().pushes()[1..]);
    assert_eq!(
        (bench.hub.sessions_behind(), bench.hub.deliveries_waiting()),
        (0, 0)
    );
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn over_a_bound_in_messages_bytes_or_age_a_client_is_closed_as_slow() {
    let check = |messages: usize, bytes: usize, age: Duration| {
        let bench = Bench::new(Options {
            queue_messages: 4,
            queue_bytes: 1000,
            ..options()
        });
        let slow = bench.attach("slow", "", &[]);
        slow.sink().set_room(Some(0));
        for _ in 0..messages {
            bench.push(&[Target::All], &vec![0; bytes]);
        }
        let mut cx = Pump::new(bench.start + age);
        super::super::Sweep::default().step(&bench.hub, 10, 0, &mut cx);
        let closing = slow.poll_wants(std::task::Waker::noop()).closing;
        assert_eq!(bench.hub.sessions(), usize::from(closing.is_none()));
        closing
    };
    let slow = Some(CloseReason::Code(CloseCode::Slow));
    assert_eq!(check(4, 10, Duration::ZERO), None);
    assert_eq!(check(5, 10, Duration::ZERO), slow);
    assert_eq!(check(2, 400, Duration::ZERO), None);
    assert_eq!(check(2, 600, Duration::ZERO), slow);
    assert_eq!(check(1, 10, Duration::from_secs(10)), None);
    assert_eq!(check(1, 10, Duration::from_secs(11)), slow);
}

#[test]
fn when_a_large_part_is_behind_the_sender_is_told_and_no_client_closed() {
    let bench = Bench::new(Options {
        queue_messages: 10,
        ..options()
    });
    let sessions: Vec<_> = (0..40)
        .map(|n| bench.attach(&n.to_string(), "", &[]))
        .collect();
    for slow in &sessions[..11] {
        slow.sink().set_room(Some(0));
    }
    let push = Push {
        targets: &[Target::All],
        exceptions: &[],
        payload: b"x",
        ..Push::default()
    };
    let mut told = 0;
    for _ in 0..100 {
        match bench.hub.append(&push, bench.start) {
            Ok(appended) => drop(bench.finish(appended)),
            Err(error) => {
                assert_eq!(error, Refused::Congested);
                told += 1;
            }
        }
    }
    assert_eq!((told, bench.hub.sessions()), (94, 40));
    // Ten of forty are too few to slow a sender down: they are closed instead.
    sessions[0].sink().set_room(None);
    assert_eq!(bench.pump(&sessions[0]), Pumped::Level);
    for _ in 0..100 {
        bench.push(&[Target::All], b"x");
    }
    assert_eq!(bench.hub.sessions(), 30);
}

#[test]
fn what_no_walk_has_reached_stays_within_half_of_a_clients_bound() {
    let bench = Bench::new(Options {
        queue_bytes: 100_000,
        ..options()
    });
    let client = bench.attach("ada", "", &[]);
    let push = Push {
        targets: &[Target::All],
        exceptions: &[],
        payload: &[0; 10_000],
        ..Push::default()
    };
    let mut walks = Vec::new();
    while let Ok(appended) = bench.hub.append(&push, bench.start) {
        walks.push(appended);
    }
    assert_eq!(walks.len(), 5);
    assert_eq!(
        bench.hub.append(&push, bench.start).err(),
        Some(Refused::Congested)
    );
    // All of it meets a client that can take nothing at this moment, and is no reason to close it.
    client.sink().set_room(Some(0));
    for walk in walks {
        bench.finish(walk);
    }
    assert_eq!(bench.hub.sessions(), 1);
    client.sink().set_room(None);
    bench.pump(&client);
    assert_eq!(client.sink().pushes().len(), 5);
}

#[test]
fn a_push_that_is_not_carried_out_costs_no_client_its_place() {
    let bench = Bench::new(Options {
        memory_budget: 10_000,
        queue_messages: 10,
        ..options()
    });
    let slow = bench.attach("slow", "", &[]);
    slow.sink().set_room(Some(0));
    bench.push(&[Target::User("slow")], &[0; 9_000]);
    let to_nobody = Push {
        targets: &[Target::User("eve")],
        exceptions: &[],
        payload: &[0; 9_000],
        ..Push::default()
    };
    assert!(matches!(
        bench.hub.append(&to_nobody, bench.start),
        Ok(Appended::Nobody(0))
    ));
    assert_eq!(bench.hub.sessions(), 1);
}

#[test]
fn over_the_budget_the_client_furthest_behind_goes_first() {
    let bench = Bench::new(Options {
        memory_budget: 10_000,
        ..options()
    });
    let first = bench.attach("first", "", &[]);
    let second = bench.attach("second", "", &[]);
    first.sink().set_room(Some(0));
    for _ in 0..4 {
        bench.push(&[Target::All], &[0; 1000]);
    }
    second.sink().set_room(Some(0));
    for _ in 0..5 {
        bench.push(&[Target::All], &[0; 1000]);
    }
    let closing = |session: &FakeSession| session.poll_wants(std::task::Waker::noop()).closing;
    assert_eq!((closing(&first), closing(&second)), (None, None));
    bench.push(&[Target::All], &[0; 1000]);
    assert_eq!(closing(&first), Some(CloseReason::Code(CloseCode::Slow)));
    assert_eq!(closing(&second), None);
    assert!(bench.hub.held().1 <= 10_000);
}

#[test]
fn a_newer_connection_of_the_device_takes_over() {
    let bench = Bench::new(options());
    let old = bench.attach("ada", "phone", &["news"]);
    let other = bench.attach("ada", "tablet", &[]);
    let new = bench.attach("ada", "phone", &[]);
    assert!(new.id() > old.id());
    assert_eq!(bench.hub.sessions(), 2);
    assert_eq!(bench.push(&[Target::User("ada")], b"x"), counts(2, 2, 0, 0));
    assert_eq!(bench.hub.presence(group("news")), 0);
    bench.pump(&old);
    let closed = old.sink().frames().pop();
    assert!(matches!(closed, Some(Seen::Other(text)) if text.contains("Replaced")));
    assert_eq!(
        (other.sink().pushes().len(), new.sink().pushes().len()),
        (1, 1)
    );
}

#[test]
fn one_device_too_many_is_turned_away() {
    let bench = Bench::new(Options {
        max_devices: 1,
        ..options()
    });
    bench.attach("ada", "phone", &[]);
    let attach = Attach {
        user: "ada",
        device: "tablet",
        groups: &[],
        refused: &[],
        heartbeat_s: 30,
        resume: None,
        ..Attach::default()
    };
    let refused = bench.hub.attach(&attach, FakeSink::default(), &bench.cx());
    assert_eq!(
        refused.err().map(|(error, _)| error.code()),
        Some(CloseCode::TooMany)
    );
    assert_eq!(bench.hub.sessions(), 1);
}

#[test]
fn lanes_go_with_their_last_member() {
    let bench = Bench::new(options());
    let ada = bench.attach("ada", "", &["a", "b"]);
    let bob = bench.attach("bob", "", &["a"]);
    assert_eq!(bench.hub.lanes(), 4);
    let ada: Arc<Session> = ada;
    bench.hub.leave(&ada, "b", &mut bench.cx());
    assert_eq!(bench.hub.lanes(), 3);
    bench.hub.close(&*ada, Closing::silent(CloseReason::Eof));
    bench.hub.close(&*bob, Closing::silent(CloseReason::Bye));
    assert_eq!((bench.hub.lanes(), bench.hub.sessions()), (0, 0));
}

#[test]
fn a_broken_socket_ends_its_session_and_the_walk_goes_on() {
    let bench = Bench::new(options());
    let broken = bench.attach("broken", "", &[]);
    bench.attach("ada", "", &[]);
    broken.sink().break_off();
    assert_eq!(bench.push(&[Target::All], b"x"), counts(2, 1, 0, 1));
    assert_eq!(bench.hub.sessions(), 1);
    assert_eq!(
        broken.poll_wants(std::task::Waker::noop()).closing,
        Some(CloseReason::Reset)
    );
}

#[test]
fn answers_go_between_messages_and_never_into_one() {
    let bench = Bench::new(options());
    let slow = bench.attach("slow", "", &[]);
    slow.sink().set_room(Some(9));
    bench.push(&[Target::All], b"first");
    bench.push(&[Target::All], b"second");
    bench.hub.answer(&*slow, &GatewayFrame::Pong(b"ping"));
    slow.sink().set_room(None);
    bench.pump(&slow);
    let frames: Vec<Seen> = slow.sink().frames();
    let kinds: Vec<_> = frames[2..]
        .iter()
        .map(|seen| matches!(seen, Seen::Push(..)))
        .collect();
    assert_eq!(kinds, [true, false, true]);
}

#[test]
fn heartbeats_go_out_after_silence_and_are_missed_after_two_and_a_half() {
    let bench = Bench::new(options());
    let ada = bench.attach("ada", "", &[]);
    let sweep_at = |seconds| {
        let mut cx = Pump::new(bench.start + Duration::from_secs(seconds));
        super::super::Sweep::default().step(&bench.hub, 10, 0, &mut cx);
        cx
    };
    let pings = || ada.sink().frames().iter().filter(|f| **f == ping()).count();
    sweep_at(29);
    assert_eq!(pings(), 0);
    sweep_at(30);
    sweep_at(31);
    assert_eq!(pings(), 1);
    bench.hub.note_received(&*ada, &sweep_at(61));
    assert_eq!(pings(), 2);
    sweep_at(61 + 75);
    assert_eq!(bench.hub.sessions(), 1);
    sweep_at(61 + 76);
    assert_eq!(bench.hub.sessions(), 0);
}

#[test]
fn clients_come_back_within_the_span() {
    let moments = |spread| {
        let spread = Duration::from_millis(spread);
        let moments = (0..10_000).map(|_| crate::hub::retry_within(spread));
        let (least, most) = moments.fold((u32::MAX, 0), |(least, most), of| {
            (of.min(least), of.max(most))
        });
        (least, most)
    };
    let (least, most) = moments(10_000);
    assert!((500..600).contains(&least) && (9_900..=10_000).contains(&most));
    // There is no such moment in a shorter one.
    assert_eq!(moments(500), (500, 500));
    assert_eq!(moments(20), (20, 20));
    assert_eq!(moments(0), (0, 0));
}

fn ping() -> Seen {
    Seen::of(&GatewayFrame::Ping(&[]))
}

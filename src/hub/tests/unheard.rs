//! What a session is not sent: it keeps nothing back for others, and counts as what it was.

use std::task::Waker;

use super::choosy::{Choosy, ada};
use super::*;
use crate::hub::{Muted, Resume, Sweep};
use crate::metrics::Outcome;

const ADA: Target<'_> = Target::User("ada");

fn from_the_oldest() -> Option<Resume> {
    Some(Resume {
        epoch: 1,
        cursor: 0,
    })
}

/// It replays for as long as its client likes, one message at a time.
#[test]
fn what_a_replaying_session_has_muted_does_not_wait_for_it() {
    let bench = Bench::new(options());
    let _other = bench.attach("bob", "", &[]);
    for _ in 0..3 {
        bench.keep_for(&[ADA]);
    }
    let attach = Attach {
        resume: from_the_oldest(),
        muted: Muted {
            all: true,
            user: false,
        },
        ..ada()
    };
    let client = bench.attach_choosy(&attach, Choosy::new(1, 100));
    bench.hub.pump(&*client, &mut bench.cx());
    for _ in 0..50 {
        assert_eq!(bench.push(&[Target::All], b"live"), counts(1, 1, 0, 0));
    }
    Sweep::default().step(&bench.hub, 10, 0, &mut bench.cx());
    bench.push(&[Target::All], b"live");
    let (messages, _) = bench.hub.held();
    assert!(messages <= 1, "{messages} messages wait for nobody");
    // What is pushed to it meanwhile is due behind the replay, as ever.
    bench.keep_for(&[ADA]);
    for _ in 0..4 {
        client.sink().acknowledge();
        bench.hub.acknowledged(&*client, &mut bench.cx());
    }
    assert_eq!(client.sink().sent(), [1, 2, 3, 4]);
}

#[test]
fn an_acknowledgement_does_not_speak_for_what_was_skipped() {
    let bench = Bench::new(options());
    let client = bench.attach_choosy(&ada(), Choosy::new(10, 4));
    let long = bench.keep(&[ADA], b"too long", 60);
    let short = bench.keep(&[ADA], b"fits", 60);
    assert_eq!(client.sink().sent(), [short]);
    bench
        .hub
        .confirm(&*client, short, &bench.cx())
        .expect("it was sent");
    let confirmed = |number| {
        bench
            .hub
            .kept_message(number, bench.start)
            .map(|kept| kept.confirmed)
    };
    assert_eq!((confirmed(long), confirmed(short)), (Some(0), Some(1)));
}

#[test]
fn one_that_has_no_room_for_a_group_that_it_had_begins_anew() {
    let bench = Bench::new(Options {
        max_groups: 1,
        ..options()
    });
    bench.keep_for(&[ADA]);
    let attach = Attach {
        groups: &["token"],
        resumed_groups: &["room"],
        resume: from_the_oldest(),
        or_anew: true,
        ..ada()
    };
    let client = bench.attach_choosy(&attach, Choosy::new(10, 100));
    bench.hub.pump(&*client, &mut bench.cx());
    assert_eq!(client.sink().sent(), [0; 0], "it has to subscribe again");
    assert_eq!(bench.push(&[ADA], b"x"), Counts::default());
    assert_eq!(bench.hub.presence(Target::Group("token")), 1);
}

#[test]
fn what_a_later_walk_has_skipped_is_not_answered_as_written() {
    let bench = Bench::new(options());
    let _client = bench.attach_choosy(&ada(), Choosy::new(10, 4));
    let long = bench.append(&[Target::All], b"too long");
    assert_eq!(bench.push(&[Target::All], b"fits"), counts(1, 1, 0, 0));
    assert_eq!(bench.finish(long), counts(1, 0, 0, 1));
    assert_eq!(bench.deliveries(Outcome::Skipped), 1);
}

#[test]
fn what_a_spread_has_skipped_is_not_answered_as_written() {
    let bench = Bench::new(options());
    let _client = bench.attach_choosy(&ada(), Choosy::new(10, 4));
    for (payload, expected) in [
        (&b"too long"[..], counts(1, 0, 0, 1)),
        (b"fits", counts(1, 1, 0, 0)),
    ] {
        let push = Push {
            targets: &[Target::All],
            payload,
            ..Push::default()
        };
        let time = Duration::from_secs(1);
        let spread = bench.hub.spread(&push, time, bench.start);
        let mut spread = spread.expect("there is room").expect("somebody is there");
        let mut cx = bench.cx();
        while !spread.step(&bench.hub, 10, &mut cx) {}
        assert_eq!(spread.counts(), expected);
    }
    assert_eq!(bench.deliveries(Outcome::Skipped), 1);
}

/// Ada, to whom the first of two messages has been sent, and the second not before she says so.
fn replaying(bench: &Bench) -> Arc<Session<Choosy>> {
    bench.keep_for(&[ADA]);
    bench.keep_for(&[ADA]);
    let attach = Attach {
        resume: from_the_oldest(),
        ..ada()
    };
    let client = bench.attach_choosy(&attach, Choosy::new(1, 100));
    bench.hub.pump(&*client, &mut bench.cx());
    client
}

/// Each may be what an exception of something ahead of it names.
#[test]
fn who_is_behind_and_changes_its_topics_all_the_time_is_cut() {
    for is_group in [false, true] {
        let bench = Bench::new(options());
        let client = replaying(&bench);
        let member: Arc<Session> = Arc::clone(&client) as _;
        let mut changes = 0;
        while client.poll_wants(Waker::noop()).closing.is_none() && changes < 100_000 {
            // Something comes in between, or there is nothing to note.
            bench.append(&[Target::User("bob")], b"");
            if is_group {
                let _ = bench.hub.give(&member, "room");
                bench.append(&[Target::Group("room")], b"");
                bench.hub.leave(&member, "room", &mut bench.cx());
            } else {
                bench.hub.mute(&*client, Scope::All, &mut bench.cx());
                bench.append(&[Target::All], b"");
                bench.hub.unmute(&*client, Scope::All);
            }
            changes += 1;
        }
        assert!((100..100_000).contains(&changes), "{changes}");
        assert_eq!(bench.hub.sessions(), 0);
        let _back = bench.attach_choosy(&ada(), Choosy::new(1, 100));
        let members = bench.hub.presence(Target::Group("room"));
        assert_eq!(members, 0, "it has left before it was cut");
    }
}

#[test]
fn changes_without_anything_between_are_not_noted() {
    let bench = Bench::new(options());
    let client = replaying(&bench);
    for _ in 0..100_000 {
        bench.hub.mute(&*client, Scope::All, &mut bench.cx());
        bench.hub.unmute(&*client, Scope::All);
    }
    assert!(client.poll_wants(Waker::noop()).closing.is_none());
    client.sink().acknowledge();
    bench.hub.acknowledged(&*client, &mut bench.cx());
    assert_eq!(client.sink().sent(), [1, 2]);
}

//! Sinks that choose what they take, and how much of it at a time; and sessions that have not asked
//! for everything.

use std::task::Waker;

use super::*;
use crate::hub::{Begun, Muted, Resume};
use crate::metrics::Outcome;
use crate::wire::encoding::Publishing;
use crate::wire::mqtt::Version;
use crate::wire::reason::CloseReason;

/// Takes every byte; of kept messages only so many that are not acknowledged.
pub(super) struct Choosy(Mutex<Chosen>);

struct Chosen {
    window: usize,
    /// No payload is longer.
    longest: usize,
    in_flight: Vec<u64>,
    /// Numbers in the order in which they went out,
    sent: Vec<u64>,
    /// and how many live ones.
    live: usize,
    answers: usize,
}

impl Choosy {
    pub(super) fn new(window: usize, longest: usize) -> Self {
        Self(Mutex::new(Chosen {
            window,
            longest,
            in_flight: Vec::new(),
            sent: Vec::new(),
            live: 0,
            answers: 0,
        }))
    }

    pub(super) fn sent(&self) -> Vec<u64> {
        lock(&self.0).sent.clone()
    }

    /// The client acknowledges all that is in flight.
    pub(super) fn acknowledge(&self) {
        lock(&self.0).in_flight.clear();
    }
}

impl Sink for Choosy {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn encoding(&self, due: &Due<'_>) -> Option<Encoding> {
        let mut chosen = lock(&self.0);
        if due.payload_len() > chosen.longest {
            return None;
        }
        if due.number() == 0 {
            chosen.live += 1;
        }
        Some(Encoding::Mqtt(Publishing {
            version: Version::V3,
            is_acknowledged: due.number() != 0,
            is_repeat: false,
        }))
    }

    fn admits(&self, _: u64, begun: Begun) -> bool {
        let chosen = lock(&self.0);
        chosen.in_flight.len() + begun.count < chosen.window
    }

    fn answers_for(&self, due: &Due<'_>) -> bool {
        self.encoding(due).is_some_and(Encoding::is_acknowledged)
    }

    fn sent(&self, number: u64, encoding: Encoding) {
        assert!(encoding.is_acknowledged());
        let mut chosen = lock(&self.0);
        chosen.in_flight.push(number);
        chosen.sent.push(number);
    }

    fn answer(&self, _: &GatewayFrame<'_>, out: &mut Vec<u8>) {
        lock(&self.0).answers += 1;
        out.push(0);
    }
}

pub(super) type Client = Arc<Session<Choosy>>;

impl Bench {
    pub(super) fn attach_choosy(&self, attach: &Attach<'_>, sink: Choosy) -> Client {
        let attached = self.hub.attach(attach, sink, &self.cx());
        let session = attached.map_err(|(error, _)| error).expect("there is room");
        self.hub.nudge(&*session, &mut self.cx());
        session
    }

    pub(super) fn keep_for(&self, targets: &[Target<'_>]) -> Counts {
        let push = Push {
            targets,
            payload: b"kept",
            ttl: Some(Duration::from_secs(60)),
            ..Push::default()
        };
        let appended = self.hub.append(&push, self.start);
        self.finish(appended.expect("there is room"))
    }

    pub(super) fn deliveries(&self, outcome: Outcome) -> u64 {
        self.hub.metrics().deliveries.at(outcome as usize).get()
    }
}

pub(super) fn ada() -> Attach<'static> {
    Attach {
        user: "ada",
        heartbeat_s: 30,
        ..Attach::default()
    }
}

#[test]
fn a_full_window_holds_what_follows_and_an_acknowledgement_lets_it_go() {
    let bench = Bench::new(options());
    let client = bench.attach_choosy(&ada(), Choosy::new(2, 100));
    for expected in [counts(1, 1, 0, 0), counts(1, 1, 0, 0), counts(1, 0, 1, 0)] {
        assert_eq!(bench.keep_for(&[Target::User("ada")]), expected);
    }
    // A live one does not overtake it.
    assert_eq!(bench.push(&[Target::All], b"live"), counts(1, 0, 1, 0));
    assert_eq!(client.sink().sent(), [1, 2]);
    assert_eq!(bench.hub.sessions_behind(), 1);
    let wants = client.poll_wants(Waker::noop());
    assert!(
        !wants.writable && wants.readable,
        "it is the client that has to say something"
    );
    // Answers are not held.
    let before = lock(&client.sink().0).answers;
    bench.hub.answer(&*client, &GatewayFrame::Pong(&[]));
    assert!(client.poll_wants(Waker::noop()).writable);
    assert_eq!(bench.hub.pump(&*client, &mut bench.cx()), Pumped::Blocked);
    assert_eq!(lock(&client.sink().0).answers, before + 1);
    assert!(client.is_idle() && !client.poll_wants(Waker::noop()).writable);
    lock(&client.sink().0).in_flight.remove(0);
    bench.hub.acknowledged(&*client, &mut bench.cx());
    assert_eq!(client.sink().sent(), [1, 2, 3]);
    assert_eq!(lock(&client.sink().0).live, 1);
    assert_eq!((bench.hub.sessions_behind(), bench.hub.held()), (0, (0, 0)));
    // With nothing held there is nothing to bring on.
    bench.hub.acknowledged(&*client, &mut bench.cx());
    assert_eq!(bench.keep_for(&[Target::All]), counts(1, 0, 1, 0));
    bench.hub.close(&*client, Closing::silent(CloseReason::Eof));
    assert_eq!(bench.deliveries(Outcome::Closed), 1);
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn a_batch_is_cut_where_the_window_ends() {
    let bench = Bench::new(options());
    let attach = Attach {
        resume: Some(Resume {
            epoch: 0,
            cursor: 0,
        }),
        ..ada()
    };
    for _ in 0..5 {
        bench.keep_for(&[Target::User("ada")]);
    }
    let client = bench.attach_choosy(&attach, Choosy::new(3, 100));
    bench.hub.pump(&*client, &mut bench.cx());
    assert_eq!(client.sink().sent(), [1, 2, 3]);
    for expected in [4, 5] {
        lock(&client.sink().0).in_flight.remove(0);
        bench.hub.acknowledged(&*client, &mut bench.cx());
        assert_eq!(client.sink().sent().last(), Some(&expected));
    }
    assert_eq!(bench.hub.pump(&*client, &mut bench.cx()), Pumped::Level);
}

#[test]
fn a_client_that_never_acknowledges_is_slow() {
    let bench = Bench::new(Options {
        queue_messages: 3,
        ..options()
    });
    let client = bench.attach_choosy(&ada(), Choosy::new(1, 100));
    let other = bench.attach("other", "", &[]);
    let refused = (0..10).map(|_| bench.keep_for(&[Target::User("ada")]).refused);
    assert_eq!(
        refused.sum::<u32>(),
        1,
        "it was closed, and is not there any more"
    );
    assert!(client.poll_wants(Waker::noop()).closing.is_some());
    other.sink().set_room(None);
    assert_eq!(bench.hub.sessions(), 1);
}

#[test]
fn what_a_sink_does_not_take_is_skipped_and_counted() {
    let bench = Bench::new(options());
    let client = bench.attach_choosy(&ada(), Choosy::new(10, 4));
    assert_eq!(bench.push(&[Target::All], b"12345"), counts(1, 0, 0, 1));
    assert_eq!(
        bench.push(&[Target::All, Target::User("ada")], b"12345"),
        counts(1, 0, 0, 1)
    );
    assert_eq!(bench.push(&[Target::All], b"1234"), counts(1, 1, 0, 0));
    assert_eq!(bench.deliveries(Outcome::Skipped), 2);
    assert_eq!(lock(&client.sink().0).live, 1);
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn what_is_muted_does_not_come_and_is_not_counted() {
    let bench = Bench::new(options());
    let attach = Attach {
        muted: Muted::ALL,
        ..ada()
    };
    let client = bench.attach_choosy(&attach, Choosy::new(10, 100));
    let both = [Target::User("ada"), Target::All];
    for targets in [&both[..1], &both[1..], &both] {
        assert_eq!(bench.push(targets, b"x"), Counts::default());
    }
    bench.hub.unmute(&*client, Scope::User);
    bench.hub.unmute(&*client, Scope::User);
    assert!(
        client.sink().sent().is_empty(),
        "only what comes from now on"
    );
    assert_eq!(bench.push(&both[..1], b"x"), counts(1, 1, 0, 0));
    assert_eq!(bench.push(&both[1..], b"x"), Counts::default());
    assert_eq!(bench.push(&both, b"x"), counts(1, 1, 0, 0));
    // It is one of its user's, whether it listens to that or not.
    bench.hub.mute(&*client, Scope::User, &mut bench.cx());
    bench.hub.unmute(&*client, Scope::All);
    let excepted = Push {
        targets: &[Target::All],
        exceptions: &[Target::User("ada")],
        payload: b"x",
        ..Push::default()
    };
    let appended = bench
        .hub
        .append(&excepted, bench.start)
        .expect("there is room");
    assert_eq!(bench.finish(appended), Counts::default());
    assert_eq!(
        bench.push(&both, b"x"),
        counts(1, 1, 0, 0),
        "under the one that it listens to"
    );
    assert_eq!(bench.push(&both[..1], b"x"), Counts::default());
    assert_eq!(bench.hub.presence(Target::User("ada")), 1);
    assert_eq!(bench.hub.held(), (0, 0));
}

#[test]
fn what_waits_for_one_that_mutes_is_not_delivered_any_more() {
    let bench = Bench::new(options());
    let client = bench.attach_choosy(&ada(), Choosy::new(1, 100));
    for _ in 0..3 {
        bench.keep_for(&[Target::User("ada")]);
    }
    bench.hub.mute(&*client, Scope::User, &mut bench.cx());
    assert_eq!(bench.deliveries(Outcome::Left), 2);
    lock(&client.sink().0).in_flight.clear();
    bench.hub.acknowledged(&*client, &mut bench.cx());
    assert_eq!(client.sink().sent(), [1]);
    assert_eq!((bench.hub.sessions_behind(), bench.hub.held()), (0, (0, 0)));
}

#[test]
fn one_that_unmutes_while_it_is_behind_is_excepted_as_before() {
    let bench = Bench::new(options());
    let attach = Attach {
        muted: Muted {
            user: true,
            all: false,
        },
        ..ada()
    };
    let client = bench.attach_choosy(&attach, Choosy::new(1, 100));
    bench.keep_for(&[Target::All]);
    bench.keep_for(&[Target::All]);
    let excepted = Push {
        targets: &[Target::All],
        exceptions: &[Target::User("ada")],
        payload: b"x",
        ttl: Some(Duration::from_secs(60)),
        ..Push::default()
    };
    let appended = bench
        .hub
        .append(&excepted, bench.start)
        .expect("there is room");
    assert_eq!(bench.finish(appended), Counts::default());
    bench.hub.unmute(&*client, Scope::User);
    for _ in 0..3 {
        client.sink().acknowledge();
        bench.hub.acknowledged(&*client, &mut bench.cx());
    }
    assert_eq!(client.sink().sent(), [1, 2], "3 is not for it");
}

#[test]
fn one_that_cannot_go_on_begins_anew() {
    let bench = Bench::new(options());
    bench.keep_for(&[Target::Group("room")]);
    let going_on = |epoch| Attach {
        groups: &["token"],
        resumed_groups: &["room", "token"],
        resume: Some(Resume { epoch, cursor: 0 }),
        or_anew: true,
        ..ada()
    };
    let presence = |group| bench.hub.presence(Target::Group(group));
    let lost = bench.attach_choosy(&going_on(7), Choosy::new(10, 100));
    assert_eq!((presence("room"), presence("token")), (0, 1));
    assert_eq!(bench.push(&[Target::User("ada")], b"x"), Counts::default());
    assert_eq!(bench.push(&[Target::All], b"x"), Counts::default());
    assert!(lost.sink().sent().is_empty());
    let found = bench.attach_choosy(&going_on(1), Choosy::new(10, 100));
    bench.hub.pump(&*found, &mut bench.cx());
    assert_eq!((presence("room"), presence("token")), (1, 1));
    assert_eq!(found.sink().sent(), [1]);
    assert_eq!(bench.push(&[Target::User("ada")], b"x"), counts(1, 1, 0, 0));
    bench.hub.close(&*found, Closing::silent(CloseReason::Eof));
    assert_eq!(bench.hub.sessions(), 0);
}

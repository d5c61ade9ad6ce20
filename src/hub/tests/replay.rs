//! Resumes: what is granted, in which order it comes, and what a slow one lets go.

use super::*;
use crate::hub::Resume;
use crate::metrics::Outcome;

const ADA: Target<'_> = Target::User("ada");

impl Bench {
    /// A client that comes back; it has not read anything yet.
    fn resume(&self, epoch: u64, cursor: u64, sink: FakeSink) -> FakeSession {
        let attach = Attach {
            user: "ada",
            heartbeat_s: 30,
            resume: Some(Resume { epoch, cursor }),
            ..Attach::default()
        };
        let attached = self.hub.attach(&attach, sink, &self.cx());
        attached.map_err(|(error, _)| error).expect("there is room")
    }

    fn delivered(&self, outcome: Outcome) -> u64 {
        self.hub.metrics().deliveries.at(outcome as usize).get()
    }
}

/// What WELCOME says: resumed or not, and the cursor.
fn welcome(session: &FakeSession) -> (bool, u64) {
    let bodies = session.sink().whole_frames();
    match GatewayFrame::decode(&bodies[0]).expect("well-formed") {
        GatewayFrame::Welcome(welcome) => (welcome.resumed, welcome.cursor),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cursor_of_another_log_is_not_resumed() {
    let bench = Bench::new(options());
    for payload in [b"1", b"2", b"3"] {
        bench.keep(&[ADA], payload, 60);
    }
    // The epoch, the cursor; what is said, and how much comes.
    for (epoch, cursor, said, comes) in [
        (1, 1, (true, 1), 2),
        (1, 3, (true, 3), 0),
        (1, 4, (false, 3), 0),
        (2, 1, (false, 3), 0),
        (0, 9, (true, 0), 3),
    ] {
        let session = bench.resume(epoch, cursor, FakeSink::default());
        bench.pump(&session);
        let pushes = session.sink().pushes().len();
        assert_eq!(
            (welcome(&session), pushes),
            (said, comes),
            "{epoch} {cursor}"
        );
    }
}

/// More than one batch of each of two lanes, which take turns.
#[test]
fn a_long_replay_is_in_the_order_of_the_log() {
    let bench = Bench::new(options());
    for round in 0..200_u32 {
        let target = if round % 2 == 0 { ADA } else { Target::All };
        bench.keep(&[target], &round.to_be_bytes(), 60);
    }
    let session = bench.resume(0, 0, FakeSink::default());
    bench.pump(&session);
    let pushes = session.sink().pushes().into_iter();
    let order: Vec<Vec<u8>> = pushes.map(|(_, _, payload)| payload).collect();
    let expected: Vec<_> = (0..200_u32)
        .map(|round| round.to_be_bytes().to_vec())
        .collect();
    assert_eq!(order, expected);
}

#[test]
fn live_messages_that_a_slow_replay_lets_go_are_counted() {
    let few = Options {
        queue_messages: 8,
        ..options()
    };
    let bench = Bench::new(few);
    bench.keep(&[ADA], b"kept", 60);
    let sink = FakeSink::default();
    sink.set_room(Some(0));
    let session = bench.resume(0, 0, sink);
    bench.pump(&session);
    for _ in 0..9 {
        bench.push(&[ADA], b"live");
    }
    // The ninth was one too many; what is behind it is due again.
    bench.push(&[ADA], b"last");
    let skipped = bench.delivered(Outcome::Skipped);
    session.sink().set_room(None);
    bench.pump(&session);
    let pushes = session.sink().pushes().into_iter();
    let payloads: Vec<Vec<u8>> = pushes.map(|(_, _, payload)| payload).collect();
    let live = payloads.len() as u64 - 1;
    assert_eq!(payloads[0], b"kept");
    assert_eq!(payloads.last().expect("several"), b"last");
    assert_ne!(skipped, 0);
    assert_eq!(skipped + live, 10);
}

/// Its walk is late: what it was to bring is over when it comes to the session.
#[test]
fn a_message_that_expires_on_its_way_is_not_sent() {
    let bench = Bench::new(options());
    let session = bench.attach("ada", "", &[]);
    let push = Push {
        targets: &[ADA],
        payload: b"late",
        ttl: Some(Duration::from_secs(1)),
        ..Push::default()
    };
    let Ok(Appended::Walk(mut walk)) = bench.hub.append(&push, bench.start) else {
        panic!("somebody is there");
    };
    let mut cx = Pump::new(bench.start + Duration::from_secs(2));
    let counts = walk.finish(&bench.hub, &mut cx);
    assert_eq!((counts.matched, counts.written), (1, 0));
    assert_eq!(session.sink().pushes(), []);
    assert_eq!(bench.delivered(Outcome::Expired), 1);
}

/// A whole batch of one lane passes her by, and hides what stands behind it.
#[test]
fn what_passes_a_session_by_does_not_carry_it_past_the_rest() {
    let bench = Bench::new(options());
    for _ in 0..100 {
        let push = Push {
            targets: &[Target::All],
            exceptions: &[ADA],
            ttl: Some(Duration::from_secs(60)),
            ..Push::default()
        };
        let appended = bench.hub.append(&push, bench.start);
        assert!(matches!(appended, Ok(Appended::Nobody(_))));
    }
    bench.keep(&[Target::All], b"to all", 60);
    bench.keep(&[ADA], b"to her", 60);
    let session = bench.resume(0, 0, FakeSink::default());
    bench.pump(&session);
    let pushes = session.sink().pushes().into_iter();
    let payloads: Vec<Vec<u8>> = pushes.map(|(_, _, payload)| payload).collect();
    assert_eq!(payloads, [b"to all", b"to her"]);
}

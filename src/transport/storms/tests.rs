use super::*;
use crate::wire::reason::CloseCode;

/// A second in which so many came and went, from one address each.
struct Rig {
    storms: Storms,
    metrics: Metrics,
    now_ms: u64,
}

impl Rig {
    fn new() -> Self {
        Self {
            storms: Storms::default(),
            metrics: Metrics::new(),
            now_ms: 1_000_000,
        }
    }

    fn source(number: u8) -> Source {
        Source::of([192, 0, 2, number].into())
    }

    fn opened(&self, count: u64, from: u8) {
        self.metrics.connections_opened.inc_by(count);
        self.storms.note(Self::source(from), count);
    }

    fn closed(&self, count: u64, reason: CloseReason, from: u8) {
        (0..count).for_each(|_| self.metrics.connection_closed(reason));
        self.storms.note(Self::source(from), count);
    }

    fn rejected(&self, count: u64, cause: RejectCause, from: u8) {
        (0..count).for_each(|_| self.metrics.datagram_rejected(cause));
        self.storms.note(Self::source(from), count);
    }

    fn look(&mut self, connections: u64) -> Told {
        self.now_ms += 1_000;
        self.storms.look(&self.metrics, connections, self.now_ms)
    }

    #[track_caller]
    fn second(&mut self, connections: u64) -> (u64, Summary) {
        match self.look(connections) {
            Told::Second(number, summary) => (number, summary),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_usual_is_not_told() {
    let mut rig = Rig::new();
    rig.opened(LOUD_MIN, 1);
    rig.closed(LOUD_MIN, CloseReason::Eof, 1);
    rig.rejected(LOUD_MIN, RejectCause::Mac, 1);
    assert_eq!(rig.look(0), Told::Quiet);
    // With many connections more is usual.
    rig.opened(1_000, 1);
    assert_eq!(rig.look(100_000), Told::Quiet);
    rig.opened(1_001, 1);
    assert_eq!(rig.second(100_000).1.opened, 1_001);
}

#[test]
fn each_loud_second_says_who_why_and_how_many() {
    let mut rig = Rig::new();
    rig.opened(60, 1);
    rig.closed(30, CloseReason::Reset, 2);
    rig.closed(40, CloseCode::Slow.into(), 2);
    rig.rejected(5, RejectCause::Mac, 3);
    let (number, summary) = rig.second(0);
    assert_eq!(number, 1);
    assert_eq!(
        (summary.opened, summary.closed, summary.rejected),
        (60, 70, 5)
    );
    assert_eq!(list(&summary.reasons), "slow 40, reset 30");
    assert_eq!(list(&summary.causes), "mac 5");
    assert_eq!((summary.sources, summary.more_sources), (3, false));
    assert_eq!(
        list(&summary.top),
        "192.0.2.2 70, 192.0.2.1 60, 192.0.2.3 5"
    );
    // Each second has its own.
    rig.rejected(51, RejectCause::Short, 9);
    let (number, summary) = rig.second(0);
    assert_eq!((number, summary.opened, summary.rejected), (2, 0, 51));
    assert_eq!(list(&summary.top), "192.0.2.9 51");
}

#[test]
fn a_storm_ends_after_quiet_seconds_and_is_kept() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.opened(100, 1);
        rig.second(0);
        rig.opened(10, 2);
        assert_eq!(rig.look(0), Told::Quiet, "a lull");
    }
    let ongoing = rig.storms.last(10);
    assert_eq!((ongoing.len(), ongoing[0].ongoing), (1, true));
    for _ in 0..3 {
        assert_eq!(rig.look(0), Told::Quiet);
    }
    let Told::Over(storm) = rig.look(0) else {
        panic!("it goes on");
    };
    // From the first loud second to the last one.
    let expected = (1_000_000, 5, false, 100);
    let Storm {
        started_ms,
        seconds,
        ongoing,
        peak,
        ..
    } = storm;
    assert_eq!((started_ms, seconds, ongoing, peak), expected);
    assert_eq!((storm.summary.opened, storm.summary.sources), (330, 2));
    assert_eq!(rig.storms.last(10), [storm]);
    assert_eq!(rig.look(0), Told::Quiet);
}

#[test]
fn the_last_hundred_are_kept_newest_first() {
    let mut rig = Rig::new();
    for number in 0..KEPT as u64 + 5 {
        rig.opened(51 + number, 1);
        rig.second(0);
        while rig.look(0) == Told::Quiet {}
    }
    let storms = rig.storms.last(usize::MAX);
    let opened: Vec<_> = storms.iter().map(|storm| storm.summary.opened).collect();
    assert_eq!((opened.len(), opened[0], opened[KEPT - 1]), (KEPT, 155, 56));
    assert_eq!(rig.storms.last(2).len(), 2);
}

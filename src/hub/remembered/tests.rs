use super::*;

const ENDED: Ended = Ended {
    status: Status::Done,
    counts: Counts {
        matched: 3,
        written: 2,
        waiting: 1,
        refused: 0,
    },
    elapsed_ms: 17,
    number: 0,
};

fn id(number: u8) -> Id {
    (7, [number; 16])
}

#[test]
fn a_repeat_gets_the_result_and_other_bytes_do_not() {
    let remembered = Remembered::new(10, [7], 26);
    remembered
        .reserve(7)
        .expect("room")
        .ended(id(1), 5, ENDED, 100);
    assert!(matches!(
        remembered.recall(&id(1), 5),
        Some(Known::Ended(ENDED))
    ));
    assert!(matches!(
        remembered.recall(&id(1), 6),
        Some(Known::OtherBytes)
    ));
    assert!(remembered.recall(&id(2), 5).is_none());
}

#[test]
fn full_memory_refuses_and_never_forgets_early() {
    let remembered = Remembered::new(3, [7], 26);
    for number in 0..3 {
        remembered
            .reserve(7)
            .expect("room")
            .ended(id(number), 5, ENDED, 100);
    }
    assert!(remembered.reserve(7).is_none());
    remembered.sweep(126);
    assert!(remembered.recall(&id(0), 5).is_some());
    remembered.sweep(127);
    assert!(remembered.recall(&id(0), 5).is_none());
    assert!(remembered.is_empty());
    assert!(remembered.reserve(7).is_some());
}

#[test]
fn one_of_two_keys_holds_half_at_most() {
    let remembered = Remembered::new(4, [7, 8], 26);
    let rooms: Vec<_> = (0..3).map(|_| remembered.reserve(7)).collect();
    assert_eq!(rooms.iter().filter(|room| room.is_some()).count(), 2);
    assert!(remembered.reserve(8).is_some());
    drop(rooms);
    assert!(remembered.is_empty());
}

#[test]
fn keys_come_and_go_and_their_ids_stay() {
    let remembered = Remembered::new(4, [7], 26);
    remembered
        .reserve(7)
        .expect("room")
        .ended(id(1), 5, ENDED, 100);
    assert!(remembered.reserve(8).is_none());
    remembered.set_keys([8]);
    assert!(remembered.reserve(8).is_some());
    assert!(remembered.recall(&id(1), 5).is_some());
    // Back while its id is remembered: that one counts, and is given back once.
    remembered.set_keys([7, 8]);
    let room = remembered.reserve(7).expect("one of two is left");
    assert!(remembered.reserve(7).is_none());
    drop(room);
    remembered.sweep(127);
    assert!(remembered.is_empty());
    let rooms: Vec<_> = (0..3).map(|_| remembered.reserve(7)).collect();
    assert_eq!(rooms.iter().filter(|room| room.is_some()).count(), 2);
}

#[test]
fn a_running_job_is_known_until_long_after_its_end() {
    let remembered = Remembered::new(4, [7], 26);
    let progress = Arc::new(Progress::default());
    remembered
        .reserve(7)
        .expect("room")
        .running(id(1), 5, Arc::clone(&progress), 0);
    progress.set(ENDED.counts, 7);
    remembered.sweep(1000);
    match remembered.recall(&id(1), 5) {
        Some(Known::Running(running)) => assert_eq!(running.counts(), ENDED.counts),
        other => panic!("{other:?}"),
    }
    remembered.finish(&id(1), ENDED, 1000, 60);
    remembered.sweep(1060);
    assert!(matches!(
        remembered.recall(&id(1), 5),
        Some(Known::Ended(ENDED))
    ));
    remembered.sweep(1061);
    assert!(remembered.recall(&id(1), 5).is_none());
    assert!(remembered.is_empty());
}

#[test]
fn nothing_waits_behind_a_job_that_runs_for_long() {
    let remembered = Remembered::new(4, [7], 26);
    let running = || remembered.reserve(7).expect("room");
    running().running(id(1), 5, Arc::default(), 0);
    running().ended(id(2), 5, ENDED, 0);
    remembered.sweep(27);
    assert_eq!(remembered.len(), 1);
    assert!(remembered.recall(&id(2), 5).is_none());
    // Found where it stands now, and not before its time: it ended late.
    remembered.finish(&id(1), ENDED, 28, 60);
    running().ended(id(3), 5, ENDED, 40);
    remembered.sweep(67);
    assert!(remembered.recall(&id(3), 5).is_none());
    assert!(matches!(
        remembered.recall(&id(1), 5),
        Some(Known::Ended(ENDED))
    ));
    remembered.sweep(89);
    assert!(remembered.is_empty());
}

/// A repeat may ask while the job notes its next step: never half of one.
#[test]
fn the_counts_of_one_moment_are_told_together() {
    let progress = Progress::default();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for written in 0..200_000 {
                let counts = Counts {
                    matched: 2 * written,
                    written,
                    waiting: written,
                    refused: 0,
                };
                progress.set(counts, 0);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            let counts = progress.counts();
            assert_eq!(counts.matched, counts.written + counts.waiting);
        }
    });
}

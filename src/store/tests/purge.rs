//! What leaves the history leaves the disk.

use super::super::{Erase, Start};
use super::reopen::erase;
use super::*;

fn settled(store: &mut Store) -> usize {
    store.sync().unwrap();
    let mut calls = 1;
    while store.tidy().unwrap() {
        calls += 1;
        assert!(calls < 1_000, "it comes to an end");
    }
    calls
}

#[test]
fn a_purge_removes_the_bytes_from_every_file() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    // In the first segment, in the middle, in the last, which is not synced.
    let purged = [1, 30, 31, 60];
    // One that was superseded a while ago must not come back as the newest.
    store.gone(17, None);
    store.scrub(&purged.map(erase)).unwrap();
    for number in purged.into_iter().chain([17]) {
        let payload = format!("payload of {number}:");
        assert!(!bench.stands(payload.as_bytes()), "{payload}");
    }
    store.scrub(&purged.map(erase)).unwrap();
    write(&mut store, 61..=62, 150);
    store.scrub(&[erase(61)]).unwrap();
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Unclean);
    let gone = [1, 17, 30, 31, 60, 61];
    let expected: Vec<u64> = (1..=62).filter(|number| !gone.contains(number)).collect();
    assert_eq!(numbers(&handed), expected);
    assert_eq!(handed[&62], sample(62, 150));
}

#[test]
fn a_purge_of_everything_leaves_no_segment() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    let all: Vec<Erase<'_>> = (1..=60).map(erase).collect();
    store.scrub(&all).unwrap();
    assert_eq!(store.stats().segments, 0);
    assert_eq!(bench.files().len(), 2, "the meta file and the lock");
    write(&mut store, [61], 150);
    store.close().unwrap();
    assert_eq!(numbers(&bench.open().1), [61]);
}

/// In a segment of which everything is kept there is nothing else to write it anew for.
#[test]
fn other_targets_alone_have_a_segment_written_anew() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    let change = Erase {
        number: 2,
        targets: Some(b"others"),
    };
    assert!(bench.stands(b"targets of 2"));
    store.scrub(&[change]).unwrap();
    assert!(!bench.stands(b"targets of 2"));
    drop(store);
    assert_eq!(bench.open().1[&2].targets, b"others");
}

#[test]
fn a_purge_leaves_a_message_to_its_other_targets() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    let batch: Vec<Owned> = (1..=5).map(|number| sample(number, 150)).collect();
    let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
    store.write(&records).unwrap();
    let changes = [
        erase(2),
        Erase {
            number: 3,
            targets: Some(b"others"),
        },
        Erase {
            number: 9,
            targets: Some(b"of nobody"),
        },
    ];
    store.scrub(&changes).unwrap();
    assert!(!bench.stands(b"targets of 3"));
    drop(store);
    let (_, handed) = bench.open();
    assert_eq!(numbers(&handed), [1, 3, 4, 5]);
    let expected = Owned {
        targets: b"others".to_vec(),
        ..sample(3, 150)
    };
    assert_eq!(handed[&3], expected);
}

#[test]
fn a_purge_goes_in_steps_between_which_records_are_taken() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=100, 150);
    let odd = (1..=99).step_by(2).map(erase);
    // These stay for others; small enough to be joined between the steps.
    let even = (2..=100).step_by(2).map(|number| Erase {
        number,
        targets: (number % 20 == 0).then_some(b"others"),
    });
    let changes: Vec<Erase<'_>> = odd.chain(even).collect();
    let mut left = store.begin_scrub(&changes);
    assert!(left > 3);
    let mut number = 100;
    while left > 0 {
        number += 1;
        write(&mut store, [number], 150);
        settled(&mut store);
        left = store.step_scrub().unwrap();
        assert!(number < 200);
    }
    assert!(!bench.stands(b"payload of 51:"));
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Unclean);
    let expected: Vec<u64> = (1..=number)
        .filter(|number| number % 20 == 0 || *number > 100)
        .collect();
    assert_eq!(numbers(&handed), expected);
    for number in [20, 40, 60, 80, 100] {
        assert_eq!(handed[&number].targets, b"others");
        assert_eq!(handed[&number].payload, sample(number, 150).payload);
    }
}

#[test]
fn tidying_comes_to_an_end_while_a_sync_is_due() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=20, 150);
    store.sync().unwrap();
    write(&mut store, 21..=200, 150);
    for number in 21..=200 {
        store.gone(number, None);
    }
    let calls = (0..100).take_while(|_| store.tidy().unwrap()).count();
    assert!(calls < 100);
}

#[test]
fn garbage_is_bounded_by_what_is_kept() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    let mut kept = Vec::new();
    for number in 1..=2_000_u64 {
        write(&mut store, [number], 150);
        // A few stay for ever, scattered; the others leave soon.
        if number.is_multiple_of(50) {
            kept.push(number);
        } else {
            store.gone(number, None);
        }
        if number.is_multiple_of(20) {
            settled(&mut store);
        }
    }
    settled(&mut store);
    let stats = store.stats();
    assert_eq!(stats.kept, 40);
    assert!(stats.bytes <= 3 * stats.kept_bytes + 3 * 4_096, "{stats:?}");
    assert!(
        stats.segments <= 4 + 2 * (stats.kept_bytes / 4_096),
        "{stats:?}"
    );
    assert_eq!(bench.files().len() as u64, stats.segments + 2);
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Unclean);
    for number in kept {
        assert_eq!(handed[&number], sample(number, 150));
    }
}

#[test]
fn one_call_removes_a_bounded_number_of_files() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=1_000, 150);
    store.sync().unwrap();
    for number in 1..=1_000 {
        store.gone(number, None);
        store.gone(number, None);
    }
    store.gone(5_000, None);
    let before = store.stats().segments;
    assert!(store.tidy().unwrap());
    assert_eq!(before - store.stats().segments, 16);
    settled(&mut store);
    assert_eq!(store.stats(), super::super::Stats::default());
    write(&mut store, [1_001], 150);
}

#[test]
fn what_is_not_on_disk_yet_is_not_rewritten() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    for number in 1..=59 {
        store.gone(number, None);
    }
    let before = bench.files();
    while store.tidy().unwrap() {}
    assert_eq!(before, bench.files());
    // A sync that fails must find all of them.
    bench.faults.syncs.store(1, Relaxed);
    store.sync().unwrap();
    settled(&mut store);
    drop(store);
    assert_eq!(bench.open().1[&60], sample(60, 150));
}

#[test]
fn a_kill_between_joining_and_removing_changes_nothing() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=200, 150);
    store.sync().unwrap();
    // Every segment keeps one or two.
    let kept: Vec<u64> = (10..=200).step_by(10).collect();
    for number in (1..=200).filter(|number| !kept.contains(number)) {
        store.gone(number, None);
    }
    let mut joined = 0;
    for _ in 0..200 {
        bench.faults.removes.store(1, Relaxed);
        let outcome = store.tidy();
        bench.faults.removes.store(0, Relaxed);
        joined += usize::from(outcome.is_err());
        let copy = Bench::new();
        fs::create_dir(copy.dir()).unwrap();
        for (name, bytes) in bench.files() {
            fs::write(copy.dir().join(name), bytes).unwrap();
        }
        let (opened, handed) = copy.open();
        assert_eq!(opened.start, Start::Unclean);
        for number in &kept {
            assert_eq!(handed[number], sample(*number, 150));
        }
        if let Ok(false) = outcome {
            break;
        }
        store.clear().unwrap();
    }
    assert!(joined > 1, "{joined}");
    assert!(store.stats().segments <= 6);
}

#[test]
fn a_record_that_went_bad_on_disk_is_not_copied() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    store.sync().unwrap();
    let path = bench.segment(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = store.scrub(&[erase(1)]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(
        error
            .to_string()
            .contains("0000000000000001.log: not what was written at byte")
    );
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, handed.len()), (Start::Lost, 2));
    drop(opened);
    let (opened, handed) = bench.open();
    assert_eq!(
        (opened.start, handed.len()),
        (Start::Unclean, 2),
        "it was put right"
    );
}

/// It may never be read again; that is told each time its turn comes.
#[test]
fn a_segment_that_cannot_be_read_keeps_no_other_from_being_written_anew() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    store.sync().unwrap();
    // The last one has its turn first, and what it keeps went bad.
    let path = bench.segment(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let steps = store.begin_scrub(&[1, 30, 59].map(erase));
    assert_eq!(steps, 3, "each stands in a segment of its own");
    store.step_scrub().unwrap_err();
    assert!(bench.stands(b"payload of 1:") && bench.stands(b"payload of 30:"));
    for _ in 0..2 {
        store.step_scrub().unwrap();
    }
    assert!(!bench.stands(b"payload of 1:") && !bench.stands(b"payload of 30:"));
    for _ in 0..2 {
        store.step_scrub().unwrap_err();
    }
    assert!(bench.stands(b"payload of 59:"), "it waits for its disk");
}

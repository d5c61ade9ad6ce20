//! A disk that is full, and one that refuses a sync.

use super::super::Start;
use super::reopen::erase;
use super::*;

/// Nothing is lost over a kill, and nothing comes that was refused.
#[track_caller]
fn reopens_with(bench: &Bench, expected: &[u64]) {
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Unclean);
    assert_eq!(opened.counts.damaged, 0);
    assert_eq!(numbers(&handed), expected);
    for owned in handed.values() {
        assert_eq!(*owned, sample(owned.number, owned.payload.len()));
    }
}

#[test]
fn a_full_disk_takes_nothing_of_a_batch_and_all_of_a_later_one() {
    // Also in the middle of a head, of a record, and of the head of a new segment.
    for space in (0..700).step_by(7) {
        let bench = Bench::new();
        let (opened, _) = bench.open();
        let mut store = opened.store;
        write(&mut store, 1..=18, 150);
        bench.faults.space.store(space, Relaxed);
        let batch: Vec<Owned> = (19..=22).map(|number| sample(number, 150)).collect();
        let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
        let before = bench.files();
        let error = store.write(&records).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains(".log"), "{error}");
        let after = bench.files();
        assert!(
            before.iter().all(|(name, bytes)| after[name] == *bytes),
            "as it was"
        );
        store.sync().unwrap();
        assert_eq!(store.stats().kept, 18);
        // The same numbers, or others: nobody has seen them.
        bench.faults.space.store(u64::MAX, Relaxed);
        write(&mut store, 20..=40, 150);
        drop(store);
        reopens_with(
            &bench,
            &[(1..=18).collect::<Vec<_>>(), (20..=40).collect()].concat(),
        );
    }
}

#[test]
fn a_full_disk_does_not_keep_what_is_gone() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    store.sync().unwrap();
    bench.faults.space.store(0, Relaxed);
    for number in 1..=40 {
        store.gone(number, Some(NOW_MS + 1));
    }
    let bytes = store.stats().bytes;
    store.tidy().unwrap();
    assert!(store.stats().bytes < bytes / 2, "room without having any");
    store.close().unwrap();
    let (opened, handed) = bench.open();
    assert_eq!(
        opened.start,
        Start::Clean,
        "a clean stop needs no room either"
    );
    assert_eq!((handed.len(), opened.floor.upto), (20, 40));
}

#[test]
fn a_rewrite_that_finds_no_room_leaves_everything() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    store.sync().unwrap();
    for number in (1..=60).filter(|number| number % 3 != 0) {
        store.gone(number, None);
    }
    let before = bench.files();
    for space in [0, 10, 100, 300] {
        bench.faults.space.store(space, Relaxed);
        assert_eq!(store.tidy().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            store.scrub(&[erase(3)]).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(before, bench.files());
    }
    bench.faults.space.store(u64::MAX, Relaxed);
    store.scrub(&[]).unwrap();
    assert!(
        !bench.stands(b"payload of 3:"),
        "the purge goes on where it stopped"
    );
    drop(store);
    let kept: Vec<u64> = (6..=60).filter(|number| number % 3 == 0).collect();
    reopens_with(&bench, &kept);
}

#[test]
fn a_failed_write_that_cannot_be_taken_back_is_taken_back_before_the_next() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    bench.faults.space.store(100, Relaxed);
    bench.faults.cuts.store(3, Relaxed);
    assert!(store.write(&[sample(4, 150).record()]).is_err());
    bench.faults.space.store(u64::MAX, Relaxed);
    for _ in 0..2 {
        let error = store.write(&[sample(4, 150).record()]).unwrap_err();
        assert!(error.to_string().starts_with("cut "), "{error}");
    }
    write(&mut store, [5], 150);
    drop(store);
    reopens_with(&bench, &[1, 2, 3, 5]);
}

#[test]
fn a_kill_behind_a_failed_write_leaves_nothing_of_it() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    // One and a half of three records.
    bench.faults.space.store(350, Relaxed);
    bench.faults.cuts.store(1, Relaxed);
    let batch: Vec<Owned> = (4..=6).map(|number| sample(number, 150)).collect();
    let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
    assert!(store.write(&records).is_err());
    assert!(
        bench.stands(b"payload of 4:"),
        "a whole record stands there"
    );
    drop(store);
    reopens_with(&bench, &[1, 2, 3]);
}

#[test]
fn after_a_failed_sync_everything_goes_into_a_new_segment() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    store.sync().unwrap();
    write(&mut store, 4..=40, 150);
    store.gone(5, None);
    let segments = bench.files().len();
    bench.faults.syncs.store(1, Relaxed);
    store.sync().unwrap();
    assert_eq!(store.stats().unsynced_bytes, 0);
    assert_eq!(store.stats().kept, 39);
    assert!(
        bench.files().len() < segments,
        "one for all that was not synced"
    );
    let first = fs::read(bench.segment(1)).unwrap();
    assert!(
        !first.windows(13).any(|window| window == b"payload of 4:"),
        "cut off there"
    );
    write(&mut store, 41..=45, 150);
    store.gone(41, None);
    store.scrub(&[]).unwrap();
    drop(store);
    let expected: Vec<u64> = (1..=45)
        .filter(|number| ![5, 41].contains(number))
        .collect();
    reopens_with(&bench, &expected);
}

#[test]
fn while_the_disk_refuses_every_sync_what_was_taken_waits_in_memory() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    bench.faults.syncs.store(u32::MAX, Relaxed);
    for _ in 0..3 {
        assert!(store.sync().is_err());
        assert!(
            store.write(&[sample(4, 150).record()]).is_err(),
            "nothing more is taken"
        );
        assert!(store.stats().unsynced_bytes > 0);
    }
    assert!(bench.files().len() <= 4, "attempts leave nothing behind");
    bench.faults.syncs.store(0, Relaxed);
    store.sync().unwrap();
    write(&mut store, 5..=6, 150);
    drop(store);
    reopens_with(&bench, &[1, 2, 3, 5, 6]);
}

#[test]
fn a_kill_after_a_failed_sync_is_a_loss() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    // The sync, not that of the meta file, and then that of the new segment.
    bench.faults.syncs.store(1, Relaxed);
    bench.faults.creates.store(1, Relaxed);
    assert!(store.sync().is_err());
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!(
        opened.start,
        Start::Lost,
        "the kernel may have let the bytes go"
    );
    assert_eq!(handed.len(), 3);
    drop(opened);
    assert_eq!(bench.open().0.start, Start::Unclean);
}

#[test]
fn a_close_that_cannot_sync_is_no_clean_stop() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    bench.faults.syncs.store(3, Relaxed);
    assert!(store.close().is_err());
    bench.faults.syncs.store(0, Relaxed);
    assert_ne!(bench.open().0.start, Start::Clean);
}

#[test]
fn attempts_that_cannot_be_cleared_away_stop_further_ones() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 150);
    // The segment, the meta file, the new segment.
    bench.faults.syncs.store(3, Relaxed);
    bench.faults.removes.store(4, Relaxed);
    for _ in 0..3 {
        assert!(store.sync().is_err());
    }
    let tmp = |name: &&String| name.ends_with(".tmp");
    assert_eq!(bench.files().keys().filter(tmp).count(), 1);
    store.sync().unwrap();
    assert_eq!(bench.files().keys().filter(tmp).count(), 0);
    drop(store);
    reopens_with(&bench, &[1, 2, 3]);
}

#[test]
fn records_are_taken_while_a_sync_is_out() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=30, 150);
    let syncing = store.begin_sync().unwrap().unwrap();
    let is_busy = |outcome: io::Result<()>| {
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    };
    is_busy(store.begin_sync().map(drop));
    is_busy(store.sync());
    is_busy(store.scrub(&[]));
    let before = store.stats().unsynced_bytes;
    write(&mut store, 31..=60, 150);
    while store.tidy().unwrap() {}
    let synced = std::thread::spawn(|| syncing.run()).join().unwrap();
    store.end_sync(synced).unwrap();
    let stats = store.stats();
    let sizes: u64 = (31..=60)
        .map(|number| super::super::frame::len(&sample(number, 150).record()))
        .sum();
    assert_eq!(
        stats.unsynced_bytes, sizes,
        "of {before}, and what came since"
    );
    assert!(store.begin_sync().unwrap().is_some());
    drop(store);
    reopens_with(&bench, &(1..=60).collect::<Vec<_>>());
}

#[test]
fn a_sync_that_fails_elsewhere_covers_what_was_taken_since() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=30, 150);
    let syncing = store.begin_sync().unwrap().unwrap();
    write(&mut store, 31..=60, 150);
    bench.faults.syncs.store(1, Relaxed);
    store.end_sync(syncing.run()).unwrap();
    assert_eq!(store.stats().unsynced_bytes, 0);
    assert!(store.begin_sync().unwrap().is_none());
    drop(store);
    reopens_with(&bench, &(1..=60).collect::<Vec<_>>());
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let mut bench = Bench::new();
    bench.options.unsynced_bytes_max = 2_000;
    let (opened, _) = bench.open();
    let mut store = opened.store;
    for number in 1..=40 {
        write(&mut store, [number], 150);
        assert!(store.stats().unsynced_bytes <= 2_000, "it syncs by itself");
    }
    let _syncing = store.begin_sync().unwrap().unwrap();
    let outcome = (41..=60).try_for_each(|number| store.write(&[sample(number, 150).record()]));
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert!(store.stats().unsynced_bytes <= 2_000);
}

#[test]
fn a_record_that_could_not_be_read_again_is_not_taken() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    let long = Owned {
        collapse: vec![b'c'; 65_536],
        ..sample(1, 10)
    };
    for record in [
        sample(1, 1 << 20).record(),
        long.record(),
        sample(0, 10).record(),
        sample(1 << 62, 10).record(),
    ] {
        let error = store.write(&[record]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let pair = [sample(2, 10), sample(2, 10)];
    let error = store
        .write(&[pair[0].record(), pair[1].record()])
        .unwrap_err();
    assert_eq!(error.to_string(), "number 2 does not follow 2");
    store.write(&[]).unwrap();
    // The largest that is taken comes back.
    let collapse = vec![b'c'; 65_535];
    let fits = Owned {
        payload: vec![1; (1 << 20) - 26 - 65_535 - sample(1, 0).targets.len()],
        collapse,
        ..sample(1, 0)
    };
    store.write(&[fits.record()]).unwrap();
    drop(store);
    assert_eq!(bench.open().1[&1], fits);
}

//! What comes back after a stop of any kind.

use std::os::unix::fs::PermissionsExt;

use super::super::write::BLOCK;
use super::super::{Counts, Floor, Start};
use super::*;

#[test]
fn a_new_store_is_private_and_begins_at_one() {
    let bench = Bench::new();
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, opened.next_number), (Start::New, 1));
    assert_ne!(opened.epoch, 0);
    assert_eq!(opened.floor, Floor::default());
    assert!(handed.is_empty());
    let mut store = opened.store;
    write(&mut store, [1], 10);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.dir()), 0o700);
    for name in bench.files().keys() {
        assert_eq!(mode(&bench.dir().join(name)), 0o600, "{name}");
    }
}

#[test]
fn after_a_clean_stop_everything_is_there_and_numbers_go_on() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let (mut store, epoch) = (opened.store, opened.epoch);
    write(&mut store, 1..=100, 200);
    let batch: Vec<Owned> = (101..=150).map(|number| sample(number, 100)).collect();
    let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
    store.write(&records).unwrap();
    assert!(store.stats().segments > 5, "{:?}", store.stats());
    store.close().unwrap();
    // Whether the machine was started anew makes no difference.
    let bench = Bench {
        boot: [8; 16],
        ..bench
    };
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, opened.epoch), (Start::Clean, epoch));
    assert_eq!(opened.next_number, 151);
    assert_eq!(numbers(&handed), (1..=150).collect::<Vec<_>>());
    assert_eq!(handed[&7], sample(7, 200));
    assert_eq!(handed[&120], sample(120, 100));
    let counts = Counts {
        records: 150,
        bytes: opened.store.stats().bytes,
        ..Counts::default()
    };
    assert_eq!(opened.counts, counts);
}

#[test]
fn after_a_kill_numbers_go_on_behind_the_reserved_block() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let (mut store, epoch) = (opened.store, opened.epoch);
    write(&mut store, 1..=40, 200);
    // Its number was used, and nothing on disk tells of it.
    store.scrub(&[erase(40)]).unwrap();
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, opened.epoch), (Start::Unclean, epoch));
    assert_eq!(opened.next_number, 1 + BLOCK);
    assert_eq!(numbers(&handed), (1..=39).collect::<Vec<_>>());
    let mut store = opened.store;
    let error = store.write(&[sample(1 + BLOCK - 1, 10).record()]);
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    // The next block is reserved when this one ends.
    write(&mut store, [1 + BLOCK, 3 * BLOCK], 10);
    drop(store);
    let (opened, handed) = bench.open();
    assert_eq!(opened.next_number, 3 * BLOCK + 1 + BLOCK);
    assert_eq!(handed.len(), 41);
    // A clean stop leaves no gap.
    let mut store = opened.store;
    let number = opened.next_number;
    write(&mut store, [number], 10);
    store.close().unwrap();
    assert_eq!(bench.open().0.next_number, number + 1);
}

#[test]
fn after_another_boot_without_a_clean_stop_the_epoch_is_new() {
    let mut bench = Bench::new();
    let (opened, _) = bench.open();
    let (mut store, epoch) = (opened.store, opened.epoch);
    write(&mut store, 1..=10, 200);
    store.sync().unwrap();
    drop(store);
    bench.boot = [8; 16];
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Lost);
    assert_ne!(opened.epoch, epoch);
    assert_eq!(handed.len(), 10, "whole records are handed out");
    assert_eq!(opened.floor.upto, opened.next_number - 1);
    assert_eq!(opened.floor.until_ms, NOW_MS + bench.options.ttl_max_ms);
    let epoch = opened.epoch;
    drop(opened);
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, opened.epoch), (Start::Unclean, epoch));
    assert_eq!(handed.len(), 10, "the floor of a loss drops none");
    assert_eq!(opened.floor.until_ms, NOW_MS + bench.options.ttl_max_ms);
}

#[test]
fn a_machine_that_does_not_tell_its_boot_is_never_the_same() {
    let bench = Bench::new();
    let machine = || Machine {
        boot: None,
        faults: Arc::default(),
    };
    let open = || Store::open_on(machine(), &bench.dir(), options(), NOW_MS, |_| {}).unwrap();
    drop(open());
    assert_eq!(open().start, Start::Lost);
}

#[test]
fn a_second_process_is_refused() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let Err(error) = bench.try_open(NOW_MS) else {
        panic!("it is open twice");
    };
    let own = Some(std::process::id());
    assert!(
        matches!(error, StoreError::Locked { pid, .. } if pid == own),
        "{error}"
    );
    let said = error.to_string();
    let who = format!(
        "history is in use by another process (pid {}): stop that one",
        std::process::id()
    );
    assert!(said.contains(&who), "{said}");
    drop(opened);
    bench.open();
}

#[test]
fn a_file_of_a_newer_program_is_left_alone() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, [1], 10);
    drop(store);
    for (path, crc) in [
        (bench.segment(0), 24),
        (bench.dir().join("pushgate.meta"), 100),
    ] {
        let old = fs::read(&path).unwrap();
        let mut new = old.clone();
        new[7] = 2;
        let sum = crc32fast::hash(&new[..crc]).to_be_bytes();
        new[crc..crc + 4].copy_from_slice(&sum);
        fs::write(&path, &new).unwrap();
        let Err(error) = bench.try_open(NOW_MS) else {
            panic!("it is opened");
        };
        assert!(
            matches!(error, StoreError::Version { version: 2, .. }),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), new);
        fs::write(&path, old).unwrap();
    }
    assert_eq!(bench.open().0.start, Start::Unclean);
}

#[test]
fn what_expired_is_not_handed_out() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    let short = Owned {
        expires_ms: NOW_MS,
        ..sample(1, 10)
    };
    let long = Owned {
        expires_ms: NOW_MS + 1,
        ..sample(2, 10)
    };
    store.write(&[short.record(), long.record()]).unwrap();
    store.close().unwrap();
    let (opened, handed) = bench.open();
    assert_eq!(numbers(&handed), [2]);
    assert_eq!((opened.counts.expired, opened.counts.records), (1, 1));
    assert_eq!(opened.store.stats().kept, 1);
}

#[test]
fn the_floor_is_on_disk_before_what_it_speaks_of_leaves_it() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 200);
    store.sync().unwrap();
    for number in 1..=20 {
        store.gone(number, Some(NOW_MS + number));
    }
    // Nothing was removed, so all of them may come back; the memory drops them again.
    let killed = bench.files();
    while store.tidy().unwrap() {}
    assert!(!bench.stands(b"payload of 1:"), "a whole file is gone");
    drop(store);
    let (opened, handed) = bench.open();
    let floor = Floor {
        upto: 20,
        until_ms: NOW_MS + 20,
    };
    assert_eq!(opened.floor, floor);
    assert_eq!(numbers(&handed), (21..=60).collect::<Vec<_>>());
    assert!(opened.counts.dropped > 0, "of those that stand there still");
    drop(opened);
    for (name, bytes) in killed {
        fs::write(bench.dir().join(name), bytes).unwrap();
    }
    let (opened, handed) = bench.open();
    assert_eq!((opened.floor, handed.len()), (Floor::default(), 60));
}

#[test]
fn a_floor_counts_until_its_time() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=3, 10);
    store.gone(2, Some(NOW_MS + 5));
    store.close().unwrap();
    let (opened, handed) = bench.try_open(NOW_MS + 4).unwrap();
    assert_eq!((opened.floor.upto, numbers(&handed)), (2, vec![3]));
    drop(opened);
    let (opened, handed) = bench.try_open(NOW_MS + 5).unwrap();
    assert_eq!((opened.floor.upto, numbers(&handed)), (0, vec![3]));
}

#[test]
fn a_batch_that_was_cut_off_is_not_replayed_in_part() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let (mut store, epoch) = (opened.store, opened.epoch);
    write(&mut store, 1..=2, 50);
    let whole = fs::metadata(bench.segment(0)).unwrap().len();
    let batch: Vec<Owned> = (3..=6).map(|number| sample(number, 50)).collect();
    let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
    store.write(&records).unwrap();
    drop(store);
    let path = bench.segment(0);
    let all = fs::read(&path).unwrap();
    let meta = fs::read(bench.dir().join("pushgate.meta")).unwrap();
    for len in whole as usize..all.len() {
        fs::write(&path, &all[..len]).unwrap();
        fs::write(bench.dir().join("pushgate.meta"), &meta).unwrap();
        let (opened, handed) = bench.open();
        assert_eq!(
            (opened.start, opened.epoch),
            (Start::Unclean, epoch),
            "at {len}"
        );
        assert_eq!(numbers(&handed), [1, 2], "at {len}");
        assert_eq!(opened.counts.cut_bytes, len as u64 - whole);
        assert_eq!(fs::metadata(&path).unwrap().len(), whole, "it is cut");
    }
    fs::write(&path, &all).unwrap();
    let (opened, handed) = bench.open();
    assert_eq!(handed.len(), 6);
    // What follows is appended to the same file.
    let mut store = opened.store;
    write(&mut store, [opened.next_number], 50);
    drop(store);
    assert_eq!(bench.open().1.len(), 7);
    assert_eq!(
        bench.files().len(),
        3,
        "one segment, the meta file and the lock"
    );
}

#[test]
fn what_was_not_finished_is_removed_and_strangers_stay() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, [1], 10);
    store.close().unwrap();
    for name in [
        "0000000000000009.log.tmp",
        "pushgate.meta.tmp",
        "notes.tmp",
        "7.log",
    ] {
        fs::write(bench.dir().join(name), b"unfinished").unwrap();
    }
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, handed.len()), (Start::Clean, 1));
    let names: Vec<String> = bench.files().into_keys().collect();
    let segment = "0000000000000001.log";
    assert_eq!(
        names,
        [
            segment,
            "7.log",
            "notes.tmp",
            "pushgate.lock",
            "pushgate.meta"
        ]
    );
}

#[test]
fn a_lost_file_is_noticed_after_a_clean_stop() {
    for back in [0, 1, 2] {
        let bench = Bench::new();
        let (opened, _) = bench.open();
        let mut store = opened.store;
        write(&mut store, 1..=60, 200);
        store.close().unwrap();
        fs::remove_file(bench.segment(back)).unwrap();
        let (opened, handed) = bench.open();
        assert_eq!(opened.start, Start::Lost);
        assert!(handed.len() < 60);
    }
}

#[test]
fn a_store_without_its_meta_file_is_another_epoch() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let (mut store, epoch) = (opened.store, opened.epoch);
    write(&mut store, 1..=60, 200);
    store.close().unwrap();
    fs::remove_file(bench.dir().join("pushgate.meta")).unwrap();
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, opened.next_number), (Start::Lost, 61));
    assert_ne!(opened.epoch, epoch);
    assert_eq!(handed.len(), 60);
}

pub(super) fn erase(number: u64) -> super::super::Erase<'static> {
    super::super::Erase {
        number,
        targets: None,
    }
}

#[test]
fn a_store_and_its_sync_go_to_other_threads() {
    fn goes<T: Send + 'static>() {}
    goes::<Store>();
    goes::<super::super::Syncing>();
    goes::<super::super::Synced>();
}

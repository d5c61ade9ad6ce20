//! The store of kept messages under what no unit test can do to it: a process that is killed, and a
//! filesystem that is full. Both are this very test binary, started once more.
//!
//! `PUSHGATE_KILL_ROUNDS=500 cargo test --test it store` kills it 500 times.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use pushgate::store::{Erase, Options, Record, Start, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::process::{Process, STEP};
use crate::support::skipped;

/// Says to this binary that it is the child, and which directory is its own.
const CHILD: &str = "PUSHGATE_STORE_CHILD";
const ROUNDS: u64 = 20;
/// A child whose parent is gone ends by itself.
const CHILD_LIFE: Duration = Duration::from_secs(60);
const NOW_MS: u64 = 1_000;
/// Small, so that a second has many new files and rewrites.
const OPTIONS: Options = Options {
    segment_bytes: 16 << 10,
    unsynced_bytes_max: 64 << 10,
    ttl_max_ms: 1_000,
};

/// The payload of a number: its length and its bytes follow from it.
fn payload(number: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(number);
    let len = rng.random_range(0..600);
    (0..len).map(|_| rng.random()).collect()
}

fn record(number: u64, payload: &[u8]) -> Record<'_> {
    Record {
        number,
        accepted_ms: number * 3,
        expires_ms: u64::MAX - number,
        key_id: number as u32,
        collapse: b"key",
        targets: b"targets",
        payload,
    }
}

/// A line for the parent, at once.
fn tell(line: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let told = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    told.expect("the parent listens");
}

/// Opens it, and checks every record to the byte.
fn open(dir: &Path) -> (pushgate::store::Opened, BTreeSet<u64>) {
    let mut handed = BTreeSet::new();
    let opened = Store::open(dir, OPTIONS, NOW_MS, |handed_out| {
        let number = handed_out.number;
        assert_eq!(handed_out, record(number, &payload(number)));
        assert!(
            handed.last().is_none_or(|last| *last < number),
            "in order, none twice"
        );
        handed.insert(number);
    });
    (opened.expect("the store can be opened"), handed)
}

/// This binary again, for one test, with a directory.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test has a binary"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, dir);
    command
}

/// What the child has said.
#[derive(Default)]
struct Told {
    taken: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    erased: BTreeSet<u64>,
    /// Of the dropped, the highest.
    opened: Option<(u64, u64)>,
    syncs: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ').skip_while(|word| *word != "store:").skip(1);
        let Some(what) = words.next() else { return };
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        match (what, &numbers[..]) {
            ("opened", [epoch, next]) => self.opened = Some((*epoch, *next)),
            ("taken", [first, last]) => self.taken.extend(*first..=*last),
            ("gone", [number]) => drop(self.gone.insert(*number)),
            ("erased", _) => self.erased.extend(numbers),
            ("synced", []) => self.syncs += 1,
            // The last line may have been cut off by the kill.
            _ => {}
        }
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_taken() {
    let rounds = env::var("PUSHGATE_KILL_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let seed: u64 = rand::random();
    eprintln!("seed {seed}, {rounds} rounds");
    let mut rng = StdRng::seed_from_u64(seed);
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("history");

    let (opened, _) = open(&dir);
    let epoch = opened.epoch;
    let mut next_number = opened.next_number;
    drop(opened);
    // What must be there; what may be there; what must not.
    let mut kept: BTreeSet<u64> = BTreeSet::new();
    let mut left: BTreeSet<u64> = BTreeSet::new();
    let mut erased: BTreeSet<u64> = BTreeSet::new();
    let (mut lives, mut syncs) = (0, 0);
    for round in 0..rounds {
        let process = Process::start(&mut child("store::the_child_that_is_killed", &dir));
        let mut told = Told::default();
        if rng.random_bool(0.7) {
            let deadline = Instant::now() + STEP;
            while told.opened.is_none() && Instant::now() < deadline {
                let line = process.stdout.recv_timeout(STEP);
                told.hear(&line.expect("the child opens the store"));
            }
        }
        thread::sleep(Duration::from_millis(rng.random_range(0..120)));
        kill(process.id());
        let (_, stdout, stderr) = process.finish();
        assert!(
            !stderr.iter().any(|line| line.contains("panicked")),
            "{stderr:#?}"
        );
        stdout.iter().for_each(|line| told.hear(line));

        if let Some((child_epoch, first)) = told.opened {
            lives += 1;
            assert_eq!(child_epoch, epoch, "round {round}");
            assert!(next_number <= first, "round {round}: {first} was used");
        }
        syncs += told.syncs;
        kept.extend(&told.taken);
        for number in &told.gone {
            kept.remove(number);
            left.insert(*number);
        }
        for number in &told.erased {
            kept.remove(number);
            left.remove(number);
            erased.insert(*number);
        }
        let seen = told.taken.last().copied().unwrap_or(0);

        let (opened, handed) = open(&dir);
        assert_eq!(
            (opened.start, opened.epoch),
            (Start::Unclean, epoch),
            "round {round}"
        );
        assert_eq!(opened.counts.damaged, 0);
        assert!(
            seen.max(next_number - 1) < opened.next_number,
            "round {round}"
        );
        let missing: Vec<_> = kept.difference(&handed).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        let back: Vec<_> = handed.intersection(&erased).collect();
        assert!(back.is_empty(), "round {round}: {back:?}");
        // Taken just before the kill, which came before the word about it.
        let unheard = handed
            .iter()
            .filter(|n| !kept.contains(n) && !left.contains(n));
        assert!(
            unheard
                .clone()
                .all(|number| seen < *number && *number < opened.next_number)
        );
        kept = handed;
        next_number = opened.next_number;
        if rng.random_bool(0.2) {
            opened.store.close().expect("the disk works");
            let (opened, handed) = open(&dir);
            assert_eq!((opened.start, opened.epoch), (Start::Clean, epoch));
            assert_eq!((opened.next_number, &handed), (next_number, &kept));
            next_number = opened.next_number;
        }
    }
    assert!(
        rounds / 2 < lives,
        "{lives} of {rounds} children came to write"
    );
    eprintln!(
        "{lives} of {rounds} wrote, {syncs} syncs, {} kept at the end",
        kept.len()
    );
    assert!(
        rounds < syncs && kept.len() > 20,
        "they did what they are there for"
    );
}

fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(id.try_into().expect("a process id"));
    // It may have ended by itself.
    let _ = rustix::process::kill_process(id.expect("not 0"), rustix::process::Signal::KILL);
}

/// Writes, drops, purges and tidies until it is killed, and tells each thing when it is done; what
/// leaves the history before.
#[test]
fn the_child_that_is_killed() {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let until = Instant::now() + CHILD_LIFE;
    let mut rng = StdRng::from_os_rng();
    let (opened, mut kept) = open(&dir);
    tell(format_args!(
        "store: opened {} {} .",
        opened.epoch, opened.next_number
    ));
    let (mut store, mut next) = (opened.store, opened.next_number);
    while Instant::now() < until {
        match rng.random_range(0..20) {
            0..10 => {
                let last = next + rng.random_range(0..12);
                let payloads: Vec<_> = (next..=last).map(|n| (n, payload(n))).collect();
                let batch: Vec<_> = payloads
                    .iter()
                    .map(|(n, bytes)| record(*n, bytes))
                    .collect();
                store.write(&batch).expect("the disk has room");
                tell(format_args!("store: taken {next} {last} ."));
                kept.extend(next..=last);
                // Now and then over the end of the reserved block.
                next = last + if rng.random_bool(0.02) { 600_000 } else { 1 };
            }
            10..13 => {
                store.sync().expect("the disk works");
                tell(format_args!("store: synced ."));
            }
            13..18 => {
                while kept.len() > 150 {
                    let oldest = kept.pop_first().expect("many");
                    tell(format_args!("store: gone {oldest} ."));
                    store.gone(oldest, Some(u64::MAX));
                }
                let superseded = kept.iter().nth(rng.random_range(0..150)).copied();
                if let Some(number) = superseded {
                    tell(format_args!("store: gone {number} ."));
                    kept.remove(&number);
                    store.gone(number, None);
                }
                store.tidy().expect("the disk works");
            }
            18 => {
                let chosen = kept.iter().nth(rng.random_range(0..150)).copied();
                let erase = chosen.map(|number| Erase {
                    number,
                    targets: None,
                });
                if let Some(number) = chosen {
                    tell(format_args!("store: gone {number} ."));
                    kept.remove(&number);
                }
                store.scrub(erase.as_slice()).expect("the disk works");
                chosen
                    .iter()
                    .for_each(|number| tell(format_args!("store: erased {number} .")));
            }
            _ => thread::sleep(Duration::from_millis(rng.random_range(0..5))),
        }
    }
}

#[test]
fn a_full_filesystem_is_survived() {
    // As it is, where it may; else with what it may do in a namespace of users that is its own.
    let mut why = String::new();
    for namespaces in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
        let scratch = tempfile::tempdir().expect("a directory");
        let (code, stdout, stderr) = on_a_small_filesystem(namespaces, scratch.path());
        let said = |what: &str| stdout.iter().any(|line| line.contains(what));
        if said("mounted") {
            let survived = code == Some(0) && said("store: survived");
            assert!(survived, "{stdout:#?} {stderr:#?}");
            return;
        }
        why = stderr.concat();
    }
    // No tool is missing, and none can be installed: a container may not be allowed to mount, not
    // even where CI is set. That is the one reason that is taken for it.
    let forbidden = ["unshare failed", "not permitted", "permission denied"];
    let is_forbidden = forbidden.iter().any(|words| why.contains(words));
    assert!(is_forbidden, "no small filesystem: {why}");
    skipped(format_args!("no filesystem of its own to fill: {why}"));
}

/// The child on a mount that only it sees, and that goes with it: the exit code, and what it said.
fn on_a_small_filesystem(
    namespaces: &[&str],
    dir: &Path,
) -> (Option<i32>, Vec<String>, Vec<String>) {
    let binary = env::current_exe().expect("a test has a binary");
    let script = "mount -t tmpfs -o size=512k none \"$0\" && echo mounted && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(namespaces).args(["sh", "-c", script]);
    command.arg(dir).arg(binary).env(CHILD, dir.join("history"));
    command.args([
        "store::the_child_on_a_small_filesystem",
        "--exact",
        "--nocapture",
    ]);
    Process::start(&mut command).finish()
}

#[test]
fn the_child_on_a_small_filesystem() {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let (opened, _) = open(&dir);
    let (mut store, epoch, mut number) = (opened.store, opened.epoch, 0);
    let mut kept = BTreeMap::new();
    let mut fill = |store: &mut Store, kept: &mut BTreeMap<u64, ()>| loop {
        number += 1;
        assert!(number < 100_000, "it is full some day");
        match store.write(&[record(number, &payload(number))]) {
            Ok(()) => drop(kept.insert(number, ())),
            Err(error) => return error,
        }
    };
    for _ in 0..3 {
        for _ in 0..3 {
            let error = fill(&mut store, &mut kept);
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        store.sync().expect("what was taken has its place");
        // The oldest half leaves: its files make room, and need none for that.
        for _ in 0..kept.len() / 2 {
            let (number, ()) = kept.pop_first().expect("more than half of them");
            store.gone(number, Some(u64::MAX));
        }
        store.tidy().expect("removing needs no room");
        assert!(store.stats().bytes < 400 << 10, "{:?}", store.stats());
    }
    let before = kept.len();
    fill(&mut store, &mut kept);
    assert!(kept.len() > before + 10, "it takes again");
    // Also a stop and a start need no room.
    store.close().expect("closed");
    let (opened, handed) = open(&dir);
    assert_eq!((opened.start, opened.epoch), (Start::Clean, epoch));
    assert!(handed.iter().eq(kept.keys()));
    drop(opened);
    assert_eq!(open(&dir).0.start, Start::Unclean);
    tell(format_args!("store: survived"));
}

/// How long a start takes: a line for whoever asks, and no bound.
#[test]
fn a_million_messages_are_read_at_a_start() {
    if env::var_os("PUSHGATE_STORE_MILLION").is_none() {
        return skipped("PUSHGATE_STORE_MILLION is not set");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let payload = [b'x'; 128];
    let open = || {
        let mut records = 0;
        let opened = Store::open(scratch.path(), Options::default(), NOW_MS, |_| records += 1);
        (opened.expect("opens"), records)
    };
    let mut store = open().0.store;
    for batch in 0..1_000_u64 {
        let numbers = batch * 1_000 + 1..=(batch + 1) * 1_000;
        let records: Vec<_> = numbers.map(|number| record(number, &payload)).collect();
        store.write(&records).expect("room");
    }
    store.close().expect("closed");
    let begin = Instant::now();
    let (opened, records) = open();
    let seconds = begin.elapsed().as_secs_f64();
    let rate = opened.counts.bytes as f64 / 1e6 / seconds;
    assert_eq!(records, 1_000_000);
    eprintln!("1,000,000 messages of 128 bytes: {seconds:.2} s, {rate:.0} MB/s");
}

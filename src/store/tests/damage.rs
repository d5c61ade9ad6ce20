//! Files that are not as they were written: random cuts and bits, and random lives.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::open::LOCK;
use super::super::{Erase, Start};
use super::*;

/// What a life of the store does next.
#[derive(Clone, Debug)]
enum Step {
    /// A batch of records of these sizes.
    Write(Vec<usize>),
    Sync,
    SyncFails,
    /// So many bytes are left for one batch.
    Full(u64, usize),
    /// The oldest kept, dropped at a bound.
    Drop,
    /// One of the kept, superseded.
    Gone(prop::sample::Index),
    Scrub(prop::sample::Index),
    Tidy,
    Kill,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => prop::collection::vec(0..900_usize, 1..6).prop_map(Step::Write),
        3 => Just(Step::Sync),
        1 => Just(Step::SyncFails),
        1 => (0..2_000_u64, 0..900_usize).prop_map(|(space, bytes)| Step::Full(space, bytes)),
        3 => Just(Step::Drop),
        5 => index().prop_map(Step::Gone),
        1 => index().prop_map(Step::Scrub),
        3 => Just(Step::Tidy),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
    ]
}

/// The store beside what it should hold.
struct Life {
    bench: Bench,
    store: Option<Store>,
    epoch: u64,
    next: u64,
    kept: BTreeMap<u64, Owned>,
    /// Left the history, and may come back.
    left: BTreeMap<u64, Owned>,
    /// Left for good.
    erased: BTreeSet<u64>,
    used: u64,
}

impl Life {
    fn new() -> Self {
        let bench = Bench::new();
        let (opened, _) = bench.open();
        Self {
            bench,
            store: Some(opened.store),
            epoch: opened.epoch,
            next: opened.next_number,
            kept: BTreeMap::new(),
            left: BTreeMap::new(),
            erased: BTreeSet::new(),
            used: 0,
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn batch(&mut self, sizes: &[usize]) -> Vec<Owned> {
        let numbers = (self.next..).zip(sizes);
        let batch: Vec<Owned> = numbers
            .map(|(number, bytes)| sample(number, *bytes))
            .collect();
        self.next += sizes.len() as u64;
        batch
    }

    fn take(&mut self, batch: Vec<Owned>) -> io::Result<()> {
        let records: Vec<Record<'_>> = batch.iter().map(Owned::record).collect();
        self.store().write(&records)?;
        self.used = batch.last().unwrap().number;
        let batch = batch.into_iter().map(|owned| (owned.number, owned));
        self.kept.extend(batch);
        Ok(())
    }

    fn pick(&self, index: prop::sample::Index) -> Option<u64> {
        let numbers: Vec<u64> = self.kept.keys().copied().collect();
        (!numbers.is_empty()).then(|| *index.get(&numbers))
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(sizes) => {
                let batch = self.batch(&sizes);
                self.take(batch).unwrap();
            }
            Step::Sync => self.store().sync().unwrap(),
            Step::SyncFails => {
                self.bench.faults.syncs.store(1, Relaxed);
                // Where there is nothing to sync it may be the meta file's turn later.
                self.store().sync().unwrap();
                self.bench.faults.syncs.store(0, Relaxed);
            }
            Step::Full(space, bytes) => {
                self.bench.faults.space.store(space, Relaxed);
                let batch = self.batch(&[bytes, bytes]);
                if let Err(error) = self.take(batch) {
                    prop_assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                }
                self.bench.faults.space.store(u64::MAX, Relaxed);
            }
            Step::Drop => {
                if let Some((number, owned)) = self.kept.pop_first() {
                    self.left.insert(number, owned);
                    self.store().gone(number, Some(NOW_MS + 1));
                }
            }
            Step::Gone(index) => {
                if let Some(number) = self.pick(index) {
                    let owned = self.kept.remove(&number).unwrap();
                    self.left.insert(number, owned);
                    self.store().gone(number, None);
                }
            }
            Step::Scrub(index) => {
                let number = self.pick(index);
                let erase = number.map(|number| Erase {
                    number,
                    targets: None,
                });
                self.store().scrub(erase.as_slice()).unwrap();
                self.erased.extend(number);
                self.erased
                    .extend(std::mem::take(&mut self.left).into_keys());
                self.kept.retain(|kept, _| Some(*kept) != number);
            }
            Step::Tidy => {
                self.store().tidy().unwrap();
            }
            Step::Kill => {
                self.store = None;
                self.reopened(Start::Unclean)?;
            }
            Step::Close => {
                self.store.take().unwrap().close().unwrap();
                self.reopened(Start::Clean)?;
            }
        }
        Ok(())
    }

    fn reopened(&mut self, start: Start) -> Result<(), TestCaseError> {
        let (opened, handed) = self.bench.open();
        prop_assert_eq!((opened.start, opened.epoch), (start, self.epoch));
        prop_assert!(self.used < opened.next_number);
        self.right(&handed)?;
        for number in self.kept.keys() {
            prop_assert!(handed.contains_key(number), "{} is missing", number);
        }
        prop_assert_eq!(opened.store.stats().kept, handed.len() as u64);
        // What came back is in the history again.
        self.kept = handed;
        self.left
            .retain(|number, _| !self.kept.contains_key(number));
        self.next = opened.next_number;
        self.store = Some(opened.store);
        Ok(())
    }

    /// Nothing is handed out that was not written, or was erased.
    fn right(&self, handed: &BTreeMap<u64, Owned>) -> Result<(), TestCaseError> {
        for (number, owned) in handed {
            prop_assert!(!self.erased.contains(number), "{} was erased", number);
            let written = self.kept.get(number).or_else(|| self.left.get(number));
            prop_assert_eq!(Some(owned), written);
        }
        Ok(())
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        // Files of a hundred cases are many enough.
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_store_holds_what_a_map_holds(steps in prop::collection::vec(step(), 1..60)) {
        let mut life = Life::new();
        for step in steps {
            life.apply(step)?;
        }
        life.apply(Step::Kill)?;
    }

    #[test]
    fn a_flipped_bit_is_a_loss_and_never_another_record(
        steps in prop::collection::vec(step(), 1..30),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        is_closed in any::<bool>(),
    ) {
        let mut life = Life::new();
        for step in steps {
            life.apply(step)?;
        }
        let store = life.store.take().unwrap();
        if is_closed {
            store.close().unwrap();
        } else {
            drop(store);
        }
        let files = life.bench.files();
        // Nothing is read from the lock file but who has it, for people.
        let holds = |(name, bytes): &(&String, &Vec<u8>)| *name != LOCK && !bytes.is_empty();
        let files: Vec<_> = files.iter().filter(holds).collect();
        let (name, bytes) = file.get(&files);
        let mut bytes = (*bytes).clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(life.bench.dir().join(name), &bytes).unwrap();
        let is_padding = *name == "pushgate.meta" && at % 4_096 >= 104;
        match life.bench.try_open(NOW_MS) {
            Ok((opened, handed)) => {
                prop_assert!(life.used < opened.next_number || opened.epoch != life.epoch);
                prop_assert_eq!(opened.start == Start::Lost, !is_padding, "{} {}", name, at);
                life.right(&handed)?;
                let expected = life.kept.len().saturating_sub(handed.len());
                prop_assert!(is_padding <= (expected == 0));
                // And it can be used, and is put right.
                life.store = Some(opened.store);
                life.epoch = opened.epoch;
                life.used = opened.next_number - 1;
                life.next = opened.next_number;
                life.kept = handed;
                let batch = life.batch(&[10, 500]);
                life.take(batch).unwrap();
                life.apply(Step::Kill)?;
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_cut_file_never_gives_a_part_of_a_batch(
        steps in prop::collection::vec(step(), 1..30),
        back in 0..3_usize,
        at in any::<prop::sample::Index>(),
        added in prop::collection::vec(any::<u8>(), 0..40),
        is_closed in any::<bool>(),
    ) {
        let mut life = Life::new();
        life.apply(Step::Write(vec![10, 20, 30]))?;
        for step in steps {
            life.apply(step)?;
        }
        life.apply(Step::Write(vec![10, 20, 30]))?;
        let store = life.store.take().unwrap();
        let segments = store.stats().segments as usize;
        if is_closed {
            store.close().unwrap();
        } else {
            drop(store);
        }
        let path = life.bench.segment(back.min(segments - 1));
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.truncate(at.index(whole));
        bytes.extend(added);
        prop_assume!(bytes.len() != whole);
        fs::write(&path, &bytes).unwrap();
        let (opened, handed) = life.bench.open();
        prop_assert!(opened.start != Start::Clean);
        prop_assert!(life.used < opened.next_number || opened.epoch != life.epoch);
        life.right(&handed)?;
    }
}

#[test]
fn every_bit_of_what_is_written_counts() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=40, 150);
    store.close().unwrap();
    let record = 32 + super::super::frame::len(&sample(1, 150).record()) as usize;
    let meta = (bench.dir().join("pushgate.meta"), 4_096..4_096 + 104);
    for (path, range) in [
        (bench.segment(1), 0..record),
        (bench.segment(0), 0..60),
        meta,
    ] {
        let files = bench.files();
        let whole = fs::read(&path).unwrap();
        for bit in range.start * 8..range.end * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let (opened, _) = bench.open();
            assert_eq!(opened.start, Start::Lost, "bit {bit} of {}", path.display());
            drop(opened);
            for (name, bytes) in &files {
                fs::write(bench.dir().join(name), bytes).unwrap();
            }
        }
    }
    assert_eq!(bench.open().0.start, Start::Clean);
}

#[test]
fn records_behind_a_damaged_one_are_found() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=60, 150);
    drop(store);
    let path = bench.segment(2);
    let mut bytes = fs::read(&path).unwrap();
    // In the body of its second record, and in the head of the last but one.
    let body = bytes
        .windows(11)
        .rposition(|window| window == b"payload of ")
        .unwrap();
    let one = super::super::frame::len(&sample(50, 150).record()) as usize;
    bytes[32 + one + 60] ^= 1;
    let head = body - one - 40;
    bytes[head - head % 4] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (opened, handed) = bench.open();
    assert_eq!(opened.start, Start::Lost);
    assert!(opened.counts.damaged >= 2, "{:?}", opened.counts);
    assert!(
        handed.len() > 50 && handed.contains_key(&60),
        "{:?}",
        numbers(&handed)
    );
    drop(opened);
    // Once: what is left is whole.
    let (opened, again) = bench.open();
    assert_eq!(opened.start, Start::Unclean);
    assert_eq!(again, handed);
}

#[test]
fn a_record_where_it_cannot_have_been_written_is_not_believed() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, 1..=40, 150);
    drop(store);
    // The first segment once more behind the last, under a head that says it belongs there.
    let mut bytes = fs::read(bench.segment(1)).unwrap();
    bytes[..32].copy_from_slice(&super::super::segment::head(9, 100));
    fs::write(bench.dir().join("0000000000000009.log"), bytes).unwrap();
    let (opened, handed) = bench.open();
    assert_eq!((opened.start, handed.len()), (Start::Lost, 40));
    assert!(opened.counts.damaged > 10);
}

#[test]
fn a_head_that_declares_too_much_reserves_nothing() {
    let bench = Bench::new();
    let (opened, _) = bench.open();
    let mut store = opened.store;
    write(&mut store, [1], 150);
    drop(store);
    let mut bytes = fs::read(bench.segment(0)).unwrap();
    bytes[32..36].copy_from_slice(&0x7FFF_FFFF_u32.to_be_bytes());
    let crc = crc32fast::hash(&bytes[32..48]).to_be_bytes();
    bytes[48..52].copy_from_slice(&crc);
    let counts = super::super::scan(&bytes, |_| panic!("a record"));
    assert_eq!((counts.damaged, counts.records), (1, 0));
}

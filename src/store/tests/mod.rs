//! A store whose disk does what a test says.

mod damage;
mod faults;
mod purge;
mod reopen;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tempfile::TempDir;

use super::open::Machine;
use super::{Opened, Options, Record, Store, StoreError};

/// Errors that the disk is to give.
#[derive(Debug)]
pub(super) struct Faults {
    /// Bytes by which files may still grow.
    pub(super) space: AtomicU64,
    /// How many of the next calls fail.
    pub(super) syncs: AtomicU32,
    pub(super) cuts: AtomicU32,
    pub(super) removes: AtomicU32,
    pub(super) creates: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            space: AtomicU64::new(u64::MAX),
            syncs: AtomicU32::new(0),
            cuts: AtomicU32::new(0),
            removes: AtomicU32::new(0),
            creates: AtomicU32::new(0),
        }
    }
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

impl Faults {
    pub(super) fn create(&self, _name: &str) -> io::Result<()> {
        fail(&self.creates)
    }

    pub(super) fn remove(&self, _name: &str) -> io::Result<()> {
        fail(&self.removes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        fail(&self.syncs)
    }

    pub(super) fn cut(&self) -> io::Result<()> {
        fail(&self.cuts)
    }

    /// As a full disk does: what fits is written, and what was there may be overwritten.
    pub(super) fn write(&self, len: u64, at: u64, bytes: usize) -> Option<(usize, io::Error)> {
        let growth = (at + bytes as u64).saturating_sub(len);
        let space = self.space.load(Relaxed);
        if growth <= space {
            let left = if space == u64::MAX {
                space
            } else {
                space - growth
            };
            self.space.store(left, Relaxed);
            return None;
        }
        self.space.store(0, Relaxed);
        let room = bytes as u64 - (growth - space);
        Some((room as usize, io::Error::from_raw_os_error(ENOSPC)))
    }
}

fn fail(left: &AtomicU32) -> io::Result<()> {
    let is_due = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    match is_due {
        Ok(_) => Err(io::Error::from_raw_os_error(EIO)),
        Err(_) => Ok(()),
    }
}

/// A record that a test owns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    number: u64,
    expires_ms: u64,
    collapse: Vec<u8>,
    targets: Vec<u8>,
    payload: Vec<u8>,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        Record {
            number: self.number,
            accepted_ms: self.number ^ 0xABCD,
            expires_ms: self.expires_ms,
            key_id: self.number as u32,
            collapse: &self.collapse,
            targets: &self.targets,
            payload: &self.payload,
        }
    }
}

/// A record that is kept for long, with bytes that tell it from every other.
fn sample(number: u64, bytes: usize) -> Owned {
    let mut payload = format!("payload of {number}:").into_bytes();
    payload.resize(bytes.max(payload.len()), number as u8);
    Owned {
        number,
        expires_ms: u64::MAX,
        collapse: number.to_string().into_bytes(),
        targets: format!("targets of {number}").into_bytes(),
        payload,
    }
}

const BOOT: [u8; 16] = [7; 16];
const NOW_MS: u64 = 1_000_000;

fn options() -> Options {
    Options {
        segment_bytes: 4 << 10,
        ..Options::default()
    }
}

/// In memory where the machine has such a place: thousands of syncs are no part of these tests.
fn scratch() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// A directory, the machine, and what a start handed out.
struct Bench {
    scratch: TempDir,
    faults: Arc<Faults>,
    boot: [u8; 16],
    options: Options,
}

impl Bench {
    fn new() -> Self {
        Self {
            scratch: scratch(),
            faults: Arc::default(),
            boot: BOOT,
            options: options(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.scratch.path().join("history")
    }

    fn try_open(&self, now_ms: u64) -> Result<(Opened, BTreeMap<u64, Owned>), StoreError> {
        let machine = Machine {
            boot: Some(self.boot),
            faults: self.faults.clone(),
        };
        let mut handed = BTreeMap::new();
        let opened = Store::open_on(machine, &self.dir(), self.options, now_ms, |record| {
            let owned = Owned {
                number: record.number,
                expires_ms: record.expires_ms,
                collapse: record.collapse.to_vec(),
                targets: record.targets.to_vec(),
                payload: record.payload.to_vec(),
            };
            assert_eq!(owned.record(), record);
            let last = handed.last_key_value().map_or(0, |(number, _)| *number);
            assert!(last < record.number, "in the order of numbers");
            handed.insert(record.number, owned);
        })?;
        Ok((opened, handed))
    }

    fn open(&self) -> (Opened, BTreeMap<u64, Owned>) {
        self.try_open(NOW_MS).unwrap()
    }

    /// The files, by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.dir())
    }

    /// Whether any file holds those bytes.
    fn stands(&self, needle: &[u8]) -> bool {
        let holds = |bytes: &Vec<u8>| bytes.windows(needle.len()).any(|window| window == needle);
        self.files().values().any(holds)
    }

    /// A segment file, the last but `back`.
    fn segment(&self, back: usize) -> PathBuf {
        let names: Vec<String> = self.files().into_keys().collect();
        let logs: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
        self.dir().join(logs[logs.len() - 1 - back])
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    entries.collect()
}

/// Writes each number in a batch of its own.
fn write(store: &mut Store, numbers: impl IntoIterator<Item = u64>, bytes: usize) {
    for number in numbers {
        store.write(&[sample(number, bytes).record()]).unwrap();
    }
}

fn numbers(handed: &BTreeMap<u64, Owned>) -> Vec<u64> {
    handed.keys().copied().collect()
}

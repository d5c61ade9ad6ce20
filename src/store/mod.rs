//! Kept messages on disk: a log in segments of its own. Memory holds the whole history; the disk
//! only rebuilds it at the next start. It knows records and files, and nothing of clients.
//!
//! # What is promised
//!
//! - **Taken** ([`Store::write`] has returned): the records survive the end of the process in any
//!   way, `kill -9` included, as long as the machine goes on.
//! - **On disk** ([`Store::sync`], or [`Store::end_sync`], has returned without an error): they
//!   survive a power cut as well, as far as the disk keeps its word about a flush.
//! - A batch is read back whole or not at all, and no record is read back that is not, byte for
//!   byte, one that was written.
//! - **Numbers** are used once in an epoch. A block of them is reserved on disk before the first is
//!   used, and after an unclean stop they go on behind that block.
//! - **The epoch** stays over a clean stop, and over an unclean one while the machine has not been
//!   started anew: then the kernel still has what it took. Otherwise, or when any file is damaged,
//!   messages that were delivered may be missing, and a new epoch begins ([`Start::Lost`]). Whole
//!   records are read back all the same.
//!
//! # Files
//!
//! `pushgate.lock` is locked while a process has the store. `pushgate.meta` holds the epoch, the
//! reserved block, the floor and the mark of a clean stop. Segments, `0000000000000001.log` and so
//! on, are appended to, and are rewritten only as a new file that takes the name of the old one.
//! A `.tmp` file is one of those that was not finished. A copy of the directory is a snapshot: to
//! go back to one, remove `pushgate.meta` from it, or numbers would be used a second time.
//!
//! # Errors
//!
//! A write that fails (a full disk) is taken back, and the next one may succeed. After a sync that
//! fails nobody knows what of the file is on the disk, and a second sync of the same pages would
//! succeed without writing them. So what was taken since the last good sync is held in memory
//! (bounded by [`Options::unsynced_bytes_max`]), goes into a new segment, and that is synced.
//!
//! # Use
//!
//! One thread writes. A second one may run a [`Syncing`] meanwhile, so that records are taken
//! while the disk is busy with those before them:
//!
//! ```
//! # use pushgate::store::{Options, Record, Store};
//! # let dir = tempfile::tempdir()?;
//! let opened = Store::open(dir.path(), Options::default(), 0, |record| {
//!     println!("{} is kept", record.number);
//! })?;
//! let (mut store, number) = (opened.store, opened.next_number);
//! store.write(&[Record {
//!     number,
//!     accepted_ms: 1_000,
//!     expires_ms: 61_000,
//!     key_id: 7,
//!     collapse: b"",
//!     targets: b"opaque",
//!     payload: b"hello",
//! }])?;
//! // It may be delivered now.
//! if let Some(syncing) = store.begin_sync()? {
//!     store.end_sync(syncing.run())?;
//! }
//! // It is on disk now.
//! store.gone(number, None);
//! store.tidy()?;
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod disk;
mod frame;
mod meta;
mod open;
mod read;
mod rewrite;
mod segment;
mod sync;
mod tidy;
mod write;

#[cfg(test)]
mod tests;

pub use read::scan;
pub use sync::{Synced, Syncing};

use std::io;
use std::path::PathBuf;

use disk::Disk;
use meta::{Meta, MetaFile};
use segment::Segment;

/// A kept message as the disk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// From 1, below 2^62; rising from record to record.
    pub number: u64,
    /// When the gateway accepted it, in unix milliseconds.
    pub accepted_ms: u64,
    /// From when on it is not sent any more, in unix milliseconds.
    pub expires_ms: u64,
    /// The service's key; 0 for an unsigned push.
    pub key_id: u32,
    /// The collapse key, at most 65,535 bytes; empty for none.
    pub collapse: &'a [u8],
    /// Whom it is for, in a form that the store does not read.
    pub targets: &'a [u8],
    /// What is sent. All of a record together takes 1 MiB at most.
    pub payload: &'a [u8],
}

/// Up to where messages were dropped before they expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The highest number that was dropped; 0: none.
    pub upto: u64,
    /// Until when the last of them would have been kept, in unix milliseconds.
    pub until_ms: u64,
}

impl Floor {
    fn raise(&mut self, upto: u64, until_ms: u64) {
        self.upto = self.upto.max(upto);
        self.until_ms = self.until_ms.max(until_ms);
    }
}

/// In which state the store was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// There was none.
    New,
    /// It was closed.
    Clean,
    /// The process ended without closing it; everything that it had taken is there.
    Unclean,
    /// What was taken may be missing or is damaged: a new epoch.
    Lost,
}

/// What opening a store gives.
pub struct Opened {
    /// The store, open.
    pub store: Store,
    /// Never 0.
    pub epoch: u64,
    /// The first number to use; never 0.
    pub next_number: u64,
    /// After [`Start::Lost`] it covers every number below `next_number`, for
    /// [`Options::ttl_max_ms`] from now.
    pub floor: Floor,
    /// How the last process ended.
    pub start: Start,
    /// What was read.
    pub counts: Counts,
}

/// What was read when a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were handed out.
    pub records: u64,
    /// Records that had expired.
    pub expired: u64,
    /// Records that had been dropped at a bound, with everything older.
    pub dropped: u64,
    /// Places that cannot be read, or not believed.
    pub damaged: u64,
    /// Bytes cut off at the end: the beginning of a batch that was never taken.
    pub cut_bytes: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// From this size on a segment is followed by a new one. At least 4 KiB, at most 1 GiB.
    pub segment_bytes: u64,
    /// Bytes taken and not known to be on disk, which are held in memory too. With more
    /// [`Store::write`] syncs first.
    pub unsynced_bytes_max: usize,
    /// For how long a message may be kept, in milliseconds; see [`Opened::floor`].
    pub ttl_max_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            unsynced_bytes_max: 32 << 20,
            ttl_max_ms: 7 * 24 * 3_600_000,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Two processes would overwrite each other's records.
    #[error(
        "{} is in use by another process{}: stop that one, or give this one a directory of its own",
        path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, as the lock file says; an id of that process's own namespace.
        pid: Option<u32>,
    },
    /// A newer program wrote it, and this one would destroy it.
    #[error("{name} has format version {version}, and this program knows 1")]
    Version {
        /// The file.
        name: String,
        /// Its version.
        version: u32,
    },
    /// The directory or a file in it cannot be used; the text names it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files of records.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Records in them that are kept.
    pub kept: u64,
    /// Bytes of these.
    pub kept_bytes: u64,
    /// Bytes that were taken and are not known to be on disk.
    pub unsynced_bytes: u64,
}

/// What [`Store::scrub`] removes.
#[derive(Clone, Copy, Debug)]
pub struct Erase<'a> {
    /// Of the record.
    pub number: u64,
    /// `None`: the record. Otherwise it stays, for these targets alone.
    pub targets: Option<&'a [u8]>,
}

/// The store: open, and locked against every other process.
pub struct Store {
    disk: Disk,
    meta: MetaFile,
    /// As it is to stand on disk; what is there may be behind.
    wanted: Meta,
    options: Options,
    /// In the order of ids, which is that of numbers.
    segments: Vec<Segment>,
    next_id: u64,
    /// The highest number that was written.
    last_number: u64,
    /// The frames behind `synced`, in the order written.
    unsynced: Vec<u8>,
    /// Bytes taken since the start, and how many of them are known to be on disk.
    taken: u64,
    synced: u64,
    /// A [`Syncing`] is out.
    is_syncing: bool,
    /// A sync failed: what is not known to be on disk has to go into a new segment.
    is_broken: bool,
    /// A file was made whose name is not known to be on disk.
    is_name_unsynced: bool,
    /// Files that could not be removed; they go before anything else is tried.
    litter: Vec<String>,
    scrubbing: rewrite::Scrubbing,
}

impl Store {
    /// What the store holds now.
    pub fn stats(&self) -> Stats {
        let sum = |of: fn(&Segment) -> u64| self.segments.iter().map(of).sum();
        Stats {
            segments: self.segments.len() as u64,
            bytes: sum(|segment| segment.len),
            kept: sum(|segment| segment.kept() as u64),
            kept_bytes: sum(Segment::kept_bytes),
            unsynced_bytes: self.unsynced.len() as u64,
        }
    }

    /// Syncs, and marks the store as closed: the next start goes on behind the last number written.
    ///
    /// # Errors
    /// When the disk fails: then the next start finds it as after a kill. Also while a [`Syncing`]
    /// is out.
    pub fn close(mut self) -> io::Result<()> {
        self.sync()?;
        self.cut()?;
        self.wanted.next = self.last_number + 1;
        (self.wanted.segments, self.wanted.bytes) = totals(&self.segments);
        self.wanted.clean = true;
        self.note_meta()
    }

    /// Brings the meta file up to what is wanted.
    fn note_meta(&mut self) -> io::Result<()> {
        self.meta.write(self.wanted)
    }

    /// Removes what an earlier call had to leave.
    fn clear(&mut self) -> io::Result<()> {
        while let Some(name) = self.litter.last() {
            self.disk.remove(name)?;
            self.litter.pop();
        }
        Ok(())
    }
}

/// How many segments have records, and their bytes: what a clean stop notes and a start compares.
fn totals(segments: &[Segment]) -> (u64, u64) {
    let full = segments.iter().filter(|segment| !segment.is_blank());
    full.fold((0, 0), |(count, bytes), segment| {
        (count + 1, bytes + segment.len)
    })
}

/// A call that has to wait for another one to end.
fn busy() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "a sync of the store is under way",
    )
}

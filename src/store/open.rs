//! Opening: what is read, what is believed of it, and what is put right.

use std::path::Path;
#[cfg(test)]
use std::sync::Arc;

use super::disk::{Disk, UNFINISHED};
use super::meta::{self, BootId, Meta, MetaFile};
use super::read::Reading;
use super::rewrite::Scrubbing;
use super::segment;
use super::write::BLOCK;
use super::{Counts, Floor, Opened, Options, Record, Start, Store, StoreError, totals};

pub(super) const LOCK: &str = "pushgate.lock";

/// What the machine is, as far as a start depends on it.
pub(super) struct Machine {
    pub(super) boot: BootId,
    #[cfg(test)]
    pub(super) faults: Arc<super::tests::Faults>,
}

impl Store {
    /// Opens the store in a directory, which is made (with mode 0700) where there is none, and
    /// hands out every record that is kept and has not expired by `now_ms`, in the order of
    /// numbers. It reads all segments once, the last one twice, with memory for one record; the
    /// index takes 12 bytes a record on disk.
    ///
    /// # Errors
    /// When another process has it, when a newer program wrote it, and when files cannot be read
    /// or written. Damage is no error: see [`Start::Lost`].
    pub fn open(
        dir: &Path,
        options: Options,
        now_ms: u64,
        each: impl FnMut(Record<'_>),
    ) -> Result<Opened, StoreError> {
        let machine = Machine {
            boot: meta::boot_id(),
            #[cfg(test)]
            faults: Arc::default(),
        };
        Self::open_on(machine, dir, options, now_ms, each)
    }

    pub(super) fn open_on(
        machine: Machine,
        dir: &Path,
        mut options: Options,
        now_ms: u64,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<Opened, StoreError> {
        options.segment_bytes = options.segment_bytes.clamp(4 << 10, 1 << 30);
        let disk = Disk::open(
            dir,
            LOCK,
            #[cfg(test)]
            machine.faults,
        )?;
        let ids = find(&disk)?;
        let found = MetaFile::open(&disk)?;
        let known = match &found {
            meta::Found::Nothing | meta::Found::Damaged(None) => None,
            meta::Found::Whole(_, meta) | meta::Found::Damaged(Some(meta)) => Some(*meta),
        };
        let mut reading = Reading::new(known.map_or(0, |meta| meta.skip), now_ms);
        reading.all(&disk, &ids, &mut each)?;

        let start = match &found {
            meta::Found::Nothing if ids.is_empty() => Start::New,
            meta::Found::Whole(_, meta) => judge(&reading, meta, machine.boot),
            _ => Start::Lost,
        };
        let behind = reading.last_number + 1;
        let known = known.unwrap_or_default();
        let (epoch, next_number) = match start {
            Start::New => (new_epoch(), 1),
            Start::Clean => (known.epoch, known.next),
            Start::Unclean => (known.epoch, known.reserved),
            Start::Lost => (new_epoch(), behind.max(known.reserved)),
        };
        let mut floor = known.floor;
        if start == Start::Lost {
            floor.raise(next_number - 1, now_ms.saturating_add(options.ttl_max_ms));
        }
        if floor.until_ms <= now_ms {
            floor = Floor::default();
        }
        let wanted = Meta {
            epoch,
            reserved: next_number + BLOCK,
            next: next_number,
            skip: known.skip,
            floor,
            clean: false,
            suspect: false,
            boot: machine.boot,
            segments: 0,
            bytes: 0,
        };
        if start != Start::Clean {
            reading.sync(&disk)?;
        }
        // From here on a kill is an unclean stop, and after a loss the epoch is the new one.
        let meta = match found {
            meta::Found::Whole(mut file, _) => {
                file.write(wanted)?;
                file
            }
            _ => MetaFile::create(&disk, wanted)?,
        };
        let mut store = Self {
            disk,
            meta,
            wanted,
            options,
            next_id: ids.last().map_or(1, |id| id.saturating_add(1)),
            segments: reading.segments,
            last_number: next_number - 1,
            unsynced: Vec::new(),
            taken: 0,
            synced: 0,
            is_syncing: false,
            is_broken: false,
            is_name_unsynced: false,
            litter: reading.litter,
            scrubbing: Scrubbing::default(),
        };
        store.mend();
        let counts = Counts {
            bytes: store.stats().bytes,
            ..reading.counts
        };
        Ok(Opened {
            store,
            epoch,
            next_number,
            floor,
            start,
            counts,
        })
    }

    /// Takes away what should not be there. A full disk may not let it; then the calls that would
    /// meet it try again.
    fn mend(&mut self) {
        let _ = self.cut();
        let _ = self.clear();
        while let Some(at) = self.segments.iter().position(|segment| segment.damaged) {
            if self.replace(at..=at).is_err() {
                return;
            }
        }
    }
}

fn new_epoch() -> u64 {
    rand::random_range(1..=u64::MAX)
}

/// The ids of the segments, in order; what was not finished is removed.
fn find(disk: &Disk) -> Result<Vec<u64>, StoreError> {
    let mut ids = Vec::new();
    for name in disk.names()? {
        if let Some(id) = segment::id(&name) {
            ids.push(id);
        } else if let Some(of) = name.strip_suffix(UNFINISHED)
            && (of == meta::NAME || segment::id(of).is_some())
        {
            disk.remove(&name)?;
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// In which state the last process left what was read, when the meta file is whole.
fn judge(reading: &Reading, meta: &Meta, boot: BootId) -> Start {
    let is_whole = reading.counts.damaged == 0 && reading.last_number < meta.reserved;
    let as_noted = (meta.segments, meta.bytes) == totals(&reading.segments)
        && reading.last_number < meta.next
        && reading.counts.cut_bytes == 0;
    let is_same_boot = boot.is_some() && meta.boot == boot;
    match meta.clean {
        true if is_whole && as_noted => Start::Clean,
        false if is_whole && is_same_boot && !meta.suspect => Start::Unclean,
        _ => Start::Lost,
    }
}

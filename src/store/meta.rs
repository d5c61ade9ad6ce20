//! What the store knows beside the records: `pushgate.meta`, 8 KiB.
//!
//! Two slots, each in a page of its own, are written in turn, in place. A write that does not come
//! through leaves the other slot. In place, because a full disk must not keep the store from
//! noting what has left the history: without that nothing may be removed, and the disk would stay
//! full. A slot that cannot be read tells of damage: a kill does not tear so few bytes.
//!
//! ```text
//!  0     4         8          16      24         32     40     48     56            64
//!  | PGM | version | sequence | epoch | reserved | next | skip | upto | until_ms    | flags ..
//!  68        84         92      100   104
//!  | boot id | segments | bytes | crc |
//! ```

use std::fs;
use std::io;

use super::disk::{Disk, Handle, UNFINISHED};
use super::frame::{NUMBER_MAX, array};
use super::{Floor, StoreError};

pub(super) const NAME: &str = "pushgate.meta";
const MAGIC: &[u8; 4] = b"PGM\n";
pub(super) const VERSION: u32 = 1;
const SLOT_BYTES: usize = 104;
/// Distance of the slots.
const PAGE: usize = 4096;
const CLEAN: u32 = 1;
const SUSPECT: u32 = 2;

/// Which start of the machine this is; `None` where it does not say.
pub(super) type BootId = Option<[u8; 16]>;

/// The id that the kernel drew at the machine's start. While it stays, what write(2) took is there.
pub(super) fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().split('-').collect();
    Some(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) epoch: u64,
    /// Every number in use is below it.
    pub(super) reserved: u64,
    /// After a clean stop: the next number.
    pub(super) next: u64,
    /// Everything up to this number has left the history.
    pub(super) skip: u64,
    pub(super) floor: Floor,
    /// Stopped by [`super::Store::close`].
    pub(super) clean: bool,
    /// The disk refused a sync, and what was taken since the one before may be lost.
    pub(super) suspect: bool,
    pub(super) boot: BootId,
    /// After a clean stop: how many segments there are, and their bytes in sum.
    pub(super) segments: u64,
    pub(super) bytes: u64,
}

impl Meta {
    fn encode(&self, sequence: u64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&VERSION.to_be_bytes());
        let words = [
            sequence,
            self.epoch,
            self.reserved,
            self.next,
            self.skip,
            self.floor.upto,
            self.floor.until_ms,
        ];
        for (place, word) in bytes[8..64].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        let clean = if self.clean { CLEAN } else { 0 };
        let suspect = if self.suspect { SUSPECT } else { 0 };
        bytes[64..68].copy_from_slice(&(clean | suspect).to_be_bytes());
        bytes[68..84].copy_from_slice(&self.boot.unwrap_or_default());
        bytes[84..92].copy_from_slice(&self.segments.to_be_bytes());
        bytes[92..100].copy_from_slice(&self.bytes.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..100]);
        bytes[100..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Slot {
        let word = |at: usize| u64::from_be_bytes(array(&bytes[at..at + 8]));
        let half = |at: usize| u32::from_be_bytes(array(&bytes[at..at + 4]));
        if bytes.len() < SLOT_BYTES || bytes[..4] != *MAGIC {
            return Slot::Damaged;
        }
        // Every version keeps the checksum of these bytes here, so that an older program can tell
        // a newer file from a damaged one.
        if crc32fast::hash(&bytes[..100]) != half(100) {
            return Slot::Damaged;
        }
        if half(4) != VERSION {
            return Slot::Other(half(4));
        }
        let boot: [u8; 16] = array(&bytes[68..84]);
        let meta = Self {
            epoch: word(16),
            reserved: word(24),
            next: word(32),
            skip: word(40),
            floor: Floor {
                upto: word(48),
                until_ms: word(56),
            },
            clean: half(64) & CLEAN != 0,
            suspect: half(64) & SUSPECT != 0,
            boot: (boot != [0; 16]).then_some(boot),
            segments: word(84),
            bytes: word(92),
        };
        let sane = meta.epoch != 0
            && (1..=meta.reserved).contains(&meta.next)
            && meta.reserved <= 2 * NUMBER_MAX;
        match sane {
            true => Slot::Whole(word(8), meta),
            false => Slot::Damaged,
        }
    }
}

enum Slot {
    Whole(u64, Meta),
    Damaged,
    /// Of that version.
    Other(u32),
}

/// The open file, with what stands in it.
pub(super) struct MetaFile {
    handle: Handle,
    /// Of the slot that was written last.
    sequence: u64,
    written: Meta,
    /// A later write failed: what a start would read is not known.
    is_uncertain: bool,
}

/// What was there at the start.
pub(super) enum Found {
    Nothing,
    Whole(MetaFile, Meta),
    /// Nothing or not all of it can be believed.
    Damaged(Option<Meta>),
}

impl MetaFile {
    /// Reads what is there.
    pub(super) fn open(disk: &Disk) -> Result<Found, StoreError> {
        let handle = match disk.open_file(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            outcome => outcome?,
        };
        let mut bytes = [0; 2 * PAGE];
        let len = usize::try_from(handle.len()?).unwrap_or(usize::MAX);
        let len = len.min(bytes.len());
        handle.read_at(&mut bytes[..len], 0)?;
        let slots = [Meta::decode(&bytes[..PAGE]), Meta::decode(&bytes[PAGE..])];
        if let [Slot::Other(version), _] | [_, Slot::Other(version)] = slots {
            let name = NAME.to_owned();
            return Err(StoreError::Version { name, version });
        }
        let [Slot::Whole(a, first), Slot::Whole(b, second)] = slots else {
            let last = slots.into_iter().find_map(|slot| match slot {
                Slot::Whole(_, meta) => Some(meta),
                _ => None,
            });
            return Ok(Found::Damaged(last));
        };
        let (sequence, meta) = if a < b { (b, second) } else { (a, first) };
        if a.abs_diff(b) != 1 {
            return Ok(Found::Damaged(Some(meta)));
        }
        let file = Self {
            handle,
            sequence,
            written: meta,
            is_uncertain: false,
        };
        Ok(Found::Whole(file, meta))
    }

    /// A new file, which takes the place of one that is damaged.
    pub(super) fn create(disk: &Disk, meta: Meta) -> io::Result<Self> {
        let unfinished = format!("{NAME}{UNFINISHED}");
        let handle = disk.create(&unfinished)?;
        let mut bytes = [0; 2 * PAGE];
        bytes[..SLOT_BYTES].copy_from_slice(&meta.encode(0));
        bytes[PAGE..PAGE + SLOT_BYTES].copy_from_slice(&meta.encode(1));
        handle.write_at(&bytes, 0)?;
        handle.sync()?;
        disk.rename(&unfinished, NAME)?;
        disk.own().sync()?;
        // Opened anew, for errors name the path.
        Ok(Self {
            handle: disk.open_file(NAME)?,
            sequence: 1,
            written: meta,
            is_uncertain: false,
        })
    }

    /// What is known to be on the disk.
    pub(super) fn written(&self) -> &Meta {
        &self.written
    }

    /// Returns when it is on the disk. After an error either may be read, this one or the one
    /// before, and the next attempt goes to the same slot: the other one stays whole.
    pub(super) fn write(&mut self, meta: Meta) -> io::Result<()> {
        if self.written == meta && !self.is_uncertain {
            return Ok(());
        }
        self.is_uncertain = true;
        let sequence = self.sequence + 1;
        let slot = if sequence.is_multiple_of(2) { 0 } else { PAGE };
        self.handle.write_at(&meta.encode(sequence), slot as u64)?;
        self.handle.sync()?;
        self.sequence = sequence;
        self.written = meta;
        self.is_uncertain = false;
        Ok(())
    }
}

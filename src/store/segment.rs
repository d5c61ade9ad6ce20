//! A file of records, and what is known of it in memory.
//!
//! ```text
//!  0     4         8    16      24    28    32
//!  | PGS | version | id | first | crc | 0   | records
//! ```
//!
//! The name is the id in hexadecimal. `first` governs: a record of an earlier segment whose number
//! is not below it is superseded. So a segment takes the place of the end of those before it by
//! standing under its name, at once and whole.

use std::io;
use std::sync::Arc;

use super::Record;
use super::disk::Handle;
use super::frame::{self, HEAD_BYTES, array};

const MAGIC: &[u8; 4] = b"PGS\n";
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record.
pub(super) const START: u64 = 32;
const EXTENSION: &str = ".log";

/// The file's name.
pub(super) fn name(id: u64) -> String {
    format!("{id:016x}{EXTENSION}")
}

/// The id of a file that is a segment by its name.
pub(super) fn id(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(EXTENSION)?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (name(id) == file).then_some(id)
}

/// The bytes before the first record.
pub(super) fn head(id: u64, first: u64) -> [u8; START as usize] {
    let mut bytes = [0; START as usize];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_be_bytes());
    bytes[8..16].copy_from_slice(&id.to_be_bytes());
    bytes[16..24].copy_from_slice(&first.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What the bytes before the first record say.
pub(super) enum Opening {
    First(u64),
    Damaged,
    /// Of that version.
    Other(u32),
}

impl Opening {
    pub(super) fn parse(bytes: &[u8; START as usize], id: u64) -> Self {
        let whole = crc32fast::hash(&bytes[..24]) == u32::from_be_bytes(array(&bytes[24..28]));
        if bytes[..4] != *MAGIC || !whole || bytes[28..] != [0; 4] {
            return Self::Damaged;
        }
        match u32::from_be_bytes(array(&bytes[4..8])) {
            VERSION if bytes[8..16] == id.to_be_bytes() => {
                Self::First(u64::from_be_bytes(array(&bytes[16..24])))
            }
            VERSION => Self::Damaged,
            other => Self::Other(other),
        }
    }
}

/// Where one record stands. Twelve bytes a record on disk is what the index costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number, less the segment's base.
    delta: u32,
    pub(super) at: u32,
    /// With the highest bit: it has left the history.
    len: u32,
}

const GONE: u32 = 1 << 31;

impl Entry {
    pub(super) const fn len(self) -> u32 {
        self.len & !GONE
    }

    pub(super) const fn is_kept(self) -> bool {
        self.len & GONE == 0
    }
}

/// One segment.
pub(super) struct Segment {
    pub(super) id: u64,
    /// As in its head.
    pub(super) first: u64,
    /// The number that the entries count from: that of the first one.
    base: u64,
    /// In the order of the numbers.
    entries: Vec<Entry>,
    /// Of the file, as far as it counts.
    pub(super) len: u64,
    /// Of these, how many are known to be on the disk.
    pub(super) synced: u64,
    kept: usize,
    kept_bytes: u64,
    /// Bytes of the file are no record of ours, and go when it is written anew.
    pub(super) damaged: bool,
    /// Bytes may stand behind `len`, of a write that failed and could not be taken back.
    pub(super) uncut: bool,
    /// While it is written to, or waits for its sync.
    pub(super) handle: Option<Arc<Handle>>,
}

impl Segment {
    /// One with no records.
    pub(super) fn new(id: u64, first: u64) -> Self {
        Self {
            id,
            first,
            base: first,
            entries: Vec::new(),
            len: START,
            synced: 0,
            kept: 0,
            kept_bytes: 0,
            damaged: false,
            uncut: false,
            handle: None,
        }
    }

    pub(super) fn name(&self) -> String {
        name(self.id)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn number(&self, entry: Entry) -> u64 {
        self.base + u64::from(entry.delta)
    }

    /// Whether it has no record, kept or not.
    pub(super) fn is_blank(&self) -> bool {
        self.entries.is_empty()
    }

    /// The highest number of a record.
    pub(super) fn last_number(&self) -> u64 {
        self.entries
            .last()
            .map_or(self.base, |entry| self.number(*entry))
    }

    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Bytes that the file would lose if it were written anew.
    pub(super) fn garbage(&self) -> u64 {
        self.len.saturating_sub(START + self.kept_bytes)
    }

    /// Whether nothing of it has still to reach the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.synced == self.len && !self.uncut
    }

    /// Whether a record with this number and so many bytes can be noted here.
    pub(super) fn can_note(&self, number: u64, end: u64) -> bool {
        let near = self.entries.is_empty() || number - self.base <= u64::from(u32::MAX);
        near && u32::try_from(end).is_ok()
    }

    /// Notes a record that stands at `at`; its number is above all before it.
    pub(super) fn note(&mut self, number: u64, at: u64, len: usize) {
        if self.entries.is_empty() {
            self.base = number;
        }
        let small = |value: u64| u32::try_from(value).expect("can_note said so");
        self.entries.push(Entry {
            delta: small(number - self.base),
            at: small(at),
            len: small(len as u64),
        });
        self.kept += 1;
        self.kept_bytes += len as u64;
    }

    /// The place of a number among the entries.
    fn find(&self, number: u64) -> Option<usize> {
        let delta = u32::try_from(number.checked_sub(self.base)?).ok()?;
        self.entries
            .binary_search_by_key(&delta, |entry| entry.delta)
            .ok()
    }

    /// Whether a record with that number is kept here.
    pub(super) fn keeps(&self, number: u64) -> bool {
        self.find(number)
            .is_some_and(|index| self.entries[index].is_kept())
    }

    /// The record has left the history; a second time changes nothing.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(index) = self.find(number) else {
            return;
        };
        let entry = &mut self.entries[index];
        if entry.is_kept() {
            self.kept -= 1;
            self.kept_bytes -= u64::from(entry.len);
            entry.len |= GONE;
        }
    }

    /// Takes out the entries from that number on: another segment has their records now.
    pub(super) fn split_off(&mut self, first: u64) -> Vec<(u64, Entry)> {
        let at = self
            .entries
            .partition_point(|entry| self.number(*entry) < first);
        let taken = self.entries.split_off(at);
        for entry in taken.iter().filter(|entry| entry.is_kept()) {
            self.kept -= 1;
            self.kept_bytes -= u64::from(entry.len);
        }
        let numbered = taken.into_iter().map(|entry| (self.number(entry), entry));
        numbered.collect()
    }
}

/// What a scan comes upon.
pub(super) enum Found<'a> {
    /// A whole record, and whether its batch goes on behind it.
    Record(Record<'a>, bool),
    /// A record whose body is not what was written; those behind it can be found.
    Damaged,
    /// Nothing behind this place can be told apart.
    Unreadable,
    /// The file ends within a record.
    Torn,
    /// The file ends behind a record.
    End,
}

/// Reads a segment's records, one after the other, with memory for one record and a buffer.
pub(super) struct Scan<R> {
    source: R,
    /// Where the next record begins.
    at: u64,
    /// Of the file, as far as it is read.
    end: u64,
    body: Vec<u8>,
}

impl<R: io::Read> Scan<R> {
    /// `source` stands at [`START`].
    pub(super) fn new(source: R, end: u64) -> Self {
        Self {
            source,
            at: START,
            end,
            body: Vec::new(),
        }
    }

    /// Where the next record begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Up to where it reads.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// # Errors
    /// When the source cannot be read, or ends before `end`.
    pub(super) fn next(&mut self) -> io::Result<Found<'_>> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Found::End);
        }
        if left < HEAD_BYTES as u64 {
            return Ok(Found::Torn);
        }
        let mut head = [0; HEAD_BYTES];
        self.source.read_exact(&mut head)?;
        let Some(head) = frame::Head::parse(&head) else {
            return Ok(Found::Unreadable);
        };
        let len = (HEAD_BYTES + head.body_bytes) as u64;
        if left < len {
            return Ok(Found::Torn);
        }
        self.at += len;
        // At most BODY_BYTES_MAX, and no more than the file has.
        self.body.resize(head.body_bytes, 0);
        self.source.read_exact(&mut self.body)?;
        Ok(match head.record(&self.body) {
            Some(record) => Found::Record(record, head.more),
            None => Found::Damaged,
        })
    }
}

/// A handle's bytes from [`START`] on, in order.
pub(super) struct Bytes<'a> {
    pub(super) handle: &'a Handle,
    pub(super) at: u64,
}

impl io::Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.handle.read_some_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

//! Reading what stands on the disk, and telling what can be believed.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::disk::{Disk, Handle};
use super::segment::{self, Bytes, Found, Opening, START, Scan, Segment};
use super::{Counts, Record, StoreError, frame};

/// Read from a segment at once.
const READ_BYTES: usize = 256 << 10;

/// The state of reading all segments.
pub(super) struct Reading {
    skip: u64,
    now_ms: u64,
    /// The highest that was read.
    pub(super) last_number: u64,
    pub(super) counts: Counts,
    pub(super) segments: Vec<Segment>,
    /// Files without a record.
    pub(super) litter: Vec<String>,
}

impl Reading {
    /// Nothing read yet. Records up to `skip`, and those that have expired, are not handed out.
    pub(super) fn new(skip: u64, now_ms: u64) -> Self {
        Self {
            skip,
            now_ms,
            last_number: 0,
            counts: Counts::default(),
            segments: Vec::new(),
            litter: Vec::new(),
        }
    }

    /// Reads the segments with these ids, which rise.
    pub(super) fn all(
        &mut self,
        disk: &Disk,
        ids: &[u64],
        each: &mut impl FnMut(Record<'_>),
    ) -> Result<(), StoreError> {
        let mut openings = Vec::new();
        for id in ids {
            let name = segment::name(*id);
            let handle = disk.open_file(&name)?;
            let len = handle.len()?;
            let opening = match len < START {
                true => None,
                false => {
                    let mut bytes = [0; START as usize];
                    handle.read_at(&mut bytes, 0)?;
                    Some(Opening::parse(&bytes, *id))
                }
            };
            if let Some(Opening::Other(version)) = opening {
                return Err(StoreError::Version { name, version });
            }
            openings.push((*id, len, opening));
        }
        let firsts = openings.iter().map(|(_, _, opening)| match opening {
            Some(Opening::First(first)) => *first,
            _ => u64::MAX,
        });
        // Of those behind each: from which number on they have the records.
        let mut limits: Vec<u64> = firsts
            .rev()
            .scan(u64::MAX, |lowest, first| {
                let limit = *lowest;
                *lowest = first.min(*lowest);
                Some(limit)
            })
            .collect();
        limits.reverse();
        let last = ids.last().copied();
        for ((id, len, opening), limit) in openings.into_iter().zip(limits) {
            let is_last = Some(id) == last;
            let Some(opening) = opening else {
                // The beginning of one that was being made, or a loss.
                self.counts.cut_bytes += if is_last { len } else { 0 };
                self.counts.damaged += u64::from(!is_last);
                self.litter.push(segment::name(id));
                continue;
            };
            let is_damaged = matches!(opening, Opening::Damaged);
            self.counts.damaged += u64::from(is_damaged);
            let handle = disk.open_file(&segment::name(id))?;
            self.segment(id, len, limit, is_last, handle, each)?;
            if let (true, Some(segment)) = (is_damaged, self.segments.last_mut()) {
                segment.damaged |= segment.id == id;
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        id: u64,
        len: u64,
        limit: u64,
        is_last: bool,
        handle: Handle,
        each: &mut impl FnMut(Record<'_>),
    ) -> io::Result<()> {
        let bytes = || {
            let at = START;
            let handle = &handle;
            BufReader::with_capacity(READ_BYTES, Bytes { handle, at })
        };
        let whole = match is_last {
            true => survey(Scan::new(bytes(), len))?,
            false => len,
        };
        let mut segment = Segment::new(id, 0);
        let walked = walk(Scan::new(bytes(), whole), limit, |at, len, record| {
            // Else it stands where it cannot have been written.
            let number = record.number;
            if number <= self.last_number || !segment.can_note(number, at + len) {
                return false;
            }
            self.last_number = number;
            segment.note(number, at, len as usize);
            if record.expires_ms <= self.now_ms {
                self.counts.expired += 1;
            } else if number <= self.skip {
                self.counts.dropped += 1;
            } else {
                self.counts.records += 1;
                each(record);
                return true;
            }
            segment.forget(number);
            true
        })?;
        self.counts.damaged += walked.damaged;
        self.counts.cut_bytes += len - whole;
        if segment.is_blank() {
            self.litter.push(segment.name());
            return Ok(());
        }
        segment.first = segment.number(segment.entries()[0]);
        segment.damaged = walked.damaged > 0 || walked.end < whole;
        segment.uncut = whole < len;
        segment.len = walked.end;
        segment.synced = walked.end;
        if is_last {
            segment.handle = Some(Arc::new(handle));
        }
        self.segments.push(segment);
        Ok(())
    }

    /// What the last process wrote may be in the kernel's memory alone.
    pub(super) fn sync(&self, disk: &Disk) -> io::Result<()> {
        for segment in &self.segments {
            disk.open_file(&segment.name())?.sync()?;
        }
        disk.own().sync()
    }
}

/// Where the last whole batch of the last segment ends: behind it is the beginning of one that was
/// never taken. Damage is left for [`walk`] to find.
fn survey<R: Read>(mut scan: Scan<R>) -> io::Result<u64> {
    let mut whole = START;
    loop {
        let is_end_of_batch = match scan.next()? {
            Found::Record(_, more) => !more,
            Found::Damaged => true,
            Found::Unreadable => return Ok(scan.end()),
            Found::Torn | Found::End => return Ok(whole),
        };
        if is_end_of_batch {
            whole = scan.at();
        }
    }
}

struct Walked {
    /// Behind the last record that counts; what is unreadable lies before it.
    end: u64,
    damaged: u64,
}

/// Gives every whole record below `limit` to `take` with its place and length, which says whether
/// it can believe it.
fn walk<R: Read>(
    mut scan: Scan<R>,
    limit: u64,
    mut take: impl FnMut(u64, u64, Record<'_>) -> bool,
) -> io::Result<Walked> {
    let mut damaged = 0;
    loop {
        let at = scan.at();
        let (end, is_last) = match scan.next()? {
            Found::Record(record, _) if limit <= record.number => (at, true),
            Found::Record(record, _) => {
                let len = frame::len(&record);
                damaged += u64::from(!take(at, len, record));
                (at, false)
            }
            Found::Damaged => {
                damaged += 1;
                (at, false)
            }
            Found::Unreadable | Found::Torn => {
                damaged += 1;
                (scan.end(), true)
            }
            Found::End => (at, true),
        };
        if is_last {
            return Ok(Walked { end, damaged });
        }
    }
}

/// Reads the bytes of one segment as the last one of a store: for tools and tests.
///
/// ```
/// # use pushgate::store::scan;
/// assert_eq!(scan(b"no segment", |_| {}).damaged, 1);
/// ```
pub fn scan(segment: &[u8], mut each: impl FnMut(Record<'_>)) -> Counts {
    let mut counts = Counts {
        bytes: segment.len() as u64,
        ..Counts::default()
    };
    let id = segment
        .get(8..16)
        .map_or(0, |id| u64::from_be_bytes(frame::array(id)));
    let opening = segment.first_chunk().map(|head| Opening::parse(head, id));
    let Some(Opening::First(first)) = opening else {
        counts.damaged = 1;
        return counts;
    };
    let records = &segment[START as usize..];
    let mut last = first.saturating_sub(1);
    let outcome = survey(Scan::new(records, counts.bytes)).and_then(|whole| {
        counts.cut_bytes = counts.bytes - whole;
        walk(Scan::new(records, whole), u64::MAX, |_, _, record| {
            let follows = last < record.number;
            if follows {
                last = record.number;
                counts.records += 1;
                each(record);
            }
            follows
        })
    });
    // Memory can be read; were it not so, that would be damage.
    counts.damaged = outcome.map_or(1, |walked| walked.damaged);
    counts
}

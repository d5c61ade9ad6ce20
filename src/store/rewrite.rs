//! Writing segments anew, without what has left the history.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::RangeInclusive;

use super::disk::{Handle, UNFINISHED};
use super::frame::{self, HEAD_BYTES, Head};
use super::segment::{self, Entry, START, Segment};
use super::{Erase, Record, Store};

/// Bytes read at once, when the records stand next to each other.
const RUN_BYTES: u64 = 256 << 10;

/// Other targets for records, by number.
pub(super) type Retargeted = HashMap<u64, Box<[u8]>>;

/// A purge that is under way.
#[derive(Default)]
pub(super) struct Scrubbing {
    retargeted: Retargeted,
    /// The ids of the segments that have still to be written anew.
    left: Vec<u64>,
}

impl Store {
    /// A purge: when it returns no file holds these records any more, nor any other that has left
    /// the history (an earlier message of the same user, superseded since, would otherwise come
    /// back at the next start). The blocks that held them are the filesystem's to use again; they
    /// are not overwritten. It syncs, and rewrites every segment that has any of it: up to as
    /// many bytes as the store has. See [`Self::begin_scrub`] for doing that in steps.
    ///
    /// # Errors
    /// When the disk fails: some may be gone and others not, and a call with no numbers goes on.
    /// `ResourceBusy` while a [`super::Syncing`] is out.
    pub fn scrub(&mut self, erase: &[Erase<'_>]) -> io::Result<()> {
        self.begin_scrub(erase);
        while 0 < self.step_scrub()? {}
        Ok(())
    }

    /// Begins a purge: the records count as gone. A number that is not kept changes nothing.
    /// Returns how many calls of [`Self::step_scrub`] it takes to remove them.
    pub fn begin_scrub(&mut self, erase: &[Erase<'_>]) -> usize {
        let mut changed = BTreeSet::new();
        for Erase { number, targets } in erase {
            let Some(segment) = self.segment_of(*number) else {
                continue;
            };
            match targets {
                None => segment.forget(*number),
                Some(targets) if segment.keeps(*number) => {
                    changed.insert(segment.id);
                    let targets = Box::from(*targets);
                    self.scrubbing.retargeted.insert(*number, targets);
                }
                Some(_) => {}
            }
        }
        // Those that an earlier purge has still to come to, too.
        changed.extend(&self.scrubbing.left);
        let dirty = self.segments.iter().filter(|segment| {
            let has_left = segment.garbage() > 0 || segment.damaged || segment.uncut;
            has_left || changed.contains(&segment.id)
        });
        self.scrubbing.left = dirty.map(|segment| segment.id).collect();
        self.scrubbing.left.len()
    }

    /// Writes one segment anew for the purge; returns how many are left. Between the steps the
    /// store can be used as ever.
    ///
    /// # Errors
    /// As [`Self::scrub`].
    pub fn step_scrub(&mut self) -> io::Result<usize> {
        self.sync()?;
        self.clear()?;
        if let Some(id) = self.scrubbing.left.last() {
            let at = self.segments.iter().position(|segment| segment.id == *id);
            // Gone where it was removed or joined with others since; then it was written anew.
            let replaced = at.map_or(Ok(()), |at| self.replace(at..=at));
            if let Err(error) = replaced {
                // The others first: this one may never be read again.
                self.scrubbing.left.rotate_right(1);
                return Err(error);
            }
            self.scrubbing.left.pop();
        }
        if self.scrubbing.left.is_empty() {
            self.scrubbing.retargeted = HashMap::new();
            // The names that were removed.
            self.disk.own().sync()?;
        }
        Ok(self.scrubbing.left.len())
    }

    /// Writes what is kept of neighbouring segments into one new file, which takes the name of the
    /// last of them when it is on disk; where nothing is kept it only removes them. All of it must
    /// be synced. After an error the records are where they were.
    pub(super) fn replace(&mut self, range: RangeInclusive<usize>) -> io::Result<()> {
        // The floor is on disk before what it speaks of leaves it.
        self.note_meta()?;
        let segments = &self.segments[range.clone()];
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(());
        };
        if segments.iter().all(|segment| segment.kept() == 0) {
            for at in range.rev() {
                self.disk.remove(&self.segments[at].name())?;
                self.segments.remove(at);
            }
            return Ok(());
        }
        // It governs as the first of them did, so those before the last are superseded at once.
        let mut new = Segment::new(last.id, first.first);
        let name = new.name();
        let unfinished = format!("{name}{UNFINISHED}");
        if let Err(error) = self.copy(segments, &mut new, &unfinished) {
            if self.disk.remove(&unfinished).is_err() {
                self.litter.push(unfinished);
            }
            return Err(error);
        }
        self.disk.rename(&unfinished, &name)?;
        let superseded = segments[..segments.len() - 1].iter().map(Segment::name);
        let superseded: Vec<String> = superseded.collect();
        self.litter.extend(superseded);
        self.segments.splice(range, [new]);
        // A failure from here on leaves work for later, and no harm: both ways read the same.
        self.is_name_unsynced = true;
        self.disk.own().sync()?;
        self.clear()
    }

    fn copy(&self, segments: &[Segment], new: &mut Segment, unfinished: &str) -> io::Result<()> {
        // Also where it is not the purge that rewrites: it may not come upon this file any more.
        let retargeted = &self.scrubbing.retargeted;
        let to = self.disk.create(unfinished)?;
        to.write_at(&segment::head(new.id, new.first), 0)?;
        let mut read = Vec::new();
        let mut out = Vec::new();
        for segment in segments {
            let from = self.disk.open_file(&segment.name())?;
            for run in runs(segment.entries()) {
                read_run(&from, run, &mut read)?;
                let start = u64::from(run[0].at);
                out.clear();
                for entry in run {
                    let at = new.len + out.len() as u64;
                    let frame = &read[(u64::from(entry.at) - start) as usize..];
                    let frame = &frame[..entry.len() as usize];
                    let number = segment.number(*entry);
                    let from_at = u64::from(entry.at);
                    let len = append(&mut out, frame, number, retargeted)
                        .ok_or_else(|| from.damaged(from_at))?;
                    if !new.can_note(number, at + len as u64) {
                        return Err(from.damaged(from_at));
                    }
                    new.note(number, at, len);
                }
                to.write_at(&out, new.len)?;
                new.len += out.len() as u64;
            }
        }
        to.sync()?;
        new.synced = new.len;
        Ok(())
    }
}

/// Kept records that stand next to each other, about [`RUN_BYTES`] at a time.
fn runs(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let pieces = entries.chunk_by(|a, b| {
        a.is_kept()
            && b.is_kept()
            && a.at + a.len() == b.at
            && u64::from(b.at) / RUN_BYTES == u64::from(a.at) / RUN_BYTES
    });
    pieces.filter(|piece| piece[0].is_kept())
}

fn read_run(from: &Handle, run: &[Entry], bytes: &mut Vec<u8>) -> io::Result<()> {
    let len: u64 = run.iter().map(|entry| u64::from(entry.len())).sum();
    // A run and the last record of it, at most.
    bytes.resize(len as usize, 0);
    from.read_at(bytes, u64::from(run[0].at))
}

/// Appends a frame, as the end of a batch, with other targets where it has some. `None` when it is
/// not what was written.
fn append(out: &mut Vec<u8>, frame: &[u8], number: u64, retargeted: &Retargeted) -> Option<usize> {
    let (bytes, body) = frame.split_first_chunk::<HEAD_BYTES>()?;
    let mut head = Head::parse(bytes)?;
    let record = head.record(body).filter(|record| record.number == number)?;
    let start = out.len();
    if let Some(targets) = retargeted.get(&number) {
        let record = Record { targets, ..record };
        frame::size(&record).ok()?;
        frame::encode(out, &record, false);
    } else {
        head.more = false;
        out.extend_from_slice(&head.bytes());
        out.extend_from_slice(body);
    }
    Some(out.len() - start)
}

const _: () = assert!(START < RUN_BYTES);

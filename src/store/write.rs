//! Taking records: a batch goes to the end of the last segment, as a whole or not at all.

use std::io;
use std::sync::Arc;

use super::disk::Handle;
use super::frame::{self, HEAD_BYTES};
use super::segment::{self, Segment};
use super::{Record, Store};

/// Numbers that are reserved at a time: one more sync for so many messages, and so large a gap
/// after an unclean stop.
pub(super) const BLOCK: u64 = 1 << 20;
/// What an empty buffer may keep of its memory.
const IDLE_BYTES: usize = 1 << 20;

impl Store {
    /// Takes a batch; its numbers rise, from above all that were written. When it returns the
    /// records survive a kill of the process, and may be delivered; for the disk see
    /// [`Self::sync`]. It waits for the disk only every 1,048,576 numbers, and when more than
    /// [`super::Options::unsynced_bytes_max`] is not known to be there.
    ///
    /// # Errors
    /// `InvalidInput` when the numbers do not rise or a record is too large. Otherwise what the
    /// filesystem said, `StorageFull` above all, or `ResourceBusy` when it would have to sync and
    /// a [`super::Syncing`] is out. Nothing of the batch was taken then, and a later call may
    /// succeed.
    pub fn write(&mut self, batch: &[Record<'_>]) -> io::Result<()> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(());
        };
        let bytes = self.check(batch)?;
        let held = self.unsynced.len();
        let is_over = held > 0 && held + bytes > self.options.unsynced_bytes_max;
        if self.is_broken || is_over {
            self.sync()?;
        }
        self.cut()?;
        self.reserve(last.number)?;
        let (mut segment, handle) = self.make_room(first.number, last.number, bytes as u64)?;
        let start = self.unsynced.len();
        for record in batch {
            frame::encode(&mut self.unsynced, record, record.number != last.number);
        }
        let outcome = handle.write_at(&self.unsynced[start..], segment.len);
        if outcome.is_err() {
            self.unsynced.truncate(start);
            segment.uncut = handle.cut(segment.len).is_err();
            self.segments.push(segment);
            return outcome;
        }
        for record in batch {
            let len = frame::size(record)?;
            segment.note(record.number, segment.len, len);
            segment.len += len as u64;
        }
        self.segments.push(segment);
        self.taken += bytes as u64;
        self.last_number = last.number;
        Ok(())
    }

    /// Whether this is a batch, and how many bytes it takes.
    fn check(&self, batch: &[Record<'_>]) -> io::Result<usize> {
        let mut before = self.last_number;
        let mut bytes = 0_usize;
        for record in batch {
            if record.number <= before {
                let text = format!("number {} does not follow {before}", record.number);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            before = record.number;
            bytes = bytes.saturating_add(frame::size(record)?);
        }
        // So that a place in a segment fits 32 bits, whatever its size is.
        if bytes > 1 << 30 {
            let text = format!("a batch of {bytes} bytes exceeds 1 GiB");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(bytes)
    }

    /// Sees to it that numbers up to this one are reserved on disk, before the first is used.
    pub(super) fn reserve(&mut self, number: u64) -> io::Result<()> {
        if number < self.meta.written().reserved {
            return Ok(());
        }
        self.wanted.reserved = number + 1 + BLOCK;
        self.note_meta()
    }

    /// Takes the segment to append to out of the list, and opens it: the last one, or a new one
    /// where that has no room. After an error the list is as it was.
    fn make_room(
        &mut self,
        first: u64,
        last: u64,
        bytes: u64,
    ) -> io::Result<(Segment, Arc<Handle>)> {
        let has_room = |segment: &Segment| {
            let is_fresh = segment.is_blank();
            let end = segment.len + bytes;
            !segment.damaged
                && (is_fresh || end <= self.options.segment_bytes)
                && segment.can_note(last, end)
                && segment.first <= first
        };
        if self.segments.last().is_some_and(has_room) {
            let handle = self.handle_of_last()?;
            let segment = self.segments.pop().expect("it is there");
            return Ok((segment, handle));
        }
        self.clear()?;
        // One that was made for a batch which then failed, and is of no use to this one.
        if self.segments.last().is_some_and(Segment::is_blank)
            && let Some(blank) = self.segments.pop()
        {
            self.litter.push(blank.name());
            self.clear()?;
        }
        let mut segment = Segment::new(self.next_id, first);
        let name = segment.name();
        let handle = Arc::new(self.disk.create(&name)?);
        let head = segment::head(segment.id, first);
        if let Err(error) = handle.write_at(&head, 0) {
            if self.disk.remove(&name).is_err() {
                self.litter.push(name);
            }
            return Err(error);
        }
        self.next_id += 1;
        self.is_name_unsynced = true;
        segment.handle = Some(handle.clone());
        Ok((segment, handle))
    }

    /// The last segment's file, opened where it is not.
    fn handle_of_last(&mut self) -> io::Result<Arc<Handle>> {
        let segment = self.segments.last_mut().expect("the caller saw one");
        if let Some(handle) = &segment.handle {
            return Ok(handle.clone());
        }
        let handle = Arc::new(self.disk.open_file(&segment.name())?);
        segment.handle = Some(handle.clone());
        Ok(handle)
    }

    /// Takes back what a failed write left, where that failed too: nothing may be written behind
    /// it.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        for segment in &mut self.segments {
            if let (true, Some(handle)) = (segment.uncut, &segment.handle) {
                handle.cut(segment.len)?;
                segment.uncut = false;
            }
        }
        Ok(())
    }

    /// Notes that the frames up to `taken` are on disk.
    pub(super) fn release(&mut self, taken: u64) {
        let on_disk = taken.saturating_sub(self.synced) as usize;
        self.unsynced.drain(..on_disk.min(self.unsynced.len()));
        self.synced = self.synced.max(taken);
        if self.unsynced.is_empty() {
            self.unsynced.shrink_to(IDLE_BYTES);
        }
    }

    /// The number of the first frame that is not known to be on disk.
    pub(super) fn first_unsynced(&self) -> Option<u64> {
        let head = self.unsynced.first_chunk::<HEAD_BYTES>()?;
        Some(frame::Head::parse(head)?.number)
    }
}

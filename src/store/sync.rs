//! Bringing to the disk what was taken, and what to do when the disk refuses.

use std::io;
use std::sync::Arc;

use super::disk::{Handle, UNFINISHED};
use super::segment::{self, START, Segment};
use super::{Store, busy};

/// A sync that waits to be run, on any thread. While it is out the store takes further records,
/// which it does not cover. Give what it returns to [`Store::end_sync`].
#[must_use = "what was taken is on disk only when it has run and the store was told"]
pub struct Syncing {
    /// With the id of each and the bytes that it covers.
    files: Vec<(u64, u64, Arc<Handle>)>,
    names: Option<Arc<Handle>>,
    taken: u64,
}

/// A sync that was run.
#[must_use = "the store has to be told"]
pub struct Synced {
    syncing: Syncing,
    outcome: io::Result<()>,
}

impl Syncing {
    /// Waits for the disk.
    pub fn run(self) -> Synced {
        let files = self.files.iter().map(|(.., handle)| handle);
        let outcome = files
            .chain(&self.names)
            .try_for_each(|handle| handle.sync());
        Synced {
            syncing: self,
            outcome,
        }
    }
}

impl Store {
    /// Returns when everything that was taken is on the disk.
    ///
    /// # Errors
    /// When the disk refuses, also with a new segment; what was taken stays in memory for the next
    /// attempt. `ResourceBusy` while a [`Syncing`] is out.
    pub fn sync(&mut self) -> io::Result<()> {
        match self.begin_sync()? {
            None => Ok(()),
            Some(syncing) => self.end_sync(syncing.run()),
        }
    }

    /// Begins a sync of everything that was taken; `None` when it is on the disk already. Between
    /// this and [`Self::end_sync`] calls that would sync themselves fail with `ResourceBusy`:
    /// [`Self::sync`], [`Self::scrub`], [`Self::close`].
    ///
    /// # Errors
    /// `ResourceBusy` while another one is out. After a sync that failed, this call itself brings
    /// everything into a new segment, and fails when that does.
    pub fn begin_sync(&mut self) -> io::Result<Option<Syncing>> {
        if self.is_syncing {
            return Err(busy());
        }
        if self.is_broken {
            self.rehome()?;
        }
        self.cut()?;
        let unsynced = self.segments.iter().filter(|segment| !segment.is_synced());
        let files: Vec<_> = unsynced
            .filter_map(|segment| Some((segment.id, segment.len, segment.handle.clone()?)))
            .collect();
        let names = self.is_name_unsynced.then(|| self.disk.own().clone());
        if files.is_empty() && names.is_none() {
            return Ok(None);
        }
        self.is_name_unsynced = false;
        self.is_syncing = true;
        Ok(Some(Syncing {
            files,
            names,
            taken: self.taken,
        }))
    }

    /// Takes note of a sync that was run: what was taken before it began is on disk.
    ///
    /// # Errors
    /// As [`Self::sync`]; then nothing that was taken since the last good one is known to be there.
    pub fn end_sync(&mut self, synced: Synced) -> io::Result<()> {
        self.is_syncing = false;
        let Syncing {
            files,
            names,
            taken,
        } = synced.syncing;
        if let Err(error) = synced.outcome {
            self.is_broken = true;
            self.is_name_unsynced |= names.is_some();
            self.wanted.suspect = true;
            // If the process is killed now, the next start must not believe the page cache. Where
            // not even this can be written, there is no more to be done.
            let _ = self.note_meta();
            return self.rehome().map_err(|_| error);
        }
        for (id, len, _) in files {
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.id == id) {
                segment.synced = segment.synced.max(len);
            }
        }
        // Only the last one is written to.
        let last = self.segments.len().saturating_sub(1);
        for segment in &mut self.segments[..last] {
            if segment.is_synced() {
                segment.handle = None;
            }
        }
        self.release(taken);
        Ok(())
    }

    /// After a sync that failed: the frames that are not known to be on disk go into a new segment,
    /// which supersedes them where they stand, and appears under its name when it is on disk.
    fn rehome(&mut self) -> io::Result<()> {
        self.clear()?;
        let Some(first) = self.first_unsynced() else {
            // Nothing but names was to be synced, or the head of a file without records.
            self.disk.own().sync()?;
            self.drop_blank();
            self.is_name_unsynced = false;
            return self.mended();
        };
        let mut new = Segment::new(self.next_id, first);
        let (name, unfinished) = (new.name(), new.name() + UNFINISHED);
        let written = self.write_whole(&unfinished, &name, &segment::head(new.id, first));
        if let Err(error) = written {
            // Wherever it got to: it must not stand there unknown to us.
            for name in [unfinished, name] {
                if self.disk.remove(&name).is_err() {
                    self.litter.push(name);
                }
            }
            return Err(error);
        }
        self.next_id += 1;
        self.is_name_unsynced = false;
        let mut at = START;
        for segment in &mut self.segments {
            for (number, entry) in segment.split_off(first) {
                new.note(number, at, entry.len() as usize);
                at += u64::from(entry.len());
                if !entry.is_kept() {
                    new.forget(number);
                }
            }
        }
        new.len = at;
        new.synced = at;
        self.supersede();
        self.drop_blank();
        self.segments.push(new);
        self.release(self.taken);
        self.mended()
    }

    /// A file with that head and the frames that are not known to be on disk, on the disk.
    fn write_whole(&self, unfinished: &str, name: &str, head: &[u8]) -> io::Result<()> {
        let handle = self.disk.create(unfinished)?;
        handle.write_at(head, 0)?;
        handle.write_at(&self.unsynced, START)?;
        handle.sync()?;
        self.disk.rename(unfinished, name)?;
        self.disk.own().sync()
    }

    /// Cuts off, in every segment, what the new one has now.
    fn supersede(&mut self) {
        for segment in &mut self.segments {
            let end = segment
                .entries()
                .last()
                .map_or(START, |entry| u64::from(entry.at) + u64::from(entry.len()));
            let is_shorter = end < segment.len;
            if is_shorter || !segment.is_synced() {
                segment.len = end;
                segment.synced = end;
                segment.uncut = false;
                // If it cannot be cut, or stays as it is after a power cut, it reads the same: the
                // new segment governs. It is rewritten for the sake of what must be gone.
                let handle = segment.handle.take();
                let is_cut = handle.is_some_and(|handle| handle.cut(end).is_ok());
                segment.damaged |= !is_cut;
            }
        }
    }

    /// Removes the segments without a record: nobody knows what of their heads is on the disk.
    fn drop_blank(&mut self) {
        let (blank, rest) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|segment| segment.is_blank());
        self.segments = rest;
        for segment in blank {
            if self.disk.remove(&segment.name()).is_err() {
                self.litter.push(segment.name());
            }
        }
    }

    /// The disk has everything again.
    fn mended(&mut self) -> io::Result<()> {
        self.is_broken = false;
        self.wanted.suspect = false;
        self.note_meta()
    }
}

//! What has left the history leaves the disk too: whole files where it can, else by rewriting.

use std::io;
use std::ops::RangeInclusive;

use super::Store;
use super::segment::Segment;

/// Files removed in one call of [`Store::tidy`].
const REMOVED_MAX: usize = 16;
/// Files beyond twice those that the kept records would fill: from here on small ones are joined.
const SPARE_FILES: u64 = 4;

impl Store {
    /// A record has left the history: it expired, was superseded, or was dropped at a bound before
    /// it expired (`dropped_until_ms`: when it would have). A number that is not there, or has left
    /// before, changes nothing.
    ///
    /// Records are dropped oldest first: one that was dropped says that everything older has left,
    /// and the next start hands none of it out. Others that have left may still be on disk at the
    /// next start, and are handed out again unless they have expired.
    pub fn gone(&mut self, number: u64, dropped_until_ms: Option<u64>) {
        if let Some(segment) = self.segment_of(number) {
            segment.forget(number);
        }
        if let Some(until_ms) = dropped_until_ms {
            // Noted on disk before any record leaves it; until then they come back at a start.
            self.wanted.skip = self.wanted.skip.max(number);
            self.wanted.floor.raise(number, until_ms);
        }
    }

    /// The segment that has the number, if any has.
    pub(super) fn segment_of(&mut self, number: u64) -> Option<&mut Segment> {
        let behind = self
            .segments
            .partition_point(|segment| segment.first <= number);
        // Blank segments may stand before the one that has it.
        let mut upto = self.segments[..behind].iter_mut().rev();
        upto.find(|segment| !segment.is_blank())
    }

    /// Gives disk space back: removes up to 16 files of which nothing is kept and rewrites at most
    /// one, when more than half of all bytes, and more than a segment, is garbage, or when there
    /// are many small files. `true`: there is more to do. To be called now and then.
    ///
    /// # Errors
    /// When the disk fails; the records are as they were, and a later call tries again.
    pub fn tidy(&mut self) -> io::Result<bool> {
        self.clear()?;
        self.cut()?;
        if let Some(at) = self.find(|segment| segment.damaged && segment.is_synced()) {
            self.replace(at..=at)?;
            return Ok(true);
        }
        let mut removed = 0;
        while let Some(at) =
            self.find(|segment| segment.kept() == 0 && !segment.is_blank() && segment.is_synced())
        {
            if removed == REMOVED_MAX {
                return Ok(true);
            }
            self.replace(at..=at)?;
            removed += 1;
        }
        let stats = self.stats();
        let garbage = stats.bytes - stats.kept_bytes;
        let segment_bytes = self.options.segment_bytes;
        if garbage > stats.kept_bytes.max(segment_bytes) {
            // What waits for its sync may hold most of it, and rewriting the rest gains nothing.
            let is_worth_it = |at: &usize| {
                let segment = &self.segments[*at];
                segment.is_synced() && segment.garbage() > segment.kept_bytes()
            };
            let places = (0..self.segments.len()).filter(is_worth_it);
            if let Some(at) = places.max_by_key(|at| self.segments[*at].garbage()) {
                self.replace(at..=at)?;
                return Ok(true);
            }
        }
        if stats.segments > SPARE_FILES + 2 * (stats.kept_bytes / segment_bytes)
            && let Some(pair) = self.smallest_pair()
        {
            self.replace(pair)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn find(&self, is_it: impl Fn(&Segment) -> bool) -> Option<usize> {
        self.segments.iter().position(is_it)
    }

    /// Two neighbours that fit into one file.
    fn smallest_pair(&self) -> Option<RangeInclusive<usize>> {
        let pairs = self.segments.windows(2).enumerate();
        let fitting = pairs.filter_map(|(at, pair)| {
            let bytes = pair[0].kept_bytes() + pair[1].kept_bytes();
            let is_synced = pair.iter().all(Segment::is_synced);
            let is_near = pair[1].last_number() - pair[0].first <= u64::from(u32::MAX);
            let fits = bytes <= self.options.segment_bytes;
            (is_synced && is_near && fits).then_some((bytes, at))
        });
        let (_, at) = fitting.min()?;
        Some(at..=at + 1)
    }
}

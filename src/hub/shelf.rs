//! The kept messages of one target, for sessions that come back.
//!
//! A connected session is served from the lane itself; nothing here is read for it but while it
//! replays. Entries go in the order of their places; those that went early leave a hole, and the
//! holes go when they outnumber what is left.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::collapse::Collapse;
use super::lane::{IsExcepted, Taken};
use super::message::Message;
use crate::wire::encoding::Encoding;

/// Holes that are not worth a pass.
const HOLES_MIN: usize = 64;

/// Kept messages, and up to where some were dropped.
#[derive(Default)]
pub(crate) struct Shelf {
    entries: VecDeque<Shelved>,
    kept: usize,
    /// Of the payloads of what is kept.
    bytes: u64,
    collapse: Collapse,
    pub(crate) floor: Floor,
}

struct Shelved {
    seq: u64,
    number: u64,
    index: u16,
    message: Option<Arc<Message>>,
}

/// Up to where messages were dropped at a bound before they expired, and until when that matters.
/// One place for many: it never forgets one, and may stand for more than there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) number: u64,
    pub(crate) seq: u64,
    pub(crate) until: Option<Instant>,
}

impl Floor {
    pub(crate) fn raise(&mut self, other: Self) {
        self.number = self.number.max(other.number);
        self.seq = self.seq.max(other.seq);
        self.until = self.until.max(other.until);
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Whether something behind the number `cursor` was dropped.
    pub(crate) fn hides(&self, cursor: u64, now: Instant) -> bool {
        self.number > cursor && !self.is_over(now)
    }
}

impl Shelf {
    /// Puts a message here; returns the places of those that have no use any more.
    pub(crate) fn push(&mut self, index: u16, message: &Arc<Message>) -> Vec<u64> {
        let mut useless = self.collapse.push(message, false);
        useless.retain(|seq| self.is_for_one(*seq));
        self.entries.push_back(Shelved {
            seq: message.seq,
            number: message.number(),
            index,
            message: Some(Arc::clone(message)),
        });
        self.kept += 1;
        self.bytes += message.payload_len() as u64;
        useless
    }

    /// Whether no other target needs the message.
    fn is_for_one(&mut self, seq: u64) -> bool {
        let message = self.find(seq).and_then(|entry| entry.message.as_ref());
        message.is_some_and(|message| message.targets() == 1)
    }

    fn find(&mut self, seq: u64) -> Option<&mut Shelved> {
        let at = self.entries.binary_search_by_key(&seq, |entry| entry.seq);
        self.entries.get_mut(at.ok()?)
    }

    /// Takes the message at `seq` away; true when it was the last one here.
    pub(crate) fn remove(&mut self, seq: u64) -> bool {
        let Some(message) = self.find(seq).and_then(|entry| entry.message.take()) else {
            return false;
        };
        if let Some(key) = message.collapse() {
            self.collapse.remove(key, seq);
        }
        self.kept -= 1;
        self.bytes -= message.payload_len() as u64;
        while self
            .entries
            .pop_front_if(|entry| entry.message.is_none())
            .is_some()
        {}
        if self.entries.len() > 2 * self.kept + HOLES_MIN {
            self.entries.retain(|entry| entry.message.is_some());
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        self.is_empty()
    }

    /// Messages that are kept here.
    pub(crate) const fn len(&self) -> usize {
        self.kept
    }

    /// Bytes of their payloads.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    /// Copies up to `max` messages in (`after`, `upto`] to `out`; false when there are more.
    pub(crate) fn take(
        &self,
        (after, upto): (u64, u64),
        max: usize,
        is_excepted: IsExcepted<'_>,
        out: &mut Vec<Taken>,
    ) -> bool {
        let mut rest = self.range(after, upto);
        for (entry, message) in rest.by_ref().take(max) {
            out.push(Taken {
                index: entry.index,
                encoding: Encoding::Native,
                superseded: self.collapse.is_superseded(message, is_excepted),
                message: Arc::clone(message),
            });
        }
        rest.next().is_none()
    }

    fn range(&self, after: u64, upto: u64) -> impl Iterator<Item = (&Shelved, &Arc<Message>)> {
        let first = self.entries.partition_point(|entry| entry.seq <= after);
        self.entries
            .range(first..)
            .take_while(move |entry| entry.seq <= upto)
            .filter_map(|entry| Some((entry, entry.message.as_ref()?)))
    }

    /// Shows what is kept among the next `max` entries behind the place `after` and up to `upto`;
    /// returns up to where that was, `None` at the end.
    pub(crate) fn step(
        &self,
        (after, upto): (u64, u64),
        max: usize,
        mut show: impl FnMut(&Arc<Message>),
    ) -> Option<u64> {
        let first = self.entries.partition_point(|entry| entry.seq <= after);
        let rest = self.entries.range(first..);
        let mut rest = rest.take_while(|entry| entry.seq <= upto);
        let mut last = after;
        for entry in rest.by_ref().take(max) {
            last = entry.seq;
            entry.message.iter().for_each(&mut show);
        }
        rest.next().map(|_| last)
    }

    /// Everything that is kept here, the oldest first.
    pub(crate) fn messages(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.entries
            .iter()
            .filter_map(|entry| entry.message.as_ref())
    }

    /// Whether there is something after the place `after`.
    pub(crate) fn keeps_after(&self, after: u64) -> bool {
        self.range(after, u64::MAX).next().is_some()
    }

    /// Messages, each with its target, whose numbers lie in (`after`, `upto`], and whose places are
    /// behind `since`.
    pub(crate) fn numbered(
        &self,
        (after, upto): (u64, u64),
        since: u64,
    ) -> impl Iterator<Item = (u16, Arc<Message>)> {
        let is_before = |entry: &Shelved| entry.number <= after || entry.seq <= since;
        let first = self.entries.partition_point(is_before);
        self.entries
            .range(first..)
            .take_while(move |entry| entry.number <= upto)
            .filter_map(|entry| Some((entry.index, Arc::clone(entry.message.as_ref()?))))
    }
}

//! Entries in the order in which they came in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Ended, Id, Progress};

/// Entries of one piece, 40 KB: none is ever copied to make room for more, whatever a flood brings.
const PIECE: usize = 512;

/// What is known of one id.
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) digest: u64,
    /// Seconds on the caller's clock after which it is looked at.
    pub(super) due: u32,
    /// Seconds after which it is forgotten.
    pub(super) expires: u32,
    pub(super) state: State,
}

pub(super) enum State {
    Ended(Ended),
    Running(Arc<Progress>),
}

impl Entry {
    pub(super) const fn is_over(&self, now: u32) -> bool {
        self.expires < now && matches!(self.state, State::Ended(_))
    }
}

/// A queue of entries, numbered: written at one end and read at the other, so that both stay in the
/// processor's caches. An id is known long before its entry is looked at again, if it ever is.
#[derive(Default)]
pub(super) struct Book {
    /// All but the first and the last are full.
    pieces: VecDeque<VecDeque<Entry>>,
    /// The number of the first entry. Numbers begin anew behind the last: there are never so many.
    first: u32,
    len: u32,
}

impl Book {
    /// Returns its number.
    pub(super) fn push(&mut self, entry: Entry) -> u32 {
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE => piece.push_back(entry),
            _ => {
                let mut piece = VecDeque::with_capacity(PIECE);
                piece.push_back(entry);
                self.pieces.push_back(piece);
            }
        }
        let number = self.first.wrapping_add(self.len);
        self.len += 1;
        number
    }

    pub(super) fn get(&mut self, number: u32) -> Option<&mut Entry> {
        let at = number.wrapping_sub(self.first);
        if at >= self.len {
            return None;
        }
        let (at, front) = (at as usize, self.pieces.front()?.len());
        let (piece, at) = match at.checked_sub(front) {
            None => (0, at),
            Some(behind) => (1 + behind / PIECE, behind % PIECE),
        };
        self.pieces.get_mut(piece)?.get_mut(at)
    }

    /// The first entry and its number, when it is due.
    pub(super) fn due(&self, now: u32) -> Option<(u32, &Entry)> {
        let entry = self.pieces.front()?.front()?;
        (entry.due < now).then_some((self.first, entry))
    }

    /// Takes out the first entry, if it is still this one.
    pub(super) fn take(&mut self, number: u32) -> Option<Entry> {
        let piece = self.pieces.front_mut().filter(|_| number == self.first)?;
        let entry = piece.pop_front();
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.first = self.first.wrapping_add(1);
        self.len -= 1;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reason::Status;

    fn entry(number: u32) -> Entry {
        Entry {
            id: (number, [0; 16]),
            digest: 0,
            due: number,
            expires: number,
            state: State::Ended(Ended::refused(Status::Done)),
        }
    }

    /// As a plain queue does, also where the numbers begin anew.
    #[test]
    fn every_entry_is_found_by_its_number_until_it_is_taken() {
        let mut book = Book {
            first: u32::MAX - 1000,
            ..Book::default()
        };
        let mut plain = VecDeque::new();
        let mut next = 0;
        for (pushes, takes) in [
            (300, 100),
            (700, 10),
            (2000, 1500),
            (1, 1391),
            (5, 5),
            (600, 0),
        ] {
            for _ in 0..pushes {
                plain.push_back((book.push(entry(next)), next));
                next += 1;
            }
            for _ in 0..takes {
                let (number, id) = plain.pop_front().unwrap();
                assert!(book.take(number.wrapping_add(1)).is_none());
                assert_eq!(book.take(number).unwrap().id.0, id);
                assert!(book.get(number).is_none());
            }
            for &(number, id) in &plain {
                assert_eq!(book.get(number).unwrap().id.0, id);
            }
            assert!(book.pieces.len() <= plain.len() / PIECE + 2);
        }
        let first = plain[0];
        assert!(book.due(first.1).is_none());
        assert_eq!(book.due(first.1 + 1).unwrap().0, first.0);
    }
}

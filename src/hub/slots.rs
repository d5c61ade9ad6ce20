//! Members of a lane in slots that never move: a walk remembers a number, not a member.

use smallvec::SmallVec;

/// A slab with a free list. A freed slot is used again before the slab grows.
pub(crate) struct Slots<T> {
    /// Most lanes are a user's, with one member, which lives in place.
    slots: SmallVec<[Slot<T>; 1]>,
    free: Option<u32>,
    len: u32,
}

enum Slot<T> {
    Full(T),
    /// The next free one.
    Free(Option<u32>),
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: SmallVec::new(),
            free: None,
            len: 0,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free {
            let old = std::mem::replace(&mut self.slots[slot as usize], Slot::Full(value));
            let Slot::Free(next) = old else {
                unreachable!("the free list holds free slots")
            };
            self.free = next;
            return slot;
        }
        self.slots.push(Slot::Full(value));
        u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 connections")
    }

    /// Frees `slot` if what it holds is what the caller means.
    pub(crate) fn remove_if(&mut self, slot: u32, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        if !self.at(slot).is_some_and(is_meant) {
            return None;
        }
        let old = std::mem::replace(&mut self.slots[slot as usize], Slot::Free(self.free));
        self.free = Some(slot);
        self.len -= 1;
        match old {
            Slot::Full(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        match self.slots.get(slot as usize) {
            Some(Slot::Full(value)) => Some(value),
            _ => None,
        }
    }

    /// Copies up to `max` members from slot `from` on to `out`; the slot to go on from, or `None`
    /// at the end.
    pub(crate) fn batch(&self, from: u32, max: usize, out: &mut Vec<T>) -> Option<u32>
    where
        T: Clone,
    {
        let mut slot = from as usize;
        while slot < self.slots.len() && out.len() < max {
            if let Slot::Full(value) = &self.slots[slot] {
                out.push(value.clone());
            }
            slot += 1;
        }
        let next = u32::try_from(slot).expect("fewer than 2^32 connections");
        (slot < self.slots.len()).then_some(next)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(number, slot)| match slot {
                Slot::Full(value) => Some((number, value)),
                Slot::Free(_) => None,
            })
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_used_again_and_the_others_stay() {
        let mut slots = Slots::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| slots.insert(name));
        assert_eq!(slots.remove_if(b, |_| false), None);
        assert_eq!(slots.remove_if(b, |name| *name == "b"), Some("b"));
        assert_eq!(slots.remove_if(b, |_| true), None);
        assert_eq!(
            (slots.at(a), slots.at(b), slots.at(c)),
            (Some(&"a"), None, Some(&"c"))
        );
        assert_eq!(slots.insert("d"), b);
        assert_eq!(
            slots.iter().map(|(slot, _)| slot).collect::<Vec<_>>(),
            [a, b, c]
        );
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn batches_meet_every_member_once() {
        let mut slots = Slots::new();
        let kept: Vec<u32> = (0..100).collect();
        for number in &kept {
            slots.insert(*number);
        }
        for slot in (0..100).step_by(3) {
            slots.remove_if(slot, |_| true);
        }
        let (mut met, mut from) = (Vec::new(), Some(0));
        while let Some(slot) = from {
            let mut batch = Vec::new();
            from = slots.batch(slot, 7, &mut batch);
            met.extend(batch);
        }
        assert_eq!(
            met,
            kept.into_iter().filter(|n| n % 3 != 0).collect::<Vec<_>>()
        );
    }
}

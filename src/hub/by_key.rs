//! How many request ids each key holds, while keys come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ids held under each key; a key may hold half of the memory when there are two keys or more.
#[derive(Default)]
pub(super) struct ByKey {
    /// Those of removed keys too, as long as ids of theirs are remembered.
    pub(super) held: HashMap<u32, Arc<AtomicUsize>>,
    /// Keys there are now.
    pub(super) keys: usize,
}

impl ByKey {
    /// The same for these keys, with what they and the removed ones hold.
    pub(super) fn of(&self, ids: impl IntoIterator<Item = u32>) -> Self {
        let in_use = |held: &Arc<AtomicUsize>| held.load(Ordering::Relaxed) > 0;
        let left = self.held.iter().filter(|(_, held)| in_use(held));
        let mut held: HashMap<_, _> = left.map(|(id, held)| (*id, Arc::clone(held))).collect();
        let mut keys = 0;
        for id in ids {
            keys += 1;
            let earlier = self.held.get(&id).map(Arc::clone);
            held.entry(id)
                .or_insert_with(|| earlier.unwrap_or_default());
        }
        Self { held, keys }
    }
}

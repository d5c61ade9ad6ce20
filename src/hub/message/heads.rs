//! What goes before a message's payload in encodings other than the native one.

use std::sync::OnceLock;

use smallvec::SmallVec;

use crate::wire::encoding::Encoding;

/// The first of the encodings in use, each with the next one.
#[derive(Default)]
pub(super) struct OtherHeads(OnceLock<Box<Other>>);

/// Heads in one encoding, by target: each is written for the first client that needs it.
///
/// What the history counts for a message stands for one such encoding, too.
struct Other {
    encoding: Encoding,
    heads: SmallVec<[OnceLock<Box<[u8]>>; 1]>,
    next: OtherHeads,
}

impl Other {
    fn new(encoding: Encoding, targets: usize) -> Box<Self> {
        Box::new(Self {
            encoding,
            heads: (0..targets).map(|_| OnceLock::new()).collect(),
            next: OtherHeads::default(),
        })
    }
}

impl OtherHeads {
    /// The head of target `index` of so many, written by `make` for the first who asks.
    pub(super) fn head(
        &self,
        encoding: Encoding,
        (index, targets): (u16, usize),
        make: impl FnOnce() -> Box<[u8]>,
    ) -> &[u8] {
        let mut others = self;
        loop {
            let other = others.0.get_or_init(|| Other::new(encoding, targets));
            if other.encoding == encoding {
                return other.heads[usize::from(index)].get_or_init(make);
            }
            others = &other.next;
        }
    }
}

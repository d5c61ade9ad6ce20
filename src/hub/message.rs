//! One accepted push, immutable and shared by the lanes that it was appended to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::lane::Lane;
use super::log::Target;
use crate::wire::frame::{Scope, push_header};

/// Length, type, number, scope and the length of the group's name.
const PUSH_HEADER_BYTES: usize = 15;

/// A message of the log. It is dropped with the last lane entry (or unsent remainder) that holds
/// it.
pub(crate) struct Message {
    /// The place in the log, from 1, of live and kept messages alike.
    pub(crate) seq: u64,
    /// When the gateway accepted it: age and latency count from here.
    pub(crate) accepted: Instant,
    draft: Draft,
    exceptions: Box<[Arc<Lane>]>,
    totals: Arc<Totals>,
}

/// The bytes of a message, encoded before the log's lock is taken.
pub(crate) struct Draft {
    /// For each target what goes before the payload; with one target, the payload too: one buffer
    /// is one plain write.
    heads: SmallVec<[Box<[u8]>; 1]>,
    payload: Box<[u8]>,
}

impl Draft {
    /// Encodes `payload` once, and a header for each of `targets`.
    pub(crate) fn new(targets: &[Target<'_>], payload: &[u8]) -> Self {
        let head = |target: &Target<'_>, extra: usize| {
            let (scope, name) = target.key();
            let group = if scope == Scope::Group { name } else { "" };
            let mut head = Vec::with_capacity(PUSH_HEADER_BYTES + group.len() + extra);
            push_header(&mut head, 0, scope, group, payload.len());
            head
        };
        if let [target] = targets {
            let mut whole = head(target, payload.len());
            whole.extend_from_slice(payload);
            return Self {
                heads: smallvec![whole.into_boxed_slice()],
                payload: Box::default(),
            };
        }
        let heads = targets
            .iter()
            .map(|target| head(target, 0).into_boxed_slice())
            .collect();
        Self {
            heads,
            payload: payload.into(),
        }
    }

    /// Bytes that the log holds for this message.
    pub(crate) fn weight(&self) -> u64 {
        let heads: usize = self.heads.iter().map(|head| head.len()).sum();
        (heads + self.payload.len()) as u64
    }
}

impl Message {
    pub(crate) fn new(
        seq: u64,
        accepted: Instant,
        draft: Draft,
        exceptions: Box<[Arc<Lane>]>,
        totals: Arc<Totals>,
    ) -> Self {
        totals.messages.fetch_add(1, Ordering::Relaxed);
        totals.bytes.fetch_add(draft.weight(), Ordering::Relaxed);
        Self {
            seq,
            accepted,
            draft,
            exceptions,
            totals,
        }
    }

    /// The frame under which target `index` receives the message, in two parts of which the second
    /// may be empty.
    pub(crate) fn frame(&self, index: u16) -> [&[u8]; 2] {
        [&self.draft.heads[usize::from(index)], &self.draft.payload]
    }

    /// Bytes of the frame under target `index`.
    pub(crate) fn frame_len(&self, index: u16) -> usize {
        self.draft.heads[usize::from(index)].len() + self.draft.payload.len()
    }

    /// The lanes whose members do not receive it, whatever else they match.
    pub(crate) fn exceptions(&self) -> &[Arc<Lane>] {
        &self.exceptions
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.totals.messages.fetch_sub(1, Ordering::Relaxed);
        self.totals
            .bytes
            .fetch_sub(self.draft.weight(), Ordering::Relaxed);
    }
}

/// What the log holds at this moment: the memory that clients which are behind, and walks on their
/// way, keep alive.
#[derive(Default)]
pub(crate) struct Totals {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Totals {
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

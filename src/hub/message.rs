//! One accepted push, immutable and shared by the lanes that it was appended to.

mod heads;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use self::heads::OtherHeads;
use super::collapse::CollapseKey;
use super::lane::{IsExcepted, Lane};
use super::log::Target;
use crate::sync::{Mutex, lock};
use crate::wire::encoding::{Encoding, Head};
use crate::wire::frame::{Scope, push_header};

/// Length, type, number, scope and the length of the group's name.
const PUSH_HEADER_BYTES: usize = 15;
/// Where the number stands in a frame: behind length and type.
const NUMBER_AT: usize = 5;
/// Behind the number.
const SCOPE_AT: usize = NUMBER_AT + 8;

/// A message of the log. It is dropped with the last lane entry (or unsent remainder) that holds
/// it.
pub(crate) struct Message {
    /// The place in the log, from 1, of live and kept messages alike.
    pub(crate) seq: u64,
    /// When the gateway accepted it: age and latency count from here.
    pub(crate) accepted: Instant,
    draft: Draft,
    exceptions: Box<[Named]>,
    /// What most live messages have not: they are neither kept nor collapse.
    more: Option<Box<More>>,
    totals: Arc<Totals>,
    /// What goes before the payload in other encodings, once somebody needs it.
    others: OtherHeads,
}

/// A target by name: an exception of a kept message holds whether its lane stands or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) scope: Scope,
    pub(crate) name: Box<str>,
}

/// What a kept message has, or one with a collapse key.
pub(crate) struct More {
    /// Where it is kept; `None` for a live one.
    pub(crate) kept: Option<Kept>,
    pub(crate) collapse: Option<Arc<CollapseKey>>,
    /// Sessions for which it was passed over while its walk was on the way; `None` when the walk is
    /// over.
    passed_over: Mutex<Option<HashSet<u64>>>,
    /// Of one session's share of a spread message.
    origin: Option<Origin>,
}

/// What one session's share of a spread message was taken from: what supersedes that in its lane
/// supersedes the share.
pub(crate) struct Origin {
    pub(crate) lane: Arc<Lane>,
    pub(crate) message: Arc<Message>,
}

/// What makes a message a kept one.
pub(crate) struct Kept {
    /// Counts up from 1 within an epoch.
    pub(crate) number: u64,
    /// From then on it is not sent any more.
    pub(crate) expires: Instant,
    /// Devices that have confirmed it.
    confirmed: AtomicU32,
    /// Counted among what the log holds: not kept any more, and still on its way.
    in_log: AtomicBool,
}

impl Kept {
    pub(crate) const fn new(number: u64, expires: Instant) -> Self {
        Self {
            number,
            expires,
            confirmed: AtomicU32::new(0),
            in_log: AtomicBool::new(false),
        }
    }

    pub(crate) fn confirm(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn confirmed(&self) -> u32 {
        self.confirmed.load(Ordering::Relaxed)
    }
}

impl More {
    pub(crate) fn new(kept: Option<Kept>, collapse: Option<Arc<CollapseKey>>) -> Box<Self> {
        Box::new(Self {
            kept,
            collapse,
            passed_over: Mutex::new(Some(HashSet::new())),
            origin: None,
        })
    }

    pub(crate) fn of_spread(origin: Origin) -> Box<Self> {
        Box::new(Self {
            kept: None,
            collapse: None,
            passed_over: Mutex::new(None),
            origin: Some(origin),
        })
    }
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

    /// One frame as it stands, of another message.
    pub(crate) fn whole(frame: [&[u8]; 2]) -> Self {
        Self {
            heads: smallvec![frame.concat().into_boxed_slice()],
            payload: Box::default(),
        }
    }

    /// Gives a kept message its number in every frame.
    pub(crate) fn set_number(&mut self, number: u64) {
        for head in &mut self.heads {
            head[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&number.to_be_bytes());
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
        exceptions: Box<[Named]>,
        more: Option<Box<More>>,
        totals: Arc<Totals>,
    ) -> Self {
        let message = Self {
            seq,
            accepted,
            draft,
            exceptions,
            more,
            totals,
            others: OtherHeads::default(),
        };
        if message.kept().is_none() {
            message.count_in_log();
        }
        message
    }

    fn count_in_log(&self) {
        self.totals.messages.fetch_add(1, Ordering::Relaxed);
        self.totals
            .bytes
            .fetch_add(self.draft.weight(), Ordering::Relaxed);
    }

    /// It is not kept any more; where somebody still waits for it, the log holds it from now on.
    pub(crate) fn leave_history(&self, is_awaited: bool) {
        if let (true, Some(kept)) = (is_awaited, self.kept()) {
            kept.in_log.store(true, Ordering::Relaxed);
            self.count_in_log();
        }
    }

    /// Its number; 0 for a live message.
    pub(crate) fn number(&self) -> u64 {
        self.kept().map_or(0, |kept| kept.number)
    }

    /// What makes it a kept one.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.more.as_ref()?.kept.as_ref()
    }

    pub(crate) fn collapse(&self) -> Option<&Arc<CollapseKey>> {
        self.more.as_ref()?.collapse.as_ref()
    }

    /// Whether it is too late to send it.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.kept().is_some_and(|kept| kept.expires <= now)
    }

    /// Whether something later stands in for what this is a share of.
    pub(crate) fn is_share_superseded(&self, is_excepted: IsExcepted<'_>) -> bool {
        let origin = self.more.as_ref().and_then(|more| more.origin.as_ref());
        origin.is_some_and(|origin| origin.lane.supersedes(&origin.message, is_excepted))
    }

    /// Targets that it was pushed to, as named.
    pub(crate) fn targets(&self) -> usize {
        self.draft.heads.len()
    }

    /// Bytes of its frames.
    pub(crate) fn weight(&self) -> u64 {
        self.draft.weight()
    }

    /// Notes for its walk that the session was passed by: it was expired or superseded.
    pub(crate) fn pass_over(&self, session: u64) {
        if let Some(more) = &self.more
            && let Some(passed_over) = &mut *lock(&more.passed_over)
        {
            passed_over.insert(session);
        }
    }

    pub(crate) fn is_passed_over(&self, session: u64) -> bool {
        self.more.as_ref().is_some_and(|more| {
            let passed_over = lock(&more.passed_over);
            passed_over
                .as_ref()
                .is_some_and(|all| all.contains(&session))
        })
    }

    /// Its walk is over: nobody asks any more who was passed over.
    pub(crate) fn walk_is_over(&self) {
        if let Some(more) = &self.more {
            *lock(&more.passed_over) = None;
        }
    }

    /// What target `index` is.
    pub(crate) fn scope(&self, index: u16) -> Scope {
        match self.draft.heads[usize::from(index)][SCOPE_AT] {
            code if code == Scope::User.code() => Scope::User,
            code if code == Scope::Group.code() => Scope::Group,
            _ => Scope::All,
        }
    }

    /// The name of target `index` where that is a group, else empty.
    pub(crate) fn group(&self, index: u16) -> &str {
        let native = &*self.draft.heads[usize::from(index)];
        let end = PUSH_HEADER_BYTES + usize::from(native[PUSH_HEADER_BYTES - 1]);
        std::str::from_utf8(&native[PUSH_HEADER_BYTES..end]).unwrap_or_default()
    }

    /// The native head for target `index`, and the payload.
    pub(crate) fn parts(&self, index: u16) -> [&[u8]; 2] {
        let native = &*self.draft.heads[usize::from(index)];
        let group = usize::from(native[PUSH_HEADER_BYTES - 1]);
        match native.split_at(PUSH_HEADER_BYTES + group) {
            (head, []) => [head, &self.draft.payload],
            (head, behind) => [head, behind],
        }
    }

    /// The frame under which target `index` receives the message, in two parts of which the second
    /// may be empty.
    pub(crate) fn frame(&self, encoding: Encoding, index: u16) -> [&[u8]; 2] {
        let native = &*self.draft.heads[usize::from(index)];
        if encoding == Encoding::Native {
            return [native, &self.draft.payload];
        }
        let [_, payload] = self.parts(index);
        let head = self.others.head(encoding, (index, self.targets()), || {
            let push = Head {
                number: self.number(),
                scope: self.scope(index),
                group: self.group(index),
                payload_len: payload.len(),
            };
            let mut head = Vec::new();
            encoding.put_head(&mut head, &push);
            head.into_boxed_slice()
        });
        [head, payload]
    }

    /// Bytes of the frame under target `index`.
    pub(crate) fn frame_len(&self, encoding: Encoding, index: u16) -> usize {
        self.frame(encoding, index).map(<[u8]>::len).iter().sum()
    }

    /// Bytes of the payload.
    pub(crate) fn payload_len(&self) -> usize {
        let native = &*self.draft.heads[0];
        let header = PUSH_HEADER_BYTES + usize::from(native[PUSH_HEADER_BYTES - 1]);
        native.len() - header + self.draft.payload.len()
    }

    /// Whose members do not receive it, whatever else they match.
    pub(crate) fn exceptions(&self) -> &[Named] {
        &self.exceptions
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if self
            .kept()
            .is_some_and(|kept| !kept.in_log.load(Ordering::Relaxed))
        {
            return;
        }
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

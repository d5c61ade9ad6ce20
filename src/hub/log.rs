//! The one order of everything: a message takes its place, goes to its lanes, and only then the
//! head moves.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::collapse::CollapseKey;
use super::history::History;
use super::lane::{Lane, State};
use super::message::{Draft, Kept, Message, More, Named, Totals};
use super::shelf::Floor;
use super::walk::{Reached, Walk};
use super::{Hub, Options};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wire::frame::Scope;

/// Clients that one push may cost their place at the memory budget.
const VICTIMS_MAX: usize = 8;

/// The head, and the lock under which it moves and lanes get and lose members.
pub(super) struct Log {
    /// The place of the newest message, published when it stands in all its lanes.
    head: AtomicU64,
    /// The number of the newest kept message, published before the head that includes it.
    number: AtomicU64,
    append: Mutex<History>,
    pub(super) totals: Arc<Totals>,
}

/// Holding it, the head stands still, and so does what is kept.
pub(super) type Still<'a> = MutexGuard<'a, History>;

impl Log {
    pub(super) fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            number: AtomicU64::new(0),
            append: Mutex::new(History::default()),
            totals: Arc::default(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The number of the newest kept message. Whoever reads it before the head and is level there
    /// has been sent all that there is up to it.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Takes a new place for a message that stands in no lane yet.
    pub(super) fn publish(&self, _: &Still<'_>) -> u64 {
        let seq = self.head() + 1;
        self.head.store(seq, Ordering::Release);
        seq
    }

    pub(super) fn still(&self) -> Still<'_> {
        lock(&self.append)
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// Every session.
    All,
    /// The sessions of a user.
    User(&'a str),
    /// The members of a group.
    Group(&'a str),
}

impl<'a> Target<'a> {
    /// The target of a scope and a name, which counts for nothing where the scope is all.
    pub const fn of(scope: Scope, name: &'a str) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::User => Self::User(name),
            Scope::Group => Self::Group(name),
        }
    }

    pub(super) const fn key(self) -> (Scope, &'a str) {
        match self {
            Self::All => (Scope::All, ""),
            Self::User(name) => (Scope::User, name),
            Self::Group(name) => (Scope::Group, name),
        }
    }
}

/// What is to be appended. Names are valid, targets at most 65,535.
#[derive(Clone, Copy, Debug, Default)]
pub struct Push<'a> {
    /// Whom it is for; a session receives it under the first that it matches.
    pub targets: &'a [Target<'a>],
    /// Who does not receive it all the same.
    pub exceptions: &'a [Target<'a>],
    /// The bytes to deliver.
    pub payload: &'a [u8],
    /// How long it is kept for those who are not connected; `None`: it is live.
    pub ttl: Option<Duration>,
    /// The key under which it supersedes earlier ones, with the id of the service's.
    pub collapse: Option<(u32, &'a [u8])>,
}

/// A message that has its place, on its way.
pub enum Appended {
    /// None of the targets has a session; the number under which it is kept, or 0.
    Nobody(u64),
    /// To be walked to its end.
    Walk(Walk),
}

impl Appended {
    fn of(message: Arc<Message>, reached: SmallVec<[Reached; 1]>) -> Self {
        match reached.is_empty() {
            true => Self::Nobody(message.number()),
            false => Self::Walk(Walk::new(message, reached)),
        }
    }
}

/// A push that came through the store.
pub struct Placed {
    /// Its place.
    pub(super) appended: Appended,
    /// False for one that was to be kept and went out as a live one.
    pub(super) is_kept: bool,
}

impl Placed {
    pub(super) const fn nowhere() -> Self {
        Self {
            appended: Appended::Nobody(0),
            is_kept: false,
        }
    }
}

/// Why nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A large part of a target's members is behind.
    #[error("a large part of a target's members is behind")]
    Congested,
    /// What waits for walks fills the memory budget.
    #[error("messages that are on their way fill the memory budget")]
    Budget,
}

impl Hub {
    /// Gives `push` its place in the log. The walk that it returns owes every member of the targets
    /// a visit.
    ///
    /// # Errors
    /// When the sender is too fast: nothing was done.
    pub fn append(&self, push: &Push<'_>, now: Instant) -> Result<Appended, Refused> {
        let mut draft = Some(Draft::new(push.targets, push.payload));
        let weight = draft.as_ref().map_or(0, Draft::weight);
        for _ in 0..VICTIMS_MAX {
            let mut still = self.log.still();
            let mut reached = self.reach(push)?;
            if push.ttl.is_none() {
                if reached.is_empty() {
                    return Ok(Appended::Nobody(0));
                }
                if self.log.totals.bytes() + weight > self.options().memory_budget {
                    drop(still);
                    self.close_furthest_behind()?;
                    continue;
                }
            }
            let Some(draft) = draft.take() else { break };
            let message = self.place(push, draft, &mut reached, &mut still, now);
            drop(still);
            return Ok(Appended::of(message, reached));
        }
        Err(Refused::Budget)
    }

    /// Whether a push would be taken now.
    ///
    /// # Errors
    /// When the sender is too fast.
    pub(super) fn admits(&self, push: &Push<'_>) -> Result<(), Refused> {
        let _still = self.log.still();
        self.reach(push).map(drop)
    }

    /// Gives `push` its place whatever stands against it: it was asked before, and the store has
    /// it.
    pub(super) fn append_unasked(&self, push: &Push<'_>, now: Instant) -> Appended {
        let draft = Draft::new(push.targets, push.payload);
        let mut still = self.log.still();
        let mut reached = self.members_of(push, |_| true).unwrap_or_default();
        if push.ttl.is_none() && reached.is_empty() {
            return Appended::Nobody(0);
        }
        let message = self.place(push, draft, &mut reached, &mut still, now);
        drop(still);
        Appended::of(message, reached)
    }

    fn place(
        &self,
        push: &Push<'_>,
        draft: Draft,
        reached: &mut [Reached],
        still: &mut Still<'_>,
        now: Instant,
    ) -> Arc<Message> {
        let message = self.message(push, draft, still, now);
        for reached in reached {
            reached.previous = reached.lane.append(reached.index, &message);
        }
        if push.ttl.is_some() {
            let lanes = self.shelves(push, still);
            self.keep(still, &message, lanes, now);
            self.log.number.store(message.number(), Ordering::Release);
        }
        self.log.publish(still);
        message
    }

    /// The number of the next kept message, for the one who gives them out.
    pub(super) fn next_number(&self) -> u64 {
        self.log.still().number + 1
    }

    /// The next number, and up to which one messages were dropped, until when that matters.
    pub(super) fn go_on_from(&self, next: u64, (dropped, until): (u64, Instant)) {
        let mut still = self.log.still();
        still.number = still.number.max(next.saturating_sub(1));
        let (number, until) = (dropped, Some(until));
        still.floor.raise(Floor {
            number,
            seq: 0,
            until,
        });
        self.log.number.store(still.number, Ordering::Release);
    }

    /// The message at the place behind the head; a kept one takes its number.
    pub(super) fn message(
        &self,
        push: &Push<'_>,
        mut draft: Draft,
        still: &mut Still<'_>,
        now: Instant,
    ) -> Arc<Message> {
        let exceptions = push.exceptions.iter().map(|target| {
            let (scope, name) = target.key();
            let name = name.into();
            Named { scope, name }
        });
        let kept = push.ttl.map(|ttl| {
            still.number += 1;
            draft.set_number(still.number);
            Kept::new(still.number, now + ttl)
        });
        let collapse = push.collapse.map(|(key_id, bytes)| {
            Arc::new(CollapseKey {
                key_id,
                kept: kept.is_some(),
                bytes: bytes.into(),
            })
        });
        let more = (kept.is_some() || collapse.is_some()).then(|| More::new(kept, collapse));
        let (seq, totals) = (self.log.head() + 1, Arc::clone(&self.log.totals));
        Arc::new(Message::new(
            seq,
            now,
            draft,
            exceptions.collect(),
            more,
            totals,
        ))
    }

    /// The lanes of a kept push, made where nobody is connected. A target named twice counts once.
    fn shelves(&self, push: &Push<'_>, still: &Still<'_>) -> SmallVec<[(u16, Arc<Lane>); 1]> {
        let mut lanes = SmallVec::<[(u16, Arc<Lane>); 1]>::new();
        let mut named = HashSet::new();
        for (index, target) in (0..).zip(push.targets) {
            let (scope, name) = target.key();
            let lane = self.registry.find_or_make(still, scope, name);
            if push.targets.len() == 1 || named.insert(Arc::as_ptr(&lane)) {
                lanes.push((index, lane));
            }
        }
        lanes
    }

    /// The lanes of a push that have members, under the log's lock; an error where one of them has
    /// too many that are behind.
    pub(super) fn reach(&self, push: &Push<'_>) -> Result<SmallVec<[Reached; 1]>, Refused> {
        let Options {
            queue_messages,
            queue_bytes,
            ..
        } = self.options();
        self.members_of(push, |state| {
            !state.is_congested() && !state.is_flooded(queue_messages, queue_bytes)
        })
        .ok_or(Refused::Congested)
    }

    fn members_of(
        &self,
        push: &Push<'_>,
        is_open: impl Fn(&State) -> bool,
    ) -> Option<SmallVec<[Reached; 1]>> {
        let mut lanes = SmallVec::<[Reached; 1]>::new();
        // A target named twice counts once.
        let mut named = HashSet::new();
        for (index, target) in (0..).zip(push.targets) {
            let (scope, name) = target.key();
            let Some(lane) = self.registry.find(scope, name) else {
                continue;
            };
            if push.targets.len() > 1 && !named.insert(Arc::as_ptr(&lane)) {
                continue;
            }
            let state = lane.lock();
            if !is_open(&state) {
                return None;
            }
            let is_empty = state.members.is_empty();
            drop(state);
            if !is_empty {
                lanes.push(Reached {
                    lane,
                    index,
                    previous: 0,
                });
            }
        }
        Some(lanes)
    }

    /// Makes room in the memory budget: who is furthest behind goes first. An error where that
    /// gives nothing back: what fills it then is on its way, and the sender has to wait.
    fn close_furthest_behind(&self) -> Result<(), Refused> {
        let victim = {
            let all = self.registry.all.lock();
            all.furthest_behind().and_then(|(slot, id)| {
                all.members
                    .at(slot)
                    .filter(|session| session.id() == id)
                    .cloned()
            })
        };
        let victim = victim.ok_or(Refused::Budget)?;
        let before = self.log.totals.bytes();
        self.close(
            &*victim,
            self.slow("slow consumer: furthest behind at the budget"),
        );
        match self.log.totals.bytes() < before {
            true => Ok(()),
            false => Err(Refused::Budget),
        }
    }
}

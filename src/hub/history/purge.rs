//! Taking messages out of the history before their time, since somebody wants it.
//!
//! A purge goes in steps, between which the log's lock is free, and takes what was kept when it
//! began: what is pushed meanwhile stays. A message that was pushed to others too stays for them.
//! What is on its way to somebody who is connected still arrives there.

use std::sync::Arc;

use smallvec::SmallVec;

use super::weight;
use crate::hub::Hub;
use crate::hub::lane::Lane;
use crate::hub::log::Still;
use crate::hub::message::{Message, Named};
use crate::metrics::Gone;
use crate::wire::datagram::{Target, put_targets};
use crate::wire::frame::Scope;

type Lanes = SmallVec<[Arc<Lane>; 1]>;

/// Whose kept messages are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of one user or group; of all, where the scope is that.
    Target(Scope, Box<str>),
    /// Those of every target of a scope.
    Scope(Scope),
    /// Everything.
    Everything,
}

impl Whose {
    fn is(&self, lane: &Lane) -> bool {
        match self {
            Self::Target(scope, name) => lane.scope == *scope && *lane.name == **name,
            Self::Scope(scope) => lane.scope == *scope,
            Self::Everything => true,
        }
    }
}

/// A purge that is under way.
#[derive(Debug)]
pub(in crate::hub) struct Purge {
    whose: Whose,
    /// The place up to which it has come, and the last one that it goes to.
    after: u64,
    upto: u64,
    /// Messages that were taken from somebody.
    pub(in crate::hub) removed: u64,
}

/// What the disk is to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Erased {
    pub(in crate::hub) number: u64,
    /// `None`: all of it. Otherwise it stays, for these targets alone, as the store has them.
    pub(in crate::hub) targets: Option<Box<[u8]>>,
}

impl Hub {
    /// Begins a purge of what is kept now.
    pub(in crate::hub) fn begin_purge(&self, whose: Whose) -> Purge {
        Purge {
            whose,
            after: 0,
            upto: self.log.head(),
            removed: 0,
        }
    }

    /// Looks at up to `max` messages, and takes away what is meant; true when there are no more.
    pub(in crate::hub) fn step_purge(
        &self,
        purge: &mut Purge,
        max: usize,
        erased: &mut Vec<Erased>,
    ) -> bool {
        let mut still = self.log.still();
        let range = (purge.after, purge.upto);
        let mut places = Vec::new();
        let end = match &purge.whose {
            Whose::Target(scope, name) => {
                let lane = self.registry.find(*scope, name);
                lane.and_then(|lane| {
                    let state = lane.lock();
                    let shelf = state.shelf.as_ref()?;
                    shelf.step(range, max, |message| places.push(message.seq))
                })
            }
            Whose::Scope(_) | Whose::Everything => {
                still.step(range, max, |entry| places.push(entry.message.seq))
            }
        };
        for seq in places {
            if let Some(gone) = self.take_off(&mut still, seq, &purge.whose) {
                purge.removed += 1;
                erased.push(gone);
            }
        }
        purge.after = end.unwrap_or(purge.upto);
        end.is_none()
    }

    /// Takes a message off the shelves that are meant; `None` where it stands on none of them.
    fn take_off(&self, still: &mut Still<'_>, seq: u64, whose: &Whose) -> Option<Erased> {
        let at = still.slot(seq)?;
        let entry = still.order[at].entry.as_mut()?;
        let number = entry.message.number();
        let is_meant = |lane: &Arc<Lane>| whose.is(lane);
        let (gone, left): (Lanes, Lanes) = entry.lanes.iter().cloned().partition(is_meant);
        if gone.is_empty() {
            return None;
        }
        if left.is_empty() {
            self.drop_kept(still, seq, Gone::Purged);
            return Some(Erased {
                number,
                targets: None,
            });
        }
        let targets = Some(written(&left, &entry.message));
        let weight = weight(&entry.message, left.len() as u64);
        let less = entry.weight - weight;
        entry.weight = weight;
        entry.lanes = left;
        still.bytes -= less;
        for lane in &gone {
            self.take_from(still, lane, seq, None);
        }
        Some(Erased { number, targets })
    }
}

/// Whom a message is for and who does not receive it, as they stand in a datagram.
fn written(lanes: &[Arc<Lane>], message: &Message) -> Box<[u8]> {
    let to = lanes.iter().map(|lane| match lane.scope {
        Scope::All => Target::All,
        Scope::User => Target::User(&lane.name),
        Scope::Group => Target::Group(&lane.name),
    });
    let mut targets: Vec<Target<'_>> = to.collect();
    for named in message.exceptions() {
        let Named { scope, name } = named;
        targets.push(match scope {
            Scope::Group => Target::ExceptGroup(name),
            Scope::User | Scope::All => Target::ExceptUser(name),
        });
    }
    let mut bytes = Vec::new();
    put_targets(&mut bytes, &targets);
    bytes.into_boxed_slice()
}

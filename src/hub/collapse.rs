//! Which messages of a lane a newer one with the same collapse key stands in for.
//!
//! A message supersedes earlier ones of its key for the sessions that it addresses. Where it
//! excepts nobody, that is every member of the lane, and the earlier ones are marked at once. Where
//! it has exceptions, those who are excepted still receive the earlier ones, so what stands in for
//! which is asked for each session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::message::Message;

/// What messages must have in common to supersede each other, besides the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CollapseKey {
    /// Of the service that pushed.
    pub(crate) key_id: u32,
    /// Live messages supersede live ones, kept ones kept ones.
    pub(crate) kept: bool,
    /// Chosen by the service; at least one byte.
    pub(crate) bytes: Box<[u8]>,
}

/// The messages with a collapse key that may stand in for others of a lane.
#[derive(Default)]
pub(crate) struct Collapse {
    by_key: HashMap<Arc<CollapseKey>, Vec<Later>>,
}

/// One of them, in the order of their places.
struct Later {
    message: Arc<Message>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It stands in the lane.
    Here,
    /// A spread one on its way: it does not stand in the lane, and those that it meets late may ask
    /// what has come since.
    Spreading,
    /// A spread one that is over: those of the lane that came before it may still wait.
    Spread,
    /// Gone from the lane, and asked for by a spread one before it.
    Gone,
}

impl Collapse {
    /// Notes a message that comes to the lane, and tells the places of those that it supersedes for
    /// everybody.
    pub(crate) fn push(&mut self, message: &Arc<Message>, spreading: bool) -> Vec<u64> {
        let Some(key) = message.collapse() else {
            return Vec::new();
        };
        let later = self.by_key.entry(Arc::clone(key)).or_default();
        let mut superseded = Vec::new();
        if message.exceptions().is_empty() && !spreading {
            later.retain(|earlier| {
                let stays =
                    earlier.state == State::Spreading || !stands_in(message, &earlier.message);
                if !stays && earlier.state == State::Here {
                    superseded.push(earlier.message.seq);
                }
                stays
            });
        }
        let state = if spreading {
            State::Spreading
        } else {
            State::Here
        };
        later.push(Later {
            message: Arc::clone(message),
            state,
        });
        superseded
    }

    /// Whether one that came later stands in for `message` at a session, of which `is_excepted`
    /// tells whether a message passes it by.
    pub(crate) fn is_superseded(
        &self,
        message: &Message,
        is_excepted: &dyn Fn(&Message) -> bool,
    ) -> bool {
        let later = message.collapse().and_then(|key| self.by_key.get(key));
        // The newest first: most often it decides.
        later.is_some_and(|later| {
            later
                .iter()
                .rev()
                .take_while(|later| later.message.seq > message.seq)
                .any(|later| stands_in(&later.message, message) && !is_excepted(&later.message))
        })
    }

    /// The message at `seq` has left the lane, or its spread is over.
    pub(crate) fn remove(&mut self, key: &Arc<CollapseKey>, seq: u64) {
        let Some(later) = self.by_key.get_mut(key) else {
            return;
        };
        if let Some(gone) = later.iter_mut().find(|later| later.message.seq == seq) {
            gone.state = match gone.state {
                State::Here | State::Gone => State::Gone,
                State::Spreading | State::Spread => State::Spread,
            };
        }
        // What is gone stays as long as something before it may ask what came since.
        let (mut here, mut spreading) = (false, false);
        later.retain(|later| {
            here |= later.state == State::Here;
            spreading |= later.state == State::Spreading;
            match later.state {
                State::Here | State::Spreading => true,
                State::Spread => here || spreading,
                State::Gone => spreading,
            }
        });
        if later.is_empty() {
            self.by_key.remove(key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

/// A kept message stands in for one that expires no later; a live one for any.
fn stands_in(newer: &Message, older: &Message) -> bool {
    let expires =
        |message: &Message| -> Option<Instant> { message.kept().map(|kept| kept.expires) };
    expires(older) <= expires(newer)
}

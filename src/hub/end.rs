//! What was ahead of a session when it ended.
//!
//! A session is taken out of its lanes by whoever closes it, and they are all that knows how far
//! behind it was. So this is noted on the way out, for its own task to tell.

use std::time::Instant;

use super::lane::Lag;
use super::session::Session;

/// What did not reach a session any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Messages. One that two of its lanes held counts twice.
    pub messages: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Instant>,
}

impl From<Lag> for Ahead {
    fn from(lag: Lag) -> Self {
        Self {
            messages: lag.messages,
            bytes: lag.bytes,
            oldest: lag.oldest,
        }
    }
}

impl<S: ?Sized> Session<S> {
    /// Whether there is a cause to end it.
    pub fn is_closing(&self) -> bool {
        self.lock().closing.is_some()
    }

    /// What was ahead of it when it got its cause to end; nothing before that.
    pub fn ahead_at_end(&self) -> Ahead {
        let inner = self.lock();
        let aside = inner.aside.as_ref();
        let ahead = aside.and_then(|aside| aside.at_end.as_deref());
        ahead.copied().unwrap_or_default()
    }
}

//! What a session has of a lane that it is in, or was in.

use std::sync::Arc;

use super::lane::Lane;

/// Membership of one lane.
pub(super) struct Handle {
    pub(super) lane: Arc<Lane>,
    /// The head at the join, or the place at which the session resumed: only later messages count.
    pub(super) from: u64,
    pub(super) slot: u32,
    /// The lane is this session's alone, for its share of a spread message.
    pub(super) own: bool,
    /// What comes there is not for the session, which is in the lane all the same: as one of its
    /// user's, or of all.
    pub(super) muted: bool,
}

impl Handle {
    /// Whether what stands at `seq` of the lane is for the session.
    pub(super) const fn is_for(&self, seq: u64) -> bool {
        !self.muted && self.from < seq
    }
}

/// A membership that has ended.
pub(super) struct Departed {
    pub(super) lane: Arc<Lane>,
    pub(super) from: u64,
    /// The head at the leave.
    pub(super) until: u64,
}

/// Memberships of one session that may end while something is ahead of it: as many as it may be
/// behind by, at 24 bytes each. A client that goes on leaving and joining is cut.
pub(super) const DEPARTED_MAX: usize = 1024;

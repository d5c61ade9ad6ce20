//! What a client brings when it comes in, and why it may not.

use super::replay::Resume;
use crate::wire::frame::GatewayFrame;
use crate::wire::reason::CloseCode;

/// A client that has said HELLO and may come in.
#[derive(Clone, Copy, Default)]
pub struct Attach<'a> {
    /// Who it is.
    pub user: &'a str,
    /// Which of the user's devices.
    pub device: &'a str,
    /// The groups to be in from the first message on, valid and allowed.
    pub groups: &'a [&'a str],
    /// Frames to send after WELCOME and JOINED.
    pub refused: &'a [GatewayFrame<'a>],
    /// The heartbeat interval agreed on, in seconds.
    pub heartbeat_s: u16,
    /// Where it says that it was, if it wants to go on from there.
    pub resume: Option<Resume>,
    /// What is not for it until it asks.
    pub muted: Muted,
    /// Groups to be in as well, if it goes on from there.
    pub resumed_groups: &'a [&'a str],
    /// Unless it goes on from there, it is in none of those, and everything is muted.
    pub or_anew: bool,
}

/// Which of the lanes that every session is in are not for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// What is pushed to its user.
    pub user: bool,
    /// What is pushed to everyone.
    pub all: bool,
}

impl Muted {
    /// Both.
    pub const ALL: Self = Self {
        user: true,
        all: true,
    };
}

/// Why a client did not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// A newer connection of the same device was faster.
    #[error("a newer connection of the same device is attached")]
    Replaced,
    /// The user has as many devices as allowed.
    #[error("the user has {0} devices connected")]
    TooManyDevices(usize),
}

impl AttachError {
    /// What the client is told.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Replaced => "replaced by a newer connection of the same device",
            Self::TooManyDevices(_) => "too many devices",
        }
    }

    /// The code of the CLOSE that tells it.
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Replaced => CloseCode::Replaced,
            Self::TooManyDevices(_) => CloseCode::TooMany,
        }
    }
}

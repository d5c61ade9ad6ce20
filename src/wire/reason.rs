//! Why something ended or was refused: closed lists. One variant is one code on the wire, one
//! metric label and one word in the log.

closed_list! {
    /// Why the gateway closes a connection or refuses a frame, as CLOSE and REFUSED carry it
    /// (protocol, section 2).
    CloseCode: u16 {
        /// The gateway is shutting down; come back after `retry_after_ms`.
        Draining = 1 "draining",
        /// A newer connection of the same user and device took over; do not come back.
        Replaced = 2 "replaced",
        /// A business service ended the session.
        Kicked = 3 "kicked",
        /// The client fell behind further than its bounds allow.
        Slow = 4 "slow",
        /// No whole frame arrived for 2.5 heartbeats.
        Heartbeat = 5 "heartbeat",
        /// A malformed frame, or one out of order.
        Protocol = 6 "protocol",
        /// Not authenticated, or not allowed.
        Auth = 7 "auth",
        /// The token has expired.
        Expired = 8 "expired",
        /// Too many connections, devices, groups or attempts.
        TooMany = 9 "too_many",
        /// The handshake, or a frame once begun, took too long.
        HandshakeTimeout = 10 "handshake_timeout",
    }
}

/// `retry_after_ms` of a CLOSE after which a client must not come back as it is.
pub const RETRY_NEVER: u32 = 0xFFFF_FFFF;

/// How a connection ended: the label of `pushgate_connections_closed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The gateway closed it with this code.
    Code(CloseCode),
    /// The client closed its side without a BYE.
    Eof,
    /// The client, or the network, reset it.
    Reset,
    /// The client said BYE.
    Bye,
    /// Another error of the socket.
    Io,
    /// The connection's task panicked: our bug.
    Panic,
}

impl CloseReason {
    /// Every reason: the close codes in their order, then the endings without a code.
    pub const ALL: [Self; 15] = [
        Self::Code(CloseCode::Draining),
        Self::Code(CloseCode::Replaced),
        Self::Code(CloseCode::Kicked),
        Self::Code(CloseCode::Slow),
        Self::Code(CloseCode::Heartbeat),
        Self::Code(CloseCode::Protocol),
        Self::Code(CloseCode::Auth),
        Self::Code(CloseCode::Expired),
        Self::Code(CloseCode::TooMany),
        Self::Code(CloseCode::HandshakeTimeout),
        Self::Eof,
        Self::Reset,
        Self::Bye,
        Self::Io,
        Self::Panic,
    ];

    /// The lower-case word of the metric label and the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Code(code) => code.word(),
            Self::Eof => "eof",
            Self::Reset => "reset",
            Self::Bye => "bye",
            Self::Io => "io",
            Self::Panic => "panic",
        }
    }

    /// The place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Code(code) => code.index(),
            Self::Eof => 10,
            Self::Reset => 11,
            Self::Bye => 12,
            Self::Io => 13,
            Self::Panic => 14,
        }
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self::Code(code)
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

closed_list! {
    /// What became of a service's request, as its reply says (protocol, section 3).
    Status: u8 {
        /// The job has ended; the counts are those of that moment.
        Done = 0 "done",
        /// The job is running; the counts are those so far.
        Accepted = 1 "accepted",
        /// The deadline passed before the job ended; the job goes on.
        Timeout = 2 "timeout",
        /// A bound was reached; nothing was done.
        Busy = 3 "busy",
        /// Authentic but malformed, or a known id with other bytes; nothing was done.
        BadRequest = 4 "bad_request",
        /// The key may not do this; nothing was done.
        Denied = 5 "denied",
        /// The time is outside the window; this datagram did nothing.
        Stale = 6 "stale",
        /// The gateway is shutting down; nothing was done.
        Draining = 7 "draining",
        /// The message could not be stored and was sent as a live one.
        NotKept = 8 "not_kept",
    }
}

/// Why a datagram was dropped without an answer, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RejectCause {
    /// Its length is not that of a datagram: under 64 bytes, or over 65,507.
    #[error("length outside 64 to 65507 bytes")]
    Short,
    /// It does not begin with `PG`.
    #[error("no magic PG")]
    Magic,
    /// Its version is not 1.
    #[error("version is not 1")]
    Version,
    /// Its op is not one of a request (or, for a sender, of a reply).
    #[error("unknown op")]
    Op,
    /// Its key is not known, or not valid now.
    #[error("unknown key")]
    Key,
    /// Too many wrong MACs have come from its source for this one to be computed too.
    #[error("source has sent too much that was not authentic")]
    Source,
    /// Its MAC is not the one of its bytes under its key.
    #[error("wrong mac")]
    Mac,
    /// It is unsigned where that is not accepted, or neither signed nor properly unsigned.
    #[error("unsigned")]
    Unsigned,
}

impl RejectCause {
    /// Every cause, in the order of the checks.
    pub const ALL: [Self; 8] = [
        Self::Short,
        Self::Magic,
        Self::Version,
        Self::Op,
        Self::Key,
        Self::Source,
        Self::Mac,
        Self::Unsigned,
    ];

    /// The lower-case word of the metric label and the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Magic => "magic",
            Self::Version => "version",
            Self::Op => "op",
            Self::Key => "key",
            Self::Source => "source",
            Self::Mac => "mac",
            Self::Unsigned => "unsigned",
        }
    }

    /// The place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::datagram::{Op, ReplyMode};
    use crate::wire::frame::Scope;

    /// The list has these words under codes that count up from `first`, and no other code.
    macro_rules! check {
        ($list:ident, first $first:literal, $($word:literal)+) => {
            let words = [$($word),+];
            assert_eq!($list::ALL.map($list::word), words);
            for (index, value) in $list::ALL.into_iter().enumerate() {
                assert_eq!(value.index(), index);
                assert_eq!(usize::from(value.code()), index + $first);
                assert_eq!($list::from_code(value.code()), Some(value));
                assert_eq!(value.to_string(), words[index]);
            }
            let known = (0..=255).filter(|code| $list::from_code(*code).is_some()).count();
            assert_eq!(known, words.len(), "codes beyond those of the list are unknown");
        };
    }

    #[test]
    fn closed_lists_hold_the_codes_and_words_of_the_protocol() {
        check!(CloseCode, first 1, "draining" "replaced" "kicked" "slow" "heartbeat" "protocol"
            "auth" "expired" "too_many" "handshake_timeout");
        check!(Status, first 0, "done" "accepted" "timeout" "busy" "bad_request" "denied" "stale"
            "draining" "not_kept");
        check!(Op, first 1, "push" "join" "leave" "kick" "presence" "ping");
        check!(Scope, first 0, "all" "user" "group");
        check!(ReplyMode, first 0, "one" "none" "two");
    }

    #[test]
    fn a_close_code_is_not_taken_for_its_low_byte() {
        assert_eq!(CloseCode::from_code(0x0101), None);
    }

    #[test]
    fn close_reasons_are_the_close_codes_and_the_endings_without_one() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason}");
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseReason::ALL[code.index()], CloseReason::from(code));
            assert_eq!(CloseReason::from(code).word(), code.word());
        }
        let words = CloseReason::ALL.map(CloseReason::word);
        assert_eq!(
            words[CloseCode::ALL.len()..],
            ["eof", "reset", "bye", "io", "panic"]
        );
    }

    #[test]
    fn reject_causes_have_the_words_of_the_protocol() {
        let words = [
            "short", "magic", "version", "op", "key", "source", "mac", "unsigned",
        ];
        assert_eq!(RejectCause::ALL.map(RejectCause::word), words);
        assert_eq!(
            RejectCause::ALL.map(RejectCause::index),
            [0, 1, 2, 3, 4, 5, 6, 7]
        );
    }
}

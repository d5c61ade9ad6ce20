//! What a label of a metric may say: closed lists.

use crate::wire::datagram::Op;

/// What became of a message at one session that it was due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel has taken all of it.
    Written,
    /// Its ttl ended first.
    Expired,
    /// A newer one with its collapse key took its place.
    Superseded,
    /// A replaying session did not reach it in time, or it was dropped at a bound.
    Skipped,
    /// The session left the group it was addressed to.
    Left,
    /// The session was cut as a slow consumer with this ahead of it.
    Slow,
    /// The session ended for another reason with this ahead of it.
    Closed,
}

impl Outcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 7] = [
        Self::Written,
        Self::Expired,
        Self::Superseded,
        Self::Skipped,
        Self::Left,
        Self::Slow,
        Self::Closed,
    ];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
            Self::Left => "left",
            Self::Slow => "slow",
            Self::Closed => "closed",
        }
    }
}

/// What an authentic request asked for: what a datagram can, and what only HTTP can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpLabel {
    /// An op of datagrams.
    Op(Op),
    /// A look at what is kept.
    History,
    /// Its removal.
    Purge,
}

impl OpLabel {
    /// Every one, in the order of its index.
    pub fn all() -> impl Iterator<Item = Self> {
        let ops = Op::ALL.into_iter().map(Self::Op);
        ops.chain([Self::History, Self::Purge])
    }

    /// Its place among all.
    pub const fn index(self) -> usize {
        match self {
            Self::Op(op) => op.index(),
            Self::History => Op::ALL.len(),
            Self::Purge => Op::ALL.len() + 1,
        }
    }

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Op(op) => op.word(),
            Self::History => "history",
            Self::Purge => "purge",
        }
    }
}

impl From<Op> for OpLabel {
    fn from(op: Op) -> Self {
        Self::Op(op)
    }
}

/// Why a message is not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its ttl ended.
    Expired,
    /// A newer one with its collapse key stands in for it.
    Superseded,
    /// A bound of the history was passed before its ttl ended.
    Dropped,
    /// Somebody had it removed.
    Purged,
}

impl Gone {
    /// Every cause, in the order of its index.
    pub const ALL: [Self; 4] = [Self::Expired, Self::Superseded, Self::Dropped, Self::Purged];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Dropped => "dropped",
            Self::Purged => "purged",
        }
    }
}

/// What an accept loop was refused by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// No descriptor left in this process.
    Emfile,
    /// None left in the system.
    Enfile,
    /// No buffer space.
    Enobufs,
    /// No memory.
    Enomem,
    /// Anything else.
    Other,
}

impl AcceptError {
    /// Every kind, in the order of its index.
    pub const ALL: [Self; 5] = [
        Self::Emfile,
        Self::Enfile,
        Self::Enobufs,
        Self::Enomem,
        Self::Other,
    ];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Emfile => "emfile",
            Self::Enfile => "enfile",
            Self::Enobufs => "enobufs",
            Self::Enomem => "enomem",
            Self::Other => "other",
        }
    }

    /// The kind of an error that `accept` gave.
    pub fn of(error: &std::io::Error) -> Self {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => Self::Emfile,
            Some(Errno::NFILE) => Self::Enfile,
            Some(Errno::NOBUFS) => Self::Enobufs,
            Some(Errno::NOMEM) => Self::Enomem,
            _ => Self::Other,
        }
    }

    /// Whether it is a lack of something that only time brings back; a peer that went away while it
    /// waited to be accepted is not.
    pub const fn is_shortage(self) -> bool {
        !matches!(self, Self::Other)
    }
}

/// What a reload of the configuration came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// Something holds now that did not before.
    Applied,
    /// Nothing of what can be changed was another than before.
    Unchanged,
    /// Nothing was changed: the file cannot be run, or a reload was not possible.
    Refused,
}

impl ReloadResult {
    /// Every result, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// Why a connection to a door behind a load balancer was closed unheard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyReject {
    /// The peer is in none of the trusted networks.
    Untrusted,
    /// What came first is no PROXY header of version 2.
    Malformed,
}

impl ProxyReject {
    /// Every cause, in the order of its index.
    pub const ALL: [Self; 2] = [Self::Untrusted, Self::Malformed];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
        }
    }
}

/// How the sender of an HTTP request has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By the secret of its key.
    Secret,
    /// By a MAC under its key.
    Signature,
    /// Not at all, on this machine, where that is allowed.
    Unsigned,
    /// By the token of the admin door.
    Operator,
}

impl Credential {
    /// Every way, in the order of its index.
    pub const ALL: [Self; 4] = [
        Self::Secret,
        Self::Signature,
        Self::Unsigned,
        Self::Operator,
    ];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Signature => "signature",
            Self::Unsigned => "unsigned",
            Self::Operator => "operator",
        }
    }
}

/// Why an HTTP request to a route of services did not become a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpReject {
    /// Its Host is not ours, or its Origin another site.
    Foreign,
    /// A method that the route does not take.
    Method,
    /// As many connections of services as there may be stand already.
    Connections,
    /// No credential, where one is needed.
    Unsigned,
    /// A key that is not known, or not valid now.
    Key,
    /// Not the secret of that key, or not its signature.
    Mac,
    /// A content type that is not taken.
    Type,
    /// A body that is too long.
    TooLarge,
    /// A body that did not come in time.
    Slow,
    /// A connection that ended before the body did.
    Gone,
}

impl HttpReject {
    /// Every cause, in the order of its index.
    pub const ALL: [Self; 10] = [
        Self::Foreign,
        Self::Method,
        Self::Connections,
        Self::Unsigned,
        Self::Key,
        Self::Mac,
        Self::Type,
        Self::TooLarge,
        Self::Slow,
        Self::Gone,
    ];

    /// The word in labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Method => "method",
            Self::Connections => "connections",
            Self::Unsigned => "unsigned",
            Self::Key => "key",
            Self::Mac => "mac",
            Self::Type => "type",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::Gone => "gone",
        }
    }
}

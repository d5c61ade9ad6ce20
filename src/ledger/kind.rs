//! The kinds of task: a closed list, each with the word that is its metric label.

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One connection of a client: exactly as many as connections are held.
    Session,
    /// One walk of a push over the members of its lanes.
    PushJob,
    /// The datagram that waits for a job's report, at most `push.deadline`.
    PushHandler,
    /// An accept loop.
    Listener,
    /// A receive loop for datagrams.
    Udp,
    /// The admin door: its accept loop, its connections, its profiles.
    Admin,
    /// The sweep that finds clients which have fallen silent.
    Heartbeat,
    /// A CLOSE on its way to a connection that was not let in.
    Refusal,
    /// The wait for SIGHUP, and the reloads that it and the admin door ask for.
    Signal,
    /// The writer of the log, and what looks for storms.
    Log,
    /// A client of the command line (`listen`, `bench`, `demo`).
    Client,
    /// The thread that writes the history to disk, and a sync or a purge that is under way.
    Store,
}

impl Kind {
    /// Every kind, in the order of its index.
    pub const ALL: [Self; 12] = [
        Self::Session,
        Self::PushJob,
        Self::PushHandler,
        Self::Listener,
        Self::Udp,
        Self::Admin,
        Self::Heartbeat,
        Self::Refusal,
        Self::Signal,
        Self::Log,
        Self::Client,
        Self::Store,
    ];

    /// The word in logs and labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::PushJob => "push_job",
            Self::PushHandler => "push_handler",
            Self::Listener => "listener",
            Self::Udp => "udp",
            Self::Admin => "admin",
            Self::Heartbeat => "heartbeat",
            Self::Refusal => "refusal",
            Self::Signal => "signal",
            Self::Log => "log",
            Self::Client => "client",
            Self::Store => "store",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

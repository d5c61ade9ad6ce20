//! pushgate: a push gateway. Clients hold one TCP connection each and receive; business services
//! send one UDP datagram to push to a user, a group or everyone, and are told what became of it.
//!
//! # The map
//!
//! An arrow points only downward; `tests/it/tidy.rs` reads the sources and holds them to it.
//!
//! | layer | modules | what is not there |
//! |---|---|---|
//! | 1 | [`wire`]: frames, datagrams, seal, reasons | I/O, a clock, memory by a declared length |
//! | 2 | [`clock`], [`ledger`], [`metrics`], [`store`], [`throttle`], [`redaction`] | any client |
//! | 3 | [`hub`]: registry, log, sessions, walks, requests | a socket; a wait for a client |
//! | 4 | [`transport`]: the doors of clients, services, operators | a policy that is no setting |
//! | 5 | [`daemon`]: settings, logging, start and end | work of its own |
//! | 6 | [`cli`]: `serve`, and tools for people | anything that the daemon needs |
//!
//! Nothing depends on the settings: each layer declares its own options, and the daemon fills them.
//!
//! # The way of one datagram
//!
//! [`transport::udp`] has a thread of its own, so that no storm of clients' tasks stands before a
//! datagram. It receives a batch and hands each to [`hub::intake`]: bounds, magic, key and MAC
//! (silent when wrong), then a recorded result for a repeat, then the time window, drain,
//! permission, parsing. A push takes its place in the log in the order received. Few
//! recipients are written to at once and the answer goes out at once. For many, the walk is a
//! [`hub::job`]: a task that visits the members in steps, yields between them, and reports once
//! over a oneshot. Another task waits for that report, for at most `push.deadline`, and answers.
//! When it gives up it drops its end, and the job does not notice: it ends, is counted, and its
//! result answers a repeat.
//!
//! By HTTP the same requests come through [`transport::admin::services`]: the credential is proven
//! first ([`hub::command`]), what is said is written down as a datagram has it, and from the
//! recorded results on the way is the same. There the task of the connection waits for the report.
//!
//! # The way of one client
//!
//! [`transport::listener`] accepts, paced and capped, and never waits for a peer. The connection's
//! one task ([`transport::connection`]) reads HELLO under an absolute deadline, finds in its token
//! who it is ([`transport::auth`]), and attaches a session, which takes the place of an older one
//! of the same user and device. From then on the task reads, and it writes what its client is
//! behind with; walks write beside it. The sweep ends it when its token ends. The first cause to
//! end a session names its close reason; guards detach it and give back its place, on every path.
//!
//! # Invariants
//!
//! 1. Nobody waits for one who may have left: reports go over channels with room for them.
//! 2. One client, one task; `pushgate_tasks{kind="session"}` equals the connections held.
//! 3. No task is spawned outside [`ledger`].
//! 4. All memory a peer can cause is bounded and counted; every wait on a peer has a deadline;
//!    every loop has a budget after which it yields.
//! 5. No byte of a stranger reaches a parser beyond a datagram's header or a HELLO, and nothing
//!    unauthenticated is answered on UDP.
//! 6. Every ending and every drop has a cause that is counted; matched = written + waiting +
//!    refused.
//! 7. Lock order: session, then log, then lane; before them all the one that keeps two commands of
//!    one id apart. A shard of the registry, the memory of request ids,
//!    the state of a TLS stream, that of a session of MQTT and the ledger's slabs are leaves:
//!    nothing else is locked under them. No guard lives over an await.
//! 8. No system call under the log's lock or a lane's; under a session's only a write that does not
//!    wait, and under that of a TLS stream only a read or a write that does not.
//! 9. A message stays in a lane until a walk that came later than it has met every member and
//!    nobody who is behind stands before it.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod wire;

pub mod clock;
pub mod ledger;
pub mod metrics;
pub mod redaction;
pub mod throttle;
pub mod version;

pub mod store;

pub mod hub;

pub mod transport;

pub mod daemon;

pub mod cli;

/// The locks and atomics of the hub: `std`'s, or a scheduler's for `tests/interleavings`.
pub(crate) mod sync {
    #[cfg(feature = "interleavings")]
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
    #[cfg(feature = "interleavings")]
    use std::sync::PoisonError;
    #[cfg(not(feature = "interleavings"))]
    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

    /// Locks, also after a panic of an earlier holder: one bug must not stop everyone who meets it.
    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

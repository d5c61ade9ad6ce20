//! A push gateway. (The architecture is written here when the parts stand.)

pub mod wire;

pub mod clock;
pub mod ledger;
pub mod metrics;

pub mod hub;

pub mod transport;

pub mod daemon;

pub mod cli;

/// The locks and atomics of the code that is model-checked: `std`'s here, and a scheduler's in `tests/interleavings.rs`, which compiles
/// the same source files under another `crate::sync`.
pub(crate) mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

    /// Locks, also after a panic of an earlier holder: one bug must not stop everyone who meets that lock.
    pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

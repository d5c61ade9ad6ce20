//! A push gateway. (The architecture is written here when the parts stand.)

pub mod wire;

pub mod clock;
pub mod ledger;
pub mod metrics;
pub mod throttle;

pub mod hub;

pub mod transport;

pub mod daemon;

pub mod cli;

/// The locks and atomics of the hub: `std`'s, or a scheduler's for `tests/interleavings.rs`.
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

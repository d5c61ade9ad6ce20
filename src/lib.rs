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

/// The locks and atomics of the code that is model-checked: `std`'s here, and a scheduler's in `tests/interleavings.rs`, which compiles
/// the same source files under another `crate::sync`.
pub(crate) mod sync {
    #[allow(
        unused_imports,
        reason = "the model checker's twin of this module offers the same names"
    )]
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};
}

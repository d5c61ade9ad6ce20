//! The hub's bounds where every thread reads them: a number each, without a lock.
//!
//! Relaxed: each is a bound by itself, and a walk that meets the old one for a moment does what it
//! would have done a moment earlier. The standard atomics also under a scheduler of tests: no
//! decision between threads hangs on them.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::Options;

/// [`Options`], replaceable.
pub(super) struct Bounds {
    max_devices: AtomicUsize,
    max_groups: AtomicUsize,
    queue_messages: AtomicU64,
    queue_bytes: AtomicU64,
    queue_age_ns: AtomicU64,
    memory_budget: AtomicU64,
    retry_spread_ns: AtomicU64,
    max_frame: AtomicU32,
    history_messages: AtomicU64,
    history_bytes: AtomicU64,
    remember_groups_ns: AtomicU64,
}

impl Bounds {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            max_devices: AtomicUsize::new(options.max_devices),
            max_groups: AtomicUsize::new(options.max_groups),
            queue_messages: AtomicU64::new(options.queue_messages),
            queue_bytes: AtomicU64::new(options.queue_bytes),
            queue_age_ns: AtomicU64::new(nanos(options.queue_age)),
            memory_budget: AtomicU64::new(options.memory_budget),
            retry_spread_ns: AtomicU64::new(nanos(options.retry_spread)),
            max_frame: AtomicU32::new(options.max_frame),
            history_messages: AtomicU64::new(options.history_messages),
            history_bytes: AtomicU64::new(options.history_bytes),
            remember_groups_ns: AtomicU64::new(nanos(options.remember_groups)),
        }
    }

    pub(super) fn store(&self, options: &Options) {
        self.max_devices.store(options.max_devices, Relaxed);
        self.max_groups.store(options.max_groups, Relaxed);
        self.queue_messages.store(options.queue_messages, Relaxed);
        self.queue_bytes.store(options.queue_bytes, Relaxed);
        self.queue_age_ns.store(nanos(options.queue_age), Relaxed);
        self.memory_budget.store(options.memory_budget, Relaxed);
        self.retry_spread_ns
            .store(nanos(options.retry_spread), Relaxed);
        self.max_frame.store(options.max_frame, Relaxed);
        self.history_messages
            .store(options.history_messages, Relaxed);
        self.history_bytes.store(options.history_bytes, Relaxed);
        self.remember_groups_ns
            .store(nanos(options.remember_groups), Relaxed);
    }

    pub(super) fn load(&self) -> Options {
        Options {
            max_devices: self.max_devices.load(Relaxed),
            max_groups: self.max_groups.load(Relaxed),
            queue_messages: self.queue_messages.load(Relaxed),
            queue_bytes: self.queue_bytes.load(Relaxed),
            queue_age: Duration::from_nanos(self.queue_age_ns.load(Relaxed)),
            memory_budget: self.memory_budget.load(Relaxed),
            retry_spread: Duration::from_nanos(self.retry_spread_ns.load(Relaxed)),
            max_frame: self.max_frame.load(Relaxed),
            history_messages: self.history_messages.load(Relaxed),
            history_bytes: self.history_bytes.load(Relaxed),
            remember_groups: Duration::from_nanos(self.remember_groups_ns.load(Relaxed)),
        }
    }
}

/// 584 years fit: longer than any setting.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

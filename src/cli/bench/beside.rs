//! Threads of the load that run beside the one that connects, pushes and reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use anyhow::Context;

/// A thread that is told to stop, and waited for, when this is dropped at the latest.
pub(super) struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<T>>>,
}

impl<T: Send + 'static> Beside<T> {
    /// Starts the work, which looks at the flag often and ends soon after it is set.
    pub(super) fn start(
        work: impl FnOnce(&AtomicBool) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = Builder::new()
            .spawn(move || work(&flag))
            .context("no thread for the load")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops it; what it found.
    pub(super) fn end(mut self) -> anyhow::Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a thread that has ended")?;
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread of the load panicked"))?
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever drops it has another error to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_stopped(stop: &AtomicBool) -> anyhow::Result<u64> {
        let mut turns = 0;
        while !stop.load(Ordering::Relaxed) {
            turns += 1;
            std::thread::yield_now();
        }
        Ok(turns)
    }

    #[test]
    fn a_thread_ends_when_it_is_told_or_dropped() {
        let told = Beside::start(until_stopped).unwrap();
        told.end().unwrap();
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let dropped = Beside::start(move |stop| {
            let turns = until_stopped(stop);
            drop(inside);
            turns
        });
        drop(dropped);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

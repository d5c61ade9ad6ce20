//! The sign of life of a loop, for the watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When a loop was last seen to turn. One for each loop: a stuck one must not hide behind another.
#[derive(Debug)]
pub struct Beat {
    born: Instant,
    /// Milliseconds after `born`.
    last_ms: AtomicU64,
}

impl Default for Beat {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }
}

impl Beat {
    /// The loop turns.
    pub fn note(&self) {
        let now_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// How long ago the loop was last seen to turn.
    pub fn idle_for(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_is_idle_from_its_last_turn() {
        let beat = Beat::default();
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(beat.idle_for(), second);
        beat.note();
        assert_eq!(beat.idle_for(), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(beat.idle_for(), second);
    }
}

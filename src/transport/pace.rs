//! The pace at which new connections are accepted.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// Between two connections while the runtime is overloaded, one at a time: a hundred a second are a
/// hundredth of what one core lets in, and nobody waits for ever.
const TRICKLE: u64 = 10_000_000;

/// A token bucket for new connections: as many at once as may come in a tenth of a second. One for
/// all listeners, so that a second listener does not double the rate. Two that ask at the same
/// moment may both be let through; the bucket then owes one, and the rate is kept.
#[derive(Debug)]
pub(super) struct Pace {
    born: Instant,
    /// Nanoseconds between two connections; 0: no bound.
    interval: AtomicU64,
    /// When the bucket would be full, in nanoseconds after `born`.
    full_at: AtomicU64,
    /// Connections that may come at once.
    burst: AtomicU64,
    /// The runtime is late: [`TRICKLE`], whatever the rate.
    is_overloaded: AtomicBool,
}

impl Pace {
    /// So many connections a second; 0: no bound.
    pub(super) fn new(rate: u32) -> Self {
        let pace = Self {
            born: Instant::now(),
            interval: AtomicU64::new(0),
            full_at: AtomicU64::new(0),
            burst: AtomicU64::new(1),
            is_overloaded: AtomicBool::new(false),
        };
        pace.set(rate);
        pace
    }

    /// Another rate from now on. Who waits already waits for the next connection at the old one.
    pub(super) fn set(&self, rate: u32) {
        let interval = 1_000_000_000_u64.checked_div(u64::from(rate));
        self.interval
            .store(interval.unwrap_or(0), Ordering::Relaxed);
        let burst = u64::from(rate / 10).max(1);
        self.burst.store(burst, Ordering::Relaxed);
        // What was due at a slower rate must not hold a faster one up.
        let latest = self.now() + interval.unwrap_or(0) * burst;
        self.full_at.fetch_min(latest, Ordering::Relaxed);
    }

    /// Whether connections only trickle in from now on.
    pub(super) fn set_overloaded(&self, is_overloaded: bool) {
        self.is_overloaded.store(is_overloaded, Ordering::Relaxed);
    }

    /// Nanoseconds between two connections (0: no bound), and how many may come at once.
    fn bounds(&self) -> (u64, u64) {
        let interval = self.interval.load(Ordering::Relaxed);
        match self.is_overloaded.load(Ordering::Relaxed) {
            true => (interval.max(TRICKLE), 1),
            false => (interval, self.burst.load(Ordering::Relaxed)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When one more may be accepted, in nanoseconds after `born`.
    fn ready_at(&self) -> u64 {
        let (interval, burst) = self.bounds();
        (self.full_at.load(Ordering::Relaxed) + interval).saturating_sub(interval * burst)
    }

    /// Whether one more may be accepted now.
    pub(super) fn may_accept(&self) -> bool {
        self.bounds().0 == 0 || self.ready_at() <= self.now()
    }

    async fn wait(&self) {
        // Again where another listener was first.
        while !self.may_accept() {
            sleep_until(self.born + Duration::from_nanos(self.ready_at())).await;
        }
    }

    /// The next connection, not before its time.
    pub(super) async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        self.wait().await;
        listener.accept().await
    }

    /// One was accepted.
    pub(super) fn note(&self) {
        let (now, (interval, _)) = (self.now(), self.bounds());
        let later = |full_at: u64| Some(full_at.max(now) + interval);
        // It never fails: there is always a later time.
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn accept(pace: &Pace, count: u32) {
        for _ in 0..count {
            pace.wait().await;
            pace.note();
        }
    }

    #[track_caller]
    fn assert_took(start: Instant, least_ms: u64) {
        let took = start.elapsed();
        let least = Duration::from_millis(least_ms);
        assert!(
            (least..least + Duration::from_millis(120)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn accepts_are_paced_after_a_burst() {
        let (start, pace) = (Instant::now(), Pace::new(1000));
        accept(&pace, 1100).await;
        assert_took(start, 980);
    }

    #[tokio::test(start_paused = true)]
    async fn overloaded_it_is_a_trickle_at_any_rate_and_then_as_before() {
        for rate in [0, 100_000] {
            let pace = Pace::new(rate);
            accept(&pace, 50).await;
            pace.set_overloaded(true);
            let start = Instant::now();
            accept(&pace, 100).await;
            assert_took(start, 980);
            pace.set_overloaded(false);
            let start = Instant::now();
            accept(&pace, 1_000).await;
            assert_took(start, 0);
        }
        // A rate that is lower still holds.
        let pace = Pace::new(10);
        pace.set_overloaded(true);
        let start = Instant::now();
        accept(&pace, 11).await;
        assert_took(start, 990);
    }

    #[tokio::test(start_paused = true)]
    async fn two_listeners_share_one_pace() {
        let (start, pace) = (Instant::now(), Pace::new(1000));
        tokio::join!(accept(&pace, 550), accept(&pace, 550));
        assert_took(start, 980);
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_holds_from_then_on() {
        let pace = Pace::new(1);
        pace.note();
        assert!(!pace.may_accept());
        pace.set(1000);
        let start = Instant::now();
        // What was due at the slower rate does not hold it up; there is nothing saved for a burst.
        accept(&pace, 1000).await;
        assert_took(start, 990);
        pace.set(0);
        assert!(pace.may_accept());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let (start, pace) = (Instant::now(), Pace::new(0));
        accept(&pace, 10_000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_can_be_changed() {
        let pace = Pace::new(10);
        accept(&pace, 1).await;
        pace.set(1000);
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        accept(&pace, 1100).await;
        assert_took(start, 980);
        pace.set(0);
        let start = Instant::now();
        accept(&pace, 10_000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

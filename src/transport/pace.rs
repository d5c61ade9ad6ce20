//! The pace at which new connections are accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::listener::ACCEPTS_AT_ONCE;

/// A token bucket for new connections: as many at once as may come in a tenth of a second.
pub(super) struct Pace {
    rate: u32,
    interval: Duration,
    burst: Duration,
    /// When the bucket would be full.
    full_at: Instant,
    accepted: u32,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        let (interval, burst) = intervals(rate);
        Self {
            rate,
            interval,
            burst,
            full_at: Instant::now(),
            accepted: 0,
        }
    }

    /// Goes on at another rate, where it is another.
    pub(super) fn follow(&mut self, rate: u32) {
        if rate != self.rate {
            (self.interval, self.burst) = intervals(rate);
            // What was due at the slower rate must not hold the faster one up.
            self.full_at = self.full_at.min(Instant::now() + self.burst);
            self.rate = rate;
        }
    }

    /// When one more may be accepted.
    fn ready_at(&self) -> Instant {
        let earliest = self.full_at + self.interval;
        earliest.checked_sub(self.burst).unwrap_or(earliest)
    }

    pub(super) fn may_accept(&self) -> bool {
        self.interval.is_zero() || self.ready_at() <= Instant::now()
    }

    async fn wait(&self) {
        if !self.may_accept() {
            sleep_until(self.ready_at()).await;
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

    pub(super) fn note(&mut self) {
        self.full_at = self.full_at.max(Instant::now()) + self.interval;
        self.accepted += 1;
    }

    pub(super) fn since_yield(&mut self) -> u32 {
        let accepted = self.accepted;
        if accepted >= ACCEPTS_AT_ONCE {
            self.accepted = 0;
        }
        accepted
    }
}

/// Between two accepts, and what may come at once.
fn intervals(rate: u32) -> (Duration, Duration) {
    let interval = Duration::from_secs(1)
        .checked_div(rate)
        .unwrap_or(Duration::ZERO);
    (interval, (interval * (rate / 10)).max(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_rate_holds_from_then_on() {
        let mut pace = Pace::new(1);
        pace.note();
        assert!(!pace.may_accept());
        pace.follow(1000);
        let start = Instant::now();
        for _ in 0..1100 {
            pace.wait().await;
            pace.note();
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1300), "{took:?}");
        pace.follow(0);
        assert!(pace.may_accept());
    }

    #[tokio::test(start_paused = true)]
    async fn accepts_are_paced_after_a_burst() {
        let (start, mut pace) = (Instant::now(), Pace::new(1000));
        for _ in 0..1100 {
            pace.wait().await;
            pace.note();
        }
        let took = start.elapsed();
        assert!(
            (Duration::from_millis(980)..Duration::from_millis(1100)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let (start, mut pace) = (Instant::now(), Pace::new(0));
        for _ in 0..10_000 {
            pace.wait().await;
            pace.note();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

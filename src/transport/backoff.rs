//! How long an accept loop rests after the kernel could not give it a connection.

use std::io::ErrorKind;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LAST: Duration = Duration::from_secs(1);

/// Rests that double from 10 ms to 1 s, until something goes well again.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// How long to rest after this error: not at all where only the one connection was lost.
    pub fn after(&mut self, error: &std::io::Error) -> Duration {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            return Duration::ZERO;
        }
        // Everything else is a shortage, or something that nobody foresaw and that may last.
        let rest = self.0;
        self.0 = (rest * 2).min(LAST);
        rest
    }

    /// Something went well.
    pub fn reset(&mut self) {
        self.0 = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn rests_double_up_to_a_second_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        let shortage = Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let rests: Vec<_> = (0..9)
            .map(|_| backoff.after(&shortage).as_millis())
            .collect();
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        backoff.reset();
        assert_eq!(backoff.after(&shortage), FIRST);
    }

    #[test]
    fn a_peer_that_went_away_costs_no_rest() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.after(&ErrorKind::ConnectionAborted.into()),
            Duration::ZERO
        );
        assert_eq!(
            backoff.after(&ErrorKind::Interrupted.into()),
            Duration::ZERO
        );
    }
}

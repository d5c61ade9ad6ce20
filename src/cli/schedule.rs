//! When a sender repeats itself. Pure: the times are counted from the first transmission.

use std::time::Duration;

/// A sender that hears nothing gives up after this, the default of `udp.window`: by then the
/// gateway would call the datagram STALE.
pub(crate) const WINDOW: Duration = Duration::from_secs(15);
/// How often a sender that was told ACCEPTED or TIMEOUT asks for the result.
pub(crate) const ASK_EVERY: Duration = Duration::from_secs(1);
/// The `udp.future` of a gateway's start: younger than that, it calls every datagram STALE.
pub(crate) const GATEWAY_YOUTH: Duration = Duration::from_secs(1);

const REPEAT_FIRST: Duration = Duration::from_millis(250);
const REPEAT_LONGEST: Duration = Duration::from_secs(4);

/// How long to listen after the `sent`th transmission (1 is the first) before the next one.
pub(crate) fn pause_after(sent: u32) -> Duration {
    let doublings = sent.saturating_sub(1).min(16);
    (REPEAT_FIRST * (1 << doublings)).min(REPEAT_LONGEST)
}

/// How long to wait before a request is sent anew after STALE. A clock that was off is put right
/// and the request goes at once; one that was right means that the gateway has only just started.
pub(crate) fn pause_after_stale(correction_ms: i64) -> Duration {
    if correction_ms.unsigned_abs() < GATEWAY_YOUTH.as_millis() as u64 {
        return GATEWAY_YOUTH;
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds from the first transmission to each one that falls inside the window.
    fn transmissions() -> Vec<u128> {
        let mut at = Duration::ZERO;
        let mut times = Vec::new();
        while at < WINDOW {
            times.push(at.as_millis());
            at += pause_after(times.len() as u32);
        }
        times
    }

    #[test]
    fn repeats_start_at_250_ms_and_double_to_four_seconds_within_the_window() {
        assert_eq!(transmissions(), [0, 250, 750, 1750, 3750, 7750, 11_750]);
    }

    #[test]
    fn no_count_of_transmissions_overflows_the_pause() {
        assert_eq!(pause_after(0), REPEAT_FIRST);
        assert_eq!(pause_after(u32::MAX), REPEAT_LONGEST);
    }

    #[test]
    fn a_wrong_clock_is_mended_at_once_and_a_young_gateway_is_given_time() {
        assert_eq!(pause_after_stale(-20_000), Duration::ZERO);
        assert_eq!(pause_after_stale(1_000), Duration::ZERO);
        assert_eq!(pause_after_stale(3), GATEWAY_YOUTH);
        assert_eq!(pause_after_stale(-999), GATEWAY_YOUTH);
    }
}

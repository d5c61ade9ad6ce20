//! Who was kicked and may not come back yet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::sync::{Mutex, lock};

/// Holds at one time: each takes about 150 bytes, and past it KICK with a hold answers BUSY.
const HOLDS_MAX: usize = 100_000;

/// For each user and device (empty: every device) until when it is kept out.
#[derive(Default)]
pub struct Holds(Mutex<HashMap<Device, Instant>>);

/// A user and a device.
type Device = (Box<str>, Box<str>);

/// The memory for holds is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{HOLDS_MAX} users are kept out already")]
pub struct HoldsFull;

impl Holds {
    /// Keeps `user`'s `device` out for `hold`, in place of an earlier hold of the same; no time
    /// lifts it.
    ///
    /// # Errors
    /// When as many are held as can be: nothing is done.
    pub fn hold(
        &self,
        user: &str,
        device: &str,
        hold: Duration,
        now: Instant,
    ) -> Result<(), HoldsFull> {
        let mut holds = lock(&self.0);
        let key = (user.into(), device.into());
        if hold.is_zero() {
            holds.remove(&key);
            return Ok(());
        }
        if holds.len() >= HOLDS_MAX && !holds.contains_key(&key) {
            holds.retain(|_, until| *until > now);
            if holds.len() >= HOLDS_MAX {
                return Err(HoldsFull);
            }
        }
        holds.insert(key, now + hold);
        Ok(())
    }

    /// How much longer `user`'s `device` is kept out.
    pub fn rest(&self, user: &str, device: &str, now: Instant) -> Option<Duration> {
        let mut holds = lock(&self.0);
        if holds.is_empty() {
            return None;
        }
        let mut longest = None;
        for device in ["", device] {
            let key = (user.into(), device.into());
            match holds.get(&key) {
                Some(until) if *until > now => longest = longest.max(Some(*until - now)),
                Some(_) => drop(holds.remove(&key)),
                None => {}
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_by_time_or_by_another_kick() {
        let (holds, start, second) = (Holds::default(), Instant::now(), Duration::from_secs(1));
        holds.hold("ada", "", second * 60, start).expect("room");
        holds
            .hold("bob", "phone", second * 60, start)
            .expect("room");
        assert_eq!(holds.rest("ada", "any", start), Some(second * 60));
        assert_eq!(holds.rest("bob", "tablet", start), None);
        assert_eq!(
            holds.rest("bob", "phone", start + second),
            Some(second * 59)
        );
        assert_eq!(holds.rest("bob", "phone", start + second * 60), None);
        holds.hold("ada", "", Duration::ZERO, start).expect("room");
        assert_eq!(holds.rest("ada", "any", start), None);
    }

    #[test]
    fn full_memory_refuses_until_holds_are_over() {
        let (holds, start) = (Holds::default(), Instant::now());
        for number in 0..HOLDS_MAX {
            holds
                .hold(&number.to_string(), "", Duration::from_secs(1), start)
                .expect("room");
        }
        assert_eq!(
            holds.hold("ada", "", Duration::from_secs(1), start),
            Err(HoldsFull)
        );
        let later = start + Duration::from_secs(2);
        holds
            .hold("ada", "", Duration::from_secs(1), later)
            .expect("room again");
    }
}

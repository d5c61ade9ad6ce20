//! Sessions that outlive their connections (MQTT 5, 4.1): by user and device, in memory, each until
//! its expiry.
//!
//! A session stands here from when it is let in, so that a connection that takes over finds it.
//! While it is connected it is counted among the connections; what is gone is bounded in count and
//! bytes, and who would be forgotten first anyway goes first. No user has more of them than it may
//! have devices, so that none drives out what is remembered of the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::state::State;

/// Sessions that are remembered while their clients are gone,
const GONE_MAX: usize = 100_000;
/// and what they may take: about 640 bytes for each of as many, a long list of groups 20 KB.
const GONE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a session takes beside its names and its subscriptions: its state, its places in the two
/// maps.
const ENTRY_BYTES: usize = 320;

/// A user and its device.
type Key = (Box<str>, Box<str>);

/// All of them. Its lock is a leaf but for the state of a session, which is read under it.
#[derive(Default)]
pub struct Sessions(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// A user's stand side by side.
    sessions: BTreeMap<Key, Entry>,
    /// Who is gone, by when it is forgotten and the session's number.
    gone: BTreeMap<(Instant, u64), Key>,
    gone_bytes: usize,
}

struct Entry {
    state: Arc<State>,
    /// The number of the session that has, or had, the state: a later one takes its place.
    session: u64,
    /// When it is forgotten, and what it takes, once it is gone.
    gone: Option<(Instant, usize)>,
}

impl Sessions {
    /// What is remembered of a device, and whether it is connected with it.
    pub(super) fn find(&self, user: &str, device: &str) -> Option<(Arc<State>, bool)> {
        let table = self.lock();
        let entry = table.sessions.get(&key(user, device))?;
        Some((Arc::clone(&entry.state), entry.gone.is_none()))
    }

    /// The device is connected as `session`, which outlives its connection.
    pub(super) fn enter(&self, (user, device): (&str, &str), session: u64, state: Arc<State>) {
        let mut table = self.lock();
        let key = key(user, device);
        if table
            .sessions
            .get(&key)
            .is_some_and(|entry| entry.session > session)
        {
            return;
        }
        table.forget(&key);
        let entry = Entry {
            state,
            session,
            gone: None,
        };
        table.sessions.insert(key, entry);
    }

    /// The device starts anew as `session`: nothing of an earlier one is remembered.
    pub(super) fn forget(&self, (user, device): (&str, &str), session: u64) {
        let mut table = self.lock();
        let key = key(user, device);
        if table
            .sessions
            .get(&key)
            .is_some_and(|entry| entry.session < session)
        {
            table.forget(&key);
        }
    }

    /// The device that was connected as `session` is gone, and is remembered for `expiry`, as one
    /// of up to `share` of its user. Returns how many others were forgotten for it.
    pub(super) fn leave(
        &self,
        (user, device): (&str, &str),
        session: u64,
        (expiry, share): (Duration, usize),
        now: Instant,
    ) -> u64 {
        let mut table = self.lock();
        let key = key(user, device);
        if table
            .sessions
            .get(&key)
            .is_none_or(|entry| entry.session != session)
        {
            return 0;
        }
        if expiry.is_zero() {
            table.forget(&key);
            return 0;
        }
        table.note_gone(key, now + expiry);
        let mut forgotten = u64::from(table.forget_over(user, share));
        while (table.gone.len() > GONE_MAX || table.gone_bytes > GONE_BYTES_MAX)
            && table.forget_first()
        {
            forgotten += 1;
        }
        forgotten
    }

    /// Forgets up to `max` of those whose time is over; true when no more are left.
    pub fn expire(&self, max: usize, now: Instant) -> bool {
        let mut table = self.lock();
        for _ in 0..max {
            let first = table.gone.first_key_value();
            if first.is_none_or(|((at, _), _)| *at > now) {
                return true;
            }
            table.forget_first();
        }
        false
    }

    /// Sessions whose clients are gone.
    pub fn gone(&self) -> usize {
        self.lock().gone.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn note_gone(&mut self, key: Key, at: Instant) {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return;
        };
        let names = 2 * (key.0.len() + key.1.len());
        let bytes = ENTRY_BYTES + names + entry.state.weight();
        entry.gone = Some((at, bytes));
        self.gone_bytes += bytes;
        self.gone.insert((at, entry.session), key);
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.sessions.remove(key) else {
            return;
        };
        if let Some((at, bytes)) = entry.gone {
            self.gone.remove(&(at, entry.session));
            self.gone_bytes -= bytes;
        }
    }

    /// Forgets the first of a user's that are gone, where those are more than `share`.
    fn forget_over(&mut self, user: &str, share: usize) -> bool {
        let all = self.sessions.range(key(user, "")..);
        let of_user = all.take_while(|((of, _), _)| **of == *user);
        let gone: Vec<_> = of_user
            .filter_map(|(key, entry)| Some((entry.gone?.0, key)))
            .collect();
        let first = gone.iter().min().map(|(_, key)| (*key).clone());
        match first.filter(|_| gone.len() > share) {
            Some(first) => {
                self.forget(&first);
                true
            }
            None => false,
        }
    }

    fn forget_first(&mut self) -> bool {
        let Some((_, key)) = self.gone.first_key_value() else {
            return false;
        };
        let key = key.clone();
        self.forget(&key);
        true
    }
}

fn key(user: &str, device: &str) -> Key {
    (user.into(), device.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn state() -> Arc<State> {
        Arc::default()
    }

    #[test]
    fn a_session_outlives_its_connection_until_its_expiry() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let who = ("ada", "phone");
        assert!(sessions.find("ada", "phone").is_none());
        sessions.enter(who, 1, state());
        assert!(
            sessions
                .find("ada", "phone")
                .is_some_and(|(_, is_here)| is_here)
        );
        assert_eq!(sessions.gone(), 0);
        assert_eq!(sessions.leave(who, 1, (HOUR, 8), now), 0);
        assert!(
            sessions
                .find("ada", "phone")
                .is_some_and(|(_, is_here)| !is_here)
        );
        assert!(sessions.find("ada", "tablet").is_none());
        assert!(sessions.expire(10, now + HOUR - Duration::from_millis(1)));
        assert_eq!(sessions.gone(), 1);
        assert!(sessions.expire(10, now + HOUR));
        assert!(sessions.find("ada", "phone").is_none());
        assert_eq!(sessions.lock().gone_bytes, 0);
    }

    #[test]
    fn one_without_expiry_is_forgotten_with_its_connection() {
        let sessions = Sessions::default();
        sessions.enter(("ada", ""), 1, state());
        sessions.leave(("ada", ""), 1, (Duration::ZERO, 8), Instant::now());
        assert!(sessions.find("ada", "").is_none());
    }

    #[test]
    fn a_later_session_has_the_place() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let who = ("ada", "phone");
        sessions.enter(who, 2, state());
        sessions.enter(who, 1, state());
        assert_eq!(sessions.leave(who, 1, (HOUR, 8), now), 0);
        assert!(
            sessions
                .find("ada", "phone")
                .is_some_and(|(_, is_here)| is_here)
        );
        sessions.leave(who, 2, (HOUR, 8), now);
        sessions.forget(who, 1);
        assert_eq!(sessions.gone(), 1, "an earlier one does not forget it");
        sessions.forget(who, 3);
        assert!(sessions.find("ada", "phone").is_none());
        sessions.enter(who, 4, state());
        sessions.leave(who, 4, (HOUR, 8), now);
        sessions.enter(who, 5, state());
        assert_eq!(
            (sessions.gone(), sessions.lock().gone_bytes),
            (0, 0),
            "it is back"
        );
    }

    #[test]
    fn who_would_be_forgotten_first_goes_first() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let mut forgotten = 0;
        for number in 0..GONE_MAX as u64 + 3 {
            let user = format!("u{number}");
            sessions.enter((&user, ""), number, state());
            // The later it comes the sooner it goes, but for the first.
            let expiry = HOUR
                * if number == 0 {
                    1
                } else {
                    200_000 - number as u32
                };
            forgotten += sessions.leave((&user, ""), number, (expiry, 8), now);
        }
        assert_eq!((forgotten, sessions.gone()), (3, GONE_MAX));
        assert!(sessions.find("u0", "").is_none());
        assert!(sessions.find("u1", "").is_some());
        assert!(sessions.find(&format!("u{}", GONE_MAX + 2), "").is_none());
    }

    #[test]
    fn the_bytes_of_those_who_are_gone_are_bounded() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (long, mut forgotten) = ("x".repeat(250), 0);
        // Their names alone take 1,000 bytes, twice as much as fits with as many as there may be.
        for number in 0..60_000 {
            let user = format!("{long}{number:05}");
            sessions.enter((&user, &long), number, state());
            forgotten += sessions.leave((&user, &long), number, (HOUR, 8), now);
        }
        assert!(forgotten > 0);
        assert!(sessions.lock().gone_bytes <= GONE_BYTES_MAX);
        assert_eq!(sessions.gone() as u64 + forgotten, 60_000);
    }

    #[test]
    fn no_user_drives_out_what_is_remembered_of_another() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        sessions.enter(("ada", "phone"), 1, state());
        sessions.leave(("ada", "phone"), 1, (HOUR, 3), now);
        let mut forgotten = 0;
        for number in 2..10 {
            let device = format!("device {number}");
            let who = ("eve", &*device);
            sessions.enter(who, number, state());
            forgotten += sessions.leave(who, number, (HOUR * 2, 3), now);
        }
        assert_eq!((forgotten, sessions.gone()), (5, 4));
        assert!(sessions.find("ada", "phone").is_some());
        // The first of those that go first, and neither of users whose names begin alike.
        assert!(sessions.find("eve", "device 6").is_none());
        assert!(sessions.find("eve", "device 7").is_some());
        sessions.enter(("eve2", ""), 10, state());
        assert_eq!(sessions.leave(("eve2", ""), 10, (HOUR, 3), now), 0);
    }
}

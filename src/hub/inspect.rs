//! What an operator may see of those who are connected: looked at one by one, never all at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Hub;
use super::job::Jobs;
use super::session::{Inner, Session};
use crate::metrics::Live;
use crate::sync::atomic::Ordering;
use crate::wire::encoding::Protocol;

/// Sessions behind that a ranking looks at: those for which the log keeps the most, so that a crowd
/// of stalled clients costs a few milliseconds.
const RANKED_MAX: usize = 10_000;

/// A session as it stood when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub session: u64,
    /// Whose it is.
    pub user: Arc<str>,
    /// The user's device; may be empty.
    pub device: Box<str>,
    /// What is spoken at the door that it came in by.
    pub door: Protocol,
    /// The groups that it is in.
    pub groups: Vec<Arc<str>>,
    /// From where it comes; not known once its socket has been reset.
    pub peer: Option<SocketAddr>,
    /// Seconds since it came in.
    pub age_s: u32,
    /// The heartbeat interval agreed on, in seconds.
    pub heartbeat_s: u16,
    /// Seconds since the last whole frame came from it.
    pub silent_s: u32,
    /// Messages that it has ahead of it. One that two of its lanes hold counts twice.
    pub behind_messages: u64,
    /// Bytes of their frames.
    pub behind_bytes: u64,
    /// Milliseconds since the oldest of them was accepted; 0 without one.
    pub behind_ms: u64,
}

/// By what those who are behind are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Messages ahead of them.
    #[default]
    Messages,
    /// Bytes of those.
    Bytes,
    /// The age of the oldest.
    Age,
}

impl Jobs {
    /// How many may be in flight.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }
}

impl<S: ?Sized> Session<S> {
    /// Whose it is; `None` once it is detached.
    pub fn user(&self) -> Option<Arc<str>> {
        let inner = self.lock();
        // All, the user, the groups.
        let user = inner.handles.get(1)?;
        Some(Arc::clone(&user.lane.name))
    }
}

impl Hub {
    /// What of the hub is read at a scrape.
    pub fn live(&self) -> Live {
        let ((log_messages, log_bytes), (history_messages, history_bytes)) =
            (self.held(), self.kept());
        Live {
            sessions: self.sessions() as u64,
            sessions_by_door: self.sessions_by_door(),
            deliveries_waiting: self.deliveries_waiting(),
            log_messages,
            log_bytes,
            history_messages,
            history_bytes,
            devices_gone: self.devices_gone() as u64,
            sessions_behind: self.sessions_behind() as u64,
            lanes: self.lanes() as u64,
            ..Live::default()
        }
    }

    /// The sessions of `user` in the order in which they came in.
    pub fn look_up(&self, user: &str, now: Instant) -> Vec<Seen> {
        let sessions = self.sessions_of(user);
        let mut seen: Vec<_> = sessions
            .iter()
            .filter_map(|session| self.seen(session, now))
            .collect();
        seen.sort_by_key(|seen| seen.session);
        seen
    }

    /// The `max` sessions that are furthest behind, the furthest first. Among more than 10,000 that
    /// are behind at all, it is those with the oldest messages that are looked at.
    pub fn furthest_behind(&self, rank: Rank, max: usize, now: Instant) -> Vec<Seen> {
        let behind: Vec<_> = {
            let all = self.registry.all.lock();
            all.all_behind().take(RANKED_MAX).cloned().collect()
        };
        // Their groups and addresses are asked for only of those that are shown.
        let mut ranked: Vec<_> = behind
            .iter()
            .map(|session| {
                let lag = session.lock().lag();
                let amount = match rank {
                    Rank::Messages => lag.messages,
                    Rank::Bytes => lag.bytes,
                    Rank::Age => age_ms(lag.oldest, now),
                };
                (amount, session)
            })
            .collect();
        ranked.sort_by_key(|(amount, session)| (std::cmp::Reverse(*amount), session.id()));
        let furthest = ranked.into_iter().filter(|(amount, _)| *amount > 0);
        furthest
            .filter_map(|(_, session)| self.seen(session, now))
            .take(max)
            .collect()
    }

    /// `None` for one that is detached.
    fn seen(&self, session: &Arc<Session>, now: Instant) -> Option<Seen> {
        let tick = self.tick(now);
        let inner = session.lock();
        let (user, groups) = names(&inner)?;
        let lag = inner.lag();
        drop(inner);
        Some(Seen {
            session: session.id(),
            user,
            device: session.device().into(),
            door: session.sink().protocol(),
            groups,
            peer: session.sink().peer(),
            age_s: tick.saturating_sub(session.since()),
            heartbeat_s: session.heartbeat_s(),
            silent_s: tick.saturating_sub(session.received.load(Ordering::Relaxed)),
            behind_messages: lag.messages,
            behind_bytes: lag.bytes,
            behind_ms: age_ms(lag.oldest, now),
        })
    }
}

/// The user and the groups: all, the user, the groups is the order of the handles.
fn names(inner: &Inner) -> Option<(Arc<str>, Vec<Arc<str>>)> {
    let mut lanes = inner.handles.iter().map(|handle| &handle.lane.name);
    let user = Arc::clone(lanes.nth(1)?);
    Some((user, lanes.cloned().collect()))
}

fn age_ms(oldest: Option<Instant>, now: Instant) -> u64 {
    oldest.map_or(0, |oldest| {
        let age = now.saturating_duration_since(oldest);
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::Target;
    use crate::hub::tests::{Bench, options};

    #[test]
    fn a_look_up_shows_the_sessions_of_a_user_and_of_nobody_else() {
        let bench = Bench::new(options());
        let phone = bench.attach("ada", "phone", &["news", "room"]);
        bench.attach("ada", "", &[]);
        bench.attach("bob", "phone", &["news"]);
        let seen = bench
            .hub
            .look_up("ada", bench.start + Duration::from_secs(7));
        let devices: Vec<_> = seen.iter().map(|seen| &*seen.device).collect();
        assert_eq!(devices, ["phone", ""]);
        assert_eq!(seen[0].session, phone.id());
        assert_eq!(seen[0].groups, ["news".into(), "room".into()]);
        assert_eq!((seen[0].age_s, seen[0].silent_s), (7, 7));
        assert_eq!(seen[0].behind_messages, 0);
        assert!(bench.hub.look_up("eve", bench.start).is_empty());
        let closing = crate::hub::Closing::silent(crate::wire::reason::CloseReason::Eof);
        bench.hub.close(&*phone, closing);
        assert_eq!(bench.hub.look_up("ada", bench.start).len(), 1);
    }

    #[test]
    fn who_is_behind_is_ranked_by_what_is_asked_for() {
        let bench = Bench::new(options());
        for (user, room) in [("ada", 0), ("bob", 0), ("eve", 100_000)] {
            bench.attach(user, "", &[]).sink().set_room(Some(room));
        }
        bench.push(&[Target::User("ada")], &[0; 900]);
        for _ in 0..3 {
            bench.push(&[Target::User("bob")], b"few");
        }
        bench.push(&[Target::User("eve")], b"level");
        let later = bench.start + Duration::from_secs(2);
        let ranked = |rank, max| {
            let ranked = bench.hub.furthest_behind(rank, max, later);
            let of = |seen: &Seen| (seen.user.to_string(), seen.behind_messages);
            ranked.iter().map(of).collect::<Vec<_>>()
        };
        let (ada, bob) = (("ada".to_owned(), 1), ("bob".to_owned(), 3));
        assert_eq!(ranked(Rank::Messages, 9), [bob.clone(), ada.clone()]);
        assert_eq!(ranked(Rank::Bytes, 9), [ada.clone(), bob.clone()]);
        assert_eq!(ranked(Rank::Age, 1), [ada]);
        let seen = bench.hub.furthest_behind(Rank::Bytes, 1, later);
        assert_eq!(seen[0].behind_ms, 2_000);
        assert!(seen[0].behind_bytes > 900);
    }
}

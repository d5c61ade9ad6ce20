//! What outlives a connection: the groups that services gave to a device, and what it has
//! confirmed.
//!
//! A device stands here only where there is something to remember. While it is connected its
//! session holds the place; what is gone is bounded, and the longest gone goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::{Mutex, lock};

/// Devices that are remembered while they are gone: about 200 bytes each with one group.
const GONE_MAX: usize = 100_000;

/// The devices of every user of whom something is remembered.
#[derive(Default)]
pub(super) struct Devices {
    memory: Mutex<Memory>,
    /// Most gateways remember nothing: then nobody takes the lock.
    users: AtomicUsize,
}

#[derive(Default)]
struct Memory {
    users: HashMap<Box<str>, Vec<Device>>,
    /// Who is gone, by the order in which they went.
    gone: BTreeMap<u64, (Box<str>, Box<str>)>,
    next: u64,
}

struct Device {
    name: Box<str>,
    groups: Vec<Box<str>>,
    confirmed: u64,
    presence: Presence,
}

enum Presence {
    /// The session that it is connected with.
    Here(u64),
    /// Gone as the `order`th, at a tick.
    Gone { order: u64, since: u32 },
}

/// What a device that comes back has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recalled {
    /// Groups that services gave it.
    pub(super) groups: Vec<Box<str>>,
    /// The number up to which it has confirmed what it was sent; 0 where that is not known.
    pub(super) confirmed: u64,
}

impl Devices {
    fn is_empty(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }

    fn with<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = lock(&self.memory);
        let result = act(&mut memory);
        self.users.store(memory.users.len(), Ordering::Release);
        result
    }

    /// A service gave `group` to a device that is connected as `session`.
    pub(super) fn give(&self, user: &str, device: &str, session: u64, group: &str) {
        self.with(|memory| {
            let device = memory.device(user, device, session);
            if !device.groups.iter().any(|held| **held == *group) {
                device.groups.push(group.into());
            }
        });
    }

    /// The same for those devices of a user that are gone since `since` or later.
    pub(super) fn give_to_gone(&self, user: &str, since: u32, group: &str, max: usize) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            for device in memory.users.get_mut(user).into_iter().flatten() {
                let recent =
                    matches!(device.presence, Presence::Gone { since: at, .. } if at >= since);
                let held = device.groups.iter().any(|held| **held == *group);
                if recent && !held && device.groups.len() < max {
                    device.groups.push(group.into());
                }
            }
        });
    }

    /// `group` is taken from every device of the user, or from one.
    pub(super) fn take_away(&self, user: &str, device: Option<&str>, group: &str) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            for held in memory.users.get_mut(user).into_iter().flatten() {
                if device.is_none_or(|device| *held.name == *device) {
                    held.groups.retain(|name| **name != *group);
                }
            }
        });
    }

    /// Nothing is remembered any more of a user's device, or of all where it is empty.
    pub(super) fn forget(&self, user: &str, device: &str) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            for held in memory.users.get_mut(user).into_iter().flatten() {
                if device.is_empty() || *held.name == *device {
                    held.groups.clear();
                }
            }
        });
    }

    /// A device has come as `session`, at a time when groups are remembered that were given to who
    /// is gone since `since` or later.
    pub(super) fn recall(&self, user: &str, device: &str, session: u64, since: u32) -> Recalled {
        if self.is_empty() {
            return Recalled::default();
        }
        self.with(|memory| {
            let devices = memory.users.get_mut(user).into_iter().flatten();
            let Some(held) = devices.into_iter().find(|held| *held.name == *device) else {
                return Recalled::default();
            };
            match held.presence {
                Presence::Gone { order, since: at } => {
                    memory.gone.remove(&order);
                    if at < since {
                        held.groups.clear();
                    }
                    held.presence = Presence::Here(session);
                }
                // The newer one of two that come at once has the place.
                Presence::Here(holder) => held.presence = Presence::Here(holder.max(session)),
            }
            Recalled {
                groups: held.groups.clone(),
                confirmed: held.confirmed,
            }
        })
    }

    /// The device that was connected as `session` is gone at tick `now`, and has confirmed what it
    /// was sent up to `confirmed`. Nothing happens where a newer session has its place. Returns how
    /// many others were forgotten for it.
    pub(super) fn leave(
        &self,
        (user, device): (&str, &str),
        session: u64,
        confirmed: u64,
        now: u32,
    ) -> u64 {
        if self.is_empty() && confirmed == 0 {
            return 0;
        }
        self.with(|memory| {
            let order = memory.next;
            let known = memory.users.contains_key(user);
            if !known && confirmed == 0 {
                return 0;
            }
            let held = memory.device(user, device, session);
            if !matches!(held.presence, Presence::Here(holder) if holder == session) {
                return 0;
            }
            held.confirmed = held.confirmed.max(confirmed);
            if held.groups.is_empty() && held.confirmed == 0 {
                memory.remove(user, device);
                return 0;
            }
            held.presence = Presence::Gone { order, since: now };
            memory.next += 1;
            memory.gone.insert(order, (user.into(), device.into()));
            let mut forgotten = 0;
            while memory.gone.len() > GONE_MAX
                && let Some((_, (user, device))) = memory.gone.pop_first()
            {
                memory.remove(&user, &device);
                forgotten += 1;
            }
            forgotten
        })
    }

    /// Forgets up to `max` of those that are gone since before `since` and have confirmed nothing
    /// from the number `oldest` on.
    pub(super) fn expire(&self, since: u32, oldest: u64, max: usize) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            for _ in 0..max {
                let Some((order, (user, device))) = memory.gone.pop_first() else {
                    return;
                };
                let held = memory.find(&user, &device);
                let is_needed = held.is_some_and(|held| {
                    matches!(held.presence, Presence::Gone { since: at, .. } if at >= since)
                        || held.confirmed >= oldest
                });
                if is_needed {
                    memory.gone.insert(order, (user, device));
                    return;
                }
                memory.remove(&user, &device);
            }
        });
    }

    /// Devices that are remembered while they are gone.
    pub(super) fn gone(&self) -> usize {
        lock(&self.memory).gone.len()
    }
}

impl Memory {
    fn find(&self, user: &str, device: &str) -> Option<&Device> {
        let mut devices = self.users.get(user)?.iter();
        devices.find(|held| *held.name == *device)
    }

    /// The device's place, made for `session` where there is none.
    fn device(&mut self, user: &str, device: &str, session: u64) -> &mut Device {
        if !self.users.contains_key(user) {
            self.users.insert(user.into(), Vec::with_capacity(1));
        }
        let devices = self.users.get_mut(user).expect("made above");
        if let Some(at) = devices.iter().position(|held| *held.name == *device) {
            return &mut devices[at];
        }
        devices.push(Device {
            name: device.into(),
            groups: Vec::new(),
            confirmed: 0,
            presence: Presence::Here(session),
        });
        devices.last_mut().expect("pushed above")
    }

    fn remove(&mut self, user: &str, device: &str) {
        let Some(devices) = self.users.get_mut(user) else {
            return;
        };
        devices.retain(|held| *held.name != *device);
        if devices.is_empty() {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recalled(groups: &[&str], confirmed: u64) -> Recalled {
        let groups = groups.iter().map(|group| (*group).into()).collect();
        Recalled { groups, confirmed }
    }

    #[test]
    fn what_was_given_outlives_a_connection_for_its_time() {
        let devices = Devices::default();
        assert_eq!(devices.recall("ada", "phone", 1, 0), recalled(&[], 0));
        devices.give("ada", "phone", 1, "room");
        devices.give("ada", "phone", 1, "room");
        devices.leave(("ada", "phone"), 1, 7, 100);
        assert_eq!(devices.gone(), 1);
        devices.give_to_gone("ada", 100, "news", 8);
        devices.give_to_gone("ada", 101, "late", 8);
        devices.give_to_gone("ada", 100, "many", 2);
        assert_eq!(
            devices.recall("ada", "phone", 2, 100),
            recalled(&["room", "news"], 7)
        );
        assert_eq!(devices.gone(), 0);
        devices.take_away("ada", Some("phone"), "room");
        devices.leave(("ada", "phone"), 2, 0, 200);
        assert_eq!(
            devices.recall("ada", "phone", 3, 201),
            recalled(&[], 7),
            "too late"
        );
    }

    #[test]
    fn a_newer_session_keeps_its_place() {
        let devices = Devices::default();
        devices.give("ada", "", 1, "room");
        assert_eq!(devices.recall("ada", "", 2, 0), recalled(&["room"], 0));
        devices.leave(("ada", ""), 1, 9, 5);
        assert_eq!(devices.gone(), 0);
        devices.forget("ada", "");
        devices.leave(("ada", ""), 2, 0, 5);
        assert!(devices.is_empty(), "nothing is left to remember");
    }

    #[test]
    fn the_longest_gone_is_forgotten_first() {
        let devices = Devices::default();
        let mut forgotten = 0;
        for number in 0..GONE_MAX as u64 + 3 {
            let user = format!("u{number}");
            devices.give(&user, "", number, "room");
            forgotten += devices.leave((&user, ""), number, 0, 1);
        }
        assert_eq!((forgotten, devices.gone()), (3, GONE_MAX));
        assert_eq!(devices.recall("u2", "", 1, 0), recalled(&[], 0));
        assert_eq!(devices.recall("u3", "", 1, 0), recalled(&["room"], 0));
        devices.expire(1, u64::MAX, 10);
        assert_eq!(devices.gone(), GONE_MAX - 1, "not before their time");
        devices.expire(2, u64::MAX, 10);
        assert_eq!(devices.gone(), GONE_MAX - 11);
    }

    #[test]
    fn who_has_confirmed_something_that_is_kept_is_remembered_for_longer() {
        let devices = Devices::default();
        devices.leave(("ada", ""), 1, 5, 1);
        devices.expire(100, 5, 10);
        assert_eq!(devices.gone(), 1);
        devices.expire(100, 6, 10);
        assert!(devices.is_empty());
    }
}

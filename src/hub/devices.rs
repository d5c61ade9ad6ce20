//! What outlives a connection: the groups that services gave to a device, and what it has
//! confirmed.
//!
//! A device stands here only where there is something to remember. While it is connected its
//! session holds the place; what is gone is bounded, and the longest gone goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::{Mutex, lock};

/// Devices that are remembered while they are gone,
const GONE_MAX: usize = 100_000;
/// and bytes of them. With names of a usual length that is no bound of its own: so many devices
/// with one group take 27 MB. With the longest names and 64 groups each they would take 2 GB.
const GONE_BYTES_MAX: usize = 64 << 20;
/// A device beside its texts: its own fields, and its places among the users and those who went.
const DEVICE_BYTES: usize = 200;
/// A group beside its name.
const GROUP_BYTES: usize = 32;

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
    /// What they take.
    gone_bytes: usize,
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

impl Device {
    /// Bytes that it takes while it is gone. Both names stand twice.
    fn gone_bytes(&self, user: &str) -> usize {
        if let Presence::Here(_) = self.presence {
            return 0;
        }
        let groups = self.groups.iter().map(|group| GROUP_BYTES + group.len());
        DEVICE_BYTES + 2 * (user.len() + self.name.len()) + groups.sum::<usize>()
    }
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

    /// The same for those devices of a user that are gone since `since` or later. Returns how many
    /// were forgotten for it.
    pub(super) fn give_to_gone(&self, user: &str, since: u32, group: &str, max: usize) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.with(|memory| {
            memory.change(user, |device| {
                let recent =
                    matches!(device.presence, Presence::Gone { since: at, .. } if at >= since);
                let held = device.groups.iter().any(|held| **held == *group);
                if recent && !held && device.groups.len() < max {
                    device.groups.push(group.into());
                }
            });
            memory.trim()
        })
    }

    /// `group` is taken from every device of the user, or from one.
    pub(super) fn take_away(&self, user: &str, device: Option<&str>, group: &str) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            memory.change(user, |held| {
                if device.is_none_or(|device| *held.name == *device) {
                    held.groups.retain(|name| **name != *group);
                }
            });
        });
    }

    /// Nothing is remembered any more of a user's device, or of all where it is empty.
    pub(super) fn forget(&self, user: &str, device: &str) {
        if self.is_empty() {
            return;
        }
        self.with(|memory| {
            memory.change(user, |held| {
                if device.is_empty() || *held.name == *device {
                    held.groups.clear();
                }
            });
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
                    memory.gone_bytes -= held.gone_bytes(user);
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
            let bytes = held.gone_bytes(user);
            memory.next += 1;
            memory.gone.insert(order, (user.into(), device.into()));
            memory.gone_bytes += bytes;
            memory.trim()
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

    /// Changes what the devices of a user have.
    fn change(&mut self, user: &str, mut act: impl FnMut(&mut Device)) {
        for device in self.users.get_mut(user).into_iter().flatten() {
            self.gone_bytes -= device.gone_bytes(user);
            act(device);
            self.gone_bytes += device.gone_bytes(user);
        }
    }

    /// Forgets the longest gone until the bounds hold; how many these were.
    fn trim(&mut self) -> u64 {
        let mut forgotten = 0;
        while (self.gone.len() > GONE_MAX || self.gone_bytes > GONE_BYTES_MAX)
            && let Some((_, (user, device))) = self.gone.pop_first()
        {
            self.remove(&user, &device);
            forgotten += 1;
        }
        forgotten
    }

    fn remove(&mut self, user: &str, device: &str) {
        let Some(devices) = self.users.get_mut(user) else {
            return;
        };
        let is_it = |held: &mut Device| *held.name == *device;
        for gone in devices.extract_if(.., is_it) {
            self.gone_bytes -= gone.gone_bytes(user);
        }
        if devices.is_empty() {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests;

//! What of a session outlives its connection: its subscriptions, and where it is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::subscriptions::Subscriptions;
use super::window::Window;
use crate::hub::{Begun, Resume};
use crate::wire::frame::Scope;
use crate::wire::mqtt::Qos;

/// A session's state. The task that reads from the client and the walks that write to it share it;
/// its lock is a leaf.
#[derive(Default)]
pub(super) struct State(Mutex<Held>);

#[derive(Clone, Default)]
struct Held {
    subscriptions: Subscriptions,
    window: Window,
    /// Of the numbers in the window.
    epoch: u64,
}

impl State {
    /// The same session on a new connection, on which so many may be in flight.
    pub(super) fn resumed(&self, receive_maximum: u16) -> Self {
        let held = self.lock();
        let (cursor, ever) = (held.window.cursor(), held.window.ever());
        Self(Mutex::new(Held {
            subscriptions: held.subscriptions.clone(),
            window: Window::new(cursor, ever, receive_maximum),
            epoch: held.epoch,
        }))
    }

    /// A session that begins, on a connection on which so many may be in flight.
    pub(super) fn new(receive_maximum: u16) -> Self {
        Self(Mutex::new(Held {
            window: Window::new(0, 0, receive_maximum),
            ..Held::default()
        }))
    }

    /// Where it goes on.
    pub(super) fn place(&self) -> Resume {
        let held = self.lock();
        Resume {
            epoch: held.epoch,
            cursor: held.window.cursor(),
        }
    }

    /// Everything up to here has been handled.
    pub(super) fn cursor(&self) -> u64 {
        self.lock().window.cursor()
    }

    /// The connection stands; unless it goes on, everything from before is forgotten, and it begins
    /// at `cursor`.
    pub(super) fn begin(&self, goes_on: bool, (epoch, cursor): (u64, u64)) {
        let mut held = self.lock();
        if !goes_on {
            held.subscriptions = Subscriptions::default();
            held.window.begin(cursor);
        }
        held.epoch = epoch;
    }

    /// All up to here has been sent, or is not for this session.
    pub(super) fn reach(&self, number: u64) {
        self.lock().window.reach(number);
    }

    /// How a kept message is sent: under which QoS, and whether it was sent before. `None`: it was,
    /// under QoS 0, and is not sent again.
    ///
    /// A group that the client has not asked for is one that a service, or its token, has put it
    /// into: with QoS 1, since nobody has asked for less.
    pub(super) fn kept(&self, scope: Scope, group: &str, number: u64) -> Option<(Qos, bool)> {
        let held = self.lock();
        let is_repeat = held.window.is_repeat(number);
        match held.subscriptions.qos(scope, group) {
            Some(Qos::AtMostOnce) if is_repeat => None,
            Some(Qos::AtMostOnce) => Some((Qos::AtMostOnce, false)),
            _ => Some((Qos::AtLeastOnce, is_repeat)),
        }
    }

    /// As [`Window::admits`].
    pub(super) fn admits(&self, number: u64, begun: Begun) -> bool {
        self.lock().window.admits(number, begun)
    }

    /// As [`Window::sent`].
    pub(super) fn sent(&self, number: u64, is_acknowledged: bool) {
        self.lock().window.sent(number, is_acknowledged);
    }

    /// As [`Window::acknowledge`].
    pub(super) fn acknowledge(&self, id: u16) -> bool {
        self.lock().window.acknowledge(id)
    }

    /// Looks at the subscriptions, or changes them. Nothing else is locked meanwhile.
    pub(super) fn subscriptions<T>(&self, look: impl FnOnce(&mut Subscriptions) -> T) -> T {
        look(&mut self.lock().subscriptions)
    }

    /// Its connection has ended: what was in flight is sent again on the next one, from the cursor.
    pub(super) fn disconnect(&self) {
        let mut held = self.lock();
        held.window = Window::new(held.window.cursor(), held.window.ever(), 1);
    }

    /// Bytes that it takes beside itself, roughly, without what is in flight.
    pub(super) fn weight(&self) -> usize {
        self.lock().subscriptions.weight()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

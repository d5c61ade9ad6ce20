//! What the service manager is told (`sd_notify(3)`): where the process is in its life, how it is,
//! and that it lives.
//!
//! The socket is opened once and kept: a process that is out of descriptors must still be able to
//! say that it lives. Nothing here waits. What is told of the life of the process is told again
//! until it was taken; of the rest the next one is as good.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// Where a process is told to report to.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Where the process is in its life, as the service manager knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Starting,
    Ready,
    Reloading,
    Stopping,
}

/// Tells the service manager, where there is one.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    /// A lock, since a reload may end while a drain begins; held for one system call that does not
    /// wait.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// What of the life could not be told yet.
    untold: Option<String>,
    /// The last attempt failed: that was logged.
    is_deaf: bool,
}

impl Default for Notify {
    /// Tells nobody.
    fn default() -> Self {
        Self::over(None)
    }
}

impl Notify {
    /// To whom the environment says. An address that cannot be used is a warning: the process can
    /// do its work all the same.
    pub fn from_env() -> Self {
        let address = env::var_os(SOCKET);
        let socket = address.and_then(|address| match open(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let address = address.display();
                warn!(target: "pushgate", %address, %error, "the service manager is told nothing");
                None
            }
        });
        Self::over(socket)
    }

    fn over(socket: Option<UnixDatagram>) -> Self {
        Self {
            socket,
            state: Mutex::new(State {
                life: Life::Starting,
                untold: None,
                is_deaf: false,
            }),
        }
    }

    /// Both ends; the second is the manager's.
    #[cfg(test)]
    pub(super) fn pair() -> (Self, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("descriptors are left");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket's options");
        }
        (Self::over(Some(ours)), theirs)
    }

    /// The doors are open, and requests are carried out.
    pub(in crate::daemon) fn ready(&self, status: &str) {
        let told = [NotifyState::Ready, NotifyState::Status(status)];
        self.enter(&[Life::Starting], Life::Ready, &told);
    }

    /// The configuration is read again.
    pub(in crate::daemon) fn reloading(&self) {
        let mut told = vec![
            NotifyState::Reloading,
            NotifyState::Status("reads the configuration again"),
        ];
        told.extend(NotifyState::monotonic_usec_now());
        self.enter(&[Life::Ready], Life::Reloading, &told);
    }

    /// It was read, whatever came of it.
    pub(in crate::daemon) fn reloaded(&self, status: &str) {
        let told = [NotifyState::Ready, NotifyState::Status(status)];
        self.enter(&[Life::Reloading], Life::Ready, &told);
    }

    /// The process leaves.
    pub(in crate::daemon) fn stopping(&self, status: &str) {
        let told = [NotifyState::Stopping, NotifyState::Status(status)];
        let from = [Life::Starting, Life::Ready, Life::Reloading];
        self.enter(&from, Life::Stopping, &told);
    }

    /// Something that takes its time, a start or an end, goes on: it may take so much longer from
    /// now on before it counts as stuck.
    pub(in crate::daemon) fn extend(&self, by: Duration, status: &str) {
        let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        let told = [
            NotifyState::ExtendTimeoutUsec(micros),
            NotifyState::Status(status),
        ];
        self.tell(&told);
    }

    /// How it is, for people.
    pub(in crate::daemon) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Every loop turns.
    pub(in crate::daemon) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Tells what could not be told before, if there is something.
    pub(in crate::daemon) fn retry(&self) {
        self.tell(&[]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next part of the life, if it is one of `from` now.
    fn enter(&self, from: &[Life], to: Life, told: &[NotifyState<'_>]) {
        let mut state = self.state();
        if from.contains(&state.life) {
            state.life = to;
            // What is newer makes up for what was not taken before.
            state.untold = Some(text(told));
            self.send(&mut state, &[]);
        }
    }

    fn tell(&self, told: &[NotifyState<'_>]) {
        self.send(&mut self.state(), told);
    }

    fn send(&self, state: &mut State, told: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let sent = match &state.untold {
            Some(untold) => socket.send(untold.as_bytes()),
            None => Ok(0),
        };
        let sent = sent.and_then(|_| {
            state.untold = None;
            match told {
                [] => Ok(0),
                told => socket.send(text(told).as_bytes()),
            }
        });
        match sent {
            Ok(_) => state.is_deaf = false,
            Err(error) if !state.is_deaf => {
                state.is_deaf = true;
                warn!(target: "pushgate", %error, "the service manager does not listen");
            }
            Err(_) => {}
        }
    }
}

fn text(told: &[NotifyState<'_>]) -> String {
    let mut text = String::new();
    for state in told {
        // A text takes everything.
        let _ = writeln!(text, "{state}");
    }
    text
}

/// A path, or behind an `@` a name in the kernel's own space.
fn open(address: &OsString) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(Path::new(address))?,
        _ => return Err(io::Error::other("neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next = || {
            let count = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_life_is_told_in_its_order() {
        let (notify, manager) = Notify::pair();
        // Nothing is reloaded before it is ready: READY would come too early.
        notify.reloading();
        notify.reloaded("early");
        assert_eq!(heard(&manager), Vec::<String>::new());
        notify.ready("serves");
        assert_eq!(heard(&manager), ["READY=1\nSTATUS=serves\n"]);
        notify.reloading();
        let told = heard(&manager).concat();
        assert!(told.starts_with("RELOADING=1\n"), "{told}");
        let usec = told
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(
            usec.is_some_and(|usec| 0 < usec.parse::<u64>().unwrap()),
            "{told}"
        );
        notify.reloaded("again");
        assert_eq!(heard(&manager), ["READY=1\nSTATUS=again\n"]);
        notify.reloading();
        notify.stopping("drains");
        assert!(heard(&manager)[1].starts_with("STOPPING=1\n"));
        // It is not ready any more, whatever comes of the reload.
        notify.reloaded("late");
        notify.ready("late");
        notify.stopping("twice");
        assert_eq!(heard(&manager), Vec::<String>::new());
        notify.extend(Duration::from_secs(5), "drains on");
        let told = ["EXTEND_TIMEOUT_USEC=5000000\nSTATUS=drains on\n"];
        assert_eq!(heard(&manager), told);
        notify.alive();
        assert_eq!(heard(&manager), ["WATCHDOG=1\n"]);
    }

    #[test]
    fn what_was_not_taken_is_told_again_and_nobody_waits() {
        let (notify, manager) = Notify::pair();
        // A manager that does not read: its queue is full at some point.
        for _ in 0..100_000 {
            notify.status("busy");
        }
        notify.ready("serves");
        let told = heard(&manager);
        assert!(told.iter().all(|text| text == "STATUS=busy\n"), "{told:?}");
        notify.retry();
        assert_eq!(heard(&manager), ["READY=1\nSTATUS=serves\n"]);
        notify.retry();
        assert_eq!(heard(&manager), Vec::<String>::new());
    }

    #[test]
    fn a_manager_listens_at_a_path_or_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("pushgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let at_name = OsString::from(format!("@{name}"));
        for (address, manager) in [(path.into_os_string(), by_path), (at_name, by_name)] {
            manager.set_nonblocking(true).unwrap();
            Notify::over(Some(open(&address).unwrap())).alive();
            assert_eq!(heard(&manager), ["WATCHDOG=1\n"], "{address:?}");
        }
        for address in ["", "vsock:2:1", "notify"] {
            assert!(open(&address.into()).is_err(), "{address}");
        }
        // Without a manager nothing happens.
        Notify::default().ready("serves");
    }
}

//! Sockets that the service manager has bound and passes on (`sd_listen_fds(3)`). They outlive the
//! process: what comes while no process is there waits in them for the next one.
//!
//! Each has a name, `FileDescriptorName=` of its unit: that of a listener, `udp` or `admin`. It
//! takes the place of the address that the configuration has for this door. What does not fit is
//! refused at start: a socket that nobody serves would hold clients for ever.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use socket2::{Socket, Type};

use crate::daemon::settings::{Problems, Settings};

/// The name of the datagram socket.
pub(in crate::daemon) const UDP: &str = "udp";
/// The name of the socket for operators.
pub(in crate::daemon) const ADMIN: &str = "admin";

/// What was passed, with the names as they came.
#[derive(Debug, Default)]
pub struct Passed(Vec<(String, Socket)>);

/// What was passed, by the door that it is for; a door without one binds its own address.
#[derive(Debug, Default)]
pub struct Sockets {
    /// In the order of the settings' listeners.
    pub(in crate::daemon) listeners: Vec<Option<Socket>>,
    pub(in crate::daemon) udp: Option<Socket>,
    pub(in crate::daemon) admin: Option<Socket>,
    pub(in crate::daemon) places: Places,
}

/// The addresses of the doors whose sockets were passed, by their names. Whatever a file says, this
/// is where they stand.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Places(Vec<(String, SocketAddr)>);

impl Passed {
    /// Takes what this process was passed: nothing without a service manager, or where what the
    /// environment says is meant for another process. To be called once, before other descriptors
    /// are opened.
    ///
    /// # Errors
    /// The environment makes no sense, or what was passed are no open descriptors.
    pub fn take() -> anyhow::Result<Self> {
        let passed = sd_listen_fds::get().context("LISTEN_PID, LISTEN_FDS")?;
        let sockets = passed.into_iter().map(|(name, descriptor)| {
            let name = name.unwrap_or_default();
            let descriptor: OwnedFd = descriptor.into_std();
            let socket = Socket::from(descriptor);
            let closed = socket.set_cloexec(true);
            closed.with_context(|| format!("the descriptor that is passed as {name:?}"))?;
            Ok((name, socket))
        });
        Ok(Self(sockets.collect::<anyhow::Result<_>>()?))
    }

    /// Gives each socket to its door. The settings get the addresses where the doors really stand,
    /// and are checked with these; `path` is for messages.
    ///
    /// # Errors
    /// A socket that is for no door, or not of the kind that its door takes; or an address on which
    /// these settings are refused.
    pub fn sort(self, settings: &mut Settings, path: Option<&Path>) -> anyhow::Result<Sockets> {
        let mut sockets = Sockets {
            listeners: settings.listeners.iter().map(|_| None).collect(),
            ..Sockets::default()
        };
        for (name, socket) in self.0 {
            let index = settings.listeners.iter().position(|of| of.name == name);
            let (place, kind) = match index {
                Some(index) => (&mut sockets.listeners[index], Type::STREAM),
                None if name == UDP => (&mut sockets.udp, Type::DGRAM),
                None if name == ADMIN => (&mut sockets.admin, Type::STREAM),
                None => bail!("{}", unknown(&name, settings)),
            };
            ensure!(
                place.is_none(),
                "two sockets are passed as {name:?}: a door has one; give another [[listeners]] a \
                 name, and its socket unit that name"
            );
            let fits = fits(&socket, kind);
            let address = fits.with_context(|| format!("the socket that is passed as {name:?}"))?;
            sockets.places.0.push((name, address));
            *place = Some(socket);
        }
        sockets
            .places
            .apply(settings, path.unwrap_or(Path::new("(defaults)")))?;
        Ok(sockets)
    }
}

fn unknown(name: &str, settings: &Settings) -> String {
    let listeners = settings.listeners.iter().map(|of| of.name.as_str());
    let names: Vec<&str> = listeners.chain([UDP, ADMIN]).collect();
    format!(
        "a socket is passed as {name:?}, and no door has that name; write one of these as \
         FileDescriptorName= of its unit: {}",
        names.join(", ")
    )
}

/// Whether a socket is what a door of this kind takes; its address.
fn fits(socket: &Socket, kind: Type) -> anyhow::Result<SocketAddr> {
    let (word, line) = match kind {
        Type::DGRAM => ("a datagram socket", "ListenDatagram="),
        _ => ("a stream socket", "ListenStream="),
    };
    let is_kind = socket.r#type().context("it is no socket")? == kind;
    ensure!(is_kind, "it is not {word}: write {line} in its unit");
    ensure!(
        kind != Type::STREAM || socket.is_listener()?,
        "it does not listen: write Accept=no in its unit"
    );
    let address = socket.local_addr()?.as_socket();
    address.with_context(|| format!("it has no address and port: write them behind {line}"))
}

impl Places {
    /// Nothing was passed.
    pub(in crate::daemon) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the addresses where the doors stand in the place of those that a file says, and checks
    /// the whole with them.
    ///
    /// # Errors
    /// What does not go together with these addresses.
    pub(in crate::daemon) fn apply(
        &self,
        settings: &mut Settings,
        path: &Path,
    ) -> Result<(), Problems> {
        if self.is_empty() {
            return Ok(());
        }
        for (name, address) in &self.0 {
            let listener = settings.listeners.iter_mut().find(|of| of.name == *name);
            let place = match (listener, name.as_str()) {
                (Some(listener), _) => &mut listener.address,
                (None, UDP) => &mut settings.udp.listen,
                (None, ADMIN) => &mut settings.admin.listen,
                // A listener that the file does not have any more: it goes with a restart.
                (None, _) => continue,
            };
            *place = *address;
        }
        settings.check(path).map_err(|mut problems| {
            for problem in &mut problems.list {
                problem.what += " (with the sockets that the service manager passes)";
            }
            problems
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn tcp(address: &str) -> Socket {
        TcpListener::bind(address).unwrap().into()
    }

    fn udp() -> Socket {
        UdpSocket::bind("127.0.0.1:0").unwrap().into()
    }

    fn sorted(passed: Vec<(&str, Socket)>) -> Result<(Settings, Sockets), String> {
        let mut settings = Settings::default();
        let passed = passed.into_iter().map(|(name, of)| (name.to_owned(), of));
        let sockets = Passed(passed.collect()).sort(&mut settings, None);
        let sockets = sockets.map_err(|error| format!("{error:#}"))?;
        Ok((settings, sockets))
    }

    #[test]
    fn a_socket_takes_the_place_of_its_doors_address() {
        let native = tcp("127.0.0.1:0");
        let address = native.local_addr().unwrap().as_socket().unwrap();
        let (settings, sockets) = sorted(vec![("native", native), ("udp", udp())]).unwrap();
        assert_eq!(settings.listeners[0].address, address);
        assert!(sockets.listeners[0].is_some() && sockets.udp.is_some());
        // What is not passed stays as the settings say.
        assert!(sockets.admin.is_none());
        assert_eq!(settings.admin, Settings::default().admin);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let local = "127.0.0.1:0";
        let unix = || Socket::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
        let silent = || Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        let file = || Socket::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        for (passed, why) in [
            (vec![("natvie", tcp(local))], "no door has that name"),
            (vec![("", tcp(local))], "native, udp, admin"),
            (vec![("native", udp())], "not a stream socket"),
            (vec![("udp", tcp(local))], "not a datagram socket"),
            (vec![("admin", silent())], "does not listen"),
            (vec![("admin", file())], "no socket"),
            (vec![("udp", unix())], "no address and port"),
            (
                vec![("native", tcp(local)), ("native", tcp(local))],
                "two sockets",
            ),
            // What is refused in a file is refused when it comes this way.
            (vec![("native", tcp("0.0.0.0:0"))], "anybody is any user"),
            (vec![("admin", tcp("0.0.0.0:0"))], "no token"),
        ] {
            let refused = sorted(passed).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }
}

//! The doors of a gateway: bound here, or passed by the service manager.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use socket2::Socket;
use tracing::field::display;
use tracing::info;

use super::settings::Settings;
use super::systemd::{ADMIN, Places, Sockets, UDP};
use crate::transport::admin;
use crate::transport::listener::Listening;
use crate::transport::socket;
use crate::wire::encoding::Protocol;

/// A gateway that could not accept must not say that it is ready.
const NO_SPARE: &str = "cannot hold descriptors back for the moment when there are none left";

/// Where a gateway listens, as bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients: the first listener, whatever it speaks.
    pub clients: SocketAddr,
    /// The first listener of each protocol, in the order of [`Protocol::ALL`].
    spoken: [Option<SocketAddr>; Protocol::ALL.len()],
    /// Datagrams.
    pub udp: SocketAddr,
    /// HTTP for operators.
    pub admin: SocketAddr,
}

impl Addresses {
    /// The first listener at which this is spoken.
    pub const fn speaking(&self, protocol: Protocol) -> Option<SocketAddr> {
        self.spoken[protocol.index()]
    }

    /// One line, which scripts wait for: an address under the name of each protocol that is spoken
    /// at a listener.
    pub(super) fn log_ready(&self) {
        let Self { udp, admin, .. } = self;
        let of = |protocol| self.speaking(protocol).map(display);
        let (native, mqtt) = (of(Protocol::Native), of(Protocol::Mqtt));
        let websocket = of(Protocol::WebSocket);
        info!(target: "pushgate", native, websocket, mqtt, %udp, %admin, "ready");
    }
}

/// The doors, open: the kernel queues what comes.
pub(super) struct Open {
    /// In the order of the settings.
    pub(super) listeners: Vec<Listening>,
    pub(super) udp: std::net::UdpSocket,
    pub(super) admin: admin::Listening,
    /// Where they stand.
    pub(super) addresses: Addresses,
    /// Where those stand that were passed.
    pub(super) places: Places,
}

/// Opens every door.
///
/// # Errors
/// One that cannot be bound, with its address and the key that names it; a socket that was passed
/// and cannot be set up.
pub(super) fn open(settings: &Settings, sockets: Sockets) -> anyhow::Result<Open> {
    let mut listeners = Vec::new();
    let mut passed = sockets.listeners.into_iter();
    for (number, listener) in settings.listeners.iter().enumerate() {
        let (passed, address) = (passed.next().flatten(), listener.address);
        let is_passed = passed.is_some();
        let socket = match passed {
            Some(socket) => adopted(&listener.name, socket, socket::adopt_listener)?,
            None => {
                let key = format!("listeners[{number}].address");
                bound(socket::listen(address), address, &key)?
            }
        };
        listeners.push(Listening::new(socket, is_passed).context(NO_SPARE)?);
    }
    let at = &settings.udp;
    let udp = match sockets.udp {
        Some(socket) => adopted(UDP, socket, |of| socket::adopt_udp(of, at.receive_buffer))?,
        None => {
            let socket = socket::bind_udp(at.listen, at.receive_buffer);
            bound(socket, at.listen, "udp.listen")?
        }
    };
    let at = settings.admin.listen;
    let admin = match sockets.admin {
        Some(socket) => adopted(ADMIN, socket, socket::adopt_listener)?,
        None => bound(socket::listen(at), at, "admin.listen")?,
    };
    let admin = admin::Listening::new(admin).context(NO_SPARE)?;
    let first = listeners.first().context("no listener is configured")?;
    let clients = first.socket.local_addr()?;
    let mut spoken = [None; Protocol::ALL.len()];
    for (listener, open) in settings.listeners.iter().zip(&listeners) {
        spoken[listener.protocol.index()].get_or_insert(open.socket.local_addr()?);
    }
    let addresses = Addresses {
        clients,
        spoken,
        udp: udp.local_addr()?,
        admin: admin.address(),
    };
    Ok(Open {
        listeners,
        udp,
        admin,
        addresses,
        places: sockets.places,
    })
}

fn bound<T>(result: io::Result<T>, address: SocketAddr, key: &str) -> anyhow::Result<T> {
    result.with_context(|| {
        format!(
            "cannot bind {address} ({key}): is another process there? stop it, or configure \
             another address"
        )
    })
}

fn adopted<T>(
    name: &str,
    socket: Socket,
    adopt: impl FnOnce(Socket) -> io::Result<T>,
) -> anyhow::Result<T> {
    let adopted = adopt(socket);
    let adopted = adopted.with_context(|| format!("the socket that is passed as {name:?}"))?;
    info!(target: "pushgate", name, "a socket of the service manager");
    Ok(adopted)
}

//! Sockets as the gateway wants them, and what the kernel tells of them.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

/// Connections that wait to be accepted: as many as `net.core.somaxconn` allows, to which the
/// kernel cuts this. `std` asks for 128, and what comes over it is dropped silently.
pub(super) const BACKLOG: i32 = i32::MAX;

/// A peer that acknowledges nothing for this long is gone: about the time in which the keepalive
/// probes below find it out.
const USER_TIMEOUT: Duration = Duration::from_secs(55);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Bytes not yet sent up to which the kernel takes more for one client. More would only hide from
/// the gateway how far a client is behind; twice the largest frame lets every message go in one
/// write.
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// Binds and listens on `address`. Its options are inherited by every accepted socket, which saves
/// a system call each:
///
/// - `TCP_NODELAY`: a push is one write, there is nothing to wait for;
/// - keepalive and `TCP_USER_TIMEOUT` find a vanished peer also when the heartbeat is an hour;
/// - `TCP_NOTSENT_LOWAT` bounds what the kernel holds for a client that does not read.
///
/// # Errors
/// Those of the system calls; the address in use among them.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    adopt_listener(socket)
}

/// The same for a socket that somebody else has bound: the options are set, and a queue that is
/// shorter than ours is made longer. Connections that came before do not have the options: see
/// [`set_options`].
///
/// # Errors
/// Those of the system calls.
pub fn adopt_listener(socket: Socket) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    set_options(SockRef::from(&socket))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What a client's socket has, inherited or not.
pub(super) fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)
}

/// Binds a datagram socket with a receive buffer of `receive_buffer` bytes, or as much of it as the
/// kernel gives.
///
/// # Errors
/// Those of the system calls; the address in use among them.
pub fn bind_udp(address: SocketAddr, receive_buffer: usize) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.bind(&address.into())?;
    adopt_udp(socket, receive_buffer)
}

/// The same for a socket that somebody else has bound. A receive buffer that is as large already
/// stays: who bound it may give more than this process can.
///
/// # Errors
/// Those of the system calls.
pub fn adopt_udp(socket: Socket, receive_buffer: usize) -> io::Result<std::net::UdpSocket> {
    socket.set_nonblocking(true)?;
    // The kernel doubles what it gives, for its own books.
    let given = || socket.recv_buffer_size().map(|bytes| bytes / 2);
    // Beyond net.core.rmem_max for who may: root, or CAP_NET_ADMIN.
    if given()? < receive_buffer
        && set_socket_recv_buffer_size_force(&socket, receive_buffer).is_err()
        && given()? < unprivileged(receive_buffer)?
    {
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    let given = given()?;
    if given < receive_buffer {
        warn!(
            asked = receive_buffer,
            given, "udp.receive_buffer: raise net.core.rmem_max"
        );
    } else {
        info!(asked = receive_buffer, given, "udp.receive_buffer");
    }
    Ok(socket.into())
}

/// What of a receive buffer the kernel gives to anybody: up to net.core.rmem_max. To ask for more
/// is to get that, also where there was more before, and so a socket that nobody needs is asked.
fn unprivileged(receive_buffer: usize) -> io::Result<usize> {
    let probe = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    probe.set_recv_buffer_size(receive_buffer)?;
    Ok(probe.recv_buffer_size()? / 2)
}

/// Ends our direction of the stream, behind what was written.
pub(super) fn shut_down_write(stream: &TcpStream) {
    // A peer that is gone already needs no farewell.
    drop(SockRef::from(stream).shutdown(std::net::Shutdown::Write));
}

/// Bounds what the kernel holds for a peer that does not read, and for how long: a connection of
/// which it has taken nothing for `stall_max` fails with a timeout. As far as it can be set.
pub(super) fn bound_sending(stream: &TcpStream, bytes: usize, stall_max: Duration) {
    let socket = SockRef::from(stream);
    drop(socket.set_send_buffer_size(bytes));
    drop(socket.set_tcp_user_timeout(Some(stall_max)));
}

/// Makes the close that follows a reset, so that the kernel drops what it still holds for a peer
/// that does not read.
pub(super) fn reset_on_close(stream: &TcpStream) {
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// Raises the descriptor limit to what the process may have, and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Datagrams that the kernel dropped because the receive buffer was full, read from procfs: the
/// count there is right also when nothing follows a burst. The file stays open, so that it can be
/// read when descriptors are exhausted.
pub struct KernelDrops {
    tables: Vec<File>,
    inode: String,
}

impl KernelDrops {
    /// For this socket.
    ///
    /// # Errors
    /// Those of reading the socket's number.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let inode = rustix::fs::fstat(socket)?.st_ino.to_string();
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let tables = tables
            .iter()
            .filter_map(|path| File::open(path).ok())
            .collect();
        Ok(Self { tables, inode })
    }

    /// Datagrams dropped since the socket exists; 0 where there is no procfs.
    pub fn count(&self) -> u64 {
        self.tables
            .iter()
            .filter_map(|table| drops_of(&read_whole(table), &self.inode))
            .sum()
    }
}

pub(super) fn read_whole(table: &File) -> String {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = table.read_at(&mut chunk, text.len() as u64) {
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The last column of the line whose tenth is `inode`.
fn drops_of(table: &str, inode: &str) -> Option<u64> {
    let line = table
        .lines()
        .find(|line| line.split_whitespace().nth(9) == Some(inode))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by it")]

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_the_options() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT);
    }

    #[tokio::test]
    async fn a_socket_of_somebody_else_gets_the_options_and_keeps_its_buffer() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = std::net::TcpListener::bind(any).unwrap();
        let queue = |socket: SockRef<'_>| (socket.tcp_nodelay(), socket.nonblocking());
        let before = queue(SockRef::from(&listener));
        assert_eq!((before.0.unwrap(), before.1.unwrap()), (false, false));
        let listener = adopt_listener(listener.into()).unwrap();
        let after = queue(SockRef::from(&listener));
        assert_eq!((after.0.unwrap(), after.1.unwrap()), (true, true));

        let socket = Socket::from(std::net::UdpSocket::bind(any).unwrap());
        socket.set_recv_buffer_size(100_000).unwrap();
        let large = socket.recv_buffer_size().unwrap();
        let socket = Socket::from(adopt_udp(socket, 50_000).unwrap());
        assert_eq!(socket.recv_buffer_size().unwrap(), large);
        let socket = Socket::from(adopt_udp(socket, 150_000).unwrap());
        assert!(large < socket.recv_buffer_size().unwrap());
    }

    #[test]
    fn drops_are_seen_although_nothing_follows_the_burst() {
        let socket = bind_udp("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
        let drops = KernelDrops::of(&socket).unwrap();
        assert_eq!(drops.count(), 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..500 {
            sender
                .send_to(&[0; 100], socket.local_addr().unwrap())
                .unwrap();
        }
        let mut received = 0;
        while socket.recv(&mut [0; 100]).is_ok() {
            received += 1;
        }
        assert_eq!(drops.count(), 500 - received);
        assert!(received < 500);
    }
}

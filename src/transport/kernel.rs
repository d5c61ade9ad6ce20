//! What the kernel tells of connections that wait to be accepted, and of those it dropped.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use tracing::{info, warn};

use super::process::ProcessFiles;
use super::socket::{BACKLOG, KernelDrops, read_whole};

/// Fewer places than this in an accept queue overflow in an ordinary storm: the default of kernels
/// since 5.4, and two seconds' worth of the default pace of accepts.
pub const BACKLOG_WANTED: u32 = 4096;
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// A row of `/proc/net/tcp` has 150 bytes, one of `tcp6` 178 or so.
const CHUNK_BYTES: usize = 4096;
/// No process has more listening sockets in its network namespace than this many chunks hold.
const CHUNKS_MAX: usize = 1024;

/// What is asked of the kernel at a scrape.
pub struct Kernel {
    /// Of the datagram socket.
    pub drops: KernelDrops,
    /// Of the listeners for clients.
    pub listening: Listening,
    /// Of this process.
    pub process: ProcessFiles,
}

impl Kernel {
    /// For these sockets.
    ///
    /// # Errors
    /// Those of reading a socket's number.
    pub fn of(datagrams: &impl AsFd, listeners: &[impl AsFd]) -> io::Result<Self> {
        Ok(Self {
            drops: KernelDrops::of(datagrams)?,
            listening: Listening::of(listeners)?,
            process: ProcessFiles::open(),
        })
    }
}

/// How many connections may wait to be accepted at each listener: `net.core.somaxconn`, or what is
/// asked for where there is no procfs. Logged, as a warning where a storm would overflow it.
pub fn note_backlog() -> u32 {
    let read = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let allowed = read.ok().and_then(|text| text.trim().parse().ok());
    let backlog = allowed.unwrap_or(BACKLOG.cast_unsigned());
    if backlog < BACKLOG_WANTED {
        warn!(
            backlog,
            wanted = BACKLOG_WANTED,
            "accept queues are short: raise net.core.somaxconn"
        );
    } else {
        info!(backlog, "accept queues");
    }
    backlog
}

/// What the kernel has counted since the network namespace exists, for all listening sockets in it,
/// those of other programs too: it counts nothing for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenCounts {
    /// Connections dropped because an accept queue was full (`ListenOverflows`).
    pub overflows: u64,
    /// Those and all others that came to a listening socket and were dropped (`ListenDrops`).
    pub drops: u64,
}

/// What the kernel knows of some listening sockets. Its files stay open, so that they can be read
/// when descriptors are exhausted.
#[derive(Debug)]
pub struct Listening {
    netstat: Option<File>,
    tables: Vec<File>,
    inodes: Vec<String>,
}

impl Listening {
    /// For these sockets.
    ///
    /// # Errors
    /// Those of reading a socket's number.
    pub fn of<S: AsFd>(sockets: &[S]) -> io::Result<Self> {
        let inode = |socket: &S| Ok(rustix::fs::fstat(socket)?.st_ino.to_string());
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        Ok(Self {
            netstat: File::open("/proc/self/net/netstat").ok(),
            tables: tables
                .iter()
                .filter_map(|path| File::open(path).ok())
                .collect(),
            inodes: sockets.iter().map(inode).collect::<io::Result<_>>()?,
        })
    }

    /// What was dropped so far; zeros where there is no procfs.
    pub fn counts(&self) -> ListenCounts {
        let netstat = self.netstat.as_ref().map(read_whole);
        netstat.as_deref().map(counts_in).unwrap_or_default()
    }

    /// Connections that wait in the longest of the accept queues now; 0 where there is no procfs.
    pub fn longest_queue(&self) -> u64 {
        let queues = self.tables.iter().map(|table| self.longest_in(table));
        queues.max().unwrap_or(0)
    }

    /// Reads only as far as listening sockets stand: they are the first rows, and connections, of
    /// which there may be a million, come behind them.
    fn longest_in(&self, table: &File) -> u64 {
        let (mut text, mut chunk, mut longest) = (Vec::new(), [0; CHUNK_BYTES], 0);
        let mut offset = 0;
        for _ in 0..CHUNKS_MAX {
            let Ok(count @ 1..) = table.read_at(&mut chunk, offset) else {
                break;
            };
            offset += count as u64;
            text.extend_from_slice(&chunk[..count]);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match row(&String::from_utf8_lossy(&line)) {
                    Row::Head => {}
                    Row::Listening { inode, queue } => {
                        if self.inodes.contains(&inode) {
                            longest = longest.max(queue);
                        }
                    }
                    Row::Connection => return longest,
                }
            }
        }
        longest
    }
}

enum Row {
    Head,
    Listening { inode: String, queue: u64 },
    Connection,
}

/// A row of `/proc/net/tcp`: the fourth column is the state, the fifth `tx_queue:rx_queue` in hex
/// (of a listening socket the second is its accept queue), and the tenth the inode.
fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.split_whitespace().collect();
    match columns[..] {
        [_, _, _, LISTENING, queues, _, _, _, _, inode, ..] => {
            let queue = queues.split_once(':');
            let queue = queue.and_then(|(_, queue)| u64::from_str_radix(queue, 16).ok());
            Row::Listening {
                inode: inode.to_owned(),
                queue: queue.unwrap_or(0),
            }
        }
        ["sl", ..] => Row::Head,
        _ => Row::Connection,
    }
}

/// From the two lines `TcpExt:`: one of names, one of numbers.
fn counts_in(netstat: &str) -> ListenCounts {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else {
        return ListenCounts::default();
    };
    let of = |wanted: &str| {
        let mut columns = names.split_whitespace().zip(numbers.split_whitespace());
        let number = columns.find(|(name, _)| *name == wanted);
        number.and_then(|(_, number)| number.parse().ok())
    };
    ListenCounts {
        overflows: of("ListenOverflows").unwrap_or(0),
        drops: of("ListenDrops").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use super::*;

    #[test]
    fn the_counts_are_found_by_their_names() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPMD5\n\
                       TcpExt: 1 22 333 4\n\
                       IpExt: ListenDrops\nIpExt: 5\n";
        let (overflows, drops) = (22, 333);
        assert_eq!(counts_in(netstat), ListenCounts { overflows, drops });
        assert_eq!(counts_in("TcpExt: ListenDrops\n"), ListenCounts::default());
        assert_eq!(counts_in(""), ListenCounts::default());
    }

    #[tokio::test]
    async fn the_queue_is_that_of_our_own_socket() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let [ours, other] = [(); 2].map(|()| super::super::socket::listen(any).expect("a port"));
        let connect = |listener: &tokio::net::TcpListener| {
            TcpStream::connect(listener.local_addr().expect("bound")).expect("the kernel answers")
        };
        let listening = Listening::of(&[&ours]).expect("a socket has a number");
        assert_eq!(listening.longest_queue(), 0);
        let waiting: Vec<_> = (0..3).map(|_| connect(&ours)).collect();
        let others: Vec<_> = (0..5).map(|_| connect(&other)).collect();
        assert_eq!(listening.longest_queue(), 3);
        drop(ours.accept().await.expect("one waits"));
        assert_eq!(listening.longest_queue(), 2);
        drop((waiting, others));
    }
}

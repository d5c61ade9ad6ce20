//! What this machine allows: limits, sysctls and memory, as the kernel tells them. What it does not
//! tell (no procfs, a network namespace without the key) is `None`.

use std::path::Path;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit};

/// Limits and sizes; bytes where nothing else is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// Descriptors that a process started from here may have, once it has raised its limit, as the
    /// gateway does.
    pub(super) descriptors: Option<u64>,
    /// `fs.nr_open`: what that limit can be raised to.
    pub(super) nr_open: Option<u64>,
    /// `fs.file-max`, less those that are open: files of all processes.
    pub(super) files_left: Option<u64>,
    /// `net.core.somaxconn`.
    pub(super) somaxconn: Option<u64>,
    /// `net.core.rmem_max`.
    pub(super) rmem_max: Option<u64>,
    /// `net.ipv4.tcp_mem`, the third: what all TCP sockets may hold together.
    pub(super) tcp_mem: Option<u64>,
    /// `net.ipv4.tcp_rmem`: least, default and most of a socket's receive buffer.
    pub(super) tcp_rmem: Option<[u64; 3]>,
    /// `net.ipv4.tcp_wmem`: the same to send.
    pub(super) tcp_wmem: Option<[u64; 3]>,
    /// `net.ipv4.ip_local_port_range`: ports that one address has to connect from.
    pub(super) ports: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`, where connections are tracked.
    pub(super) conntrack_max: Option<u64>,
    /// Memory that is free or can be had, within the limit of the control group.
    pub(super) memory: Option<u64>,
}

impl Machine {
    /// This one, now.
    pub(super) fn read() -> Self {
        Self::under(Path::new("/"), getrlimit(Resource::Nofile).maximum)
    }

    /// The one whose procfs and sysfs stand under `root`.
    fn under(root: &Path, descriptors: Option<u64>) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let sysctl = |name: &str| text(&format!("proc/sys/{name}"));
        let one = |name: &str| first(&sysctl(name));
        let opened: [Option<u64>; 3] = numbers(&sysctl("fs/file-nr"));
        let files_left = match opened {
            [Some(open), _, Some(max)] => Some(max.saturating_sub(open)),
            _ => one("fs/file-max"),
        };
        let ports = match numbers(&sysctl("net/ipv4/ip_local_port_range")) {
            [Some(low), Some(high)] => Some((high + 1_u64).saturating_sub(low)),
            _ => None,
        };
        let pages: [Option<u64>; 3] = numbers(&sysctl("net/ipv4/tcp_mem"));
        let page_bytes = rustix::param::page_size() as u64;
        let available = field(&text("proc/meminfo"), "MemAvailable:").map(|kib| kib * 1024);
        let left = group_memory_left(root);
        Self {
            descriptors: Some(descriptors.unwrap_or(u64::MAX)),
            nr_open: one("fs/nr_open"),
            files_left,
            somaxconn: one("net/core/somaxconn"),
            rmem_max: one("net/core/rmem_max"),
            tcp_mem: pages[2].map(|pages| pages.saturating_mul(page_bytes)),
            tcp_rmem: all(numbers(&sysctl("net/ipv4/tcp_rmem"))),
            tcp_wmem: all(numbers(&sysctl("net/ipv4/tcp_wmem"))),
            ports,
            conntrack_max: one("net/netfilter/nf_conntrack_max"),
            memory: match (available, left) {
                (Some(available), Some(left)) => Some(available.min(left)),
                (available, left) => available.or(left),
            },
        }
    }
}

/// What the control group of this process still leaves: the least of itself and those above it.
/// `None` where none of them has a limit.
fn group_memory_left(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // "0::/a/b" is version 2, "4:memory:/a/b" version 1.
    let found = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        match line.split_once(':')? {
            ("", path) => Some((path, "sys/fs/cgroup", "memory.max", "memory.current")),
            (names, path) if names.split(',').any(|name| name == "memory") => Some((
                path,
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )),
            _ => None,
        }
    });
    let left = found.filter_map(|(path, mount, limit, usage)| {
        let group = Path::new(path.trim_start_matches('/'));
        let above = group.ancestors().filter_map(|group| {
            let directory = root.join(mount).join(group);
            let read = |name| first(&std::fs::read_to_string(directory.join(name)).ok()?);
            // "max", and the largest number of version 1, are no limit.
            let limit = read(limit).filter(|limit: &u64| *limit < 1 << 60)?;
            Some(limit.saturating_sub(read(usage).unwrap_or(0)))
        });
        above.min()
    });
    left.min()
}

fn first<T: FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

fn numbers<const N: usize>(text: &str) -> [Option<u64>; N] {
    let mut words = text.split_whitespace();
    std::array::from_fn(|_| words.next()?.parse().ok())
}

fn all([a, b, c]: [Option<u64>; 3]) -> Option<[u64; 3]> {
    Some([a?, b?, c?])
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| first(line.strip_prefix(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Machine::under(root.path(), Some(20_000))
    }

    #[test]
    fn what_the_kernel_tells_is_read() {
        let machine = machine(&[
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/fs/file-nr", "694\t0\t2466177\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/ipv4/tcp_mem", "100\t200\t300\n"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n"),
        ]);
        assert_eq!(machine.descriptors, Some(20_000));
        assert_eq!(machine.nr_open, Some(1_048_576));
        assert_eq!(machine.files_left, Some(2_466_177 - 694));
        assert_eq!(machine.somaxconn, Some(4_096));
        assert_eq!(machine.rmem_max, Some(212_992));
        assert_eq!(
            machine.tcp_mem,
            Some(300 * rustix::param::page_size() as u64)
        );
        assert_eq!(machine.tcp_rmem, Some([4_096, 131_072, 6_291_456]));
        assert_eq!(machine.tcp_wmem, None);
        assert_eq!(machine.ports, Some(28_232));
        assert_eq!(machine.conntrack_max, None);
        assert_eq!(machine.memory, Some(2 << 20));
    }

    #[test]
    fn the_limit_of_a_control_group_counts_also_that_of_one_above() {
        let meminfo = ("proc/meminfo", "MemAvailable: 1000000 kB\n");
        let one = machine(&[
            meminfo,
            ("proc/self/cgroup", "0::/system.slice/pushgate.service\n"),
            (
                "sys/fs/cgroup/system.slice/pushgate.service/memory.max",
                "max\n",
            ),
            ("sys/fs/cgroup/system.slice/memory.max", "5000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "1000\n"),
        ]);
        assert_eq!(one.memory, Some(4_000));
        let two = machine(&[
            meminfo,
            ("proc/self/cgroup", "8:pids:/\n4:cpu,memory:/a\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7000\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(two.memory, Some(7_000));
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let machine = machine(&[("proc/sys/net/ipv4/tcp_mem", "nonsense")]);
        let Machine {
            somaxconn,
            tcp_mem,
            memory,
            ports,
            ..
        } = machine;
        assert_eq!(
            (somaxconn, tcp_mem, memory, ports),
            (None, None, None, None)
        );
    }

    #[test]
    fn this_machine_can_be_read_by_anybody() {
        let machine = Machine::read();
        assert!(machine.descriptors.is_some_and(|count| count > 0));
        assert!(machine.memory.is_some_and(|bytes| bytes > 0));
    }
}

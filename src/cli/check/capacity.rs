//! Is this machine made for so many connections, and what is to be set where it is not?

use serde::Serialize;

use super::machine::Machine;
use crate::daemon::settings::Settings;
use crate::transport::kernel::BACKLOG_WANTED;
use crate::transport::listener::DESCRIPTORS_RESERVED;

/// Resident memory of an idle connection, plain and under TLS; README.md says how it was measured.
const PLAIN_BYTES: u64 = 1_300;
const TLS_BYTES: u64 = 5_100;
/// What the kernel holds for an idle connection: socket, file, and their entries in tables.
const KERNEL_BYTES: u64 = 4_096;
/// The process without connections.
const PROCESS_BYTES: u64 = 16 << 20;
/// A connection that has something on its way holds at least a page of what TCP may hold.
const IN_FLIGHT_BYTES: u64 = 4_096;
/// A limit like this is none.
const NO_LIMIT: u64 = 1 << 60;
/// The accept queue is to hold what comes in so many seconds.
const QUEUE_S: u64 = 2;

/// What was found about one of the machine's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It is enough.
    Ok,
    /// It may be enough: what it depends on is not known here.
    Note,
    /// It is not.
    Low,
    /// The kernel does not tell.
    Unknown,
}

/// One of the machine's limits beside what is needed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    /// What there is, and what it is good for.
    pub(super) is: String,
    /// What to set; none where nothing is to be done.
    pub(super) set: Option<String>,
}

/// What the machine allows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Capacity {
    /// Connections that it was looked at for.
    pub(super) connections: u64,
    /// Connections that its descriptors, files and memory are enough for, with these settings.
    pub(super) possible: u64,
    pub(super) findings: Vec<Finding>,
}

/// The machine beside what so many connections need with these settings.
pub(super) fn capacity(machine: &Machine, settings: &Settings, connections: u64) -> Capacity {
    let findings = vec![
        descriptors(machine, connections),
        files(machine, connections),
        accept_queue(machine, u64::from(settings.clients.accept_rate)),
        receive_buffer(machine, settings.udp.receive_buffer as u64),
        tcp_memory(machine, connections),
        socket_buffers(machine, settings.push.max_payload as u64),
        ports(machine, connections),
        tracking(machine, connections),
        memory(machine, settings, connections),
    ];
    Capacity {
        connections,
        possible: possible(machine, settings),
        findings,
    }
}

fn possible(machine: &Machine, settings: &Settings) -> u64 {
    let configured = match settings.clients.max_connections {
        0 => u64::MAX,
        most => most as u64,
    };
    let memory = machine
        .memory
        .map(|bytes| bytes.saturating_sub(PROCESS_BYTES) / (bytes_each(settings) + KERNEL_BYTES));
    let limits = [machine.descriptors, machine.files_left];
    let limits = limits.map(|limit| limit.map(|count| count.saturating_sub(DESCRIPTORS_RESERVED)));
    let known = limits.into_iter().chain([memory]).flatten();
    known.fold(configured, u64::min)
}

/// The finding on a limit that the kernel tells, or that it does not.
fn finding(
    what: &'static str,
    limit: Option<u64>,
    judge: impl FnOnce(u64) -> (Verdict, String, Option<String>),
) -> Finding {
    let (verdict, is, set) = match limit {
        Some(limit) => judge(limit),
        None => (
            Verdict::Unknown,
            "the kernel does not tell".to_owned(),
            None,
        ),
    };
    Finding {
        what,
        verdict,
        is,
        set,
    }
}

fn enough(is_enough: bool, is: String, set: String) -> (Verdict, String, Option<String>) {
    match is_enough {
        true => (Verdict::Ok, is, None),
        false => (Verdict::Low, is, Some(set)),
    }
}

fn descriptors(machine: &Machine, connections: u64) -> Finding {
    let need = connections + DESCRIPTORS_RESERVED;
    finding("descriptors", machine.descriptors, |limit| {
        let left = limit.saturating_sub(DESCRIPTORS_RESERVED);
        let is = match limit {
            NO_LIMIT.. => "no limit".to_owned(),
            _ => format!("{limit} a process: {left} connections beside a reserve"),
        };
        let mut set = format!("LimitNOFILE={need} (in a shell: ulimit -n {need})");
        if machine.nr_open.is_some_and(|most| most < need) {
            set = format!("sysctl fs.nr_open={need}, then {set}");
        }
        enough(limit >= need, is, set)
    })
}

fn files(machine: &Machine, connections: u64) -> Finding {
    let need = connections + DESCRIPTORS_RESERVED;
    finding("files", machine.files_left, |left| {
        let is = match left {
            // What systemd sets: all that the number holds.
            NO_LIMIT.. => "no limit for all processes (fs.file-max)".to_owned(),
            _ => format!("{left} left for all processes (fs.file-max)"),
        };
        enough(left >= need, is, format!("sysctl fs.file-max={}", 2 * need))
    })
}

fn accept_queue(machine: &Machine, accept_rate: u64) -> Finding {
    let need = u64::from(BACKLOG_WANTED).max(accept_rate * QUEUE_S);
    finding("accept queue", machine.somaxconn, |most| {
        let is = format!("{most} connections may wait at a listener (net.core.somaxconn)");
        enough(
            most >= need,
            is,
            format!("sysctl net.core.somaxconn={need}"),
        )
    })
}

fn receive_buffer(machine: &Machine, wanted: u64) -> Finding {
    finding("datagrams", machine.rmem_max, |most| {
        let is = format!(
            "{} of receive buffer (net.core.rmem_max) for {} (udp.receive_buffer)",
            size(most),
            size(wanted)
        );
        enough(
            most >= wanted,
            is,
            format!("sysctl net.core.rmem_max={wanted}"),
        )
    })
}

fn tcp_memory(machine: &Machine, connections: u64) -> Finding {
    let need = connections.saturating_mul(IN_FLIGHT_BYTES);
    finding("TCP memory", machine.tcp_mem, |most| {
        let is = format!(
            "{} for what is on its way on all connections (net.ipv4.tcp_mem); a broadcast \
             takes {}",
            size(most),
            size(need)
        );
        let pages = need.div_ceil(rustix::param::page_size() as u64);
        let set = format!(
            "sysctl net.ipv4.tcp_mem=\"{} {} {}\"",
            pages,
            pages * 3 / 2,
            pages * 2
        );
        enough(most >= need, is, set)
    })
}

fn socket_buffers(machine: &Machine, payload: u64) -> Finding {
    let most = machine.tcp_wmem.map(|[_, _, most]| most);
    finding("send buffers", most, |most| {
        let reads = machine.tcp_rmem.map_or(String::new(), |[_, middle, _]| {
            format!(
                "; a peer that is not read from costs up to {}",
                size(middle)
            )
        });
        let is = format!(
            "up to {} a connection (net.ipv4.tcp_wmem){reads}",
            size(most)
        );
        // Twice, since the kernel counts what it holds a message in.
        let need = 2 * payload;
        let set = format!("sysctl net.ipv4.tcp_wmem=\"4096 16384 {need}\"");
        enough(most >= need, is, set)
    })
}

fn ports(machine: &Machine, connections: u64) -> Finding {
    finding("ports", machine.ports, |ports| {
        let is = format!(
            "{ports} from one address to one listener (net.ipv4.ip_local_port_range): matters to \
             load balancers and load generators, not to clients"
        );
        let addresses = connections.div_ceil(ports.max(1));
        match addresses {
            0 | 1 => (Verdict::Ok, is, None),
            _ => {
                let set = format!(
                    "behind a load balancer: {addresses} source addresses, or as many listeners"
                );
                (Verdict::Note, is, Some(set))
            }
        }
    })
}

fn tracking(machine: &Machine, connections: u64) -> Finding {
    let what = "tracking";
    let Some(most) = machine.conntrack_max else {
        let is = "connections are not tracked (nf_conntrack)".to_owned();
        return Finding {
            what,
            verdict: Verdict::Ok,
            is,
            set: None,
        };
    };
    // Those that have just ended are tracked for two minutes more.
    let need = connections * 2;
    finding(what, Some(most), |most| {
        let is =
            format!("{most} connections (net.netfilter.nf_conntrack_max), if they are tracked");
        let set = format!(
            "no tracking of the gateway's ports (nft: notrack), or sysctl \
             net.netfilter.nf_conntrack_max={need}"
        );
        enough(most >= need, is, set)
    })
}

fn bytes_each(settings: &Settings) -> u64 {
    let has_tls = settings
        .listeners
        .iter()
        .any(|listener| listener.tls.is_some());
    if has_tls { TLS_BYTES } else { PLAIN_BYTES }
}

fn memory(machine: &Machine, settings: &Settings, connections: u64) -> Finding {
    let each = bytes_each(settings);
    let (process, kernel) = (
        PROCESS_BYTES + connections.saturating_mul(each),
        connections.saturating_mul(KERNEL_BYTES),
    );
    let need = process.saturating_add(kernel);
    let budget = settings.clients.memory_budget;
    finding("memory", machine.memory, |available| {
        let is = format!(
            "{} available; {} for the gateway ({each} bytes a connection), {} for the kernel, and \
             up to {} while clients are behind (clients.memory_budget)",
            size(available),
            size(process),
            size(kernel),
            size(budget)
        );
        if available < need {
            let set = format!("{} of memory, or fewer connections", size(need));
            return (Verdict::Low, is, Some(set));
        }
        match available < need.saturating_add(budget) {
            true => {
                let left = available - need;
                let set = format!("clients.memory_budget = \"{}MiB\" or less", left >> 20);
                (Verdict::Note, is, Some(set))
            }
            false => (Verdict::Ok, is, None),
        }
    })
}

/// "4.0 MiB".
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests;

use super::*;

/// Enough for 100,000 connections with the defaults.
fn large() -> Machine {
    Machine {
        descriptors: Some(1_000_000),
        nr_open: Some(1_048_576),
        files_left: Some(2_000_000),
        somaxconn: Some(4_096),
        rmem_max: Some(4 << 20),
        tcp_mem: Some(2 << 30),
        tcp_rmem: Some([4_096, 131_072, 6_291_456]),
        tcp_wmem: Some([4_096, 16_384, 4_194_304]),
        ports: Some(28_232),
        conntrack_max: None,
        memory: Some(8 << 30),
    }
}

fn of(machine: &Machine, connections: u64) -> Capacity {
    capacity(machine, &Settings::default(), connections)
}

/// Exactly this limit is found low or worth a note, and this is to be set.
#[track_caller]
fn check(change: impl FnOnce(&mut Machine), connections: u64, what: &str, v: Verdict, set: &str) {
    let mut machine = large();
    change(&mut machine);
    let findings = of(&machine, connections).findings;
    let others = findings.iter().filter(|finding| finding.what != what);
    for other in others {
        let fine = other.verdict == Verdict::Ok || other.what == "ports";
        assert!(fine, "{other:?}");
    }
    let finding = findings
        .iter()
        .find(|finding| finding.what == what)
        .unwrap();
    assert_eq!(finding.verdict, v, "{finding:?}");
    let said = finding.set.as_deref().unwrap_or_default();
    assert!(said.contains(set), "{said}");
}

#[test]
fn a_machine_that_is_large_enough_has_nothing_to_set() {
    let capacity = of(&large(), 20_000);
    for finding in &capacity.findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        assert_eq!(finding.set, None, "{finding:?}");
    }
    assert_eq!(capacity.possible, 1_000_000 - 192);
}

#[test]
fn each_limit_is_found_with_what_to_set() {
    use Verdict::{Low, Note, Unknown};
    let few = 20_000;
    check(
        |m| m.descriptors = Some(1_024),
        few,
        "descriptors",
        Low,
        "LimitNOFILE=20192 ",
    );
    let raise = |m: &mut Machine| {
        m.descriptors = Some(1_024);
        m.nr_open = Some(10_000);
    };
    check(
        raise,
        few,
        "descriptors",
        Low,
        "sysctl fs.nr_open=20192, then LimitNOFILE=20192",
    );
    check(
        |m| m.files_left = Some(9_000),
        few,
        "files",
        Low,
        "fs.file-max=40384",
    );
    check(
        |m| m.somaxconn = Some(128),
        few,
        "accept queue",
        Low,
        "net.core.somaxconn=4096",
    );
    check(
        |m| m.rmem_max = Some(212_992),
        few,
        "datagrams",
        Low,
        "net.core.rmem_max=4194304",
    );
    check(
        |m| m.tcp_mem = Some(1 << 20),
        few,
        "TCP memory",
        Low,
        "net.ipv4.tcp_mem=\"20000 30000 40000\"",
    );
    check(
        |m| m.tcp_wmem = Some([1, 2, 3]),
        few,
        "send buffers",
        Low,
        "4096 16384 130000",
    );
    check(
        |m| m.conntrack_max = Some(30_000),
        few,
        "tracking",
        Low,
        "nf_conntrack_max=40000",
    );
    check(
        |m| m.memory = Some(64 << 20),
        few,
        "memory",
        Low,
        "118.9 MiB of memory",
    );
    check(
        |m| m.memory = Some(256 << 20),
        few,
        "memory",
        Note,
        "clients.memory_budget = \"137MiB\"",
    );
    check(|_| {}, 100_000, "ports", Note, "4 source addresses");
    check(|m| m.somaxconn = None, few, "accept queue", Unknown, "");
}

#[test]
fn a_queue_is_to_hold_two_seconds_of_the_pace() {
    let mut settings = Settings::default();
    settings.clients.accept_rate = 10_000;
    let findings = capacity(&large(), &settings, 100).findings;
    let queue = findings
        .iter()
        .find(|finding| finding.what == "accept queue")
        .unwrap();
    assert_eq!(
        queue.set.as_deref(),
        Some("sysctl net.core.somaxconn=20000")
    );
}

#[test]
fn what_is_possible_is_the_least_of_what_there_is() {
    let possible = |change: fn(&mut Machine, &mut Settings)| {
        let (mut machine, mut settings) = (large(), Settings::default());
        change(&mut machine, &mut settings);
        capacity(&machine, &settings, 1).possible
    };
    assert_eq!(possible(|m, _| m.files_left = Some(1_000)), 808);
    assert_eq!(possible(|m, _| m.memory = Some((16 << 20) + 5_396 * 7)), 7);
    assert_eq!(possible(|_, s| s.clients.max_connections = 500), 500);
    assert_eq!(possible(|m, _| m.descriptors = Some(100)), 0);
    assert_eq!(possible(|m, _| *m = Machine::default()), u64::MAX);
}

#[test]
fn a_limit_that_is_none_is_called_so() {
    let mut machine = large();
    (machine.descriptors, machine.files_left) = (Some(u64::MAX), Some(u64::MAX >> 1));
    for finding in &of(&machine, 20_000).findings[..2] {
        assert!(finding.is.starts_with("no limit"), "{finding:?}");
    }
}

#[test]
fn sizes_are_for_people() {
    assert_eq!(size(999), "999 B");
    assert_eq!(size(4 << 20), "4.0 MiB");
    assert_eq!(size(1 << 50), "1024.0 TiB");
}

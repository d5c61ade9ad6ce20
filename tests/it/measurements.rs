//! The measurements of `pushgate bench`, with few clients: each ends well, tells its figures, and
//! leaves no process behind.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::process::Process;

/// The processes of one run, and theirs, have it in their environment.
const MARK: &str = "BENCH_TEST_RUN";

/// Runs it; its JSON. Nothing that it has started is there any more when it ends.
#[track_caller]
fn bench(arguments: &[&str]) -> Value {
    let mark = format!("{MARK}={}-{}", std::process::id(), arguments.join("-"));
    let (name, value) = mark.split_once('=').expect("it has one");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.arg("bench").args(arguments).arg("--json");
    let process = Process::start(command.env(name, value));
    assert!(marked(&mark).contains(&process.id()), "no mark is found");
    let (code, stdout, stderr) = process.finish();
    assert_eq!(code, Some(0), "{arguments:?}: {stdout:#?} {stderr:#?}");
    assert_eq!(
        marked(&mark),
        Vec::<u32>::new(),
        "left behind by {arguments:?}"
    );
    let [line] = &stdout[..] else {
        panic!("not one line: {stdout:#?}");
    };
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Processes with this mark.
fn marked(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("procfs is mounted");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == mark.as_bytes())
    })
    .collect()
}

#[track_caller]
fn count(report: &Value, name: &str) -> u64 {
    let count = report["counts"][name].as_u64();
    count.unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[track_caller]
fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().expect("a list of figures");
    let named = figures.iter().find(|figure| figure["name"] == name);
    let value = named.and_then(|figure| figure["value"].as_f64());
    value.unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// How much is in the histogram of this name.
#[track_caller]
fn recorded(report: &Value, name: &str) -> u64 {
    let latencies = report["latencies"].as_array().expect("a list");
    let named = latencies.iter().find(|latencies| latencies["name"] == name);
    let count = named.and_then(|latencies| latencies["count"].as_u64());
    count.unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn the_stalled_are_cut_off_and_every_delivery_is_accounted_for() {
    // More than the kernel takes for one who never reads and the bound in bytes, so that age is not
    // waited for; slow enough that those who read stay within the bound on a busy machine.
    let report = bench(&[
        "isolation",
        "--clients=4",
        "--stalled-count=1",
        "--rounds=2",
        "--messages=120",
        "--rate=40",
        "--size=60000",
    ]);
    assert_eq!(count(&report, "missed"), 0);
    assert_eq!(count(&report, "stalled"), 2);
    assert_eq!(count(&report, "closed_slow"), 2);
    // Those who are cut off are not matched any more.
    let matched = count(&report, "disturbed_matched");
    assert!(
        (2 * 120 * 3 + 2..=2 * 120 * 4).contains(&matched),
        "{matched}"
    );
    assert_eq!(count(&report, "disturbed_unaccounted"), 0);
    assert_eq!(recorded(&report, "quiet: at a client"), 2 * 120 * 4);
    assert_eq!(recorded(&report, "disturbed: at a client"), 2 * 120 * 3);
    assert_eq!(recorded(&report, "disturbed: at the last client"), 2 * 120);
    assert!(0.0 < figure(&report, "p99 disturbed / quiet"));
    for round in report["rounds"].as_array().expect("a list of rounds") {
        assert_eq!(round["values"].as_array().map(Vec::len), Some(2), "{round}");
    }
}

#[test]
fn every_datagram_of_a_storm_is_found_again() {
    let report = bench(&[
        "isolation",
        "--clients=3",
        "--rounds=1",
        "--messages=50",
        "--rate=100",
        "--storm=2000",
        "--storm-mix",
    ]);
    let sent = count(&report, "storm_sent");
    assert!(100 < sent, "{report}");
    let causes = ["mac", "key", "unsigned", "short", "magic", "version", "op"];
    let rejected = causes.map(|cause| count(&report, &format!("storm_rejected_{cause}")));
    let dropped = count(&report, "storm_dropped_by_the_kernel");
    assert_eq!(rejected.iter().sum::<u64>() + dropped, sent, "{report}");
    assert_eq!(count(&report, "storm_unaccounted"), 0);
    assert_eq!(count(&report, "stalled"), 0);
    assert!(0.0 < figure(&report, "storm: datagrams a second"));
}

#[test]
fn the_peak_of_memory_is_told() {
    let report = bench(&["memory", "--clients=4", "--stalled-count=1", "--size=60000"]);
    assert_eq!(count(&report, "closed_slow"), 1);
    assert_eq!(count(&report, "disturbed_unaccounted"), 0);
    let peak = figure(&report, "peak resident");
    assert!(figure(&report, "resident with clients") <= peak, "{report}");
}

#[test]
fn heartbeats_of_idle_clients_are_counted() {
    let report = bench(&["idle", "--clients=3", "--heartbeat=5", "--seconds=6"]);
    assert!(3 <= count(&report, "heartbeats_answered"), "{report}");
    assert_eq!(count(&report, "connections_lost"), 0);
    let names = [
        "CPU without clients",
        "CPU with clients",
        "resident a client",
    ];
    assert!(
        names
            .map(|name| figure(&report, name))
            .iter()
            .all(|f| 0.0 <= *f)
    );
}

#[test]
fn clients_come_and_go_in_cycles() {
    let report = bench(&["cycles", "--clients=5", "--rounds=2"]);
    assert_eq!(count(&report, "arrived"), 10);
    assert_eq!(count(&report, "not_let_go"), 0);
    assert_eq!(count(&report, "connections_lost"), 0);
    assert!(0.0 < figure(&report, "last / first"));
}

#[test]
fn those_who_are_there_are_measured_while_others_come() {
    let report = bench(&[
        "storm",
        "--clients=50",
        "--measured=2",
        "--rounds=1",
        "--seconds=6",
    ]);
    let (sent, unanswered) = (
        count(&report, "pings_sent"),
        count(&report, "pings_unanswered"),
    );
    assert!(100 < sent && unanswered == 0, "{report}");
    assert_eq!(count(&report, "connections_lost"), 0);
    assert!(0 < recorded(&report, "PING to PONG, quiet"));
    assert!(0 < recorded(&report, "gateway's PING late, quiet"));
    let lag = recorded(&report, "this program's lag, quiet");
    assert_eq!(lag, recorded(&report, "PING to PONG, quiet"));
    assert!(
        5.0 <= figure(&report, "longest gap of PINGs, quiet"),
        "{report}"
    );
}

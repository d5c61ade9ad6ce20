//! `pushgate bench` in small: every mode tells its figures, and leaves no process behind, however
//! it ends.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::support::process::Process;
use crate::support::{eventually, missing};

/// The load, and all that it starts, in a process group of its own.
fn bench(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command
        .arg("bench")
        .args(arguments.split_ascii_whitespace())
        .process_group(0);
    Process::start(&mut command)
}

/// The processes of a group that have not ended, by the names of their programs' arguments.
fn group(leader: u32) -> Vec<String> {
    let mut found = Vec::new();
    let processes = fs::read_dir("/proc").expect("proc is mounted");
    for process in processes.flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // Behind the name: state, parent, group.
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        if fields[0] != "Z" && fields[2] == leader.to_string() {
            let arguments = fs::read_to_string(process.path().join("cmdline"));
            found.push(arguments.unwrap_or_default().replace('\0', " "));
        }
    }
    found
}

async fn gone(leader: u32) {
    eventually("every process of the load has ended", async || {
        let left = group(leader);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

/// Runs it to its end, which has to be a good one, and returns its JSON.
async fn figures(arguments: &str) -> Value {
    let process = bench(&format!("{arguments} --json"));
    let leader = process.id();
    let (code, stdout, stderr) = process.finish();
    assert_eq!(code, Some(0), "{arguments}: {stdout:?} {stderr:?}");
    gone(leader).await;
    let value: Value = serde_json::from_str(&stdout.concat()).expect("one JSON object");
    for (name, count) in value["counts"].as_object().expect("counts") {
        if name.contains("missed") || name == "connections_lost" || name == "unanswered" {
            assert_eq!(count, 0, "{arguments}: {name}");
        }
    }
    value
}

/// The names in a list of the report.
fn names(value: &Value, list: &str) -> HashSet<String> {
    let list = value[list].as_array().expect("a list");
    let name = |entry: &Value| entry["name"].as_str().map(str::to_owned);
    list.iter().filter_map(name).collect()
}

#[track_caller]
fn tells(value: &Value, list: &str, wanted: &[&str]) {
    let names = names(value, list);
    for name in wanted {
        assert!(names.contains(*name), "no {name:?} in {list}: {names:?}");
    }
}

#[tokio::test]
async fn broadcasts_are_measured_beside_the_loop_and_beside_clients_without_groups() {
    let value = figures("broadcast --clients 20 --rounds 2 --messages 3 --groups 4 --floor").await;
    let kinds = ["loop", "gateway without groups", "gateway"];
    tells(&value, "server_cpu", &kinds);
    let ratios = ["gateway / loop", "with groups / without"];
    tells(&value, "ratios", &ratios);
    assert_eq!(value["counts"]["arrived"], 2 * 3 * 20);
    assert!(matches!(
        value["cpu_source"].as_str(),
        Some("schedstat" | "stat")
    ));
}

#[tokio::test]
async fn clients_over_websocket_come_and_go_and_wait() {
    let value = figures("churn --rounds 1 --messages 40 --ws").await;
    assert_eq!(value["counts"]["visits"], 40);
    let value = figures("idle --clients 10 --seconds 1 --ws --jwt").await;
    tells(&value, "figures", &["resident a client"]);
    assert_eq!(value["counts"]["arrived"], 10);
    assert!(
        value["counts"]["bytes_of_a_token"].as_u64() > Some(200),
        "{value}"
    );
}

#[tokio::test]
async fn bursts_are_measured_with_a_paced_message_alone_and_amid_them() {
    let burst = "burst --clients 10 --rounds 1 --messages 2 --burst 5 --rate 20 --floor";
    let value = figures(burst).await;
    let latencies = [
        "a paced message alone",
        "a paced one, bursts with pauses",
        "one paced message meanwhile",
    ];
    tells(&value, "latencies", &latencies);
    let ratios = ["bursts with pauses / alone", "meanwhile / alone"];
    tells(&value, "latency_ratios", &ratios);
    tells(&value, "figures", &["gateway's peak resident"]);
    // Each of 2 bursts has its paced message.
    assert_eq!(value["counts"]["arrived"], 2 * (5 + 1) * 10);
    assert!(value["counts"]["log_bytes_at_most"].is_u64(), "{value}");
}

#[tokio::test]
async fn pushes_to_one_user_are_measured_quiet_and_amid_broadcasts() {
    let value = figures("amid --clients 20 --rounds 1 --messages 20 --rate 100").await;
    let ratios = ["at the client: amid / quiet", "the answer: amid / quiet"];
    tells(&value, "latency_ratios", &ratios);
    assert_eq!(value["counts"]["not_answered_done"], 0);
    let latencies = value["latencies"].as_array().expect("a list");
    for latency in &latencies[..4] {
        assert_eq!(latency["count"], 20, "{latency}");
    }
    assert_ne!(value["counts"]["arrived"], 0, "no broadcast went out");
}

#[tokio::test]
async fn clients_that_come_back_are_measured_beside_one_that_stayed() {
    let value = figures("resume --clients 10 --messages 4 --rounds 1 --rate 20").await;
    let ratios = ["at the client: storm / quiet", "from sent: storm / quiet"];
    tells(&value, "latency_ratios", &ratios);
    let figures = ["resident / counted", "resident a message kept"];
    tells(&value, "figures", &figures);
    let counts = &value["counts"];
    assert_eq!(counts["messages_kept"], 40);
    assert_eq!(counts["not_resumed"], 0);
    assert_eq!(counts["not_answered_done"], 0);
    // The storms of the round that does not count are not among those replayed.
    assert_ne!(counts["replayed"], 0, "nobody came back");
}

#[tokio::test]
async fn every_door_is_measured_beside_the_native_one() {
    for (door, name) in [("--ws", "WebSocket"), ("--mqtt", "MQTT")] {
        let value = figures(&format!(
            "broadcast --clients 20 --rounds 2 --messages 3 {door}"
        ))
        .await;
        let measured = format!("gateway, {name}");
        tells(&value, "server_cpu", &["gateway, native", &measured]);
        tells(&value, "ratios", &[&format!("{name} / native")]);
        tells(
            &value,
            "latencies",
            &["at the last client", "at the last client, native"],
        );
        let resident = ["resident a client", "resident a client, native"];
        tells(&value, "figures", &resident);
        assert_eq!(value["counts"]["arrived"], 2 * 3 * 20);
    }
    let unicast = figures("unicast --clients 5 --rounds 1 --messages 50 --mqtt").await;
    assert_eq!(unicast["counts"]["arrived"], 50);
}

/// Their programs, where they are installed.
#[tokio::test]
async fn other_servers_are_measured_beside_it() {
    let is_there = |program: &str| {
        let script = format!("PATH=$PATH:/usr/sbin command -v {program}");
        let found = Command::new("sh").args(["-c", &script]).output();
        let found = found.expect("there is a shell");
        let path = String::from_utf8(found.stdout).expect("a path");
        let is_there = found.status.success();
        if !is_there {
            missing(program);
        }
        is_there.then(|| path.trim().to_owned())
    };
    let programs = ["mosquitto", "nats-server"].map(is_there);
    let beside: String = programs
        .iter()
        .flatten()
        .map(|path| format!(" --beside {path}"))
        .collect();
    let plain = "broadcast --clients 20 --rounds 2 --messages 3 --mqtt";
    let value = figures(&format!("{plain}{beside}")).await;
    for (program, _) in ["mosquitto", "nats-server"]
        .iter()
        .zip(programs)
        .filter(|(_, at)| at.is_some())
    {
        tells(&value, "server_cpu", &[program]);
        tells(&value, "ratios", &[&format!("gateway / {program}")]);
        tells(
            &value,
            "latencies",
            &[&format!("at the last client, {program}")],
        );
        tells(
            &value,
            "figures",
            &[&format!("resident a client, {program}")],
        );
    }
}

#[tokio::test]
async fn unicast_and_churn_are_measured_beside_the_loop() {
    let unicast = figures("unicast --clients 5 --rounds 1 --messages 50 --floor").await;
    tells(&unicast, "ratios", &["gateway / loop"]);
    let churn = figures("churn --rounds 1 --messages 20 --window 5 --floor").await;
    tells(
        &churn,
        "ratios",
        &["gateway / loop", "coming: gateway / loop"],
    );
    assert_eq!(churn["counts"]["visits"], 20);
}

#[tokio::test]
async fn a_load_that_is_killed_takes_all_its_processes_along() {
    let long = "broadcast --clients 5 --rounds 1000 --messages 1000 --groups 1 --floor";
    let process = bench(long);
    let leader = process.id();
    // Itself, its gateway; one aside with the loop; one aside with the second gateway.
    eventually("all six are there", async || {
        let group = group(leader);
        if group.len() == 6 {
            Ok(())
        } else {
            Err(format!("{group:?}"))
        }
    })
    .await;
    // Killed, so that nothing of its own can clean up.
    drop(process);
    gone(leader).await;
}

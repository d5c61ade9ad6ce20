//! The alert rules and the dashboard for Grafana are about metrics that there are, and promtool
//! takes every rule and every query.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::missing;
use crate::support::process::Process;

const ALERTS: &str = include_str!("../../config/alerts.yml");
const CASES: &str = include_str!("../data/alerts_test.yml");
const GRAFANA: &str = include_str!("../../config/grafana.json");

/// Every metric of a gateway with its type.
async fn served() -> BTreeMap<String, String> {
    let gateway = Gateway::start("");
    let (status, text) = gateway.get("/metrics").await;
    assert_eq!(status, 200);
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    types.collect()
}

/// Every word of the text that could be a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !letter(c))
        .filter(|word| {
            let prefixes = ["pushgate_", "process_", "go_", "node_"];
            prefixes.iter().any(|prefix| word.starts_with(prefix))
        })
        .collect()
}

/// Asserts that each metric in the text is one that the gateway serves.
#[track_caller]
fn assert_served(text: &str, served: &BTreeMap<String, String>) {
    let is_served = |word: &str| {
        let of_a_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
            let name = word.strip_suffix(end);
            name.is_some_and(|name| served.get(name).is_some_and(|kind| kind == "histogram"))
        });
        of_a_histogram || served.contains_key(word)
    };
    let named = metrics_in(text);
    assert!(named.len() > 15, "found only {named:?}");
    let unknown: Vec<_> = named.into_iter().filter(|word| !is_served(word)).collect();
    assert!(unknown.is_empty(), "the gateway does not serve {unknown:?}");
}

/// What follows this word in a line, for each line that has it.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(key));
    lines.map(|(_, value)| value.trim()).collect()
}

/// What promtool says; `None` where it is not installed.
fn promtool(arguments: &[&str], path: &Path) -> Option<(Option<i32>, String)> {
    if let Err(error) = Command::new("promtool").arg("--version").output() {
        missing(format_args!("promtool: {error}"));
        return None;
    }
    let mut command = Command::new("promtool");
    let (code, stdout, stderr) = Process::start(command.args(arguments).arg(path)).finish();
    Some((code, [stdout, stderr].concat().join("\n")))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn each_metric_in_rules_and_dashboard_is_served() {
    let served = served().await;
    assert_served(ALERTS, &served);
    assert_served(CASES, &served);
    assert_served(GRAFANA, &served);
}

#[test]
fn promtool_takes_the_alert_rules_and_their_cases() {
    let rules = root().join("config/alerts.yml");
    let Some((code, said)) = promtool(&["check", "rules"], &rules) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
    let cases = root().join("tests/data/alerts_test.yml");
    let Some((code, said)) = promtool(&["test", "rules"], &cases) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn each_alert_fires_in_a_case() {
    let alerts: BTreeSet<&str> = values(ALERTS, "- alert: ").into_iter().collect();
    assert!(alerts.len() > 20, "found only {alerts:?}");
    // A case that expects something has its name on a line of its own.
    let fired = values(CASES, "        alertname: ");
    let fired: BTreeSet<&str> = fired.into_iter().collect();
    let silent: Vec<_> = alerts.difference(&fired).collect();
    assert!(silent.is_empty(), "no case for {silent:?}");
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do() {
    for (number, rule) in ALERTS.split("- alert: ").skip(1).enumerate() {
        let page = rule.contains("severity: page");
        assert!(
            page != rule.contains("severity: ticket"),
            "{number}: {rule}"
        );
        for part in ["expr: ", "summary: \"", "description: \""] {
            assert_eq!(rule.matches(part).count(), 1, "{part}: {rule}");
        }
    }
}

/// Every object in the dashboard that has this key.
fn with_key<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key(key) {
                found.push(value);
            }
            fields
                .values()
                .for_each(|value| with_key(value, key, found));
        }
        Value::Array(values) => values.iter().for_each(|value| with_key(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(GRAFANA).expect("it is JSON");
    assert_eq!(dashboard["title"], "pushgate");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let names: Vec<_> = variables.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    let panels = dashboard["panels"].as_array().expect("a list");
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|panel| panel["title"].as_str().expect("a title"))
        .collect();
    assert_eq!(
        rows,
        [
            "Now",
            "Traffic",
            "Latency",
            "Sessions",
            "History",
            "Leaks",
            "Rejects",
            "Resources"
        ]
    );
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "twice: {}", panel["id"]);
        let grid = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        let (x, y, w, h) = (grid("x"), grid("y"), grid("w"), grid("h"));
        assert!(x + w <= 24, "{}", panel["title"]);
        for square in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(places.insert(square), "two panels at {square:?}");
        }
    }
    // No source of data of one installation.
    let mut found = Vec::new();
    with_key(&dashboard, "datasource", &mut found);
    assert!(found.len() > 50, "found only {}", found.len());
    for one in found {
        assert_eq!(one["datasource"]["uid"], "${datasource}", "{one}");
    }
}

#[test]
fn promtool_takes_each_query_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(GRAFANA).expect("it is JSON");
    let mut found = Vec::new();
    with_key(&dashboard, "expr", &mut found);
    let mut rules = "groups:\n  - name: queries\n    rules:\n".to_owned();
    for (number, target) in found.iter().enumerate() {
        let query = target["expr"].as_str().expect("a text");
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$job", "pushgate")
            .replace("$instance", ".*");
        assert!(!query.contains('$'), "{query}");
        let rule = format!("      - record: query_{number}\n        expr: {query:?}\n");
        rules += &rule;
    }
    assert!(found.len() > 50, "found only {}", found.len());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("queries.yml");
    std::fs::write(&path, rules).expect("the directory is writable");
    let Some((code, said)) = promtool(&["check", "rules"], &path) else {
        return;
    };
    assert_eq!(code, Some(0), "{said}");
}

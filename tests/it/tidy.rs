//! Reads the sources and holds them to what no compiler checks: the layers, the one place that
//! spawns, no queue without a bound, no clock in the pure layers, and a word for every list.

mod lists;
mod trust;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 400;

/// Files that may be longer, and why each is one thing all the same.
const LONG: [(&str, &str); 13] = [
    (
        "src/cli/bench/crowd.rs",
        "one epoll loop over all clients, and how they come and go",
    ),
    (
        "src/cli/bench/load.rs",
        "the clients of a measurement: one epoll loop and its states",
    ),
    (
        "src/cli/client.rs",
        "one client's connection, its events and its ends",
    ),
    (
        "src/cli/listen.rs",
        "one command, with the tests of its words",
    ),
    (
        "src/daemon/settings/tests.rs",
        "one table of bad configurations",
    ),
    (
        "src/hub/intake.rs",
        "the checks of a datagram, in the contract's order in one place",
    ),
    ("src/hub/tests/kept.rs", "one model"),
    ("src/metrics.rs", "one table of everything that is counted"),
    (
        "tests/it/http.rs",
        "what one door does, seen from its clients",
    ),
    ("src/hub/tests/model.rs", "one model"),
    ("src/metrics.rs", "one list: every metric with its help"),
    (
        "src/transport/listener.rs",
        "the accept loop, with the places that it gives",
    ),
    (
        "src/transport/connection.rs",
        "one connection's life, from accept to farewell",
    ),
];

/// Layers from the ground up; those of one row may use each other.
const LAYERS: [&[&str]; 7] = [
    &["sync"],
    &["wire"],
    &[
        "clock",
        "ledger",
        "metrics",
        "redaction",
        "store",
        "throttle",
        "version",
    ],
    &["hub"],
    &["transport"],
    &["daemon"],
    &["cli"],
];

struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
    is_test: bool,
}

impl Source {
    /// The lines outside tests with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod tests {");
        let code = match (self.is_test, tests) {
            (true, _) => "",
            (false, Some(end)) => &self.text[..end],
            (false, None) => &self.text,
        };
        (1..)
            .zip(code.lines())
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The layer: the first part of the path below `src`.
    fn layer(&self) -> Option<usize> {
        let inside = self.path.strip_prefix("src/")?;
        let name = inside.split(['/', '.']).next()?;
        layer(name)
    }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&name))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for top in ["src", "tests", "benches"] {
        find(&root().join(top), &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 50, "found only {paths:?}");
    let mut sources: Vec<Source> = paths.into_iter().map(source).collect();
    let of_tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").to_owned() + "/";
        source.is_test |= of_tests.iter().any(|module| stem.starts_with(module));
    }
    sources
}

fn find(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn source(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).expect("the sources can be read");
    let path = path.strip_prefix(root()).expect("below the root");
    let path = path.to_str().expect("sources have plain names").to_owned();
    let is_test = path.starts_with("tests/");
    Source {
        path,
        text,
        is_test,
    }
}

/// The modules that a file declares for tests only, as beginnings of paths.
fn test_modules(source: &Source) -> Vec<String> {
    let directory = match source.path.strip_suffix("mod.rs") {
        Some(directory) => directory.to_owned(),
        None => source.path.trim_end_matches(".rs").to_owned() + "/",
    };
    let declared = source.text.split("#[cfg(test)]\nmod ").skip(1);
    declared
        .filter_map(|rest| rest.lines().next()?.strip_suffix(';'))
        .map(|name| format!("{directory}{name}/"))
        .collect()
}

/// Fails with every finding at once.
#[track_caller]
fn none(rule: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// The lines of code, tests left out, in which one of `words` stands, but those that `allowed`
/// knows better.
fn uses(words: &[&str], allowed: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) && !allowed(&source.path, line) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[test]
fn layers_use_only_those_below() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(own) = source.layer() else { continue };
        for (number, line) in (1..).zip(source.text.lines()) {
            for used in line.split("crate::").skip(1) {
                let name = used.split(|c: char| !c.is_ascii_lowercase()).next();
                let other = name.and_then(layer);
                // Without a layer it is a macro or a word of the documentation.
                if other.is_some_and(|other| own < other) {
                    found.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    none("a layer uses one above it", found);
}

#[test]
fn every_module_has_a_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("readable");
    let modules = lib.lines().filter_map(|line| {
        let name = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        name.strip_prefix("mod ")?.split([';', ' ']).next()
    });
    let unknown = modules.filter(|name| layer(name).is_none());
    none("no layer for", unknown.map(str::to_owned));
}

#[test]
fn only_the_ledger_spawns() {
    let ways = [
        "tokio::spawn",
        "task::spawn",
        "thread::spawn",
        "thread::scope",
        "thread::Builder",
        "spawn_blocking(",
        "spawn_local(",
        "JoinSet",
        ".spawn(",
    ];
    let found = uses(&ways, |path, line| {
        path == "src/ledger.rs"
            // The load generator has no runtime: one thread reads a child's log, others make load.
            || path == "src/cli/bench/child.rs"
            || path == "src/cli/bench/beside.rs"
            || line.contains("ledger.spawn(Kind::")
            || line.trim_end().ends_with("ledger.spawn(")
            || line.contains("ledger.spawn_blocking(Kind::")
            || line.trim_start().starts_with(".spawn_blocking(Kind::")
            || line.trim_start().starts_with(".spawn(Kind::")
    });
    none("spawned outside src/ledger.rs", found);
}

#[test]
fn no_queue_is_without_a_bound() {
    none(
        "a queue without a bound",
        uses(
            &["unbounded", "mpsc::channel()", "std::sync::mpsc::channel"],
            |_, _| false,
        ),
    );
}

#[test]
fn the_pure_layers_read_no_clock() {
    let clocks = ["Instant::now", "SystemTime", ".elapsed()", "Clock::system"];
    // The thread of the disk is outside: what is on its way to it has its own deadlines.
    let found = uses(&clocks, |path, _| {
        !path.starts_with("src/wire/") && !path.starts_with("src/hub/")
            || path == "src/hub/keeper/thread.rs"
    });
    none("a clock is read in wire or hub", found);
    // Between the steps of a walk, and for how long a push took: both say so where they do.
    let may = [
        "src/hub/job.rs",
        "src/hub/requests.rs",
        "src/hub/keeper/thread.rs",
    ];
    let found = uses(&["monotonic"], |path, _| {
        !path.starts_with("src/wire/") && !path.starts_with("src/hub/") || may.contains(&path)
    });
    none("the monotonic clock is read in wire or hub", found);
    let found = uses(&["SystemTime"], |path, _| path == "src/clock.rs");
    none("the wall clock is read outside src/clock.rs", found);
}

#[test]
fn nothing_unwraps_outside_tests() {
    none(
        "unwrap",
        uses(&[".unwrap()", ".unwrap_err()"], |_, _| false),
    );
}

#[test]
fn lines_have_a_hundred_columns() {
    let found = sources().into_iter().flat_map(|source| {
        let long = (1..)
            .zip(source.text.lines())
            .filter(|(_, line)| line.chars().count() > COLUMNS_MAX)
            .map(|(number, _)| format!("{}:{number}", source.path));
        long.collect::<Vec<_>>()
    });
    none("longer than 100 columns", found);
}

#[test]
fn long_files_have_a_reason() {
    let sources = sources();
    let long = sources.iter().filter(|source| {
        let listed = LONG.iter().any(|(path, _)| *path == source.path);
        !listed && source.text.lines().count() > LINES_MAX
    });
    none(
        "over 400 lines, and not among LONG",
        long.map(|source| source.path.clone()),
    );
    let gone = LONG
        .iter()
        .filter(|(path, _)| !sources.iter().any(|source| source.path == *path));
    none(
        "among LONG, and not there",
        gone.map(|(path, _)| (*path).to_owned()),
    );
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    let mut found = Vec::new();
    for source in sources() {
        for lint in ["allow(", "expect("] {
            for opening in ["#[", "#![", "#![cfg_attr(test, "] {
                let opening = format!("{opening}{lint}");
                for (at, _) in source.text.match_indices(&opening) {
                    let attribute = &source.text[at..];
                    let end = attribute.find(")]").unwrap_or(attribute.len());
                    if !attribute[..end].contains("reason = \"") {
                        let number = source.text[..at].lines().count();
                        found.push(format!("{}:{number}", source.path));
                    }
                }
            }
        }
    }
    none("an exception from a lint without a reason", found);
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            let of_its_own = |word: &str| {
                line.match_indices(word).any(|(at, _)| {
                    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    !line[..at].ends_with(letter) && !line[at + word.len()..].starts_with(letter)
                })
            };
            if words.iter().any(|word| of_its_own(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("a marker of unfinished work", found);
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let expected = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "config",
        "tests",
        "benches",
        "README.md",
        "Dockerfile",
    ];
    // Where the compiler puts its output, by default; no part of the repository.
    let output = "target";
    let entries = fs::read_dir(root()).expect("the root can be read");
    let names: BTreeSet<String> = entries
        .map(|entry| entry.expect("the root can be read").file_name())
        .map(|name| name.into_string().expect("a plain name"))
        .filter(|name| !name.starts_with('.') && name != output)
        .collect();
    let expected: BTreeSet<String> = expected.map(str::to_owned).into();
    assert_eq!(names, expected);
}

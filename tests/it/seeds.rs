//! The seeds of the fuzz targets, through the very functions that the fuzzer calls: those that were
//! written for it and those that it once found. `tests/fuzz/run` looks for more.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// Each keeps a few: minimal inputs, not a corpus.
const SEED_BYTES_MAX: u64 = 4_096;
const SEEDS_MAX: usize = 64;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds"))
}

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory().join(target)).expect("the target has seeds");
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.expect("the seeds can be read").path())
        .map(|path| {
            (
                path.display().to_string(),
                fs::read(path).expect("readable"),
            )
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_target_is_documented() {
    let readme = include_str!("../../README.md");
    for target in &targets::ALL {
        let name = target.name;
        let is_there = [format!("`{name}`"), format!("tests/fuzz/run {name} ")];
        assert!(is_there.iter().any(|text| readme.contains(text)), "{name}");
    }
}

#[test]
fn every_seed_is_replayed() {
    for target in &targets::ALL {
        let seeds = seeds(target.name);
        assert!(seeds.len() <= SEEDS_MAX, "{}: too many seeds", target.name);
        let mut accepted = 0;
        for (name, seed) in &seeds {
            assert!(seed.len() as u64 <= SEED_BYTES_MAX, "{name} is long");
            // A panic alone would not say which one it was.
            let outcome = std::panic::catch_unwind(|| (target.run)(seed));
            accepted += usize::from(outcome.unwrap_or_else(|_| panic!("{name} fails")));
        }
        // Else they would no longer show what the target is about.
        let refused = seeds.len() - accepted;
        assert!(5 <= accepted, "{}: {accepted} are accepted", target.name);
        assert!(5 <= refused, "{}: {refused} are refused", target.name);
    }
}

#[test]
fn every_target_has_seeds_and_every_seed_has_a_target() {
    let entries = fs::read_dir(directory()).expect("the seeds can be read");
    let directories: BTreeSet<String> = entries
        .map(|entry| entry.expect("readable").file_name())
        .map(|name| name.into_string().expect("a plain name"))
        .collect();
    let names = targets::ALL.iter().map(|target| target.name.to_owned());
    assert_eq!(directories, names.collect());
}

/// A seed with some bytes overwritten, cut out or put in.
fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let index = any::<prop::sample::Index>;
    let overwritten = prop::collection::vec((index(), any::<u8>()), 0..4);
    let added = prop::collection::vec(any::<u8>(), 0..8);
    let parts = (
        prop::sample::select(seeds),
        overwritten,
        added,
        index(),
        0..8_usize,
    );
    parts.prop_map(|(mut bytes, overwritten, added, at, removed)| {
        let at = at.index(bytes.len() + 1);
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, added);
        for (at, value) in overwritten {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        bytes
    })
}

/// The target holds for inputs near its seeds.
#[track_caller]
fn holds_near_its_seeds(name: &str) {
    let target = targets::ALL.iter().find(|target| target.name == name);
    let run = target.expect("a target").run;
    let seeds = seeds(name).into_iter().map(|(_, seed)| seed).collect();
    let mut runner = proptest::test_runner::TestRunner::default();
    let outcome = runner.run(&damaged(seeds), |bytes| {
        run(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn client_frames_near_the_seeds() {
    holds_near_its_seeds("client_frames");
}

#[test]
fn gateway_frames_near_the_seeds() {
    holds_near_its_seeds("gateway_frames");
}

#[test]
fn datagrams_near_the_seeds() {
    holds_near_its_seeds("datagrams");
}

#[test]
fn replies_near_the_seeds() {
    holds_near_its_seeds("replies");
}

#[test]
fn mqtt_client_packets_near_the_seeds() {
    holds_near_its_seeds("mqtt_client_packets");
}

#[test]
fn mqtt_server_packets_near_the_seeds() {
    holds_near_its_seeds("mqtt_server_packets");
}

#[test]
fn configurations_near_the_seeds() {
    holds_near_its_seeds("configuration");
}

#[test]
fn segments_near_the_seeds() {
    holds_near_its_seeds("segments");
}

#[test]
fn websocket_frames_near_the_seeds() {
    holds_near_its_seeds("websocket_frames");
}

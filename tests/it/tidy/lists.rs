//! What stands in a list stands in the manual and in a test too.

use std::fs;
use std::path::Path;

use pushgate::daemon::settings::Settings;
use pushgate::wire::reason::{CloseReason, RejectCause, Status};

use super::{Source, none, root, sources};

/// Reasons that nothing can be made to give from outside, and why.
const UNSEEN: [(&str, &str); 2] = [
    (
        "io",
        "a socket error that is no reset: the kernel gives none on demand",
    ),
    (
        "panic",
        "our bug, if there is one: the ledger's tests see tasks panic",
    ),
];

/// The keys that the program knows in a table, as its message about an unknown one lists them.
fn known_keys(section: &str, text: &str) -> Vec<String> {
    let text = format!("{text}\nzzzzzzzzzzzz = 1\n");
    let problems = Settings::parse(&text, Path::new("test.toml")).expect_err("an unknown key");
    let unknown = problems
        .list
        .iter()
        .find(|problem| problem.key.ends_with("zzzzzzzzzzzz"));
    let way_out = &unknown.expect("an unknown key is a problem").way_out;
    let keys = way_out
        .strip_prefix("known here: ")
        .expect("nothing is near it");
    keys.split(", ")
        .map(|key| format!("{section}.{key}"))
        .collect()
}

#[test]
fn every_key_that_is_read_stands_in_the_readme_and_in_the_shipped_file() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let shipped = fs::read_to_string(root().join("config/pushgate.toml")).expect("readable");
    let sections = [
        "clients", "udp", "push", "history", "auth", "admin", "drain", "log",
    ];
    let mut keys: Vec<String> = sections
        .iter()
        .flat_map(|section| known_keys(section, &format!("[{section}]")))
        .collect();
    keys.extend(known_keys("listeners", "[[listeners]]"));
    keys.extend(known_keys("keys", "[[keys]]"));
    assert!(keys.len() > 50, "found only {keys:?}");
    let undocumented = keys
        .iter()
        .filter(|key| !readme.contains(&format!("`{key}`")));
    none("not in README.md", undocumented.cloned());
    let unshipped = keys.iter().filter(|key| {
        let (section, name) = key.split_once('.').expect("a section and a name");
        let part = shipped
            .split(&format!("[{section}]"))
            .nth(1)
            .expect("every section is shipped");
        let end = part.find("\n[").or_else(|| part.find("\n# [["));
        let is_it = |word: &str| word == name;
        !part[..end.unwrap_or(part.len())]
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .any(is_it)
    });
    none("not in config/pushgate.toml", unshipped.cloned());
}

#[test]
fn every_reason_is_tested_and_documented() {
    let tests: Vec<Source> = sources()
        .into_iter()
        .filter(|source| source.path.starts_with("tests/it/") && source.path != "tests/it/tidy.rs")
        .filter(|source| !source.path.starts_with("tests/it/readme"))
        .collect();
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let reasons = CloseReason::ALL
        .iter()
        .map(|reason| ("CloseCode", reason.word()));
    let statuses = Status::ALL.iter().map(|status| ("Status", status.word()));
    let causes = RejectCause::ALL
        .iter()
        .map(|cause| ("RejectCause", cause.word()));
    let (mut untested, mut unlisted) = (Vec::new(), Vec::new());
    for (list, word) in reasons.chain(statuses).chain(causes) {
        let variant: String = word.split('_').map(capitalized).collect();
        let (as_word, as_variant) = (format!("\"{word}\""), format!("{list}::{variant}"));
        let stands = |source: &Source| {
            source.text.contains(&as_word)
                || source
                    .text
                    .split(&as_variant)
                    .skip(1)
                    .any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        if !tests.iter().any(stands) && !UNSEEN.iter().any(|(unseen, _)| *unseen == word) {
            untested.push(format!("{list} {word}"));
        }
        if !readme.contains(&format!("`{word}`")) {
            unlisted.push(format!("{list} {word}"));
        }
    }
    none("in no test of tests/it", untested);
    none("not in README.md", unlisted);
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

//! The Dockerfile, as far as it can be checked without an engine: by its linter, and against the
//! manifests whose targets it has to know.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

use crate::support::missing;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(path: &str) -> Table {
    read(path).parse().expect("a manifest is TOML")
}

/// The files of the targets that the manifest in a directory names, without `.rs`; those that have
/// no path of their own are below `kinds`.
fn named(manifest: &Table, kind: &str, (directory, kinds): (&str, &str)) -> Vec<String> {
    let targets = manifest.get(kind).and_then(Value::as_array);
    let file = |target: &Value| {
        let path = target.get("path").and_then(Value::as_str);
        let name = target.get("name").and_then(Value::as_str).expect("a name");
        match path {
            Some(path) => format!("{directory}{}", path.trim_end_matches(".rs")),
            None => format!("{directory}{kinds}{name}"),
        }
    };
    targets.into_iter().flatten().map(file).collect()
}

/// Cargo refuses a manifest whose targets are not there, before it builds a single dependency.
#[test]
fn the_layer_of_the_dependencies_has_every_target_that_a_manifest_names() {
    let own = manifest("Cargo.toml");
    let members = own["workspace"]["members"].as_array().expect("a list");
    let mut targets = vec!["src/main".to_owned()];
    targets.extend(named(&own, "bench", ("", "benches/")));
    targets.extend(named(&own, "test", ("", "tests/")));
    targets.extend(named(&own, "example", ("", "examples/")));
    let dockerfile = read("Dockerfile");
    for member in members {
        let member = member.as_str().expect("a path");
        let copied = format!("COPY {member}/Cargo.toml {member}/\n");
        assert!(dockerfile.contains(&copied), "{copied}");
        let of_it = manifest(&format!("{member}/Cargo.toml"));
        targets.extend(named(&of_it, "bin", (&format!("{member}/"), "src/bin/")));
    }
    let (_, list) = dockerfile.split_once("for file in ").expect("a loop");
    let (list, _) = list.split_once("; do ").expect("the loop has a body");
    let made: BTreeSet<&str> = list
        .split([' ', '\\', '\n'])
        .filter(|file| !file.is_empty())
        .collect();
    let expected: BTreeSet<&str> = targets.iter().map(String::as_str).collect();
    assert_eq!(made, expected);
    let build = own["package"]["build"].as_str().expect("a path");
    assert!(dockerfile.contains(&format!("COPY {build} ")), "{build}");
}

/// What the daemon needs at its start is in the image, and its health is asked for without a shell.
#[test]
fn the_image_runs_as_nobody_and_says_how_it_is() {
    let dockerfile = read("Dockerfile");
    let (_, last) = dockerfile.rsplit_once("\nFROM ").expect("stages");
    for line in [
        "USER 65532:65532\n",
        "STOPSIGNAL SIGTERM\n",
        "HEALTHCHECK --interval=",
        "CMD [\"/usr/local/bin/pushgate\", \"health\", \"--config\", \"/etc/",
        "ENTRYPOINT [\"/usr/local/bin/pushgate\"]\n",
        "CMD [\"serve\", \"--config\", \"/etc/pushgate/pushgate.toml\"]\n",
    ] {
        assert!(last.contains(line), "{line}");
    }
    let shell = last.lines().find(|line| line.starts_with("RUN "));
    assert_eq!(shell, None, "there is no shell in it");
    // What is copied is not kept out of the context.
    let ignored = read(".dockerignore");
    let needed = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        "src",
        "config",
        "tests",
    ];
    let kept_out = ignored.lines().find(|line| needed.contains(line));
    assert_eq!(kept_out, None);
}

#[test]
fn the_linter_finds_nothing() {
    let mut lint = Command::new("hadolint");
    let output = match lint.arg(root().join("Dockerfile")).output() {
        Ok(output) => output,
        Err(error) => return missing(format_args!("hadolint: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

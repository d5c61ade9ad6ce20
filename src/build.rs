//! What a build says of itself: the commit, when that was, and with what it was compiled. Read by
//! `src/version.rs`; Cargo runs this before it compiles the crate.
//!
//! Nothing here is required: a build from an archive, without git, is one too. What is told can be
//! given instead, by a packager who knows it: `PUSHGATE_COMMIT`, and `SOURCE_DATE_EPOCH` for the
//! date. The time of the build is not told, so that two builds of one commit are the same.
//!
//! A developer's build says `dev` for its commit: to be right it would have to be made again at
//! each commit.

#![allow(clippy::print_stdout, reason = "so Cargo is told")]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-env-changed=PUSHGATE_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let is_release = variable("PROFILE").as_deref() == Some("release");
    let source = match is_release {
        true => watched_commit(),
        false => None,
    };
    let unknown = || match is_release {
        true => "unknown".to_owned(),
        false => "dev".to_owned(),
    };
    let (commit, seconds) = source.unzip();
    let commit = variable("PUSHGATE_COMMIT").or(commit);
    let seconds = variable("SOURCE_DATE_EPOCH").or(seconds);
    let date = seconds.and_then(|seconds| Some(date(seconds.trim().parse().ok()?)));
    let commit = commit.unwrap_or_else(unknown);
    let which = date.as_ref().map(|date| format!("{commit} {date}"));
    tell("WHICH", &which.unwrap_or_else(|| commit.clone()));
    tell("COMMIT", &commit);
    tell("DATE", date.as_deref().unwrap_or("unknown"));
    let rustc = variable("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let version = said(Command::new(rustc).arg("--version"));
    // "rustc 1.95.0 (0123abcd 2026-01-01)"
    let number = version.as_deref().and_then(|text| text.split(' ').nth(1));
    tell("RUSTC", number.unwrap_or("unknown"));
    for name in ["TARGET", "PROFILE"] {
        tell(name, &variable(name).unwrap_or_else(unknown));
    }
}

/// For `env!` in the crate.
fn tell(name: &str, value: &str) {
    // A line feed would be another instruction to Cargo.
    let value = value.lines().next().unwrap_or_default();
    println!("cargo:rustc-env=PUSHGATE_BUILD_{name}={value}");
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The commit that is checked out, and its time in unix seconds. Cargo asks again when it changes,
/// or the sources do.
fn watched_commit() -> Option<(String, String)> {
    let root = variable("CARGO_MANIFEST_DIR")?;
    let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(&root).args(arguments));
    // Not that of a repository that this one was unpacked in.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&root).canonicalize().ok()? {
        return None;
    }
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        let path = Path::new(&root).join(path);
        // One that is not there would be changed each time.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    for path in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let shown = git(&["show", "--no-patch", "--format=%h %ct", "HEAD"])?;
    let (commit, seconds) = shown.split_once(' ')?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let and_more = if changed.is_empty() { "" } else { "+" };
    Some((format!("{commit}{and_more}"), seconds.to_owned()))
}

/// What a command prints, if it can be run and succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The day in UTC, as `2026-11-24` (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

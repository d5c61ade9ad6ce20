//! What the tests share: a gateway as a process of its own, its clients and senders, and what is
//! asked of it at the end.
//!
//! A test is `let gateway = Gateway::start(config); let baseline = Baseline::of(&gateway).await;`,
//! then what it is about, then `baseline.assert_back_at(&gateway).await`.

#![allow(
    dead_code,
    reason = "tools for tests to come stand beside those in use"
)]

pub(crate) mod baseline;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod crowd;
pub(crate) mod gateway;
pub(crate) mod http;
mod login;
pub(crate) mod manager;
pub(crate) mod mqtt;
pub(crate) mod process;
pub(crate) mod scrape;
pub(crate) mod sender;
mod stream;
pub(crate) mod web;

use std::fmt::Display;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use process::STEP;

/// Writes a file that its owner alone can read, as secrets must be.
pub(crate) fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is writable");
    let mode = Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("the file is ours");
}

/// What a part of a test needs is missing here: the part is skipped, with a line that says so. With
/// `CI` set it is a failure, since there everything is installed.
#[track_caller]
pub(crate) fn missing(what: impl Display) {
    assert!(std::env::var_os("CI").is_none(), "missing: {what}");
    skipped(format_args!("missing: {what}"));
}

/// Says what is skipped. To standard error itself: of a test that passes the runner keeps to itself
/// what `eprintln!` prints.
pub(crate) fn skipped(why: impl Display) {
    // Nobody need read it.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// How long a state that has to come may take.
const EVENTUALLY: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Tries until it succeeds, for at most ten seconds; the last reason why not is in the panic.
pub(crate) async fn eventually<T>(
    what: impl Display,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + EVENTUALLY;
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(why) if Instant::now() >= deadline => {
                panic!("not within {EVENTUALLY:?}: {what}: {why}")
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Awaits what has to come; a panic, not a hang, when it does not.
pub(crate) async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STEP, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {STEP:?}: {what}"),
    }
}

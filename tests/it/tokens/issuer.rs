//! Whoever makes the tokens: `pushgate token`, with secrets and keys in files.

use std::process::Command;

use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::write_secret;

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "abababababababababababababababababababababababababababababababab";

/// The path of a file of the test data.
macro_rules! data {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tokens/", $name)
    };
}
pub(crate) use data;

/// Two secrets in files, to configure a gateway with and to make tokens with.
pub(crate) struct Issuer {
    directory: TempDir,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, secret) in [("old", OLD), ("new", NEW)] {
            write_secret(&directory.path().join(name), secret);
        }
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// `[auth]` with the secret of this name and no kid.
    pub(crate) fn auth(&self, name: &str) -> String {
        let path = self.path(name);
        format!("[auth]\nmode = 'jwt'\nalgorithm = 'HS256'\nsecret_file = '{path}'\n")
    }

    /// A token as `pushgate token` makes it with the secret of this name.
    pub(crate) fn token(&self, secret: &str, arguments: &[&str]) -> String {
        let path = self.path(secret);
        made(&[&["--secret-file", &path], arguments].concat())
    }
}

/// What `pushgate token` prints.
pub(crate) fn made(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run_token(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr:?}");
    assert_eq!(stdout.len(), 1, "{stdout:?}");
    stdout.into_iter().next().expect("one line")
}

pub(crate) fn run_token(arguments: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    Process::start(command.arg("token").args(arguments)).finish()
}

//! `pushgate keygen`: a secret for a business service.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rand::TryRngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use super::exit::{CommandResult, Exit};
use super::output;

/// Bytes of a secret: as long as the output of HMAC-SHA256, below which RFC 2104 advises not to go.
const SECRET_BYTES: usize = 32;

/// Make a key for a business service: 32 random bytes in hex
///
/// Without --out the key is the one line on standard output, and the lines for the configuration go
/// to standard error. With --out the key goes to a file that only its owner can read, and the lines
/// for the configuration to standard output.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate keygen --id 7 --out keys/7 >> pushgate.toml")]
pub(super) struct Keygen {
    /// Write the key to this new file, mode 0600; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The key's id, which senders name in each datagram: 1 to 4294967295
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    id: u32,
}

impl Keygen {
    pub(super) fn run(self) -> CommandResult {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        OsRng
            .try_fill_bytes(&mut *secret)
            .context("the system gave no random bytes")?;
        let secret = Zeroizing::new(output::hex(&*secret));
        if let Some(path) = &self.out {
            write_secret(path, &secret)?;
            // A relative path would be taken as relative to the configuration file.
            let path = std::path::absolute(path).context("no current directory")?;
            output::line(file_snippet(self.id, &path))?;
        } else {
            output::note(format!(
                "[[keys]]\nid = {}\nsecret = \"{}\"\n",
                self.id, *secret
            ));
            output::line(&*secret)?;
        }
        Ok(Exit::Ok)
    }
}

/// What the configuration needs to know of a key in a file.
fn file_snippet(id: u32, path: &Path) -> String {
    // A string of TOML escapes what a string of JSON escapes.
    let path = serde_json::Value::from(path.to_string_lossy());
    format!("[[keys]]\nid = {id}\nsecret_file = {path}")
}

fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let write = || {
        let mut file = options.open(path)?;
        writeln!(file, "{secret}")?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write the key to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_its_owners_alone_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("7");
        write_secret(&path, "aa").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_secret(&path, "bb").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "aa\n");
    }

    #[test]
    fn the_snippet_is_toml_whatever_the_path() {
        let snippet = file_snippet(7, Path::new("keys/a \"b\" \\c"));
        let table: toml::Table = snippet.parse().unwrap();
        let key = &table["keys"][0];
        assert_eq!(key["id"].as_integer(), Some(7));
        assert_eq!(key["secret_file"].as_str(), Some("keys/a \"b\" \\c"));
    }
}

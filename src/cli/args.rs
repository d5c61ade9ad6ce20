//! What several commands take: the gateway's address, a sender's key, names, durations.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use zeroize::Zeroizing;

use super::exit::Failure;
use super::sender::Sender;
use crate::wire::name;
use crate::wire::seal::Key;

/// The default of both `listeners.address` and `udp.listen`.
pub(super) const GATEWAY: &str = "127.0.0.1:7400";

/// How a command reaches the gateway as a sender.
#[derive(Debug, Args)]
pub(super) struct SenderArgs {
    /// The gateway's UDP address, HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value = GATEWAY)]
    pub(super) to: String,
    #[command(flatten)]
    key: KeyArgs,
    /// How long to ask on, once a second, after the gateway has answered ACCEPTED or TIMEOUT
    /// ("90s", "2m"); "0s" takes that as the result. A first answer is waited for 15 s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// Print one JSON object instead of words
    #[arg(long)]
    pub(super) json: bool,
}

/// As which service a command asks.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Ask as the service with the key of this id (1 to 4294967295), and sign with it [default:
    /// nothing is signed]
    #[arg(
        long,
        value_name = "N",
        requires = "key_file",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    key_id: Option<u32>,
    /// The file with that key: 32 bytes or more in hex, as `pushgate keygen` writes it
    #[arg(long, value_name = "FILE", requires = "key_id")]
    key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// The key, where one is named.
    pub(super) fn key(&self) -> Result<Option<(u32, Key)>, Failure> {
        key(self.key_id, self.key_file.as_deref())
    }
}

impl SenderArgs {
    /// A sender as the arguments describe it.
    pub(super) async fn connect(&self) -> Result<Sender, Failure> {
        let key = self.key.key()?;
        let address = resolve(&self.to).await?;
        let mut sender = Sender::connect(address, key)
            .await
            .with_context(|| format!("cannot reach {address}"))?;
        sender.set_patience(self.wait);
        Ok(sender)
    }
}

/// The key that `--key-id` and `--key-file` name together, if they do.
pub(super) fn key(id: Option<u32>, path: Option<&Path>) -> Result<Option<(u32, Key)>, Failure> {
    let (Some(id), Some(path)) = (id, path) else {
        return Ok(None);
    };
    Ok(Some((id, read_key(path).map_err(Failure::configuration)?)))
}

/// The key in a file of hexadecimal digits.
pub(super) fn read_key(path: &Path) -> anyhow::Result<Key> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read the key file {}", path.display()))?;
    Key::from_hex(text.trim()).with_context(|| format!("the key in {} is not one", path.display()))
}

/// The first address that `HOST:PORT` stands for.
pub(super) async fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let found = tokio::net::lookup_host(address).await;
    let mut found =
        found.with_context(|| format!("{address:?} is no address that can be found"))?;
    let first = found
        .next()
        .with_context(|| format!("{address:?} stands for no address"))?;
    Ok(first)
}

/// The same without a runtime, for a command that has none.
pub(super) fn resolve_now(address: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let found = address.to_socket_addrs();
    let mut found =
        found.with_context(|| format!("{address:?} is no address that can be found"))?;
    let first = found.next();
    first.with_context(|| format!("{address:?} stands for no address"))
}

/// The token in a file, without the blanks around it.
pub(super) fn read_token(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read the token file {}", path.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A runtime for a command that does one thing at a time.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("cannot start the runtime")
}

/// "250ms", "1h 30m".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A duration of whole seconds that a u32 holds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() != 0 {
        return Err("not whole seconds".to_owned());
    }
    u32::try_from(duration.as_secs()).map_err(|_| format!("more than {} s", u32::MAX))
}

/// A duration of whole milliseconds that a u32 holds.
pub(super) fn milliseconds(text: &str) -> Result<u32, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("not whole milliseconds".to_owned());
    }
    u32::try_from(duration.as_millis()).map_err(|_| format!("more than {} ms", u32::MAX))
}

/// A user's name.
pub(super) fn user(text: &str) -> Result<String, String> {
    checked(text, name::name)
}

/// A group's name.
pub(super) fn group(text: &str) -> Result<String, String> {
    checked(text, name::group)
}

/// A device's name, which may be empty.
pub(super) fn device(text: &str) -> Result<String, String> {
    checked(text, name::device)
}

/// Words for a CLOSE.
pub(super) fn reason(text: &str) -> Result<String, String> {
    checked(text, name::reason)
}

fn checked(
    text: &str,
    check: impl Fn(&[u8]) -> Result<&str, name::NameError>,
) -> Result<String, String> {
    check(text.as_bytes())
        .map(str::to_owned)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_taken_only_where_they_fit_their_field() {
        assert_eq!(seconds("1h 30m"), Ok(5400));
        assert!(seconds("1500ms").is_err());
        assert!(seconds("200y").is_err());
        assert_eq!(
            milliseconds("1.5s").ok().or(milliseconds("1s 500ms").ok()),
            Some(1500)
        );
        assert!(milliseconds("10us").is_err());
        assert!(milliseconds("50days").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn names_are_checked_as_the_gateway_checks_them() {
        assert!(user("").is_err());
        assert!(user("a\u{7f}").is_err());
        assert!(user("room/*").is_ok());
        assert!(group("room/*").is_err());
        assert!(device("").is_ok());
        assert!(device(&"d".repeat(256)).is_err());
        assert!(reason("").is_ok());
    }
}

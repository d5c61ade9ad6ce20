//! The gateway's live tasks by kind, read from its /metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one look at /metrics.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of /metrics; a hundred series are a few tens of thousands.
const READ_BYTES_MAX: u64 = 4 << 20;
const SERIES: &str = "pushgate_tasks{kind=\"";

/// Live tasks by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tasks(BTreeMap<String, u64>);

impl Tasks {
    /// Reads them from the admin door at this address, which counts itself with one task.
    pub(super) async fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        let text = timeout(READ_DEADLINE, get(admin, "/metrics")).await;
        Self::parse(&text.context("/metrics took too long")??)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let series = text.lines().filter_map(|line| line.strip_prefix(SERIES));
        let tasks = series.map(|rest| {
            let (kind, value) = rest
                .split_once("\"} ")
                .context("a series without a value")?;
            let value = value
                .trim()
                .parse()
                .with_context(|| format!("{kind} is {value:?}"))?;
            Ok((kind.to_owned(), value))
        });
        let tasks = tasks.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        if tasks.is_empty() {
            bail!("/metrics does not tell pushgate_tasks");
        }
        Ok(Self(tasks))
    }

    fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }
}

/// The kinds that ever lived, before the clients came, with them, and after they left.
pub(super) fn table(before: &Tasks, during: &Tasks, after: &Tasks) -> String {
    let mut text = format!(
        "   {:<16}{:>8}{:>14}{:>8}",
        "kind", "before", "with clients", "after"
    );
    for kind in during.0.keys() {
        let (before, during, after) = (before.of(kind), during.of(kind), after.of(kind));
        if before + during + after != 0 {
            let _ = write!(text, "\n   {kind:<16}{before:>8}{during:>14}{after:>8}");
        }
    }
    text
}

/// The body of what the admin door answers to GET.
async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)
        .await
        .context("cannot reach the admin door")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream
        .take(READ_BYTES_MAX)
        .read_to_string(&mut answer)
        .await?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without an end")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{path} answered {status:?}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(session: u64) -> Tasks {
        let text = format!(
            "# HELP pushgate_tasks live\npushgate_tasks{{kind=\"session\"}} {session}\n\
             pushgate_tasks{{kind=\"udp\"}} 1\npushgate_tasks{{kind=\"log\"}} 0\n\
             pushgate_tasks_started_total{{kind=\"session\"}} 77\n"
        );
        Tasks::parse(&text).unwrap()
    }

    #[test]
    fn only_live_tasks_are_read() {
        assert_eq!(
            (
                tasks(5).of("session"),
                tasks(5).of("udp"),
                tasks(5).of("nobody")
            ),
            (5, 1, 0)
        );
        assert_ne!(tasks(5), tasks(0));
        assert!(Tasks::parse("pushgate_sessions 3\n").is_err());
        assert!(Tasks::parse("pushgate_tasks{kind=\"udp\"} many\n").is_err());
    }

    #[test]
    fn the_table_shows_the_kinds_that_lived() {
        let table = table(&tasks(0), &tasks(1000), &tasks(0));
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[1..],
            [
                vec!["session", "0", "1000", "0"],
                vec!["udp", "1", "1", "1"]
            ]
        );
    }
}

//! The gateway's own counters, as its /metrics tells them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// How long the gateway may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Values by name, labels and all.
pub(super) struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads them.
    pub(super) fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        let fetch = || {
            let mut stream = TcpStream::connect_timeout(&admin, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            let get =
                format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
            stream.write_all(get.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = fetch().with_context(|| format!("cannot read http://{admin}/metrics"))?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .context("an answer without end")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{admin} answers {head}");
        Ok(Self::parse(body))
    }

    /// Of the text of an answer.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(pair).collect())
    }

    /// The labels and growth since `before` of every counter of this name, without those that
    /// stayed.
    pub(super) fn since(&self, before: &Self, name: &str) -> Vec<(String, i64)> {
        let of = self.0.iter().filter_map(|(full, value)| {
            let label = full.strip_prefix(name)?.strip_prefix('{')?;
            let label = label.split('"').nth(1)?;
            let grown = value - before.0.get(full).copied().unwrap_or_default();
            Some((label.to_owned(), grown as i64))
        });
        of.filter(|(_, grown)| *grown != 0).collect()
    }

    /// A gauge without labels; 0 where there is none.
    pub(super) fn value(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_compared_by_label() {
        let before = Counters::parse("# HELP x y\nx{o=\"a\"} 1\nx{o=\"b\"} 2\nw 3\n");
        let after =
            Counters::parse("x{o=\"a\"} 5\nx{o=\"b\"} 2\nx{o=\"c\"} 7\nxx{o=\"d\"} 9\nw 4\n");
        let grown = [("a".to_owned(), 4), ("c".to_owned(), 7)];
        assert_eq!(after.since(&before, "x"), grown);
        assert_eq!(after.value("w"), 4);
    }
}

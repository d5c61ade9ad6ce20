//! `pushgate health`: one question to a gateway, for supervisors that run a command.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::admin::DoorArgs;
use super::args::duration;
use super::exit::{CommandResult, Exit};
use super::output;

/// An answer is a line, and its head a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Ask a running gateway whether it is well
///
/// Reads /healthz of the admin door, or /readyz, and prints the line that it answers. Made for
/// HEALTHCHECK of a container and for probes that run a command: it needs no shell, ends within its
/// time whatever the gateway does, and shows the token where the door asks for one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate health
  pushgate health --config /etc/pushgate/pushgate.toml
  pushgate health --ready --url http://10.0.0.5:7401 --token-file token

Exit codes: 0 well, 1 not well or no answer, 2 usage, 64 the configuration has problems.")]
pub(super) struct Health {
    #[command(flatten)]
    door: DoorArgs,
    /// Ask whether it serves (/readyz), not only whether it works
    #[arg(long)]
    ready: bool,
    /// How long all of it may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    timeout: Duration,
}

impl Health {
    pub(super) fn run(self) -> CommandResult {
        let door = self.door.door()?;
        let page = if self.ready { "/readyz" } else { "/healthz" };
        let deadline = Instant::now() + self.timeout;
        let answer = door.ask(("GET", page), ANSWER_BYTES_MAX, deadline);
        let url = door.url(page);
        let (status, text) = answer.with_context(|| format!("no answer of {url}"))?;
        let line = text.lines().next().unwrap_or_default();
        if status != 200 {
            output::note(format!("pushgate: {url}: {status}: {line}"));
            return Ok(Exit::Failed);
        }
        output::line(line)?;
        Ok(Exit::Ok)
    }
}

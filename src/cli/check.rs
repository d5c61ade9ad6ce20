//! `pushgate check`: the configuration, without running it, and the machine that it would run on.

mod capacity;
mod machine;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::exit::{CommandResult, Exit, Failure};
use super::output::{self, counted};
use crate::daemon::settings::{AuthMode, Listener, Settings, Unsigned};
use crate::transport::auth::{Key, Options};
use capacity::{Capacity, Verdict, capacity};
use machine::Machine;

/// Connections that the machine is looked at for where nobody says how many.
const CONNECTIONS: u64 = 10_000;

/// Check a configuration file and tell every problem at once
///
/// Prints "ok" and what would run, or each problem with its line, column, key and the way out. Then
/// what this machine is good for: descriptors, queues, buffers and memory for so many connections,
/// and what to set where that is too little. Run it as the gateway's user, under its limits.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate check --config /etc/pushgate/pushgate.toml --connections 100000

Exit codes: 0 ok, 2 usage, 64 the configuration has problems.")]
pub(super) struct Check {
    /// The configuration file; without one the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the machine for so many connections (1 to 100000000); the default is
    /// clients.max_connections, or 10000 where that is 0
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    connections: Option<u64>,
    /// Print the configuration that would run instead: every key with its value, as TOML, with
    /// "***" for each secret
    #[arg(long)]
    print_config: bool,
    /// Print one JSON object instead of words
    #[arg(long, conflicts_with = "print_config")]
    json: bool,
}

/// What `--json` prints where the configuration is good.
#[derive(Serialize)]
struct Found<'a> {
    ok: bool,
    warnings: Vec<String>,
    machine: &'a Capacity,
}

impl Check {
    pub(super) fn run(self) -> CommandResult {
        let settings = load(self.config.as_deref())?;
        let path = self.config.unwrap_or_default();
        let warnings = settings.warnings.iter().map(|warning| {
            let (line, column) = (warning.line, warning.column);
            format!("{}:{line}:{column}: {warning}", path.display())
        });
        if self.json {
            let warnings = warnings.collect();
            let machine = &capacity_for(&settings, self.connections);
            let found = Found {
                ok: true,
                warnings,
                machine,
            };
            output::line(serde_json::to_string(&found).map_err(anyhow::Error::from)?)?;
            return Ok(Exit::Ok);
        }
        for warning in warnings {
            output::note(format!("warning: {warning}"));
        }
        if self.print_config {
            output::line(settings.to_toml().trim_end())?;
        } else {
            output::line(format!("ok\n{}", summary(&settings).trim_end()))?;
            let capacity = capacity_for(&settings, self.connections);
            output::line(format!("\n{}", words(&capacity).trim_end()))?;
        }
        Ok(Exit::Ok)
    }
}

fn capacity_for(settings: &Settings, connections: Option<u64>) -> Capacity {
    let configured = match settings.clients.max_connections {
        0 => CONNECTIONS,
        most => most as u64,
    };
    let connections = connections.unwrap_or(configured);
    capacity(&Machine::read(), settings, connections)
}

/// One line for each limit, and one below where something is to be set.
fn words(capacity: &Capacity) -> String {
    let connections = counted(capacity.connections, "connection");
    let mut text = format!("this machine, for {connections}\n");
    for finding in &capacity.findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Low => "LOW",
            Verdict::Unknown => "?",
        };
        let _ = writeln!(text, "  {verdict:<6}{:<14}{}", finding.what, finding.is);
        if let Some(set) = &finding.set {
            let _ = writeln!(text, "{:22}-> {set}", "");
        }
    }
    let _ = writeln!(
        text,
        "  {} at most, by its descriptors, files and memory",
        counted(capacity.possible, "connection")
    );
    text
}

/// The settings of a file, or the defaults without one.
pub(super) fn load(config: Option<&Path>) -> Result<Settings, Failure> {
    let Some(path) = config else {
        return Ok(Settings::default());
    };
    Settings::load(path).map_err(|problems| {
        let count = counted(problems.list.len() as u64, "problem");
        Failure::configuration(anyhow::anyhow!("{count} in the configuration\n{problems}"))
    })
}

/// What would run, one line for each door and a few numbers that matter.
fn summary(settings: &Settings) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<10}{value}");
    };
    for listener in &settings.listeners {
        line(
            "clients",
            format!(
                "{} ({}), {}{}",
                listener.address,
                listener.name,
                listener.protocol,
                before(listener)
            ),
        );
    }
    let clients = &settings.clients;
    line(
        "",
        format!(
            "{}, heartbeat {}",
            connections(settings),
            time(clients.heartbeat)
        ),
    );
    line(
        "identity",
        match &settings.auth.mode {
            AuthMode::None => "the token is the user name (auth.mode \"none\")".to_owned(),
            AuthMode::Jwt(options) => tokens(options),
        },
    );
    line(
        "services",
        format!("{} (UDP), {}", settings.udp.listen, senders(settings)),
    );
    let push = &settings.push;
    let deadline = time(push.deadline);
    line(
        "pushes",
        format!(
            "up to {} bytes, answered within {deadline}",
            push.max_payload
        ),
    );
    let token = if settings.admin.token.is_some() {
        ", with a token"
    } else {
        ""
    };
    line("admin", format!("http://{}/{token}", settings.admin.listen));
    let drain = &settings.drain;
    let (linger, grace) = (time(drain.linger), time(drain.grace));
    line(
        "drain",
        format!("not ready for {linger}, then up to {grace} for what waits"),
    );
    text
}

/// What comes before the frames at this door.
fn before(listener: &Listener) -> String {
    let tls = listener.tls.as_ref().map_or("", |_| ", TLS");
    let proxies = listener.trusted.as_ref().map_or(0, Vec::len);
    match proxies {
        0 => tls.to_owned(),
        count => format!(", behind {}{tls}", counted(count as u64, "trusted network")),
    }
}

fn connections(settings: &Settings) -> String {
    match settings.clients.max_connections {
        0 => "as many as the descriptor limit leaves".to_owned(),
        most => format!("{most} connections at most"),
    }
}

/// Whose tokens are believed.
fn tokens(options: &Options) -> String {
    let key = |(kid, key): &(Option<String>, Key)| {
        let word = key.algorithm().word();
        let kid = kid.as_ref();
        kid.map_or(word.to_owned(), |kid| format!("{word} {kid:?}"))
    };
    let keys: Vec<_> = options.keys.iter().map(key).collect();
    let mut text = format!("JSON Web Tokens, {}", keys.join(", "));
    for (claim, wanted) in [("aud", &options.audience), ("iss", &options.issuer)] {
        if let Some(wanted) = wanted {
            let _ = write!(text, ", {claim} {wanted:?}");
        }
    }
    text
}

/// Whose datagrams are taken.
fn senders(settings: &Settings) -> String {
    let unsigned = match settings.udp.unsigned {
        Unsigned::Loopback => "unsigned from this machine",
        Unsigned::Never => "nothing unsigned",
    };
    if settings.keys.is_empty() {
        return format!("no key, {unsigned}");
    }
    let ids: Vec<_> = settings.keys.iter().map(|key| key.id.to_string()).collect();
    format!(
        "{} ({}), {unsigned}",
        counted(ids.len() as u64, "key"),
        ids.join(", ")
    )
}

fn time(duration: std::time::Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_every_door_and_no_secret() {
        let secret = "ab".repeat(32);
        let text = format!(
            "[[keys]]\nid = 7\nsecret = \"{secret}\"\n[[listeners]]\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:7402\"\n\
             protocol = \"websocket\"\n[[listeners]]\nname = \"things\"\n\
             address = \"127.0.0.1:1883\"\nprotocol = \"mqtt\"\n"
        );
        let settings = Settings::parse(&text, Path::new("test.toml")).unwrap();
        let summary = summary(&settings);
        for door in [
            "127.0.0.1:7400 (native), native\n",
            "127.0.0.1:7402 (web), websocket\n",
            "127.0.0.1:1883 (things), mqtt\n",
            "127.0.0.1:7400 (UDP)",
            "http://127.0.0.1:7401/",
        ] {
            assert!(summary.contains(door), "{door} is missing in\n{summary}");
        }
        assert!(summary.contains("1 key (7), nothing unsigned"), "{summary}");
        assert!(!summary.contains(&secret));
    }

    #[test]
    fn all_problems_come_at_once_and_end_with_64() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.toml");
        std::fs::write(&path, "[clients]\nheartbeat = \"1ms\"\nmax_hallo = 3\n").unwrap();
        let Err(Failure::Failed { exit, error }) = load(Some(&path)) else {
            panic!("a bad file was accepted");
        };
        assert_eq!(exit, Exit::Configuration);
        let text = format!("{error:#}");
        assert!(
            text.contains("bad.toml:2:") && text.contains("bad.toml:3:"),
            "{text}"
        );
    }
}

//! `pushgate history`: what a running gateway keeps, by target; one message; and its removal.

mod purge;
mod words;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::admin::{Door, DoorArgs, escaped};
use super::args::{self, KeyArgs, duration};
use super::exit::{CommandResult, Exit, Failure};
use super::output;
use purge::Purge;
use words::{header, message_words, row_words};

/// A page of 500 targets with names of 255 bytes that are all escaped is 900 KB.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Targets of a page.
const PAGE: usize = 500;

/// Look at what a running gateway keeps, by target, or at one message
///
/// Without a number: a line for each user and group (and all) for which messages are kept, the
/// target of the oldest message first. With the number that a push was answered with: whom the
/// message is for, and how many devices have confirmed it. `history purge` removes messages.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  pushgate history
  pushgate history --user ada --group news
  pushgate history 4711
  pushgate history purge --user ada
  pushgate history --url http://10.0.0.5:7401 --key-id 7 --key-file keys/7 --json

Exit codes: 0 done, 1 failed (also: no message of that number is kept), 2 usage, 3 busy or draining
(try again), 64 a file that cannot be used.")]
pub(super) struct History {
    #[command(subcommand)]
    action: Option<Action>,
    /// The number of a kept message, as the answer to its push has it
    number: Option<u64>,
    /// Only what is kept for this user; may be given several times
    #[arg(long, value_name = "USER", value_parser = args::user, conflicts_with = "number")]
    user: Vec<String>,
    /// Only what is kept for this group; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = args::group, conflicts_with = "number")]
    group: Vec<String>,
    /// Only users, only groups, or only what is kept for all
    #[arg(long, value_name = "SCOPE", conflicts_with_all = ["number", "user", "group"])]
    scope: Option<ScopeArg>,
    #[command(flatten)]
    asks: AskArgs,
    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum Action {
    Purge(Purge),
}

/// A kind of target.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    /// What is kept for all: one target
    All,
    /// Users
    User,
    /// Groups
    Group,
}

impl ScopeArg {
    const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
struct AskArgs {
    #[command(flatten)]
    door: DoorArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON instead of words: an object for each target, or one
    #[arg(long)]
    json: bool,
}

impl AskArgs {
    fn door(&self) -> Result<Door, Failure> {
        let door = self.door.door()?;
        Ok(match self.key.key()? {
            Some(key) => door.signing(key),
            None => door,
        })
    }
}

/// A page of the list.
#[derive(Deserialize)]
struct Page {
    targets: Vec<Value>,
    next: Option<String>,
    messages: u64,
}

impl History {
    pub(super) fn run(self) -> CommandResult {
        match (&self.action, self.number) {
            (Some(Action::Purge(purge)), _) => purge.run(),
            (None, Some(number)) => self.look(number),
            (None, None) => self.list(),
        }
    }

    fn look(&self, number: u64) -> CommandResult {
        let door = self.asks.door()?;
        let target = format!("/v1/history/{number}");
        let message = asked(&door, ("GET", &target), self.timeout)?;
        match self.asks.json {
            true => output::line(message.to_string())?,
            false => output::line(message_words(&message))?,
        }
        Ok(Exit::Ok)
    }

    fn list(&self) -> CommandResult {
        let door = self.asks.door()?;
        let names = named(&self.user, &self.group);
        let mut query = match (names.is_empty(), self.scope) {
            (false, _) => names,
            (true, None) => format!("limit={PAGE}"),
            (true, Some(scope)) => format!("limit={PAGE}&scope={}", scope.word()),
        };
        let first = query.clone();
        let mut is_first = true;
        loop {
            let page = page(&door, &query, self.timeout)?;
            for row in &page.targets {
                if self.asks.json {
                    output::line(row.to_string())?;
                    continue;
                }
                if std::mem::take(&mut is_first) {
                    output::line(header())?;
                }
                output::line(row_words(row))?;
            }
            let Some(next) = page.next else { break };
            query = format!("{first}&after={}", escaped(&next));
        }
        if is_first && !self.asks.json {
            output::note("nothing is kept");
        }
        Ok(Exit::Ok)
    }
}

/// Users and groups as parameters.
fn named(users: &[String], groups: &[String]) -> String {
    let users = users.iter().map(|user| format!("user={}", escaped(user)));
    let groups = groups
        .iter()
        .map(|group| format!("group={}", escaped(group)));
    users.chain(groups).collect::<Vec<_>>().join("&")
}

/// One page.
fn page(door: &Door, query: &str, timeout: Duration) -> Result<Page, Failure> {
    let target = format!("/v1/history?{query}");
    let page = asked(door, ("GET", &target), timeout)?;
    let page = serde_json::from_value(page);
    Ok(page.context("the gateway's answer is not a list")?)
}

/// What the gateway answers with 200.
fn asked(door: &Door, (method, target): (&str, &str), timeout: Duration) -> Result<Value, Failure> {
    let url = door.url(target);
    let answer = door.ask((method, target), ANSWER_BYTES_MAX, Instant::now() + timeout);
    let (status, text) = answer.with_context(|| format!("no answer of {url}"))?;
    if status == 200 {
        let said = serde_json::from_str(&text);
        return Ok(said.with_context(|| format!("{url}: no JSON"))?);
    }
    let said: Option<Value> = serde_json::from_str(&text).ok();
    let why = said.as_ref().and_then(|said| said["error"].as_str());
    let why = why.unwrap_or_else(|| text.lines().next().unwrap_or_default());
    let way_out = match status {
        401 => " (here: --key-id with --key-file, or --token-file)",
        _ => "",
    };
    Err(Failure::Failed {
        exit: exit_of(status),
        error: anyhow::anyhow!("{status}: {why}{way_out}"),
    })
}

/// What a program that called this may do.
const fn exit_of(status: u16) -> Exit {
    match status {
        // It goes on, or there was no room for it now.
        202 | 429 | 503 => Exit::TryAgain,
        _ => Exit::Failed,
    }
}

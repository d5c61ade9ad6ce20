//! `pushgate history purge`: asked for once more before it is done.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde_json::Value;

use super::{AskArgs, ScopeArg, asked, named, page};
use crate::cli::admin::Door;
use crate::cli::args::{self, duration};
use crate::cli::exit::{CommandResult, Exit, Failure};
use crate::cli::output::{self, counted};

/// Remove what is kept for a user, a group, a scope, or everybody
///
/// Removes what is kept when it begins, from memory and from every file of history.path. A message
/// that was pushed to others too stays for them; what is on its way to somebody who is connected
/// still arrives there.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["user", "group", "scope", "all"]))]
#[command(after_help = "\
Examples:
  pushgate history purge --user ada
  pushgate history purge --all --yes

Exit codes: 0 gone, on disk too; 1 failed, also where the disk failed or the question was answered
with no; 2 usage; 3 busy, draining, or not over yet (it goes on); 64 a file that cannot be used.")]
pub(super) struct Purge {
    /// What is kept for this user
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: Option<String>,
    /// What is kept for this group
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: Option<String>,
    /// What is kept for all, for any user, or for any group
    #[arg(long, value_name = "SCOPE")]
    scope: Option<ScopeArg>,
    /// Everything that is kept
    #[arg(long)]
    all: bool,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    asks: AskArgs,
    /// How long the answer may take; the gateway waits for the disk for push.deadline
    #[arg(long, value_name = "DURATION", default_value = "2m 30s", value_parser = duration)]
    timeout: Duration,
}

impl Purge {
    pub(super) fn run(&self) -> CommandResult {
        let door = self.asks.door()?;
        let (query, words) = self.whose();
        if !self.yes {
            let is_asked = io::stdin().is_terminal() && io::stderr().is_terminal();
            if !is_asked {
                return Err(Failure::usage("nobody is there to be asked: say --yes"));
            }
            let messages = match self.messages(&door)? {
                Some(messages) => format!(" ({})", counted(messages, "message")),
                None => String::new(),
            };
            let question = format!("Remove what is kept for {words}{messages}? [y/N] ");
            if !is_meant(&question)? {
                output::note("nothing is removed");
                return Ok(Exit::Failed);
            }
        }
        let target = format!("/v1/history?{query}");
        let said = asked(&door, ("DELETE", &target), self.timeout)?;
        if self.asks.json {
            output::line(said.to_string())?;
        } else {
            let removed = said["matched"].as_u64().unwrap_or_default();
            output::line(format!("{} removed", counted(removed, "message")))?;
        }
        Ok(Exit::Ok)
    }

    /// As a parameter, and for people.
    fn whose(&self) -> (String, String) {
        if let Some(user) = &self.user {
            let users = std::slice::from_ref(user);
            return (named(users, &[]), format!("user {user}"));
        }
        if let Some(group) = &self.group {
            let groups = std::slice::from_ref(group);
            return (named(&[], groups), format!("group {group}"));
        }
        match self.scope {
            Some(scope) => {
                let words = match scope {
                    ScopeArg::All => "all",
                    ScopeArg::User => "every user",
                    ScopeArg::Group => "every group",
                };
                (format!("scope={}", scope.word()), words.to_owned())
            }
            None => ("all".to_owned(), "everybody".to_owned()),
        }
    }

    /// How many messages there are to be lost; that is not known of a scope.
    fn messages(&self, door: &Door) -> Result<Option<u64>, Failure> {
        if self.scope.is_some() {
            return Ok(None);
        }
        let query = match self.all {
            true => "limit=1".to_owned(),
            false => self.whose().0,
        };
        let of = |row: &Value| row["messages"].as_u64().unwrap_or_default();
        let page = page(door, &query, self.timeout)?;
        Ok(Some(match self.all {
            true => page.messages,
            false => page.targets.iter().map(of).sum(),
        }))
    }
}

/// Asks on standard error; anything but yes is no.
fn is_meant(question: &str) -> anyhow::Result<bool> {
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .context("cannot ask")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

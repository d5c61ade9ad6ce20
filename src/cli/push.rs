//! `pushgate push`: one message, from the command line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgGroup, Args, ValueEnum};

use super::args::{self, SenderArgs};
use super::exit::{CommandResult, Exit, Failure};
use super::output;
use super::report::report;
use crate::wire::datagram::{
    DATAGRAM_BYTES_MAX, Op, PUSH_TARGETS_MAX, ReplyMode, RequestBody, Target,
};
use crate::wire::name::NAME_BYTES_MAX;

/// Push a message to a user, a group, or everyone who is connected
///
/// Sends one datagram and repeats the same bytes until the gateway has answered what became of it.
/// A session that several targets match receives the message once, under the first of them: users
/// come first, then groups, then all.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whom")
    .required(true)
    .multiple(true)
    .args(["all", "user", "group"]))]
#[command(group = ArgGroup::new("what").required(true).args(["payload", "file"]))]
#[command(after_help = "\
Examples:
  pushgate push --all 'hello'
  pushgate push --user ada --group news --except-user bob 'hello'
  pushgate push --to gateway:7400 --key-id 7 --key-file keys/7 --group news --file body.bin
  date | pushgate push --all -

Exit codes: 0 done, 1 failed, 2 usage, 3 BUSY, TIMEOUT or DRAINING (try again), 64 the key file.")]
pub(super) struct Push {
    /// To every session
    #[arg(long)]
    all: bool,
    /// To the sessions of this user; may be given several times
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: Vec<String>,
    /// To the sessions in this group; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: Vec<String>,
    /// Not to the sessions of this user, whatever else addresses them; may be given several times
    #[arg(long, value_name = "USER", value_parser = args::user)]
    except_user: Vec<String>,
    /// Not to the sessions in this group, whatever else addresses them; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    except_group: Vec<String>,
    /// The message; - reads it from standard input
    payload: Option<OsString>,
    /// Read the message from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the gateway answers
    #[arg(long, value_name = "MODE", default_value = "one")]
    reply_mode: Mode,
    /// Keep the message for those who are not connected, at most so long: whole seconds ("1h 30m")
    /// [default: 0s, it is not kept]
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        hide_default_value = true
    )]
    #[arg(value_parser = args::seconds)]
    ttl: u32,
    /// Spread the deliveries over this time: whole milliseconds ("30s"); not with --ttl
    /// [default: 0s]
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        hide_default_value = true
    )]
    #[arg(value_parser = args::milliseconds)]
    spread: u32,
    /// Supersede earlier messages with this key to the same target: 1 to 255 bytes
    /// [default: none]
    #[arg(
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    collapse: String,
    #[command(flatten)]
    sender: SenderArgs,
}

/// How often the gateway answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Once, when the job has ended
    One,
    /// Never: the message is sent once, and nothing is known of it
    None,
    /// Twice: ACCEPTED at once, then the result
    Two,
}

impl From<Mode> for ReplyMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::One => Self::One,
            Mode::None => Self::None,
            Mode::Two => Self::Two,
        }
    }
}

impl Push {
    pub(super) fn run(self) -> CommandResult {
        let targets = self.targets()?;
        if self.collapse.len() > NAME_BYTES_MAX {
            return Err(Failure::usage("a collapse key has at most 255 bytes"));
        }
        if self.ttl != 0 && self.spread != 0 {
            let why = "--spread is for messages that are not kept: leave out --ttl or --spread";
            return Err(Failure::usage(why));
        }
        let payload = self.payload()?;
        let body = RequestBody::Push {
            reply: self.reply_mode.into(),
            collapse: self.collapse.as_bytes(),
            ttl_s: self.ttl,
            spread_ms: self.spread,
            targets: &targets,
            payload: &payload,
        };
        args::runtime()?.block_on(self.send(&body))
    }

    async fn send(&self, body: &RequestBody<'_>) -> CommandResult {
        let mut sender = self.sender.connect().await?;
        if let Mode::None = self.reply_mode {
            sender.send(body).await.context("the push was not sent")?;
            let sent = if self.sender.json {
                r#"{"op":"push","status":"sent"}"#
            } else {
                "sent: no answer was asked for, so nothing is known of it"
            };
            output::line(sent)?;
            return Ok(Exit::Ok);
        }
        let outcome = sender
            .request(body)
            .await
            .context("the push has no result")?;
        report(Op::Push, &outcome, &[], self.sender.json)
    }

    fn targets(&self) -> Result<Vec<Target<'_>>, Failure> {
        let users = self.user.iter().map(|name| Target::User(name));
        let groups = self.group.iter().map(|name| Target::Group(name));
        let all = self.all.then_some(Target::All);
        let except_users = self.except_user.iter().map(|name| Target::ExceptUser(name));
        let except_groups = self
            .except_group
            .iter()
            .map(|name| Target::ExceptGroup(name));
        let targets: Vec<_> = users
            .chain(groups)
            .chain(all)
            .chain(except_users)
            .chain(except_groups)
            .collect();
        if targets.len() > usize::from(PUSH_TARGETS_MAX) {
            let count = targets.len();
            return Err(Failure::usage(format!(
                "{count} targets exceed {PUSH_TARGETS_MAX}"
            )));
        }
        Ok(targets)
    }

    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.payload, &self.file) {
            (Some(payload), _) if payload == "-" => {
                read_bounded(io::stdin().lock()).context("cannot read standard input")
            }
            (Some(payload), _) => Ok(payload.clone().into_vec()),
            (None, Some(path)) => read_file(path),
            (None, None) => Ok(Vec::new()),
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).and_then(read_bounded);
    file.with_context(|| format!("cannot read {}", path.display()))
}

/// All of a message, or one byte more than any datagram holds: the sender refuses that with its
/// number, and nothing endless is read.
fn read_bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    source
        .take(DATAGRAM_BYTES_MAX as u64 + 1)
        .read_to_end(&mut payload)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        push: Push,
    }

    fn parse(line: &[&str]) -> Result<Push, clap::Error> {
        Line::try_parse_from([&["push"], line].concat()).map(|line| line.push)
    }

    #[test]
    fn targets_keep_to_users_then_groups_then_all_then_exceptions() {
        let push = parse(&[
            "--all",
            "--except-group",
            "muted",
            "--group",
            "news",
            "--user",
            "ada",
            "--user",
            "bob",
            "--except-user",
            "eve",
            "hello",
        ]);
        let push = push.unwrap();
        assert_eq!(
            push.targets().unwrap(),
            [
                Target::User("ada"),
                Target::User("bob"),
                Target::Group("news"),
                Target::All,
                Target::ExceptUser("eve"),
                Target::ExceptGroup("muted"),
            ]
        );
        assert_eq!(push.payload().unwrap(), b"hello");
    }

    #[test]
    fn what_makes_no_push_is_a_usage_error() {
        for line in [
            &["hello"][..],
            &["--except-user", "eve", "hello"],
            &["--all"],
            &["--all", "hello", "--file", "body"],
            &["--all", "hello", "--key-id", "7"],
            &["--all", "hello", "--key-file", "7"],
            &["--all", "hello", "--key-id", "0", "--key-file", "7"],
            &["--group", "a*", "hello"],
            &["--user", "", "hello"],
            &["--all", "hello", "--ttl", "500ms"],
            &["--all", "hello", "--reply-mode", "three"],
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn fields_of_the_wire_are_passed_through() {
        let push = parse(&[
            "--all",
            "",
            "--ttl",
            "1h",
            "--spread",
            "250ms",
            "--collapse",
            "score",
        ]);
        let push = push.unwrap();
        assert_eq!(
            (push.ttl, push.spread, push.collapse.as_str()),
            (3600, 250, "score")
        );
        assert_eq!(push.payload().unwrap(), b"");
    }

    #[test]
    fn a_message_that_is_kept_is_not_spread() {
        let both = parse(&["--all", "--ttl", "1h", "--spread", "1s", "hello"]);
        // Refused before a socket is made.
        let Err(Failure::Failed { exit, error }) = both.unwrap().run() else {
            panic!("it was sent");
        };
        assert_eq!(exit, Exit::Usage);
        assert!(error.to_string().contains("--ttl"), "{error}");
    }

    #[test]
    fn an_endless_payload_is_read_only_until_it_is_too_long() {
        assert_eq!(
            read_bounded(io::repeat(0)).unwrap().len(),
            DATAGRAM_BYTES_MAX + 1
        );
    }
}

//! `pushgate presence`, `join`, `leave`, `kick` and `ping`: the other requests of a business
//! service.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::args::{self, SenderArgs};
use super::exit::{CommandResult, Failure};
use super::report::report;
use crate::wire::datagram::{
    HOLD_S_MAX, Kick as KickBody, PING_BYTES_MAX, PRESENCE_TARGETS_MAX, RequestBody, Target,
    USERS_MAX,
};

/// Count the sessions of all, of users, of groups
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate presence --all --user ada --group news")]
pub(super) struct Presence {
    /// Count every session; the default without another target
    #[arg(long)]
    all: bool,
    /// Count the sessions of this user; may be given several times
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: Vec<String>,
    /// Count the sessions in this group; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: Vec<String>,
    #[command(flatten)]
    sender: SenderArgs,
}

/// Put the sessions of users into a group
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate join --group news --user ada --user bob")]
pub(super) struct Join {
    #[command(flatten)]
    membership: Membership,
}

/// Take the sessions of users out of a group
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate leave --group news --user ada")]
pub(super) struct Leave {
    #[command(flatten)]
    membership: Membership,
}

#[derive(Debug, Args)]
struct Membership {
    /// The group
    #[arg(long, value_name = "GROUP", value_parser = args::group)]
    group: String,
    /// A user; may be given up to 512 times
    #[arg(long, value_name = "USER", required = true, value_parser = args::user)]
    user: Vec<String>,
    #[command(flatten)]
    sender: SenderArgs,
}

/// Close the sessions of a user, and hold the user off for a while
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate kick --user ada --device phone --hold 10m --reason 'come back later'
  pushgate kick --user ada --hold 0s     (lifts an earlier hold)")]
pub(super) struct Kick {
    /// The user
    #[arg(long, value_name = "USER", value_parser = args::user)]
    user: String,
    /// Only this device [default: every device]
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = args::device)]
    device: String,
    /// Refuse the user, or the device, for this time: whole seconds, a day at most ("10m")
    /// [default: 0s, and those who are cut are told not to come back]
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        hide_default_value = true
    )]
    #[arg(value_parser = hold)]
    hold: u32,
    /// Words for the client: up to 255 bytes [default: none]
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = args::reason)]
    reason: String,
    #[command(flatten)]
    sender: SenderArgs,
}

/// Ask the gateway whether it is there, and what time it has
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate ping --to gateway:7400 --key-id 7 --key-file keys/7")]
pub(super) struct Ping {
    /// What is to come back: up to 64 bytes
    #[arg(default_value = "ping", value_parser = ping_text)]
    text: String,
    #[command(flatten)]
    sender: SenderArgs,
}

impl Presence {
    pub(super) fn run(self) -> CommandResult {
        let all =
            (self.all || self.user.is_empty() && self.group.is_empty()).then_some(Target::All);
        let users = self.user.iter().map(|name| Target::User(name));
        let groups = self.group.iter().map(|name| Target::Group(name));
        let targets: Vec<_> = all.into_iter().chain(users).chain(groups).collect();
        within("targets", targets.len(), PRESENCE_TARGETS_MAX)?;
        request(&self.sender, &RequestBody::Presence { targets: &targets })
    }
}

impl Join {
    pub(super) fn run(self) -> CommandResult {
        let users = self.membership.users()?;
        let group = &self.membership.group;
        request(
            &self.membership.sender,
            &RequestBody::Join {
                group,
                users: &users,
            },
        )
    }
}

impl Leave {
    pub(super) fn run(self) -> CommandResult {
        let users = self.membership.users()?;
        let group = &self.membership.group;
        request(
            &self.membership.sender,
            &RequestBody::Leave {
                group,
                users: &users,
            },
        )
    }
}

impl Membership {
    fn users(&self) -> Result<Vec<&str>, Failure> {
        within("users", self.user.len(), USERS_MAX)?;
        Ok(self.user.iter().map(String::as_str).collect())
    }
}

impl Kick {
    pub(super) fn run(self) -> CommandResult {
        let Self {
            user,
            device,
            hold: hold_s,
            reason,
            sender,
        } = &self;
        request(
            sender,
            &RequestBody::Kick(KickBody {
                user,
                device,
                hold_s: *hold_s,
                reason,
            }),
        )
    }
}

impl Ping {
    pub(super) fn run(self) -> CommandResult {
        request(&self.sender, &RequestBody::Ping(self.text.as_bytes()))
    }
}

/// Sends a request and prints what became of it.
fn request(args: &SenderArgs, body: &RequestBody<'_>) -> CommandResult {
    args::runtime()?.block_on(async {
        let mut sender = args.connect().await?;
        let outcome = sender
            .request(body)
            .await
            .context("the request has no result")?;
        let targets = match body {
            RequestBody::Presence { targets } => targets,
            _ => &[][..],
        };
        report(body.op(), &outcome, targets, args.json)
    })
}

fn within(what: &str, count: usize, max: u16) -> Result<(), Failure> {
    if count > usize::from(max) {
        return Err(Failure::usage(format!("{count} {what} exceed {max}")));
    }
    Ok(())
}

fn hold(text: &str) -> Result<u32, String> {
    let hold_s = args::seconds(text)?;
    if hold_s > HOLD_S_MAX {
        let max = humantime::format_duration(Duration::from_secs(HOLD_S_MAX.into()));
        return Err(format!("longer than {max}"));
    }
    Ok(hold_s)
}

fn ping_text(text: &str) -> Result<String, String> {
    if text.len() > PING_BYTES_MAX {
        return Err(format!("{} bytes exceed {PING_BYTES_MAX}", text.len()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_a_day_at_most() {
        assert_eq!(hold("1d"), Ok(86_400));
        assert_eq!(hold("86401s"), Err("longer than 1day".to_owned()));
    }

    #[test]
    fn what_a_datagram_cannot_hold_is_refused_before_it_is_sent() {
        assert!(ping_text(&"p".repeat(64)).is_ok());
        assert!(ping_text(&"p".repeat(65)).is_err());
        assert!(within("users", 512, USERS_MAX).is_ok());
        assert!(within("users", 513, USERS_MAX).is_err());
    }
}

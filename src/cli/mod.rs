//! The command line: one file for each command, a reusable sender and a reusable client.
//!
//! Results go to standard output, everything else to standard error. A reader of standard output
//! that leaves ends the command with success.

mod exit;
mod output;

pub mod bench;
pub mod client;
pub mod sender;

mod admin;
mod args;
mod report;

mod signals;

mod check;
mod health;
mod history;
mod serve;

mod heard;
mod listen;
mod mqtt;
mod push;
mod request;
mod secure;

mod backoff;
mod schedule;

mod demo;

mod completions;
mod keygen;
mod token;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::version;
use exit::{CommandResult, Exit, Failure};

/// A push gateway: clients hold a connection and receive, services send one UDP datagram to push.
#[derive(Debug, Parser)]
#[command(name = "pushgate", arg_required_else_help = true)]
#[command(version = version::SHORT, long_version = version::LONG)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 BUSY, TIMEOUT or DRAINING (try again), 64 configuration.

Start with `pushgate demo`, which needs no set-up.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Health(health::Health),
    History(history::History),
    Push(push::Push),
    Listen(listen::Listen),
    Presence(request::Presence),
    Join(request::Join),
    Leave(request::Leave),
    Kick(request::Kick),
    Ping(request::Ping),
    Demo(demo::Demo),
    Bench(bench::Bench),
    Keygen(keygen::Keygen),
    Token(token::Token),
    Completions(completions::Completions),
}

impl Command {
    fn run(self) -> CommandResult {
        match self {
            Self::Serve(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Health(command) => command.run(),
            Self::History(command) => command.run(),
            Self::Push(command) => command.run(),
            Self::Listen(command) => command.run(),
            Self::Presence(command) => command.run(),
            Self::Join(command) => command.run(),
            Self::Leave(command) => command.run(),
            Self::Kick(command) => command.run(),
            Self::Ping(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::Bench(command) => command.run(),
            Self::Keygen(command) => command.run(),
            Self::Token(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}

/// Runs the command that the process was started with and returns its exit code: 0 done, 1 failed,
/// 2 usage, 3 BUSY, TIMEOUT or DRAINING (try again), 64 configuration.
pub fn main() -> ExitCode {
    let exit = match Cli::parse().command.run() {
        Ok(exit) => exit,
        Err(Failure::OutputClosed) => Exit::Ok,
        Err(Failure::Failed { exit, error }) => {
            output::note(format!("pushgate: {error:#}"));
            exit
        }
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(!about.is_empty(), "{name} does not say what it is for");
            let after = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                after.contains(&format!("pushgate {name}")),
                "{name} shows no example"
            );
            for argument in command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                assert!(
                    argument.get_help().is_some(),
                    "{name} {argument} has no help"
                );
            }
        }
    }
}

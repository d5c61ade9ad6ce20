//! `pushgate completions`: tab completion for a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::{CommandResult, Exit};
use super::{Cli, output};

/// Print tab completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example: pushgate completions bash > /etc/bash_completion.d/pushgate")]
pub(super) struct Completions {
    /// The shell to complete in
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pushgate", &mut script);
        output::raw(&script)?;
        Ok(Exit::Ok)
    }
}

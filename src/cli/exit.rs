//! How a command ends: the exit codes, and the failures that lead to them.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// What the process tells the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for happened.
    Ok = 0,
    /// It did not, and the same again will most likely not either.
    Failed = 1,
    /// The command line makes no sense; clap itself ends with the same code.
    Usage = 2,
    /// BUSY, TIMEOUT or DRAINING: not now, or not here; try again.
    TryAgain = 3,
    /// The configuration, or a file it names, is wrong (`EX_USAGE` of sysexits).
    Configuration = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads standard output any more (`pushgate listen | head -1`), which is success.
    OutputClosed,
    /// `error` goes to standard error, and the process ends with `exit`.
    Failed {
        /// The code to end with.
        exit: Exit,
        /// What went wrong, with its context.
        error: anyhow::Error,
    },
}

/// What every command returns.
pub(crate) type CommandResult = Result<Exit, Failure>;

impl Failure {
    /// The command line parsed, but asks for something impossible.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::Failed {
            exit: Exit::Usage,
            error: anyhow::anyhow!("{text}"),
        }
    }

    /// A configuration, or a file that belongs to it, cannot be used.
    pub(crate) fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed {
            exit: Exit::Configuration,
            error: error.into(),
        }
    }

    /// An error of writing to standard output, where a reader that left is no failure.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        anyhow::Error::new(error)
            .context("cannot write to standard output")
            .into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed {
            exit: Exit::Failed,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_success_and_a_full_disk_is_not() {
        let gone = Failure::output(io::ErrorKind::BrokenPipe.into());
        assert!(matches!(gone, Failure::OutputClosed));
        let full = Failure::output(io::ErrorKind::StorageFull.into());
        assert!(matches!(
            full,
            Failure::Failed {
                exit: Exit::Failed,
                ..
            }
        ));
    }

    #[test]
    fn the_codes_are_those_of_the_manual() {
        let codes = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::TryAgain,
            Exit::Configuration,
        ]
        .map(|exit| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3, 64]);
    }
}

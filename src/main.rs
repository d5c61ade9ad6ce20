//! The `pushgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    pushgate::cli::main()
}

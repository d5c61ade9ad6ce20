//! A panic is a line of the log like any other. Where it happens is a worker as well, and the
//! library's own words about it would wait for the reader of standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

use tracing::error;

/// From now on panics are logged.
pub(super) fn log() {
    set_hook(Box::new(|panic| tell(panic, &Backtrace::capture())));
}

fn tell(panic: &PanicHookInfo<'_>, backtrace: &Backtrace) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let what = panic.payload_as_str().unwrap_or("no text");
    // With RUST_BACKTRACE=1.
    match backtrace.status() {
        BacktraceStatus::Captured => {
            error!(target: "pushgate", thread, at, what, %backtrace, "panicked: a bug");
        }
        _ => error!(target: "pushgate", thread, at, what, "panicked: a bug"),
    }
}

//! The service manager that may have started the process: the sockets that it passes, what it is
//! told, and the watchdog that it keeps. Without one all of this does nothing.

mod notify;
mod passed;
mod watchdog;

pub use notify::Notify;
pub(in crate::daemon) use passed::{ADMIN, Places, UDP};
pub use passed::{Passed, Sockets};
pub(in crate::daemon) use watchdog::{STEP_MAX, Supervision};

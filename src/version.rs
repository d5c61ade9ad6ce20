//! Which build this is, as `src/build.rs` found out.

/// The version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, with a `+` when there was more than that; `dev` for a developer's build, `unknown`
/// for one from an archive whose packager did not say.
pub const COMMIT: &str = env!("PUSHGATE_BUILD_COMMIT");

/// The day of that commit, in UTC, or what the packager said; else `unknown`.
pub const DATE: &str = env!("PUSHGATE_BUILD_DATE");

/// The version of the compiler.
pub const RUSTC: &str = env!("PUSHGATE_BUILD_RUSTC");

/// What it was compiled for.
pub const TARGET: &str = env!("PUSHGATE_BUILD_TARGET");

/// `release` or `debug`.
pub const PROFILE: &str = env!("PUSHGATE_BUILD_PROFILE");

/// One line: `0.1.0 (0123abc 2026-11-24)`.
pub const SHORT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("PUSHGATE_BUILD_WHICH"),
    ")"
);

/// All of it, a line each.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit:  ",
    env!("PUSHGATE_BUILD_COMMIT"),
    "\ndate:    ",
    env!("PUSHGATE_BUILD_DATE"),
    "\nrustc:   ",
    env!("PUSHGATE_BUILD_RUSTC"),
    "\ntarget:  ",
    env!("PUSHGATE_BUILD_TARGET"),
    "\nprofile: ",
    env!("PUSHGATE_BUILD_PROFILE")
);

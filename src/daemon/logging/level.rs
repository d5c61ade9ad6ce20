//! The level of the log: the one of the configuration, or one that somebody asked for meanwhile.
//! `RUST_LOG` wins over both, at start and at every change.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::clock::monotonic;
use crate::transport::admin::log::{self, Shown};

/// The level of a log that runs. Clones are the same level.
#[derive(Clone)]
pub struct Level(Arc<Shared>);

struct Shared {
    rust_log: Option<Box<str>>,
    replace: Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>,
    /// Held while the filter is replaced: the last who sets it is the one whose level holds.
    state: Mutex<State>,
}

struct State {
    configured: LevelFilter,
    asked: Option<Asked>,
}

/// A level in place of the configured one.
#[derive(Clone, Copy)]
struct Asked {
    level: LevelFilter,
    /// By the monotonic clock, and for how long it was.
    until: Option<Instant>,
}

impl Level {
    pub(super) fn new(
        configured: LevelFilter,
        rust_log: Option<&str>,
        replace: impl Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            rust_log: rust_log.map(Box::from),
            replace: Box::new(replace),
            state: Mutex::new(State {
                configured,
                asked: None,
            }),
        }))
    }

    /// From now on `level`, beside what `RUST_LOG` says; what somebody asked for is over.
    ///
    /// # Errors
    /// The log is gone.
    pub fn configure(&self, level: LevelFilter) -> anyhow::Result<()> {
        let mut state = self.state();
        (state.configured, state.asked) = (level, None);
        self.hold(level)
    }

    /// Asks for `level` in place of the configured one, until `rest` is over, or else until the
    /// next reload or restart.
    ///
    /// # Errors
    /// The log is gone.
    pub fn ask(
        &self,
        level: LevelFilter,
        rest: Option<Duration>,
        now: Instant,
    ) -> anyhow::Result<()> {
        let mut state = self.state();
        let until = rest.map(|rest| now + rest);
        state.asked = Some(Asked { level, until });
        self.hold(level)
    }

    /// Goes back to the configured level once the time is over that somebody asked for; which it
    /// is then.
    pub fn expire(&self, now: Instant) -> Option<LevelFilter> {
        let mut state = self.state();
        let until = state.asked.and_then(|asked| asked.until);
        if until.is_none_or(|until| now < until) {
            return None;
        }
        state.asked = None;
        // Else the log is gone, and there is nobody to tell.
        self.hold(state.configured).ok()?;
        Some(state.configured)
    }

    /// Whether somebody has asked for another level than the configured one.
    pub fn is_asked(&self) -> bool {
        self.state().asked.is_some()
    }

    /// Whether `RUST_LOG` is set, which wins.
    pub fn is_overruled(&self) -> bool {
        self.0.rust_log.is_some()
    }

    /// What holds, and why.
    pub fn shown(&self, now: Instant) -> Shown {
        let state = self.state();
        let level = state.asked.map_or(state.configured, |asked| asked.level);
        let until = state.asked.and_then(|asked| asked.until);
        Shown {
            level: level.to_string(),
            configured: state.configured.to_string(),
            remaining_s: until.map(|until| until.saturating_duration_since(now).as_secs()),
            rust_log: self.0.rust_log.as_deref().map(str::to_owned),
        }
    }

    fn hold(&self, level: LevelFilter) -> anyhow::Result<()> {
        (self.0.replace)(filter(level, self.0.rust_log.as_deref())?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Level for Level {
    fn shown(&self) -> Shown {
        self.shown(monotonic())
    }

    fn ask(&self, level: LevelFilter, rest: Option<Duration>) -> anyhow::Result<()> {
        self.ask(level, rest, monotonic())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level").finish_non_exhaustive()
    }
}

pub(super) fn filter(level: LevelFilter, rust_log: Option<&str>) -> anyhow::Result<EnvFilter> {
    let builder = EnvFilter::builder().with_default_directive(level.into());
    match rust_log {
        Some(text) => builder
            .parse(text)
            .with_context(|| format!("RUST_LOG={text}")),
        None => Ok(builder.parse("").expect("the empty filter is one")),
    }
}

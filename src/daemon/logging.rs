//! The log: lines to standard error, as text or JSON, from a level on. Whoever logs never waits for
//! who reads ([`queue`]); the level changes while it runs ([`level`]); in the journal of systemd a
//! line says its priority ([`journal`]).

mod journal;
mod level;
mod panics;
mod pipe;
mod queue;

use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing::{Metadata, Subscriber, warn};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use super::settings::{self, LogFormat};
pub use level::Level;
use queue::Queue;

/// A log that runs. Clones are the same one.
#[derive(Clone)]
pub struct Log {
    level: Level,
    queue: Queue,
}

/// Has what is logged up to its drop written, however the process ends.
#[derive(Debug)]
pub struct Flush(Log);

impl Log {
    /// Its level.
    pub const fn level(&self) -> &Level {
        &self.level
    }

    /// Writes the lines, those of before as well, until [`release`](Self::release). It waits for
    /// the reader of standard error, and so is work for a thread of its own.
    pub fn write(&self) {
        self.queue.write_to(io::stderr(), |lost| {
            warn!(target: "pushgate", lost, "log lines were dropped: nobody read them in time");
        });
    }

    /// Ends [`write`](Self::write) once nothing is left, within half a second in any case.
    pub fn release(&self) {
        self.queue.release();
    }

    /// Lines dropped so far because nobody read them in time.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.queue.flush(io::stderr());
    }
}

/// Starts the log of this process. Lines wait until somebody calls [`Log::write`], and what is left
/// is written when the other half is dropped; a reader that stalls holds that up for little more
/// than a second.
///
/// # Errors
/// `RUST_LOG` is not a filter, or a log was started before.
pub fn start(log: &settings::Log) -> anyhow::Result<(Log, Flush)> {
    let rust_log = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let is_journal = journal::is_journal(io::stderr());
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let look = Look {
        format: log.format,
        is_journal,
        colors: io::stderr().is_terminal() && !no_color && !is_journal,
    };
    let queue = Queue::default();
    let lines = Lines {
        queue: queue.clone(),
        is_journal,
    };
    let (subscriber, level) = subscriber(log.level, look, rust_log.as_deref(), lines)?;
    set_global_default(subscriber).context("the log was started before")?;
    panics::log();
    let log = Log { level, queue };
    Ok((log.clone(), Flush(log)))
}

/// What lines look like.
#[derive(Clone, Copy)]
struct Look {
    format: LogFormat,
    is_journal: bool,
    colors: bool,
}

type Started = (Box<dyn Subscriber + Send + Sync>, Level);

fn subscriber<W>(
    configured: LevelFilter,
    look: Look,
    rust_log: Option<&str>,
    writer: W,
) -> anyhow::Result<Started>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let rust_log = rust_log.filter(|text| !text.trim().is_empty());
    let (filter, handle) = reload::Layer::new(level::filter(configured, rust_log)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    type Filtered =
        tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;
    let lines: Box<dyn Layer<Filtered> + Send + Sync> = match look.format {
        // The journal has a time and a priority of its own.
        LogFormat::Text if look.is_journal => lines
            .without_time()
            .with_level(false)
            .with_ansi(false)
            .boxed(),
        LogFormat::Text => lines.with_ansi(look.colors).boxed(),
        LogFormat::Json => {
            let lines = lines.json().with_current_span(false);
            lines.with_span_list(false).boxed()
        }
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let replace = move |filter| Ok(handle.reload(filter)?);
    Ok((
        Box::new(subscriber),
        Level::new(configured, rust_log, replace),
    ))
}

/// Where the subscriber leaves its lines.
struct Lines {
    queue: Queue,
    is_journal: bool,
}

/// The way of one line.
struct Line<'a> {
    queue: &'a Queue,
    prefix: &'static str,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: &self.queue,
            prefix: "",
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        let prefix = match self.is_journal {
            true => journal::prefix(*metadata.level()),
            false => "",
        };
        Line {
            queue: &self.queue,
            prefix,
        }
    }
}

impl io::Write for Line<'_> {
    /// The subscriber hands over each line whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(self.prefix, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

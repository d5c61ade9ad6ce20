//! The log: to standard error, as text or JSON, from a level on, which can be changed while it
//! runs. `RUST_LOG` wins over the settings, at start and at every change.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::settings::{Log, LogFormat};

/// The level of a log that runs. Clones are the same level.
#[derive(Clone)]
pub struct Level {
    rust_log: Option<Arc<str>>,
    replace: Arc<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>,
}

impl Level {
    /// From now on `level`, beside what `RUST_LOG` says.
    ///
    /// # Errors
    /// The log is gone.
    pub fn set(&self, level: LevelFilter) -> anyhow::Result<()> {
        (self.replace)(filter(level, self.rust_log.as_deref())?)
    }

    /// Whether `RUST_LOG` is set, which wins.
    pub const fn is_overruled(&self) -> bool {
        self.rust_log.is_some()
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level").finish_non_exhaustive()
    }
}

/// Starts the log of this process.
///
/// # Errors
/// `RUST_LOG` is not a filter, or a log was started before.
pub fn start(log: &Log) -> anyhow::Result<Level> {
    let rust_log = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let ansi = std::io::stderr().is_terminal();
    let (subscriber, level) = subscriber(log, rust_log.as_deref(), ansi, std::io::stderr)?;
    set_global_default(subscriber).context("the log was started before")?;
    Ok(level)
}

type Started = (Box<dyn Subscriber + Send + Sync>, Level);

fn subscriber<W>(
    log: &Log,
    rust_log: Option<&str>,
    ansi: bool,
    writer: W,
) -> anyhow::Result<Started>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let rust_log = rust_log.filter(|text| !text.trim().is_empty());
    let filter = filter(log.level, rust_log)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    // The type of the handle is that of the lines, which nobody else has to know.
    let subscriber: Box<dyn Subscriber + Send + Sync>;
    let replace: Arc<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>;
    match log.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(ansi).with_filter_reloading();
            let handle = lines.reload_handle();
            replace = Arc::new(move |filter| Ok(handle.reload(filter)?));
            subscriber = Box::new(lines.finish());
        }
        LogFormat::Json => {
            let lines = lines.json().with_current_span(false);
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            replace = Arc::new(move |filter| Ok(handle.reload(filter)?));
            subscriber = Box::new(lines.finish());
        }
    }
    let rust_log = rust_log.map(Arc::from);
    Ok((subscriber, Level { rust_log, replace }))
}

fn filter(level: LevelFilter, rust_log: Option<&str>) -> anyhow::Result<EnvFilter> {
    let builder = EnvFilter::builder().with_default_directive(level.into());
    match rust_log {
        Some(text) => builder
            .parse(text)
            .with_context(|| format!("RUST_LOG={text}")),
        None => Ok(builder.parse("").expect("the empty filter is one")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test panics in here").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LevelFilter, format: LogFormat, rust_log: Option<&str>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { level, format };
        let started = subscriber(&log, rust_log, false, move || writer.clone());
        let (subscriber, _) = started.expect("is a filter");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "pushgate", native = "127.0.0.1:1", "ready");
            tracing::debug!(target: "pushgate", "detail");
        });
        let bytes = lines.0.lock().expect("no test panics in here").clone();
        String::from_utf8(bytes).expect("is text")
    }

    #[test]
    fn the_level_of_the_settings_decides() {
        let text = logged(LevelFilter::INFO, LogFormat::Text, None);
        assert!(
            text.contains("INFO pushgate: ready native=\"127.0.0.1:1\""),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(logged(LevelFilter::WARN, LogFormat::Text, None), "");
        assert_eq!(logged(LevelFilter::OFF, LogFormat::Text, None), "");
        assert_eq!(
            logged(LevelFilter::DEBUG, LogFormat::Text, Some(""))
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn rust_log_wins_over_the_settings() {
        assert_eq!(
            logged(LevelFilter::INFO, LogFormat::Text, Some("pushgate=error")),
            ""
        );
        assert_eq!(
            logged(LevelFilter::WARN, LogFormat::Text, Some("debug"))
                .lines()
                .count(),
            2
        );
        let error = filter(LevelFilter::INFO, Some("pushgate=loud")).expect_err("is no filter");
        assert!(
            format!("{error:#}").contains("RUST_LOG=pushgate=loud"),
            "{error:#}"
        );
    }

    /// What is logged at debug while the level is info, debug, and info again.
    fn changed(format: LogFormat, rust_log: Option<&str>) -> String {
        let (lines, level) = (Lines::default(), LevelFilter::INFO);
        let writer = lines.clone();
        let log = Log { level, format };
        let started = subscriber(&log, rust_log, false, move || writer.clone());
        let (subscriber, level) = started.expect("is a filter");
        tracing::subscriber::with_default(subscriber, || {
            for (number, now) in (1..).zip([LevelFilter::INFO, LevelFilter::DEBUG].repeat(2)) {
                level.set(now).expect("the log is there");
                tracing::debug!(target: "pushgate", "line {number}");
            }
        });
        let bytes = lines.0.lock().expect("no test panics in here").clone();
        String::from_utf8(bytes).expect("is text")
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = changed(format, None);
            let told = |number| text.contains(&format!("line {number}"));
            assert_eq!([1, 2, 3, 4].map(told), [false, true, false, true], "{text}");
            assert_eq!(changed(format, Some("warn")), "");
            assert_eq!(changed(format, Some("debug")).lines().count(), 4);
        }
    }

    #[test]
    fn a_json_line_is_one_object() {
        let text = logged(LevelFilter::INFO, LogFormat::Json, None);
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("is JSON");
        assert_eq!(line["fields"]["message"], "ready");
        assert_eq!(line["fields"]["native"], "127.0.0.1:1");
        assert_eq!(line["target"], "pushgate");
    }
}

//! The log: to standard error, as text or JSON, from a level on. `RUST_LOG` wins over the settings.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::Subscriber;
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::settings::{Log, LogFormat};

/// Starts the log of this process.
///
/// # Errors
/// `RUST_LOG` is not a filter, or a log was started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let rust_log = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let ansi = std::io::stderr().is_terminal();
    let subscriber = subscriber(log, rust_log.as_deref(), ansi, std::io::stderr)?;
    set_global_default(subscriber).context("the log was started before")
}

fn subscriber<W>(
    log: &Log,
    rust_log: Option<&str>,
    ansi: bool,
    writer: W,
) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(log, rust_log)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(ansi).finish()),
        LogFormat::Json => Box::new(lines.json().with_current_span(false).finish()),
    })
}

fn filter(log: &Log, rust_log: Option<&str>) -> anyhow::Result<EnvFilter> {
    let builder = EnvFilter::builder().with_default_directive(log.level.into());
    match rust_log.filter(|text| !text.trim().is_empty()) {
        Some(text) => builder
            .parse(text)
            .with_context(|| format!("RUST_LOG={text}")),
        None => Ok(builder.parse("").expect("the empty filter is one")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::level_filters::LevelFilter;

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
        let subscriber =
            subscriber(&log, rust_log, false, move || writer.clone()).expect("is a filter");
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
        let log = Log {
            level: LevelFilter::INFO,
            format: LogFormat::Text,
        };
        let error = filter(&log, Some("pushgate=loud")).expect_err("is no filter");
        assert!(
            format!("{error:#}").contains("RUST_LOG=pushgate=loud"),
            "{error:#}"
        );
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

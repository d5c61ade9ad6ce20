use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics in here").clone();
        String::from_utf8(bytes).expect("is text")
    }
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics in here").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const fn look(format: LogFormat) -> Look {
    Look {
        format,
        is_journal: false,
        colors: false,
    }
}

fn logged(level: LevelFilter, format: LogFormat, rust_log: Option<&str>) -> String {
    let lines = Kept::default();
    let writer = lines.clone();
    let started = subscriber(level, look(format), rust_log, move || writer.clone());
    let (subscriber, _) = started.expect("is a filter");
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "pushgate", native = "127.0.0.1:1", "ready");
        tracing::debug!(target: "pushgate", "detail");
    });
    lines.text()
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
    let error = level::filter(LevelFilter::INFO, Some("pushgate=loud")).expect_err("is no filter");
    assert!(
        format!("{error:#}").contains("RUST_LOG=pushgate=loud"),
        "{error:#}"
    );
}

/// What is logged at debug while the level is info, debug, and info again.
fn changed(format: LogFormat, rust_log: Option<&str>) -> String {
    let lines = Kept::default();
    let writer = lines.clone();
    let started = subscriber(LevelFilter::INFO, look(format), rust_log, move || {
        writer.clone()
    });
    let (subscriber, level) = started.expect("is a filter");
    tracing::subscriber::with_default(subscriber, || {
        for (number, now) in (1..).zip([LevelFilter::INFO, LevelFilter::DEBUG].repeat(2)) {
            level.configure(now).expect("the log is there");
            tracing::debug!(target: "pushgate", "line {number}");
        }
    });
    lines.text()
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
fn a_level_that_was_asked_for_holds_for_its_time_or_until_a_reload() {
    let lines = Kept::default();
    let writer = lines.clone();
    let (info, debug) = (LevelFilter::INFO, LevelFilter::DEBUG);
    let started = subscriber(info, look(LogFormat::Text), None, move || writer.clone());
    let (subscriber, level) = started.expect("is a filter");
    let now = Instant::now();
    tracing::subscriber::with_default(subscriber, || {
        level
            .ask(debug, Some(Duration::from_secs(10)), now)
            .expect("the log is there");
        tracing::debug!(target: "pushgate", "first");
        assert_eq!(level.expire(now + Duration::from_secs(9)), None);
        assert_eq!(level.shown(now).remaining_s, Some(10));
        assert_eq!(level.expire(now + Duration::from_secs(10)), Some(info));
        tracing::debug!(target: "pushgate", "second");
        level.ask(debug, None, now).expect("the log is there");
        let much_later = now + Duration::from_secs(86_400);
        assert_eq!(level.expire(much_later), None, "it has no end of its own");
        tracing::debug!(target: "pushgate", "third");
        assert!(level.is_asked());
        level.configure(info).expect("the log is there");
        assert!(!level.is_asked());
        tracing::debug!(target: "pushgate", "fourth");
    });
    let text = lines.text();
    let told = ["first", "second", "third", "fourth"].map(|word| text.contains(word));
    assert_eq!(told, [true, false, true, false], "{text}");
}

#[test]
fn a_json_line_is_one_object() {
    let text = logged(LevelFilter::INFO, LogFormat::Json, None);
    let line: serde_json::Value = serde_json::from_str(text.trim()).expect("is JSON");
    let keys: Vec<_> = line.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["fields", "level", "target", "timestamp"]);
    assert_eq!(line["fields"]["message"], "ready");
    assert_eq!(line["fields"]["native"], "127.0.0.1:1");
    assert_eq!(line["target"], "pushgate");
    assert_eq!(line["level"], "INFO");
}

/// What comes out at the other end of the queue.
fn queued(look: Look, log: impl FnOnce()) -> String {
    let queue = Queue::default();
    let lines = Lines {
        queue: queue.clone(),
        is_journal: look.is_journal,
    };
    let (subscriber, _) = subscriber(LevelFilter::DEBUG, look, None, lines).expect("a filter");
    tracing::subscriber::with_default(subscriber, log);
    let (reader, writer) = io::pipe().expect("a pipe");
    queue.flush(&writer);
    drop(writer);
    io::read_to_string(reader).expect("is text")
}

#[test]
fn the_journal_gets_priorities_and_neither_time_nor_level() {
    let journal = |format| Look {
        format,
        is_journal: true,
        colors: false,
    };
    let log = || {
        tracing::error!(target: "pushgate", "one\ntwo");
        tracing::info!(target: "pushgate", at = 7, "three");
        tracing::debug!(target: "pushgate", "four");
    };
    let text = queued(journal(LogFormat::Text), log);
    let expected = "<3>pushgate: one\\ntwo\n<6>pushgate: three at=7\n<7>pushgate: four\n";
    assert_eq!(text, expected);
    let json = queued(journal(LogFormat::Json), log);
    for (line, priority) in json.lines().zip(["<3>", "<6>", "<7>"]) {
        let object = line.strip_prefix(priority).expect("the priority is first");
        let line: serde_json::Value = serde_json::from_str(object).expect("is JSON");
        assert!(line["timestamp"].is_string(), "{line}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let colored = Look {
        colors: true,
        ..look(LogFormat::Text)
    };
    let log = || tracing::info!(target: "pushgate", "ready");
    assert!(queued(colored, log).contains('\u{1b}'));
    assert!(!queued(look(LogFormat::Text), log).contains('\u{1b}'));
}

//! What is kept, in words.

use serde_json::Value;

use crate::cli::output::counted;

/// The names of the columns; the target, of any length, is the last.
pub(super) fn header() -> String {
    columns(
        ["messages", "bytes", "oldest", "newest", "expires in"],
        "target",
    )
}

/// One target.
pub(super) fn row_words(row: &Value) -> String {
    let number = |field: &str| row[field].as_u64().unwrap_or_default();
    let numbers = [number("messages").to_string(), number("bytes").to_string()];
    // When the first expires is not known where more is kept than one answer looks at.
    let age = |name: &str| row[name].as_u64().map_or("?".to_owned(), age);
    let ages = ["oldest_age_ms", "newest_age_ms", "expires_in_ms"].map(age);
    let [messages, bytes] = numbers.each_ref().map(String::as_str);
    let [oldest, newest, expires] = ages.each_ref().map(String::as_str);
    columns([messages, bytes, oldest, newest, expires], &target(row))
}

fn columns([messages, bytes, oldest, newest, expires]: [&str; 5], target: &str) -> String {
    format!("{messages:>9} {bytes:>11} {oldest:>9} {newest:>9} {expires:>10}  {target}")
}

/// "user ada"; "all".
fn target(row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    let (scope, name) = (text("scope"), text("name"));
    match name {
        "" => scope.to_owned(),
        name => format!("{scope} {name}"),
    }
}

/// One message, in a few lines.
pub(super) fn message_words(message: &Value) -> String {
    let number = |field: &str| message[field].as_u64().unwrap_or_default();
    let list = |field: &str| {
        let rows = message[field].as_array().into_iter().flatten();
        rows.map(target).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!(
        "message {}, {}, for {}",
        number("number"),
        counted(number("bytes"), "byte"),
        list("targets"),
    );
    let exceptions = list("exceptions");
    if !exceptions.is_empty() {
        text += &format!("; not for {exceptions}");
    }
    let (age, left) = (age(number("age_ms")), age(number("expires_in_ms")));
    text += &format!("\naccepted {age} ago, expires in {left}");
    if let Some(key) = message["collapse"].as_str() {
        text += &format!("\ncollapse key {key:?}");
    }
    if let Some(key) = message["collapse_base64"].as_str() {
        text += &format!("\ncollapse key {key} (base64)");
    }
    let confirmed = counted(number("confirmed"), "device");
    text + &format!("\nconfirmed by {confirmed}")
}

/// The two largest units that say something: "2d 3h", "59m 3s", "0s".
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut parts = Vec::new();
    let mut left = seconds;
    for (unit, size) in units {
        let count = left / size;
        left %= size;
        if count > 0 || !parts.is_empty() || unit == "s" {
            parts.push((count, unit));
        }
    }
    let shown = parts
        .iter()
        .take(2)
        .filter(|(count, unit)| *count > 0 || *unit == "s");
    let mut shown: Vec<_> = shown
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.len() > 1 && shown.last().is_some_and(|last| last == "0s") {
        shown.pop();
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_age_has_two_units_at_most() {
        for (ms, words) in [
            (0, "0s"),
            (999, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (61_000, "1m 1s"),
            (3_600_000, "1h"),
            (3_601_000, "1h"),
            (7_260_000, "2h 1m"),
            (86_400_000 * 2 + 3_600_000 * 3 + 59_000, "2d 3h"),
        ] {
            assert_eq!(age(ms), words, "{ms}");
        }
    }

    #[test]
    fn a_message_says_whom_it_is_for_and_who_has_it() {
        let message = json!({
            "number": 17, "bytes": 1, "confirmed": 1, "age_ms": 61_000, "expires_in_ms": 5_000,
            "targets": [{ "scope": "user", "name": "ada" }, { "scope": "all", "name": "" }],
            "exceptions": [{ "scope": "group", "name": "muted" }], "collapse": "a\"b",
        });
        let expected = "message 17, 1 byte, for user ada, all; not for group muted\n\
                        accepted 1m 1s ago, expires in 5s\ncollapse key \"a\\\"b\"\n\
                        confirmed by 1 device";
        assert_eq!(message_words(&message), expected);
    }

    #[test]
    fn a_row_ends_with_its_target_under_its_header() {
        let row = json!({
            "scope": "user", "name": "ada lovelace", "messages": 2, "bytes": 14,
            "oldest_age_ms": 61_000, "newest_age_ms": 0, "expires_in_ms": 3_600_000,
        });
        let (header, row) = (header(), row_words(&row));
        assert!(row.ends_with("  user ada lovelace"), "{row}");
        assert_eq!(header.find("target"), row.find("user ada"));
        let unknown = json!({ "scope": "all", "name": "", "messages": 200_000 });
        assert!(row_words(&unknown).ends_with("?  all"));
    }
}

//! The configuration file: whatever stands in it, it is run or it is refused with a place.

use std::path::Path;

use pushgate::daemon::settings::Settings;

/// A file with this text. One that could name a file outside the directory, which is not there, is
/// passed over: a fuzzer must not make the gateway open what it makes up.
pub(super) fn file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    // A backslash begins an escape, which could be a slash.
    if text.contains(['/', '\\']) {
        return false;
    }
    let problems = match Settings::parse(text, Path::new("/nowhere/at/all/pushgate.toml")) {
        Ok(settings) => {
            assert!(!settings.listeners.is_empty(), "nobody could connect");
            return true;
        }
        Err(problems) => problems.list,
    };
    assert!(!problems.is_empty(), "refused without a reason");
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in problems {
        let line = problem.line.checked_sub(1).and_then(|line| lines.get(line));
        let line = line.unwrap_or_else(|| panic!("no such line: {problem:?}"));
        // One past its last character is the end of the line.
        let columns = 1..=line.chars().count() + 1;
        assert!(
            columns.contains(&problem.column),
            "no such column: {problem:?}"
        );
        assert!(!problem.what.is_empty(), "{problem:?}");
    }
    false
}

//! The journal of systemd. It reads what a service writes to standard error line by line, gives
//! each its time, and takes its priority from the beginning of the line (sd-daemon(3)).
//!
//! There is a protocol with fields of their own as well. Lines are what stays readable when the
//! same service runs without a journal, and they need nothing but a pipe.

use std::os::fd::AsFd;

use tracing::Level;

/// Whether `out` leads to the journal: systemd names its device and inode in `JOURNAL_STREAM`, so
/// that a service that was redirected elsewhere can tell.
pub(super) fn is_journal(out: impl AsFd) -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    is_stream(&named, out)
}

fn is_stream(named: &str, out: impl AsFd) -> bool {
    let Ok(stat) = rustix::fs::fstat(out) else {
        return false;
    };
    let Some((device, inode)) = named.split_once(':') else {
        return false;
    };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

/// A priority of syslog, as a line begins with it.
pub(super) const fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_the_stream_that_is_named() {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let stat = rustix::fs::fstat(&writer).expect("a pipe has an inode");
        let (device, inode) = (stat.st_dev, stat.st_ino);
        assert!(is_stream(&format!("{device}:{inode}"), &writer));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{device}"),
            String::new(),
        ] {
            assert!(!is_stream(&other, &writer), "{other}");
        }
    }

    #[test]
    fn each_level_has_its_priority() {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        assert_eq!(levels.map(prefix), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }
}

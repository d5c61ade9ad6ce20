//! What the kernel tells of this process: its CPU time and its memory.

use std::fs::File;

use super::socket::read_whole;

/// Its files in procfs, which stay open, so that they can be read when descriptors are exhausted.
#[derive(Debug)]
pub struct ProcessFiles {
    stat: Option<File>,
    statm: Option<File>,
}

/// What the process has used so far, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl ProcessFiles {
    /// Those of this process.
    pub fn open() -> Self {
        Self {
            stat: File::open("/proc/self/stat").ok(),
            statm: File::open("/proc/self/statm").ok(),
        }
    }

    /// Until now; zeros where there is no procfs.
    pub fn usage(&self) -> Usage {
        let text = |file: &Option<File>| file.as_ref().map(read_whole).unwrap_or_default();
        let ticks = ticks_in(&text(&self.stat)).unwrap_or(0);
        let pages = pages_in(&text(&self.statm)).unwrap_or(0);
        Usage {
            cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: pages * rustix::param::page_size() as u64,
        }
    }
}

/// The 14th and 15th column; the second is a name in brackets that may hold anything.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut columns = behind_the_name.split_whitespace().skip(11);
    let (user, system) = (columns.next()?, columns.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

/// The second column.
fn pages_in(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(ticks_in(stat), Some(300));
        assert_eq!(ticks_in(""), None);
        assert_eq!(pages_in("500 321 1 1 0 1 0\n"), Some(321));
        assert_eq!(pages_in(""), None);
    }

    #[test]
    fn a_process_has_used_something() {
        let files = ProcessFiles::open();
        let before = files.usage();
        assert!(before.resident_bytes > 100_000, "{before:?}");
        assert!(files.usage().cpu_seconds >= before.cpu_seconds);
    }
}

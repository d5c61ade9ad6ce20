//! The machine under the measurement: which core a process runs on, and what the kernel says it
//! used.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{
    Pid, Resource, Signal, getppid, getrlimit, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of the server under test, and the core of the load.
pub const SERVER_CORE: usize = 0;
/// Where the load runs, away from the server.
pub const LOAD_CORE: usize = 1;

/// The third byte of the loopback addresses from which the clients of the loop, those of a second
/// gateway, and one client apart connect: an address gives its ports to one socket each.
pub const LOOP_NETWORK: u8 = 1;
/// See [`LOOP_NETWORK`].
pub const SECOND_NETWORK: u8 = 2;
/// See [`LOOP_NETWORK`].
pub const APART_NETWORK: u8 = 3;
/// How much a thread gives way that only makes load: the weight of about a tenth.
const NICE: i32 = 10;

/// Whether this process may use both cores, so that server and load need not share one.
pub fn has_two_cores() -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.is_set(SERVER_CORE) && set.is_set(LOAD_CORE))
}

/// Runs `spawn` on `core` of a machine with two, so that the child starts there and sees one core,
/// and comes back to the cores that this thread had.
pub fn on_core<T>(core: usize, spawn: impl FnOnce() -> T) -> anyhow::Result<T> {
    let before = sched_getaffinity(None).context("cannot read on which cores this process runs")?;
    pin(core)?;
    let spawned = spawn();
    sched_setaffinity(None, &before).context("cannot go back to the cores from before")?;
    Ok(spawned)
}

/// Binds this thread, and what it starts from now on, to one core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot move to core {core}"))
}

/// CPU time that a process has used so far, user and system.
///
/// In nanoseconds, as the scheduler counts its threads. Of a thread that has ended only the
/// kernel's ticks know, rounded down to 10 ms as a rule: so the higher of both is exact while no
/// thread ends, and never more than two ticks behind.
///
/// # Errors
/// When the process is gone, or of somebody else and hidden.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&text).with_context(|| format!("{path} is not as proc(5) says"))?;
    let nanos = ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let nanos = nanos.max(scheduled(pid).unwrap_or_default());
    Ok(Duration::from_nanos(nanos))
}

/// Where [`cpu_time`] has it from: `schedstat`, or `stat` where the kernel keeps no such
/// statistics.
pub fn cpu_time_source(pid: u32) -> &'static str {
    match scheduled(pid) {
        Some(_) => "schedstat",
        None => "stat",
    }
}

/// Nanoseconds that the threads which the process has now were running.
fn scheduled(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut sum = None;
    for thread in threads.flatten() {
        // It may have ended since the directory was read.
        let text = fs::read_to_string(thread.path().join("schedstat"));
        if let Some(nanos) = text.ok().as_deref().and_then(running) {
            sum = Some(sum.unwrap_or_default() + nanos);
        }
    }
    sum
}

/// The first field of a `schedstat` line; a kernel without such statistics has only zeros.
fn running(schedstat: &str) -> Option<u64> {
    let nanos = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    (nanos != 0).then_some(nanos)
}

/// utime + stime of a `stat` line: fields 14 and 15, where the name in field 2 may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When the process is gone, or of somebody else.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    rss(&text).with_context(|| format!("{path} is not as proc(5) says"))
}

fn rss(rollup: &str) -> Option<u64> {
    kilobytes(rollup, "Rss:")
}

/// The most memory that a process has had resident so far, in bytes.
///
/// # Errors
/// When the process is gone.
pub fn peak_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kilobytes(&text, "VmHWM:").with_context(|| format!("{path} is not as proc(5) says"))
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Lets this process end with the thread that has started it, however that ends.
///
/// # Errors
/// When the kernel does not know how.
pub fn end_with_parent() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("no signal for a parent's end")?;
    // One that ended before that was asked for gives no signal. The parent is this program, too.
    let parent = getppid().map_or(0, Pid::as_raw_pid);
    let is_there = fs::read_link(format!("/proc/{parent}/exe")).ok();
    anyhow::ensure!(
        is_there.is_some() && is_there == std::env::current_exe().ok(),
        "the parent has ended"
    );
    Ok(())
}

/// Gives way to the other threads on this thread's core, from now on.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn give_way() -> anyhow::Result<()> {
    // On Linux it is a thread's own, whatever its name says.
    setpriority_process(None, NICE).context("cannot give way to other threads")
}

/// Lets this process have `needed` descriptors.
///
/// # Errors
/// When the hard limit is below that; the text says how many connections are possible.
pub fn raise_descriptor_limit(needed: u64) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| needed <= current) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        anyhow::bail!(
            "this needs {needed} descriptors and the process may have {most}: raise the hard limit \
             (ulimit -Hn), or ask for fewer clients"
        );
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).context("cannot raise the descriptor limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_that_holds_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 98 0 0 0 123 45 0 0 20 0 1 0 10 0 0";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("7 (cut"), None);
    }

    #[test]
    fn running_time_is_the_first_field_and_zeros_are_none() {
        assert_eq!(running("97890 76704 2\n"), Some(97_890));
        assert_eq!(running("0 0 0\n"), None);
        assert_eq!(running(""), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let rollup = "55f2-7fff ---p 00000000 00:00 0  [rollup]\nRss:    1760 kB\nPss:  284 kB\n";
        assert_eq!(rss(rollup), Some(1760 * 1024));
        assert!(rss("Pss: 284 kB\n").is_none());
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(1234 * 1024));
    }

    #[test]
    fn this_process_can_be_read() {
        cpu_time(std::process::id()).unwrap();
        let resident = resident_bytes(std::process::id()).unwrap();
        assert!(resident > 100_000);
        assert!(resident / 2 <= peak_resident_bytes(std::process::id()).unwrap());
    }
}

//! The allocator's own switch and its dump: the few of its settings that are used, by their names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use tikv_jemalloc_ctl::{Access, AsName, Result};

/// Whether this process can sample its heap at all (bool, fixed at its start).
const AVAILABLE: &[u8] = b"opt.prof\0";
/// Whether it does (bool).
const ACTIVE: &[u8] = b"prof.active\0";
/// Bytes between two samples, as a power of two.
const INTERVAL: &[u8] = b"prof.lg_sample\0";
/// Forgets the samples; takes the interval that holds from then on.
const RESET: &[u8] = b"prof.reset\0";
/// Writes the samples to the file of this name.
const DUMP: &[u8] = b"prof.dump\0";

pub(super) fn is_available() -> bool {
    AVAILABLE.name().read().unwrap_or(false)
}

pub(super) fn is_active() -> bool {
    is_available() && ACTIVE.name().read().unwrap_or(false)
}

/// Bytes between two samples.
pub(super) fn interval_bytes() -> u64 {
    let exponent: usize = INTERVAL.name().read().unwrap_or(0);
    1 << exponent.min(62)
}

/// Samples from now on, or not; what was sampled stays.
pub(super) fn set(active: bool) -> Result<()> {
    ACTIVE.name().write(active)
}

/// Forgets what was sampled.
pub(super) fn forget() -> Result<()> {
    let exponent: usize = INTERVAL.name().read()?;
    RESET.name().write(exponent)
}

/// What was sampled and is still held, as the allocator writes it. The file that it writes to is
/// memory, so that no disk is needed.
pub(super) fn dump() -> std::io::Result<String> {
    let mut file = File::from(memfd_create("heap-profile", MemfdFlags::CLOEXEC)?);
    let written = DUMP.name().write(name_of(file.as_raw_fd()));
    written.map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The name of an open file. The allocator's own interface asks for one that lives for ever, so one
/// is made for each number of a descriptor that such a file ever had: twenty bytes each.
fn name_of(number: RawFd) -> &'static [u8] {
    static NAMES: Mutex<BTreeMap<RawFd, &'static [u8]>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names
        .entry(number)
        .or_insert_with(|| format!("/proc/self/fd/{number}\0").into_bytes().leak())
}

//! Writing to standard error without waiting for ever for its reader.
//!
//! It stays in blocking mode: the open file is shared with whoever started the process, and a shell
//! does not expect its terminal to change under it. So no more is written at once than a pipe takes
//! whole when it says that it has room.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe with room for anything has room for one page (pipe(7)), and takes it whole.
const AT_ONCE: usize = 4096;

/// Writes a beginning of `bytes`, whole lines where it can; how many bytes.
///
/// # Errors
/// `WouldBlock` when there was no room within `patience`; else what the descriptor says.
pub(super) fn write(out: &impl AsFd, bytes: &[u8], patience: Duration) -> io::Result<usize> {
    let timeout = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut ready = [PollFd::new(out, PollFlags::OUT)];
    match poll(&mut ready, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Err(io::ErrorKind::WouldBlock.into()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let most = &bytes[..bytes.len().min(AT_ONCE)];
    let lines = most.iter().rposition(|byte| *byte == b'\n');
    let part = &most[..lines.map_or(most.len(), |end| end + 1)];
    loop {
        match rustix::io::write(out, part) {
            Err(rustix::io::Errno::INTR) => {}
            // It would block after all: somebody else writes to the same pipe, or made it so.
            written => return Ok(written?),
        }
    }
}

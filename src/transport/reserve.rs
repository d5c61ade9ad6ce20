//! Descriptors held back for the moment when there are none left: who wants to see what is wrong
//! with a process must be able to connect to it.
//!
//! They are opened at start, so that their numbers are low: a descriptor limit that is lowered
//! later, below what is open, still admits a number that has become free below it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::AcceptError;

/// A few spare descriptors of `/dev/null`.
#[derive(Debug)]
pub struct Reserve {
    /// What spares are copies of; never given away.
    null: OwnedFd,
    /// A lock, since several connections may end at once; held for one system call each.
    spares: Mutex<Vec<OwnedFd>>,
    size: usize,
}

impl Reserve {
    /// Opens `size` spares, and one more to copy them from.
    ///
    /// # Errors
    /// The descriptors are exhausted already, or there is no `/dev/null`.
    pub fn new(size: usize) -> io::Result<Self> {
        let null = OwnedFd::from(File::open("/dev/null")?);
        let spares = (0..size)
            .map(|_| null.try_clone())
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            null,
            spares: Mutex::new(spares),
            size,
        })
    }

    /// Runs an attempt to get a descriptor, and where none is left, once more with a spare given
    /// back to the process. The attempt must not wait: another thread may take the number first.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub fn attempt<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(error) if is_exhausted(&error) && self.release() => {
                let result = attempt();
                if result.is_err() {
                    self.refill();
                }
                result
            }
            result => result,
        }
    }

    /// Opens again as many of the spares that were given away as the process has descriptors for.
    pub fn refill(&self) {
        let mut spares = self.spares();
        while spares.len() < self.size {
            let Ok(spare) = self.null.try_clone() else {
                return;
            };
            spares.push(spare);
        }
    }

    /// Spares at hand.
    pub fn len(&self) -> usize {
        self.spares().len()
    }

    /// Whether no spare is at hand.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn release(&self) -> bool {
        self.spares().pop().is_some()
    }

    fn spares(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        AcceptError::of(error),
        AcceptError::Emfile | AcceptError::Enfile
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn emfile<T>() -> io::Result<T> {
        Err(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()))
    }

    #[test]
    fn an_attempt_without_descriptors_is_made_once_more_with_a_spare_given_back() {
        let reserve = Reserve::new(2).expect("there are descriptors");
        let mut left = Vec::new();
        let result = reserve.attempt(|| {
            left.push(reserve.len());
            if left.len() == 1 { emfile() } else { Ok(()) }
        });
        assert!(result.is_ok());
        assert_eq!(left, [2, 1]);
        assert_eq!(reserve.len(), 1, "who succeeded holds the number");
        reserve.refill();
        assert_eq!(reserve.len(), 2);
    }

    #[test]
    fn a_spare_that_did_not_help_is_taken_back() {
        let reserve = Reserve::new(1).expect("there are descriptors");
        let mut attempts = 0;
        let result: io::Result<()> = reserve.attempt(|| {
            attempts += 1;
            emfile()
        });
        assert!(result.is_err());
        assert_eq!((attempts, reserve.len()), (2, 1));
    }

    #[test]
    fn without_spares_and_for_other_errors_there_is_one_attempt() {
        for (size, errno) in [(0, Errno::MFILE), (1, Errno::CONNABORTED)] {
            let reserve = Reserve::new(size).expect("there are descriptors");
            let mut attempts = 0;
            let result: io::Result<()> = reserve.attempt(|| {
                attempts += 1;
                Err(io::Error::from_raw_os_error(errno.raw_os_error()))
            });
            assert!(result.is_err());
            assert_eq!((attempts, reserve.len()), (1, size));
        }
    }
}

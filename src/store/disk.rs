//! Files of one directory. Every call of the store to the filesystem is made here, so that an error
//! names its file, and so that a test can have each of them fail.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;

/// Only the gateway's own user reads what was pushed.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Digits of a process id, with blanks before them: so none of a longer one is left behind it.
const PID_BYTES: usize = 10;

/// Marks a file that is not yet whole; nobody misses it.
pub(super) const UNFINISHED: &str = ".tmp";

/// The directory.
pub(super) struct Disk {
    path: PathBuf,
    /// For its own sync, which makes names durable.
    own: Arc<Handle>,
    /// Held for as long as the store is open.
    _lock: Lock,
    #[cfg(test)]
    faults: Arc<super::tests::Faults>,
}

/// Let go by name and not by its close alone: a process that is just being started from this one
/// holds a copy of the descriptor until it has become what it is to be, and the lock with it.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Then its close does it.
        let _ = self.0.unlock();
    }
}

/// An open file, which knows its path.
pub(super) struct Handle {
    file: File,
    path: PathBuf,
    #[cfg(test)]
    faults: Arc<super::tests::Faults>,
}

/// The same error with the path before it. Its kind stays, its number goes.
fn named(error: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

impl Disk {
    /// Makes the directory where there is none, and locks it.
    pub(super) fn open(
        path: &Path,
        lock: &str,
        #[cfg(test)] faults: Arc<super::tests::Faults>,
    ) -> Result<Self, StoreError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE);
        builder
            .create(path)
            .map_err(|error| named(&error, "make", path))?;
        let lock_path = path.join(lock);
        let lock = options()
            .create(true)
            .open(&lock_path)
            .map_err(|error| named(&error, "open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                let pid = read_pid(&lock);
                return Err(StoreError::Locked { path, pid });
            }
            Err(TryLockError::Error(error)) => {
                return Err(named(&error, "lock", &lock_path).into());
            }
        }
        write_pid(&lock);
        let own = Handle {
            file: File::open(path).map_err(|error| named(&error, "open", path))?,
            path: path.to_owned(),
            #[cfg(test)]
            faults: faults.clone(),
        };
        Ok(Self {
            path: path.to_owned(),
            own: Arc::new(own),
            _lock: Lock(lock),
            #[cfg(test)]
            faults,
        })
    }

    /// The names of all files.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let named = |error: io::Error| named(&error, "list", &self.path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(named)? {
            // A name that is no text is none of ours.
            names.extend(entry.map_err(named)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Opens a file that is there.
    pub(super) fn open_file(&self, name: &str) -> io::Result<Handle> {
        self.handle(name, "open", &options())
    }

    /// Makes a file; what stood under its name is gone.
    pub(super) fn create(&self, name: &str) -> io::Result<Handle> {
        #[cfg(test)]
        self.faults.create(name)?;
        self.handle(name, "create", options().create(true).truncate(true))
    }

    fn handle(&self, name: &str, what: &str, options: &OpenOptions) -> io::Result<Handle> {
        let path = self.path.join(name);
        let file = options
            .open(&path)
            .map_err(|error| named(&error, what, &path))?;
        Ok(Handle {
            file,
            path,
            #[cfg(test)]
            faults: self.faults.clone(),
        })
    }

    /// The file takes the name, and the place of who had it.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path.join(from), self.path.join(to));
        fs::rename(from, &to).map_err(|error| named(&error, "rename to", &to))
    }

    /// Removes a file; that there is none is no error.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        #[cfg(test)]
        self.faults.remove(name)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(|error| named(&error, "remove", &path)),
        }
    }

    /// For the sync of the names.
    pub(super) fn own(&self) -> &Arc<Handle> {
        &self.own
    }
}

/// Has the lock file say who holds it, for people alone: it is the lock that counts, and a disk
/// which has no room for this says so elsewhere.
fn write_pid(lock: &File) {
    let pid = format!("{:>PID_BYTES$}\n", std::process::id());
    let _ = lock.write_all_at(pid.as_bytes(), 0);
}

/// Who holds the lock, where its file says so.
fn read_pid(lock: &File) -> Option<u32> {
    let mut pid = [0; PID_BYTES];
    lock.read_exact_at(&mut pid, 0).ok()?;
    std::str::from_utf8(&pid).ok()?.trim().parse().ok()
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

impl Handle {
    /// Bytes in the file.
    pub(super) fn len(&self) -> io::Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata
            .map_err(|error| self.named(&error, "size of"))?
            .len())
    }

    /// Reads as many bytes as fit, or fails.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let outcome = self.file.read_exact_at(bytes, at);
        outcome.map_err(|error| self.named(&error, "read"))
    }

    /// Some of the bytes from there on; 0 at the end of the file.
    pub(super) fn read_some_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map_err(|error| self.named(&error, "read")),
            }
        }
    }

    /// Writes all of the bytes; after an error some of them may stand there.
    pub(super) fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some((room, error)) = self.faults.write(self.len()?, at, bytes.len()) {
            self.file.write_all_at(&bytes[..room], at)?;
            return Err(self.named(&error, "write"));
        }
        let outcome = self.file.write_all_at(bytes, at);
        outcome.map_err(|error| self.named(&error, "write"))
    }

    /// Returns when the file's bytes are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults
            .sync()
            .map_err(|error| self.named(&error, "sync"))?;
        let outcome = self.file.sync_data();
        outcome.map_err(|error| self.named(&error, "sync"))
    }

    /// Cuts the file to so many bytes.
    pub(super) fn cut(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults
            .cut()
            .map_err(|error| self.named(&error, "cut"))?;
        let outcome = self.file.set_len(len);
        outcome.map_err(|error| self.named(&error, "cut"))
    }

    /// An error of ours about this file.
    pub(super) fn damaged(&self, at: u64) -> io::Error {
        let path = self.path.display();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path}: not what was written at byte {at}"),
        )
    }

    fn named(&self, error: &io::Error, what: &str) -> io::Error {
        named(error, what, &self.path)
    }
}

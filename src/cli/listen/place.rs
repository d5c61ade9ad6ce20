//! Where a client is in the log, in a file that outlives it.
//!
//! The file is replaced in one step, after the message up to which it speaks has been printed. Who
//! is killed in between prints that message once more; none is missed. It is not synced: after a
//! power cut it may be older, or empty, which both mean messages that come again.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::client::Place;

/// Longer than two numbers and their names.
const FILE_BYTES_MAX: u64 = 4096;

/// The file, and what it says.
pub(super) struct PlaceFile {
    path: PathBuf,
    place: Place,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    epoch: u64,
    cursor: u64,
}

impl PlaceFile {
    /// Reads the file. One that is not there, or empty, stands for the beginning: everything that
    /// is kept. It is written at once, so that one that cannot be is known before the first
    /// message.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot resume from {}", path.display());
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(what),
        };
        let written = match text.trim() {
            "" => Written {
                epoch: 0,
                cursor: 0,
            },
            text => serde_json::from_str(text).with_context(|| damaged(path))?,
        };
        let file = Self {
            path: path.to_owned(),
            place: Place {
                epoch: written.epoch,
                cursor: written.cursor,
            },
        };
        file.write()?;
        Ok(file)
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// From now on it says this.
    pub(super) fn set(&mut self, place: Place) -> anyhow::Result<()> {
        if place == self.place {
            return Ok(());
        }
        self.place = place;
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let Place { epoch, cursor } = self.place;
        let text = serde_json::to_string(&Written { epoch, cursor })?;
        let written = replace(&self.path, &format!("{text}\n"));
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// What to do about a file that is none of ours, or is not whole any more.
fn damaged(path: &Path) -> String {
    format!(
        "cannot resume from {}: it does not say {{\"epoch\":E,\"cursor\":C}}. If it is this \
         client's, remove it: everything that is still kept comes then, also what was printed \
         already. If it is not, name another file",
        path.display()
    )
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Beside the file, so that the name changes hands in one step.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".tmp");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(epoch: u64, cursor: u64) -> Place {
        Place { epoch, cursor }
    }

    #[test]
    fn what_is_set_is_read_again_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ada.place");
        let mut file = PlaceFile::open(&path).unwrap();
        assert_eq!(file.place(), place(0, 0), "from the beginning");
        assert!(path.exists(), "it is made at once");
        file.set(place(u64::MAX, 17)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{{\"epoch\":{},\"cursor\":17}}\n", u64::MAX));
        assert_eq!(PlaceFile::open(&path).unwrap().place(), place(u64::MAX, 17));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // What a power cut may leave.
        fs::write(&path, "").unwrap();
        assert_eq!(PlaceFile::open(&path).unwrap().place(), place(0, 0));
    }

    #[test]
    fn what_is_no_place_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        for text in [
            "my notes",
            "{\"epoch\":1}",
            "{\"epoch\":1,\"cursor\":-1}",
            "17",
        ] {
            fs::write(&path, text).unwrap();
            let Err(error) = PlaceFile::open(&path) else {
                panic!("{text} was taken");
            };
            assert!(format!("{error:#}").contains("remove it"), "{error:#}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(PlaceFile::open(&directory.path().join("no/such/directory")).is_err());
        assert!(PlaceFile::open(directory.path()).is_err());
    }
}

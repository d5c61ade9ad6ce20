//! Files that hold a secret: who may read them is checked, how long they may be is bounded, and
//! what was read is wiped when it is no longer needed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::reader::Table;

/// A file that holds a secret is a line; more is the wrong file.
const FILE_BYTES_MAX: u64 = 4_096;
/// Where systemd puts the credentials of a service, and how a path of the configuration begins that
/// means one of them.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Bits of a mode that let others than the owner read or change the file.
const OTHERS: u32 = 0o077;
/// The group's read bit, which on a credential stands for the access list by which systemd lets the
/// service's own user read it.
const GROUP_READS: u32 = 0o040;

/// The one line of a file, without the white space around it.
pub(super) fn line_of(table: &Table<'_>, key: &str, path: &str) -> Option<Zeroizing<String>> {
    let typed = path;
    let path = table.document().resolve(path);
    let (what, way_out) = match read(&path) {
        Ok(text) => return Some(Zeroizing::new(text.trim().to_owned())),
        Err(Unread::Open(mode)) => (
            format!("{} is open to others (mode {mode:03o})", path.display()),
            format!("keep it to its owner: chmod 600 {}", path.display()),
        ),
        Err(Unread::Io(error)) => (
            format!("{} cannot be read: {error}", path.display()),
            if is_credential(typed) && directory().is_none() {
                format!("{CREDENTIALS} is not set: systemd does so with LoadCredential=")
            } else {
                "relative paths start at the directory of this file".to_owned()
            },
        ),
    };
    table.problem(key, what, way_out);
    None
}

/// A path that begins with `$CREDENTIALS_DIRECTORY/`, in the directory that this names; `None` for
/// any other path, and where the variable is not set.
pub(super) fn credential(path: &str) -> Option<PathBuf> {
    let name = path.strip_prefix('$')?.strip_prefix(CREDENTIALS)?;
    Some(directory()?.join(name.strip_prefix('/')?))
}

fn is_credential(path: &str) -> bool {
    path.strip_prefix('$')
        .is_some_and(|path| path.starts_with(CREDENTIALS))
}

fn directory() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS).map(PathBuf::from)
}

/// Why a secret was not read.
enum Unread {
    /// Others than the owner may read or change it: the permission bits.
    Open(u32),
    Io(Error),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Io(error)
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Unread> {
    let file = File::open(path)?;
    // Of the file that was opened, wherever a link has led.
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    let allowed = if is_inside(path, directory().as_deref().map(Path::as_os_str)) {
        GROUP_READS
    } else {
        0
    };
    if metadata.is_file() && mode & OTHERS & !allowed != 0 {
        return Err(Unread::Open(mode));
    }
    Ok(read_short(file, FILE_BYTES_MAX)?)
}

/// The text of a configuration file of at most `max` bytes, in which a secret may stand.
pub(super) fn read_config(path: &Path, max: u64) -> std::io::Result<Zeroizing<String>> {
    read_short(File::open(path)?, max)
}

fn read_short(file: File, max: u64) -> std::io::Result<Zeroizing<String>> {
    // Most files fit at once: what a growing text leaves behind is not wiped.
    let room = usize::try_from(FILE_BYTES_MAX + 1).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(max + 1).read_to_string(&mut text)?;
    if max < text.len() as u64 {
        return Err(Error::other(format!("more than {max} bytes")));
    }
    Ok(text)
}

fn is_inside(path: &Path, directory: Option<&OsStr>) -> bool {
    directory.is_some_and(|directory| path.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode_of(path: &Path, mode: u32) -> Result<String, u32> {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
        match read(path) {
            Ok(text) => Ok(text.to_string()),
            Err(Unread::Open(mode)) => Err(mode),
            Err(Unread::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, "secret\n").unwrap();
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(mode_of(&path, mode), Ok("secret\n".into()), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o660, 0o601, 0o777] {
            assert_eq!(mode_of(&path, mode), Err(mode), "{mode:o}");
        }
        // A link is followed, and what it leads to is what counts.
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(mode_of(&link, 0o644), Err(0o644));
        assert_eq!(mode_of(&link, 0o600), Ok("secret\n".into()));
    }

    #[test]
    fn a_secret_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, "x".repeat(4_096)).unwrap();
        assert_eq!(mode_of(&path, 0o600).map(|text| text.len()), Ok(4_096));
        write(&path, "x".repeat(4_097)).unwrap();
        assert!(matches!(read(&path), Err(Unread::Io(_))));
    }

    #[test]
    fn a_credential_is_named_by_its_variable() {
        assert!(is_credential("$CREDENTIALS_DIRECTORY/key-7"));
        for path in ["keys/7", "CREDENTIALS_DIRECTORY/7", "$HOME/7", ""] {
            assert!(
                !is_credential(path) && credential(path).is_none(),
                "{path:?}"
            );
        }
        let inside = Path::new("/run/credentials/pushgate.service/key-7");
        let of = |directory: &'static str| Some(OsStr::new(directory));
        assert!(is_inside(inside, of("/run/credentials/pushgate.service")));
        assert!(!is_inside(inside, of("/run/credentials/push")) && !is_inside(inside, None));
    }
}

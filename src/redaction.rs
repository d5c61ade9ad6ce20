//! How names of users, devices and groups appear in the log: as they are, as a hash, or not at all.
//!
//! Every line that holds such a name shows it through here. Addresses are shown as they are.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use ring::hmac;

/// Digits of a hash, of 4 bits each: that two of a million users have the same one is less likely
/// than 1 in 30 million.
const DIGITS: usize = 16;

/// What stands in place of a name that is not shown.
const HIDDEN: &str = "***";

/// What the log shows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The name.
    Plain,
    /// A hash of it, under a key that this process made at its start and tells nobody: lines about
    /// one user can be joined, and the name cannot be found again, not by trying all names either.
    Hashed,
    /// Nothing.
    Hidden,
}

impl Names {
    /// Every way, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Hashed, Self::Hidden];

    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Hashed => "hashed",
            Self::Hidden => "hidden",
        }
    }
}

/// What is shown of names now. It can be replaced while it is in use.
pub struct Redaction {
    names: AtomicU8,
    key: hmac::Key,
}

impl Redaction {
    /// With a key of its own.
    pub fn new(names: Names) -> Self {
        let key: [u8; 32] = rand::random();
        Self {
            names: AtomicU8::new(names as u8),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// From the next line on.
    pub fn set(&self, names: Names) {
        self.names.store(names as u8, Ordering::Relaxed);
    }

    /// What the log may show of this name. An empty one (a device without a name) stays empty.
    pub fn show<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let names = Names::ALL[usize::from(self.names.load(Ordering::Relaxed))];
        match names {
            Names::Plain => name.into(),
            _ if name.is_empty() => name.into(),
            Names::Hidden => HIDDEN.into(),
            Names::Hashed => {
                let tag = hmac::sign(&self.key, name.as_bytes());
                let digits = tag.as_ref().iter().take(DIGITS / 2);
                let digits: String = digits.map(|byte| format!("{byte:02x}")).collect();
                format!("hash:{digits}").into()
            }
        }
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_the_setting_says() {
        let redaction = Redaction::new(Names::Plain);
        assert_eq!(redaction.show("ada"), "ada");
        redaction.set(Names::Hidden);
        assert_eq!((&*redaction.show("ada"), &*redaction.show("")), ("***", ""));
        redaction.set(Names::Hashed);
        let shown = redaction.show("ada");
        assert_eq!(shown.len(), "hash:".len() + DIGITS, "{shown}");
        assert_eq!(
            redaction.show("ada"),
            shown,
            "lines of one user can be joined"
        );
        assert_ne!(redaction.show("bob"), shown);
        assert_eq!(redaction.show(""), "");
    }

    #[test]
    fn no_two_processes_have_the_same_hashes() {
        let shown = [(); 2].map(|()| Redaction::new(Names::Hashed).show("ada").into_owned());
        assert_ne!(shown[0], shown[1]);
    }
}

//! Requests that come through another door than that of the datagrams: who they are from, and the
//! way that they share with datagrams from there on ([`Intake`]).
//!
//! A credential is checked before anything that it covers is parsed, and only here it becomes a
//! [`Caller`], without which there is no command. Unlike datagrams, commands come from many threads
//! at a time: two of one id are kept apart, or both would be carried out.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use super::access::{Grant, Held, Keyring};
use super::intake::{Asked, Intake, Moment, Taken};
use super::job::Job;
use super::pump::Pump;
use super::remembered::Ended;
use super::requests::at_once;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wire::datagram::Op;
use crate::wire::seal::Key;

/// Requests a second of all operators together, and as many at once: people, and a page that they
/// look at. A program has a key of its own, which can have a higher rate.
pub const OPERATOR_RATE: u32 = 100;

/// Commands that may be carried out at a time if their ids differ: more than there are threads.
const LANES: usize = 64;

/// Whom a request is from. There is none without a credential that was checked.
pub struct Caller(Who);

enum Who {
    /// A key, or (id 0) whoever is on this machine.
    Key(Arc<Keyring>, u32),
    Operator,
}

/// A key that is known at this moment, and a sender that has yet to prove that it has it.
pub struct Claim {
    keyring: Arc<Keyring>,
    key_id: u32,
}

impl Claim {
    fn key(&self) -> Option<&Key> {
        self.keyring.held(self.key_id)?.grant.key.as_ref()
    }

    /// By the secret itself, in hexadecimal digits. Takes as long for a wrong one as for a right
    /// one of the same length.
    pub fn prove_secret(self, digits: &str) -> Option<Caller> {
        let shown = Key::from_hex(digits).ok()?;
        self.key()?.is_same(&shown).then(|| self.proven())
    }

    /// By a MAC of what it sends, which is `parts` one behind the other.
    pub fn prove_mac(self, parts: &[&[u8]], mac: &[u8]) -> Option<Caller> {
        self.key()?.verifies(parts, mac).then(|| self.proven())
    }

    fn proven(self) -> Caller {
        Caller(Who::Key(self.keyring, self.key_id))
    }
}

/// A request of somebody who is known.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// What is asked for.
    pub op: Op,
    /// The same in every repeat, and in nothing else of this caller.
    pub id: [u8; 16],
    /// Tells requests of one id apart: [`Intake::digest_of`] of what was sent.
    pub digest: u64,
    /// The sender's time, in unix milliseconds, if it has told one; a request without is fresh.
    pub time_ms: Option<u64>,
    /// What is asked, as it stands in a datagram; `None` where what was sent cannot be written so,
    /// which is a bad request.
    pub body: Option<&'a [u8]>,
}

/// What became of a command.
pub enum Commanded {
    /// Carried out or refused.
    Ended {
        /// How.
        ended: Ended,
        /// What follows the counts in a reply: the sessions that PRESENCE found.
        tail: Vec<u8>,
    },
    /// A repeat: the recorded result, or the counts so far.
    Repeat(Ended),
    /// The id was used for another request; nothing was done.
    OtherBytes,
    /// A job has to be run.
    Job(Box<Job>),
}

/// What commands need besides what datagrams do.
pub(super) struct Commands {
    operator: Held,
    lanes: [Mutex<()>; LANES],
}

impl Default for Commands {
    fn default() -> Self {
        let grant = Grant {
            rate: OPERATOR_RATE,
            ..Grant::everything(None)
        };
        let usage = Arc::default();
        Self {
            operator: Held { grant, usage },
            lanes: std::array::from_fn(|_| Mutex::new(())),
        }
    }
}

impl Intake {
    /// A key that is known at this unix time, in milliseconds; never that of unsigned requests.
    pub fn claim(&self, key_id: u32, unix_ms: u64) -> Option<Claim> {
        let keyring = self.keyring.load_full();
        keyring.find(key_id, unix_ms)?.grant.key.as_ref()?;
        Some(Claim { keyring, key_id })
    }

    /// Whoever sends from `source`, where unsigned requests of this machine are carried out.
    pub fn unsigned(&self, source: IpAddr, unix_ms: u64) -> Option<Caller> {
        let keyring = self.keyring.load_full();
        let held = keyring.find(0, unix_ms)?;
        (held.grant.key.is_none() && source.to_canonical().is_loopback())
            .then(|| Caller(Who::Key(Arc::clone(&keyring), 0)))
    }

    /// An operator: may do everything, at [`OPERATOR_RATE`]. That it is one is the caller's proof.
    pub const fn operator() -> Caller {
        Caller(Who::Operator)
    }

    /// What the caller may do, and under whose id its requests are remembered.
    pub(super) fn held<'a>(&'a self, caller: &'a Caller) -> (&'a Held, u32) {
        let (held, key_id) = match &caller.0 {
            // An operator's ids share the room of key 0, and are told apart by what they are.
            Who::Operator => (Some(&self.commands.operator), 0),
            Who::Key(keyring, key_id) => (keyring.held(*key_id), *key_id),
        };
        (held.expect("a caller's key is one of its keyring"), key_id)
    }

    /// While it is held, no other command of this id is looked at.
    pub(super) fn alone(&self, id: &[u8; 16]) -> MutexGuard<'_, ()> {
        lock(&self.commands.lanes[usize::from(id[0]) % LANES])
    }

    /// A digest of what was sent, for [`Command::digest`]. Nobody can make two that are the same.
    pub fn digest_of(&self, sent: impl Hash) -> u64 {
        self.remembered.digests.hash_one(sent)
    }

    /// Carries a command out, after the same checks in the same order as a datagram's. Waits for
    /// nobody; `cx` is to be merged.
    pub fn command(
        &self,
        caller: &Caller,
        command: &Command<'_>,
        moment: Moment,
        cx: &mut Pump,
    ) -> Commanded {
        let (held, key_id) = self.held(caller);
        let asked = Asked {
            op: command.op,
            id: (key_id, command.id),
            digest: command.digest,
            time_ms: command.time_ms,
            body: command.body,
            source: None,
        };
        let alone = self.alone(&command.id);
        let taken = self.take(&asked, held, None, moment, cx);
        drop(alone);
        match taken {
            Taken::Known(ended) => Commanded::Repeat(ended),
            Taken::OtherBytes => Commanded::OtherBytes,
            Taken::AtOnce(outcome) => Commanded::Ended {
                ended: at_once(&outcome),
                tail: outcome.tail,
            },
            Taken::Job(job) => Commanded::Job(job),
        }
    }
}

//! The way of one datagram, without its socket: who sent it, may it, was it done before, and do it.
//!
//! The order of the checks is the contract's: nothing of a datagram is read beyond its header
//! before the MAC has passed, and nothing unauthenticated is answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::access::{Held, Keyring};
use super::command::Commands;
use super::freshness::Freshness;
use super::holds::Holds;
use super::job::{Job, Jobs};
use super::keeper::Keeper;
use super::kept::Purges;
use super::pump::Pump;
use super::remembered::{Ended, Id, Known, Remembered};
use super::requests::{Call, Carried, Change, Outcome, at_once};
use super::strangers::{Account, Strangers};
use super::{Hub, KeyUse};
use crate::metrics::OpLabel;
use crate::wire::datagram::{Header, Op, ReplyMode, Request, Unverified};
use crate::wire::reason::{RejectCause, Status};
use crate::wire::reply::{Reply, encode_reply};
use crate::wire::seal::{Key, Verified};

/// The bounds of the intake.
#[derive(Clone, Copy, Debug)]
pub struct IntakeOptions {
    /// Which times of a request are fresh.
    pub freshness: Freshness,
    /// Bytes of a payload.
    pub max_payload: usize,
    /// How long a message can be kept.
    pub max_ttl: Duration,
    /// Over how long its deliveries can be spread.
    pub max_spread: Duration,
}

/// The moment of a datagram, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For durations.
    pub instant: Instant,
    /// Unix time in milliseconds, for what senders say.
    pub unix_ms: u64,
}

/// Takes datagrams in, in the order in which they were received.
pub struct Intake {
    pub(super) hub: Arc<Hub>,
    pub(super) keyring: ArcSwap<Keyring>,
    pub(super) remembered: Arc<Remembered>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) holds: Arc<Holds>,
    options: ArcSwap<IntakeOptions>,
    strangers: Strangers,
    draining: AtomicBool,
    pub(super) commands: Commands,
    pub(super) purges: Purges,
    keeper: OnceLock<Arc<Keeper>>,
}

/// What became of a datagram.
pub enum Handled {
    /// It is not answered, and why it was rejected.
    Silent(RejectCause),
    /// Carried out or refused, and its sender wants no answer.
    Quiet,
    /// The answer stands in the buffer.
    Answered,
    /// A job has to be run, and whoever waits for it to be served.
    Job(Box<Pending>),
}

/// A job, and what its answer needs.
pub struct Pending {
    /// To be run as a task.
    pub job: Box<Job>,
    /// To answer with, unless the sender wants no answer.
    pub answer: Option<Answer>,
    /// ACCEPTED stands in the buffer, to be sent at once.
    pub accepted: bool,
}

/// An authentic request, whichever door it came through.
pub(super) struct Asked<'a> {
    pub(super) op: Op,
    pub(super) id: Id,
    /// Tells requests of one id apart.
    pub(super) digest: u64,
    /// The sender's time; `None` where its door asks for none, and then it is fresh.
    pub(super) time_ms: Option<u64>,
    /// As it stands in a datagram; `None` where what was said cannot be one.
    pub(super) body: Option<&'a [u8]>,
    /// Of a datagram: what comes from one stays in order.
    pub(super) source: Option<SocketAddr>,
}

/// What became of an authentic request.
pub(super) enum Taken {
    /// A repeat, and the recorded result.
    Known(Ended),
    /// Its id was used for another request.
    OtherBytes,
    /// Carried out or refused.
    AtOnce(Outcome),
    /// On its way.
    Job(Box<Job>),
}

/// Makes the answers to one request.
#[derive(Clone)]
pub struct Answer {
    header: Header,
    key: Option<Key>,
}

impl Answer {
    /// Appends the answer to `out`. `now_ms` is unix time.
    pub fn encode(&self, out: &mut Vec<u8>, now_ms: u64, ended: &Ended, tail: &[u8]) {
        let Ended {
            status,
            counts,
            elapsed_ms,
            number,
        } = *ended;
        let reply = Reply {
            status,
            counts,
            elapsed_ms,
            number,
            tail,
        };
        encode_reply(out, &self.header, now_ms, &reply, self.key.as_ref());
    }
}

impl Intake {
    /// Puts the parts together.
    pub fn new(
        hub: Arc<Hub>,
        keyring: Keyring,
        remembered: Arc<Remembered>,
        jobs: Arc<Jobs>,
        holds: Arc<Holds>,
        options: IntakeOptions,
    ) -> Self {
        let (keyring, draining) = (ArcSwap::from_pointee(keyring), AtomicBool::new(false));
        Self {
            hub,
            keyring,
            remembered,
            jobs,
            holds,
            options: ArcSwap::from_pointee(options),
            strangers: Strangers::default(),
            draining,
            commands: Commands::default(),
            purges: Purges::default(),
            keeper: OnceLock::new(),
        }
    }

    /// Kept pushes go through this store, from before the first one.
    pub fn set_keeper(&self, keeper: Arc<Keeper>) {
        // Once: a second store would be another history.
        let _ = self.keeper.set(keeper);
    }

    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.get().map(|keeper| &**keeper)
    }

    pub(super) fn keeper_handle(&self) -> Option<Arc<Keeper>> {
        self.keeper.get().cloned()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on these are the keys, from the next datagram on; for a reload, which is one at a
    /// time. A key that stays keeps its counts and the level of its bucket. What runs under a key
    /// that is gone ends and is answered; a repeat of it is not.
    pub fn set_keyring(&self, mut keyring: Keyring) {
        keyring.take_over(&self.keyring.load());
        self.remembered.set_keys(keyring.ids());
        self.keyring.store(Arc::new(keyring));
    }

    /// What each key has been used for.
    pub fn key_uses(&self) -> Vec<KeyUse> {
        self.keyring.load().uses()
    }

    /// The bounds of this moment.
    pub fn options(&self) -> IntakeOptions {
        **self.options.load()
    }

    /// Replaces the bounds, for the next datagram on.
    pub fn set_options(&self, options: IntakeOptions) {
        self.options.store(Arc::new(options));
    }

    /// From now on what is new is answered with DRAINING; recorded results are still told.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Handles one datagram. `out` receives the answer, if there is one to be sent at once.
    pub fn handle(
        &self,
        bytes: &[u8],
        source: SocketAddr,
        moment: Moment,
        cx: &mut Pump,
        out: &mut Vec<u8>,
    ) -> Handled {
        let metrics = self.hub.metrics();
        cx.received += 1;
        let keyring = self.keyring.load();
        let (verified, held, account) = match self.verify(&keyring, bytes, source, moment) {
            Ok(verified) => verified,
            Err(cause) => {
                metrics.datagram_rejected(cause);
                return Handled::Silent(cause);
            }
        };
        let (header, op) = (*verified.header(), verified.op());
        let wants_answer = !is_quiet(op, verified.body());
        let answer = wants_answer.then(|| Answer {
            header,
            key: held.grant.key.clone(),
        });
        let asked = Asked {
            op,
            id: (header.key_id, header.request_id),
            digest: if is_remembered(op) {
                self.digest(&verified)
            } else {
                0
            },
            time_ms: Some(header.time_ms),
            body: Some(verified.body()),
            source: Some(source),
        };
        match self.take(&asked, held, account, moment, cx) {
            Taken::Known(ended) => answered(answer.as_ref(), moment, &ended, &[], out),
            Taken::OtherBytes => {
                let ended = at_once(&Outcome::of(Status::BadRequest));
                answered(answer.as_ref(), moment, &ended, &[], out)
            }
            Taken::AtOnce(outcome) => answered(
                answer.as_ref(),
                moment,
                &at_once(&outcome),
                &outcome.tail,
                out,
            ),
            Taken::Job(job) => {
                let accepted = verified.body().first() == Some(&(ReplyMode::Two as u8));
                if let (true, Some(answer)) = (accepted, &answer) {
                    let started = Ended {
                        number: job.number(),
                        ..at_once(&Outcome::of(Status::Accepted))
                    };
                    answer.encode(out, moment.unix_ms, &started, &[]);
                }
                Handled::Job(Box::new(Pending {
                    job,
                    answer,
                    accepted,
                }))
            }
        }
    }

    /// The way of an authentic request, whichever door it came through: a recorded result, or the
    /// checks and the request itself.
    pub(super) fn take(
        &self,
        asked: &Asked<'_>,
        held: &Held,
        account: Option<Account<'_>>,
        moment: Moment,
        cx: &mut Pump,
    ) -> Taken {
        let metrics = self.hub.metrics();
        held.usage.note(moment.unix_ms);
        let Asked { op, id, digest, .. } = *asked;
        if is_remembered(op)
            && let Some(recalled) = self.recall(op, &id, digest)
        {
            return recalled.map_or(Taken::OtherBytes, Taken::Known);
        }
        if let Some(time_ms) = asked.time_ms {
            cx.skewed(metrics, skew_seconds(moment.unix_ms, time_ms));
        }
        let mut call = Call {
            id,
            digest,
            held,
            account,
            source: asked.source,
            moment,
            cx,
        };
        match self.carry_out(asked, &mut call) {
            Carried::AtOnce(outcome) => {
                match (op, outcome.status) {
                    (Op::Push, Status::Done) => call.cx.pushed += 1,
                    (op, status) => metrics.request(op, status),
                }
                Taken::AtOnce(outcome)
            }
            Carried::Job(job) => Taken::Job(job),
        }
    }

    /// The recorded result of a request of this id, or how far it is; `Some(None)` where the id was
    /// used for another request. Counts either.
    pub(super) fn recall(
        &self,
        op: impl Into<OpLabel>,
        id: &Id,
        digest: u64,
    ) -> Option<Option<Ended>> {
        let metrics = self.hub.metrics();
        let ended = match self.remembered.recall(id, digest)? {
            Known::OtherBytes => {
                metrics.request(op, Status::BadRequest);
                return Some(None);
            }
            Known::Ended(ended) => ended,
            Known::Running(progress) => Ended::so_far(Status::Accepted, &progress),
        };
        metrics.repeats.inc();
        Some(Some(ended))
    }

    /// Who sent it: a key whose MAC is right, or anybody on this machine where that is allowed.
    /// With a MAC, also whose budget for wrong ones it was judged by.
    fn verify<'a, 'k>(
        &'k self,
        keyring: &'k Keyring,
        bytes: &'a [u8],
        source: SocketAddr,
        moment: Moment,
    ) -> Result<(Verified<'a>, &'k Held, Option<Account<'k>>), RejectCause> {
        let unverified = Unverified::parse(bytes)?;
        let key_id = unverified.key_id();
        let unknown = if key_id == 0 {
            RejectCause::Unsigned
        } else {
            RejectCause::Key
        };
        let held = keyring.find(key_id, moment.unix_ms).ok_or(unknown)?;
        let Some(key) = &held.grant.key else {
            if !source.ip().to_canonical().is_loopback() {
                return Err(RejectCause::Unsigned);
            }
            return Ok((unverified.accept_unsigned()?, held, None));
        };
        let account = self.strangers.account(source, self.hub.age(moment.instant));
        if !account.admits(bytes.len()) {
            return Err(RejectCause::Source);
        }
        let verified = unverified
            .verify(key)
            .inspect_err(|_| account.refuse(bytes.len()))?;
        Ok((verified, held, Some(account)))
    }

    /// Tells datagrams of one id apart. A MAC is a digest already.
    fn digest(&self, verified: &Verified<'_>) -> u64 {
        let bytes = verified.bytes();
        if verified.header().key_id == 0 {
            return self.remembered.digest(bytes);
        }
        let mac = bytes.get(32..40).and_then(|mac| mac.try_into().ok());
        mac.map_or(0, u64::from_be_bytes)
    }

    /// The checks that are answered, in the contract's order, and then the request itself.
    fn carry_out(&self, asked: &Asked<'_>, call: &mut Call<'_, '_>) -> Carried {
        let refused = |status| Carried::AtOnce(Outcome::of(status));
        if !self.is_fresh(asked.time_ms, call.moment) {
            return refused(Status::Stale);
        }
        if let Some(account) = &call.account {
            account.prove();
        }
        if self.is_draining() {
            return refused(Status::Draining);
        }
        if !call.held.grant.may_use(asked.op) {
            return refused(Status::Denied);
        }
        let decoded = asked.body.map(|body| Request::decode(asked.op, body));
        let Some(Ok(request)) = decoded else {
            return refused(Status::BadRequest);
        };
        let outcome = match request {
            Request::Push(push) => return self.push(&push, call).unwrap_or_else(refused),
            Request::Join(membership) => self.change_groups(&membership, call, Change::Join),
            Request::Leave(membership) => self.change_groups(&membership, call, Change::Leave),
            Request::Kick(kick) => self.kick(&kick, call),
            Request::Presence(targets) => self.presence(&targets, call),
            Request::Ping(bytes) => self.within_rate(call).map(|()| Outcome {
                tail: bytes.to_vec(),
                ..Outcome::of(Status::Done)
            }),
        };
        Carried::AtOnce(outcome.unwrap_or_else(Outcome::of))
    }

    pub(super) fn is_fresh(&self, time_ms: Option<u64>, moment: Moment) -> bool {
        let rule = &self.options.load().freshness;
        time_ms.is_none_or(|time_ms| rule.holds(time_ms, moment.unix_ms))
    }
}

/// The gateway's clock minus the sender's.
pub(super) fn skew_seconds(ours_ms: u64, theirs_ms: u64) -> f64 {
    let apart = Duration::from_millis(ours_ms.abs_diff(theirs_ms)).as_secs_f64();
    if ours_ms < theirs_ms { -apart } else { apart }
}

fn answered(
    answer: Option<&Answer>,
    moment: Moment,
    ended: &Ended,
    tail: &[u8],
    out: &mut Vec<u8>,
) -> Handled {
    answer.map_or(Handled::Quiet, |answer| {
        answer.encode(out, moment.unix_ms, ended, tail);
        Handled::Answered
    })
}

/// Whether a repeat is answered with the recorded result: what only asks is asked again.
const fn is_remembered(op: Op) -> bool {
    matches!(op, Op::Push | Op::Join | Op::Leave | Op::Kick)
}

/// Whether the sender wants no answer, whatever happens: known before its body is checked.
fn is_quiet(op: Op, body: &[u8]) -> bool {
    op == Op::Push && body.first() == Some(&(ReplyMode::None as u8))
}

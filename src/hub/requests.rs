//! What requests do, once they are known to be fresh, permitted and well-formed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::Closing;
use super::access::Held;
use super::intake::{Intake, Moment};
use super::job::{Job, JobPermit, Record, Stored, Work, millis};
use super::keeper::{Incoming, Keeper};
use super::log::{Appended, Push, Target};
use super::pump::Pump;
use super::remembered::{Ended, Id, Progress, Room};
use super::strangers::Account;
use crate::clock::monotonic;
use crate::wire::datagram::{self, Kick, Membership, Op, Targets};
use crate::wire::reason::{CloseCode, RETRY_NEVER, Status};
use crate::wire::reply::Counts;

/// Members of the targets up to which a push is walked at once, in the loop that received it.
const AT_ONCE: usize = 16;
/// Targets of single users up to which a push may be expected to be one of those.
const USERS_AT_ONCE: usize = 8;

/// How a request ended at once.
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) counts: Counts,
    /// Of a kept message; else 0.
    pub(super) number: u64,
    pub(super) tail: Vec<u8>,
}

impl Outcome {
    pub(super) fn of(status: Status) -> Self {
        Self {
            status,
            counts: Counts::default(),
            number: 0,
            tail: Vec::new(),
        }
    }

    pub(super) const fn done(counts: Counts) -> Self {
        Self {
            status: Status::Done,
            counts,
            number: 0,
            tail: Vec::new(),
        }
    }
}

/// A request on its way: what the steps after the checks need of it.
pub(super) struct Call<'a, 'b> {
    pub(super) id: Id,
    pub(super) digest: u64,
    pub(super) held: &'a Held,
    pub(super) account: Option<Account<'a>>,
    /// Of a datagram.
    pub(super) source: Option<SocketAddr>,
    pub(super) moment: Moment,
    pub(super) cx: &'b mut Pump,
}

/// Carried out, or on its way as a job.
pub(super) enum Carried {
    AtOnce(Outcome),
    Job(Box<Job>),
}

impl Intake {
    pub(super) fn push(
        &self,
        push: &datagram::Push<'_>,
        call: &mut Call<'_, '_>,
    ) -> Result<Carried, Status> {
        let options = self.options();
        let ttl = Duration::from_secs(push.ttl_s.into());
        let over = Duration::from_millis(push.spread_ms.into());
        if push.payload.len() > options.max_payload
            || ttl > options.max_ttl
            || over > options.max_spread
        {
            return Err(Status::BadRequest);
        }
        let (wire, payload) = (push.targets, push.payload);
        let (targets, exceptions) = split(wire);
        if !targets
            .iter()
            .all(|target| call.held.grant.may_reach(*target))
        {
            return Err(Status::Denied);
        }
        let room = self.room(call)?;
        // How many it will meet is known only once it has its place, and then it is too late to
        // refuse.
        let is_small = over.is_zero()
            && targets.len() <= USERS_AT_ONCE
            && targets
                .iter()
                .all(|target| matches!(target, Target::User(_)));
        let permit = if is_small {
            None
        } else {
            Some(self.jobs.admit().ok_or(Status::Busy)?)
        };
        let push = Push {
            targets: &targets,
            exceptions: &exceptions,
            payload: push.payload,
            ttl: (!ttl.is_zero()).then_some(ttl),
            collapse: (!push.collapse.is_empty()).then_some((call.id.0, push.collapse)),
        };
        let now = call.moment.instant;
        if let Some(keeper) = self.keeper()
            && over.is_zero()
            && (push.ttl.is_some() || keeper.is_waiting_for(call.source))
        {
            let incoming = (wire, payload, &push);
            return self.store(keeper, incoming, permit, room, call);
        }
        let (counts, number) = if over.is_zero() {
            let appended = self.hub.append(&push, now).map_err(|_| Status::Busy)?;
            match (appended, permit) {
                (Appended::Nobody(number), _) => (Counts::default(), number),
                (Appended::Walk(walk), Some(permit)) if walk.size() > AT_ONCE => {
                    let job = self.job(Work::Walk(walk), permit, room, call);
                    return Ok(Carried::Job(Box::new(job)));
                }
                (Appended::Walk(mut walk), _) => (walk.finish(&self.hub, call.cx), walk.number()),
            }
        } else {
            let spread = self
                .hub
                .spread(&push, over, now)
                .map_err(|_| Status::Busy)?;
            if let (Some(spread), Some(permit)) = (spread, permit) {
                let job = self.job(Work::Spread(spread), permit, room, call);
                return Ok(Carried::Job(Box::new(job)));
            }
            (Counts::default(), 0)
        };
        call.cx.latest = monotonic();
        call.cx.push_ended(self.hub.metrics(), call.moment.instant);
        let outcome = Outcome {
            number,
            ..Outcome::done(counts)
        };
        self.remember(room, call, &outcome);
        Ok(Carried::AtOnce(outcome))
    }

    /// Hands a push to the store's thread; a job waits for what it says.
    fn store(
        &self,
        keeper: &Keeper,
        (targets, payload, push): (Targets<'_>, &[u8], &Push<'_>),
        permit: Option<JobPermit>,
        room: Room<'_>,
        call: &Call<'_, '_>,
    ) -> Result<Carried, Status> {
        let permit = permit.or_else(|| self.jobs.admit()).ok_or(Status::Busy)?;
        self.hub.admits(push).map_err(|_| Status::Busy)?;
        let (tell, placed) = oneshot::channel();
        let accepted_ms = call.moment.unix_ms;
        let ttl_ms = push
            .ttl
            .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let incoming = Incoming {
            targets: targets.to_bytes(),
            payload: payload.into(),
            expires_ms: ttl_ms.map(|ttl| accepted_ms.saturating_add(ttl)),
            collapse: push.collapse.map_or(&[][..], |(_, key)| key).into(),
            key_id: call.id.0,
            accepted: call.moment.instant,
            accepted_ms,
            source: call.source,
            placed: tell,
        };
        if !keeper.offer(incoming) {
            return Err(Status::Busy);
        }
        let synced = keeper.synced();
        let work = Work::Stored(Stored { placed, synced });
        let job = self.job(work, permit, room, call);
        Ok(Carried::Job(Box::new(job)))
    }

    /// The last of the checks that every request passes: what comes over the key's rate is BUSY.
    /// One that another bound makes BUSY after it has cost its token all the same.
    pub(super) fn within_rate(&self, call: &Call<'_, '_>) -> Result<(), Status> {
        let now = self.hub.age(call.moment.instant);
        let within = call.held.usage.take(call.held.grant.rate, now);
        within.then_some(()).ok_or(Status::Busy)
    }

    /// The same, and room to remember the request.
    fn room(&self, call: &Call<'_, '_>) -> Result<Room<'_>, Status> {
        self.within_rate(call)?;
        self.remembered.reserve(call.id.0).ok_or(Status::Busy)
    }

    fn job(&self, work: Work, permit: JobPermit, room: Room<'_>, call: &Call<'_, '_>) -> Job {
        let number = work.number();
        let (mut permit, progress) = (permit, Arc::new(Progress::of(number)));
        permit.list(&work, call.moment.instant, &progress);
        let now = self.hub.tick(call.moment.instant);
        room.running(call.id, call.digest, Arc::clone(&progress), now);
        let record = Record {
            hub: Arc::clone(&self.hub),
            remembered: Arc::clone(&self.remembered),
            op: Op::Push.into(),
            id: call.id,
            progress,
            started: call.moment.instant,
            done: false,
        };
        Job {
            work,
            record,
            turns: self.jobs.turns(),
            hurry: self.jobs.hurried(),
            permit,
        }
    }

    fn remember(&self, room: Room<'_>, call: &Call<'_, '_>, outcome: &Outcome) {
        let now = self.hub.tick(call.moment.instant);
        room.ended(call.id, call.digest, at_once(outcome), now);
    }

    pub(super) fn change_groups(
        &self,
        membership: &Membership<'_>,
        call: &mut Call<'_, '_>,
        change: Change,
    ) -> Result<Outcome, Status> {
        let group = membership.group;
        if !call.held.grant.may_use_group(group) {
            return Err(Status::Denied);
        }
        let room = self.room(call)?;
        let mut counts = Counts::default();
        for session in membership
            .users
            .iter()
            .flat_map(|user| self.hub.sessions_of(user))
        {
            counts.matched += 1;
            let changed = match change {
                Change::Join => self.hub.give(&session, group).is_ok(),
                Change::Leave => {
                    self.hub.leave(&session, group, call.cx);
                    true
                }
            };
            if changed {
                counts.written += 1;
                self.hub.nudge(&*session, call.cx);
            } else {
                counts.refused += 1;
            }
        }
        for user in membership.users.iter() {
            match change {
                Change::Join => self.hub.give_to_gone(user, group, call.moment.instant),
                Change::Leave => self.hub.take_from_gone(user, group),
            }
        }
        call.cx.latest = monotonic();
        let outcome = Outcome::done(counts);
        self.remember(room, call, &outcome);
        Ok(outcome)
    }

    pub(super) fn kick(&self, kick: &Kick<'_>, call: &mut Call<'_, '_>) -> Result<Outcome, Status> {
        let room = self.room(call)?;
        let hold = Duration::from_secs(kick.hold_s.into());
        let held = self
            .holds
            .hold(kick.user, kick.device, hold, call.moment.instant);
        held.map_err(|_| Status::Busy)?;
        let retry_after_ms = if hold.is_zero() {
            RETRY_NEVER
        } else {
            millis(hold)
        };
        let mut closed = 0;
        self.hub.forget_given(kick.user, kick.device);
        for session in self.hub.sessions_of(kick.user) {
            let is_meant = kick.device.is_empty() || kick.device == session.device();
            let close = Closing::code(CloseCode::Kicked, retry_after_ms, kick.reason);
            closed += u32::from(is_meant && self.hub.close(&*session, close));
        }
        let outcome = Outcome::done(Counts {
            matched: closed,
            written: closed,
            ..Counts::default()
        });
        self.remember(room, call, &outcome);
        Ok(outcome)
    }

    pub(super) fn presence(
        &self,
        targets: &Targets<'_>,
        call: &Call<'_, '_>,
    ) -> Result<Outcome, Status> {
        let may_reach = |target| call.held.grant.may_reach(target);
        if !targets.iter().map(asked_of).all(may_reach) {
            return Err(Status::Denied);
        }
        self.within_rate(call)?;
        let mut outcome = Outcome::of(Status::Done);
        for target in targets.iter().map(asked_of) {
            let sessions = u32::try_from(self.hub.presence(target)).unwrap_or(u32::MAX);
            outcome.counts.matched = outcome.counts.matched.saturating_add(sessions);
            outcome.tail.extend_from_slice(&sessions.to_be_bytes());
        }
        Ok(outcome)
    }
}

/// Whom a push is for, and who does not receive it all the same.
pub(super) fn split(targets: Targets<'_>) -> (SmallVec<[Target<'_>; 4]>, Vec<Target<'_>>) {
    let (mut to, mut exceptions) = (SmallVec::new(), Vec::new());
    for target in targets.iter() {
        match target {
            datagram::Target::All => to.push(Target::All),
            datagram::Target::User(name) => to.push(Target::User(name)),
            datagram::Target::Group(name) => to.push(Target::Group(name)),
            datagram::Target::ExceptUser(name) => exceptions.push(Target::User(name)),
            datagram::Target::ExceptGroup(name) => exceptions.push(Target::Group(name)),
        }
    }
    (to, exceptions)
}

/// A target of PRESENCE.
const fn asked_of<'a>(target: datagram::Target<'a>) -> Target<'a> {
    match target {
        datagram::Target::User(name) => Target::User(name),
        datagram::Target::Group(name) => Target::Group(name),
        // PRESENCE knows no exceptions: they were refused as a bad request.
        _ => Target::All,
    }
}

/// What a service does to the groups of users.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Join,
    Leave,
}

/// The record of a request that took no time worth telling.
pub(super) const fn at_once(outcome: &Outcome) -> Ended {
    Ended {
        status: outcome.status,
        counts: outcome.counts,
        elapsed_ms: 0,
        number: outcome.number,
    }
}

//! Questions about what is kept, and its purge: by whom they may be asked, and the purge as a job.
//!
//! Nobody but an HTTP door asks them, and no datagram can. A key may do here what it may do with a
//! push: look at what is kept for those whom it may push to, and take it away. The checks, and
//! their order, are those of every request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::access::{Grant, Held};
use super::command::Caller;
use super::history::{Erased, Purge, Whose};
use super::intake::{Intake, Moment, skew_seconds};
use super::job::Record;
use super::keeper::Keeper;
use super::log::Target;
use super::remembered::{Ended, Id, Progress};
use crate::metrics::OpLabel;
use crate::wire::datagram::Op;
use crate::wire::frame::Scope;
use crate::wire::reason::Status;
use crate::wire::reply::Counts;

/// Messages that a purge looks at before it yields: some tens of microseconds under the log's lock.
const STEP: usize = 128;
/// How long a purge waits for the disk: rewriting a history of gigabytes takes minutes, and one
/// that hangs must not hold it for ever.
const DISK_MAX: Duration = Duration::from_secs(600);
/// How often it tries to hand over what the disk is to forget, while the queue is full.
const OFFER_PAUSE: Duration = Duration::from_millis(20);
/// What one question is about, as far as it says so.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The sender's time, in unix milliseconds, if it has told one.
    pub time_ms: Option<u64>,
    /// The targets that it names; `None` where it cannot be understood.
    pub targets: Option<&'a [Target<'a>]>,
}

/// Somebody who may look, at what their grant reaches.
pub struct Viewer<'a>(&'a Grant);

impl Viewer<'_> {
    /// Whether what is kept for this target may be shown.
    pub fn may_see(&self, scope: Scope, name: &str) -> bool {
        self.0.may_reach(Target::of(scope, name))
    }

    /// The same of each of these.
    pub fn may_see_all(&self, targets: &[Target<'_>]) -> bool {
        targets.iter().all(|target| self.0.may_reach(*target))
    }
}

/// An order to take messages away.
#[derive(Clone, Debug)]
pub struct Order {
    /// The same in every repeat, and in nothing else of this caller.
    pub id: [u8; 16],
    /// Tells orders of one id apart.
    pub digest: u64,
    /// The sender's time, in unix milliseconds, if it has told one.
    pub time_ms: Option<u64>,
    /// What is to go; `None` where that cannot be understood.
    pub whose: Option<Whose>,
}

/// What became of an order.
pub enum Ordered {
    /// Refused.
    Refused(Ended),
    /// A repeat: the recorded result, or the counts so far.
    Repeat(Ended),
    /// The id was used for another request; nothing was done.
    OtherBytes,
    /// To be run.
    Job(Box<PurgeJob>),
}

/// Purges that may be under way: one, since each may write the whole store anew.
pub(super) struct Purges(Arc<Semaphore>);

impl Default for Purges {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Intake {
    /// Whether the caller may look at what is kept. It is counted as a request here, whatever comes
    /// of it.
    ///
    /// # Errors
    /// Why not.
    pub fn look<'a>(
        &'a self,
        caller: &'a Caller,
        question: Question<'_>,
        moment: Moment,
    ) -> Result<Viewer<'a>, Status> {
        let (held, _) = self.held(caller);
        held.usage.note(moment.unix_ms);
        let reaches = |grant: &Grant| {
            let targets = question.targets?;
            Some(targets.iter().all(|target| grant.may_reach(*target)))
        };
        let admitted = self.admit(held, question.time_ms, reaches, moment);
        let status = admitted.err().unwrap_or(Status::Done);
        self.hub.metrics().request(OpLabel::History, status);
        admitted.map(|()| Viewer(&held.grant))
    }

    /// Takes an order to purge. Waits for nobody.
    pub fn purge(&self, caller: &Caller, order: &Order, moment: Moment) -> Ordered {
        let metrics = self.hub.metrics();
        let (held, key_id) = self.held(caller);
        let id = (key_id, order.id);
        let _alone = self.alone(&order.id);
        held.usage.note(moment.unix_ms);
        if let Some(recalled) = self.recall(OpLabel::Purge, &id, order.digest) {
            return recalled.map_or(Ordered::OtherBytes, Ordered::Repeat);
        }
        match self.begin(held, id, order, moment) {
            Ok(job) => Ordered::Job(Box::new(job)),
            Err(status) => {
                metrics.request(OpLabel::Purge, status);
                Ordered::Refused(Ended::refused(status))
            }
        }
    }

    fn begin(
        &self,
        held: &Held,
        id: Id,
        order: &Order,
        moment: Moment,
    ) -> Result<PurgeJob, Status> {
        let reaches = |grant: &Grant| Some(reaches_all(grant, order.whose.as_ref()?));
        self.admit(held, order.time_ms, reaches, moment)?;
        let whose = order.whose.clone().ok_or(Status::BadRequest)?;
        let room = self.remembered.reserve(id.0).ok_or(Status::Busy)?;
        let permit = Arc::clone(&self.purges.0).try_acquire_owned();
        let permit = permit.map_err(|_| Status::Busy)?;
        let progress = Arc::new(Progress::default());
        let now = self.hub.tick(moment.instant);
        room.running(id, order.digest, Arc::clone(&progress), now);
        Ok(PurgeJob {
            purge: self.hub.begin_purge(whose),
            keeper: self.keeper_handle(),
            record: Record {
                hub: Arc::clone(&self.hub),
                remembered: Arc::clone(&self.remembered),
                op: OpLabel::Purge,
                id,
                progress,
                started: moment.instant,
                done: false,
            },
            permit,
        })
    }

    /// The checks that every request passes, in the contract's order. `reaches` says whether the
    /// grant is good for what is asked; `None` where that cannot be understood.
    fn admit(
        &self,
        held: &Held,
        time_ms: Option<u64>,
        reaches: impl Fn(&Grant) -> Option<bool>,
        moment: Moment,
    ) -> Result<(), Status> {
        if let Some(time_ms) = time_ms {
            let skew = skew_seconds(moment.unix_ms, time_ms);
            self.hub.metrics().sender_skew.observe(skew);
        }
        if !self.is_fresh(time_ms, moment) {
            return Err(Status::Stale);
        }
        if self.is_draining() {
            return Err(Status::Draining);
        }
        if !held.grant.may_use(Op::Push) {
            return Err(Status::Denied);
        }
        match reaches(&held.grant) {
            None => return Err(Status::BadRequest),
            Some(false) => return Err(Status::Denied),
            Some(true) => {}
        }
        let now = self.hub.age(moment.instant);
        let within = held.usage.take(held.grant.rate, now);
        within.then_some(()).ok_or(Status::Busy)
    }
}

/// Whether a grant is good for everybody who is meant.
fn reaches_all(grant: &Grant, whose: &Whose) -> bool {
    let every = |scope: &Scope| {
        let any_group = *scope != Scope::Group || grant.groups.is_none();
        grant.scopes.contains(scope) && any_group
    };
    match whose {
        Whose::Target(scope, name) => Viewer(grant).may_see(*scope, name),
        Whose::Scope(scope) => every(scope),
        Whose::Everything => [Scope::All, Scope::User, Scope::Group].iter().all(every),
    }
}

/// A purge that was ordered.
pub struct PurgeJob {
    purge: Purge,
    keeper: Option<Arc<Keeper>>,
    record: Record,
    /// Given back when the disk has said what came of it, or nobody waits for that any more.
    permit: OwnedSemaphorePermit,
}

/// What became of the messages that a purge has taken from somebody.
enum Fate {
    /// They are off the disk, or were never on it.
    Erased,
    /// The disk has yet to forget them.
    Waiting,
    /// The disk failed; it is tried again.
    Failed,
}

impl PurgeJob {
    /// The counts so far, for whoever asks meanwhile.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.record.progress)
    }

    /// Takes the messages away, waits for the disk to forget them, notes the result, and reports it
    /// to whoever still waits.
    pub async fn run(self, report: oneshot::Sender<Ended>) {
        let Self {
            mut purge,
            keeper,
            mut record,
            permit,
        } = self;
        let mut erased = Vec::new();
        while !record.hub.step_purge(&mut purge, STEP, &mut erased) {
            note(&record.progress, purge.removed, &Fate::Waiting);
            tokio::task::yield_now().await;
        }
        note(&record.progress, purge.removed, &Fate::Waiting);
        let fate = match keeper {
            None => Fate::Erased,
            Some(keeper) => erased_on_disk(&keeper, erased).await,
        };
        note(&record.progress, purge.removed, &fate);
        let ended = record.finish(match fate {
            Fate::Waiting => Status::Timeout,
            Fate::Erased | Fate::Failed => Status::Done,
        });
        drop((record, permit));
        // Nobody waits for one who may have left.
        let _ = report.send(ended);
    }
}

fn note(progress: &Progress, removed: u64, fate: &Fate) {
    let matched = u32::try_from(removed).unwrap_or(u32::MAX);
    let mut counts = Counts {
        matched,
        ..Counts::default()
    };
    match fate {
        Fate::Erased => counts.written = matched,
        Fate::Waiting => counts.waiting = matched,
        Fate::Failed => counts.refused = matched,
    }
    progress.set(counts, counts.matched as usize);
}

/// Has the disk forget what was taken away, and waits for what it says, for ten minutes at most.
async fn erased_on_disk(keeper: &Keeper, erased: Vec<Erased>) -> Fate {
    let told = async {
        let (tell, told) = oneshot::channel();
        let mut order = (erased, tell);
        while let Err(back) = keeper.erase(order) {
            order = back;
            sleep(OFFER_PAUSE).await;
        }
        told.await
    };
    match timeout(DISK_MAX, told).await {
        Ok(Ok(true)) => Fate::Erased,
        Ok(Ok(false)) => Fate::Failed,
        // Too late to wait for, or the thread of the disk has ended.
        Ok(Err(_)) | Err(_) => Fate::Waiting,
    }
}

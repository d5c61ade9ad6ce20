//! The walk of a push to many, as a task: it ends whatever becomes of those who wait for it.
//!
//! A job reports over a oneshot, which has room for the report: whoever gave up waiting has dropped
//! its end, and the job does not notice. This is the one part of the hub that awaits (its turn
//! among the walks, never a client) and that reads the clock, between its steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::log::{Appended, Placed};
use super::pump::Pump;
use super::remembered::{Ended, Id, Progress, Remembered};
use super::spread::Spread;
use super::walk::Walk;
use crate::clock::monotonic;
use crate::metrics::OpLabel;
use crate::sync::{Mutex, lock};
use crate::wire::datagram::Op;
use crate::wire::frame::Scope;
use crate::wire::reason::Status;

/// Sessions that a walk visits before it yields: about half a millisecond of writes.
const STEP: usize = 128;
/// What a job waits for the store at most: a disk that hangs must not hold jobs for ever.
const STORE_MAX: Duration = Duration::from_secs(60);
/// How often a spread looks who is due: no timer is finer, and no client need wait for longer.
const PACE_MIN: Duration = Duration::from_millis(10);
const PACE_MAX: Duration = Duration::from_secs(1);
/// Seconds for which a job's result is remembered after its end, since somebody may be asking for
/// it.
const REMEMBERED_AFTER_END: u32 = 60;

/// How many jobs may be in flight, and how many of them walk at a time.
pub struct Jobs {
    pub(super) max: AtomicUsize,
    in_flight: Arc<InFlight>,
    /// Walks at a time: two a worker, in the order in which they were accepted.
    turns: Arc<Semaphore>,
    /// Spreads that have time left take none any more: the gateway is about to end.
    hurry: CancellationToken,
}

#[derive(Default)]
struct InFlight {
    count: AtomicUsize,
    /// Those that have become tasks, by the number of their message. A leaf among the locks, held
    /// for a look-up.
    running: Mutex<BTreeMap<u64, Running>>,
}

/// A place among the jobs in flight.
pub struct JobPermit {
    in_flight: Arc<InFlight>,
    running: Option<u64>,
}

/// A job in flight, for operators.
#[derive(Clone, Debug)]
pub struct Running {
    /// The place of its message in the log.
    pub seq: u64,
    /// The kind of its first target.
    pub scope: Scope,
    /// The name of that target; empty for all.
    pub name: Arc<str>,
    /// Targets that have members.
    pub targets: usize,
    /// When it was accepted.
    pub started: Instant,
    /// Visits that it owed when it began.
    pub size: usize,
    /// Counts and visits so far.
    pub progress: Arc<Progress>,
}

impl Jobs {
    /// At most `max` jobs in flight, served by `workers` threads.
    pub fn new(max: usize, workers: usize) -> Self {
        let turns = Arc::new(Semaphore::new(2 * workers));
        Self {
            max: AtomicUsize::new(max),
            in_flight: Arc::default(),
            turns,
            hurry: CancellationToken::new(),
        }
    }

    /// At most `max` jobs in flight from now on; those that are go on.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Jobs in flight.
    pub fn len(&self) -> usize {
        self.in_flight.count.load(Ordering::Relaxed)
    }

    /// Those of them that are tasks, the oldest first.
    pub fn running(&self) -> Vec<Running> {
        lock(&self.in_flight.running).values().cloned().collect()
    }

    /// Whether no job is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place for one more; `None` when there is none.
    pub fn admit(&self) -> Option<JobPermit> {
        let max = self.max.load(Ordering::Relaxed);
        let admitted = self.in_flight.count.fetch_add(1, Ordering::Relaxed) < max;
        let permit = JobPermit {
            in_flight: Arc::clone(&self.in_flight),
            running: None,
        };
        admitted.then_some(permit)
    }

    /// From now on spreads go out at once.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    pub(super) fn hurried(&self) -> CancellationToken {
        self.hurry.clone()
    }

    pub(super) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.turns)
    }
}

impl JobPermit {
    /// Lists it among those that run, until the place is given back.
    pub(super) fn list(&mut self, walk: &Work, started: Instant, progress: &Arc<Progress>) {
        let Some((scope, name)) = walk.target() else {
            return;
        };
        let running = Running {
            seq: walk.seq(),
            scope,
            name,
            targets: walk.targets(),
            started,
            size: walk.size(),
            progress: Arc::clone(progress),
        };
        self.running = Some(running.seq);
        lock(&self.in_flight.running).insert(running.seq, running);
    }
}

impl Drop for JobPermit {
    fn drop(&mut self) {
        if let Some(seq) = self.running {
            lock(&self.in_flight.running).remove(&seq);
        }
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A push to many that has its place in the log.
pub struct Job {
    pub(super) work: Work,
    pub(super) record: Record,
    pub(super) turns: Arc<Semaphore>,
    pub(super) hurry: CancellationToken,
    /// Given back last, when everything else of the job is gone.
    pub(super) permit: JobPermit,
}

/// What a job does.
pub(super) enum Work {
    Walk(Walk),
    Spread(Spread),
    Stored(Stored),
}

/// A push that goes through the store: where it is told its place, and that it is on disk.
pub(super) struct Stored {
    pub(super) placed: oneshot::Receiver<Placed>,
    pub(super) synced: Option<watch::Receiver<u64>>,
}

impl Work {
    pub(super) fn seq(&self) -> u64 {
        match self {
            Self::Walk(walk) => walk.seq(),
            Self::Spread(spread) => spread.seq(),
            Self::Stored(_) => 0,
        }
    }

    fn target(&self) -> Option<(Scope, Arc<str>)> {
        match self {
            Self::Walk(walk) => walk.target(),
            Self::Spread(spread) => spread.target(),
            // Not known before it has its place.
            Self::Stored(_) => None,
        }
    }

    fn targets(&self) -> usize {
        match self {
            Self::Walk(walk) => walk.targets(),
            Self::Spread(spread) => spread.targets(),
            Self::Stored(_) => 0,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Walk(walk) => walk.size(),
            Self::Spread(spread) => spread.progress().1,
            Self::Stored(_) => 0,
        }
    }

    /// The number of its message; 0 for a live one.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Walk(walk) => walk.number(),
            Self::Spread(_) | Self::Stored(_) => 0,
        }
    }
}

/// Where the outcome is noted: whoever drops it unfinished (a bug) leaves the counts so far.
pub(super) struct Record {
    pub(super) hub: Arc<Hub>,
    pub(super) remembered: Arc<Remembered>,
    pub(super) op: OpLabel,
    pub(super) id: Id,
    pub(super) progress: Arc<Progress>,
    pub(super) started: Instant,
    pub(super) done: bool,
}

impl Record {
    pub(super) fn finish(&mut self, status: Status) -> Ended {
        self.done = true;
        let now = monotonic();
        let elapsed = now.saturating_duration_since(self.started);
        let ended = Ended {
            elapsed_ms: millis(elapsed),
            ..Ended::so_far(status, &self.progress)
        };
        let metrics = self.hub.metrics();
        metrics.request(self.op, status);
        if self.op == Op::Push.into() {
            metrics.push_duration.observe(elapsed.as_secs_f64());
        }
        self.remembered
            .finish(&self.id, ended, self.hub.tick(now), REMEMBERED_AFTER_END);
        ended
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            self.finish(Status::Timeout);
        }
    }
}

impl Job {
    /// The counts so far, for whoever asks meanwhile.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.record.progress)
    }

    /// The number of its message; 0 for a live one.
    pub fn number(&self) -> u64 {
        self.record.progress.number()
    }

    /// Over which time its deliveries are spread.
    pub fn spread(&self) -> Duration {
        match &self.work {
            Work::Walk(_) | Work::Stored(_) => Duration::ZERO,
            Work::Spread(spread) => spread.over(),
        }
    }

    /// Works to the end, notes the result, and reports it to whoever still waits.
    pub async fn run(self, report: oneshot::Sender<Ended>) {
        let Self {
            work,
            mut record,
            turns,
            hurry,
            permit,
        } = self;
        let mut status = Status::Done;
        match work {
            Work::Walk(walk) => walk_to_end(walk, &record, &turns).await,
            Work::Spread(spread) => spread_to_end(spread, &record, &turns, &hurry).await,
            Work::Stored(stored) => status = stored_to_end(stored, &record, &turns).await,
        }
        let ended = record.finish(status);
        drop((record, permit));
        // Nobody waits for one who may have left: this never blocks, and a lost receiver is no
        // error.
        let _ = report.send(ended);
    }
}

async fn walk_to_end(mut walk: Walk, record: &Record, turns: &Semaphore) {
    let hub = &record.hub;
    // Never closed: without a turn the walk goes on all the same.
    let _turn = turns.acquire().await;
    let mut cx = Pump::new(monotonic());
    loop {
        let is_done = walk.step(hub, STEP, &mut cx);
        record.progress.set(walk.counts(), walk.visited());
        cx.merge(hub.metrics());
        if is_done {
            return;
        }
        tokio::task::yield_now().await;
        cx.now = monotonic();
    }
}

/// TIMEOUT where the store did not say in time what became of it.
async fn stored_to_end(stored: Stored, record: &Record, turns: &Semaphore) -> Status {
    let Stored { placed, synced } = stored;
    let Ok(Ok(placed)) = timeout(STORE_MAX, placed).await else {
        return Status::Timeout;
    };
    let number = match placed.appended {
        Appended::Nobody(number) => number,
        Appended::Walk(walk) => {
            let number = walk.number();
            record.progress.set_number(number);
            walk_to_end(walk, record, turns).await;
            number
        }
    };
    record.progress.set_number(number);
    if !placed.is_kept {
        return Status::NotKept;
    }
    let Some(mut synced) = synced.filter(|_| number > 0) else {
        return Status::Done;
    };
    match timeout(STORE_MAX, synced.wait_for(|upto| *upto >= number)).await {
        Ok(Ok(_)) => Status::Done,
        _ => Status::Timeout,
    }
}

async fn spread_to_end(
    mut spread: Spread,
    record: &Record,
    turns: &Semaphore,
    hurry: &CancellationToken,
) {
    let (hub, began) = (&record.hub, monotonic());
    let (_, size) = spread.progress();
    let pace = spread.over() / u32::try_from(size.max(1)).unwrap_or(u32::MAX);
    let pace = pace.clamp(PACE_MIN, PACE_MAX);
    loop {
        // It waits for its moments without a turn: a walk has nothing to wait for.
        let turn = turns.acquire().await;
        let mut cx = Pump::new(monotonic());
        let elapsed = cx.now.saturating_duration_since(began);
        let due = match hurry.is_cancelled() {
            true => usize::MAX,
            false => spread.due(elapsed),
        };
        let is_done = due > 0 && spread.step(hub, due.min(STEP), &mut cx);
        record.progress.set(spread.counts(), spread.progress().0);
        cx.merge(hub.metrics());
        drop(turn);
        if is_done {
            return;
        }
        if due > STEP {
            tokio::task::yield_now().await;
            continue;
        }
        // Over when it is time to hurry; then there is no more to wait for.
        let _ = timeout(pace, hurry.cancelled()).await;
    }
}

/// Whole milliseconds, as the wire counts them.
pub(super) fn millis(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX)
}

//! The wait for a job's report, of whoever has to answer for it: bounded, and no concern of the
//! job, which goes on whether anybody waits or not.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::hub::remembered::{Ended, Progress};
use crate::metrics::Metrics;
use crate::wire::reason::Status;

/// What became of a push that was accepted at `started`: its report, or after `deadline`, and at
/// the end of the process, TIMEOUT and the counts so far.
pub(super) async fn awaited(
    reported: oneshot::Receiver<Ended>,
    until: (Duration, &CancellationToken),
    started: Instant,
    progress: &Progress,
    metrics: &Metrics,
) -> Ended {
    let reported = reported_within(reported, until, started, progress).await;
    reported.unwrap_or_else(|so_far| {
        metrics.push_timeouts.inc();
        so_far
    })
}

/// The same of any job; TIMEOUT is the error.
pub(super) async fn reported_within(
    reported: oneshot::Receiver<Ended>,
    (deadline, stop): (Duration, &CancellationToken),
    started: Instant,
    progress: &Progress,
) -> Result<Ended, Ended> {
    let reported = tokio::select! {
        biased;
        reported = timeout(deadline, reported) => reported.ok(),
        () = stop.cancelled() => None,
    };
    match reported {
        Some(Ok(ended)) => Ok(ended),
        // One of the two, or a job that died: what became of it is not known here.
        None | Some(Err(_)) => {
            let elapsed_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
            Err(Ended {
                elapsed_ms,
                ..Ended::so_far(Status::Timeout, progress)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_process() {
        let metrics = Metrics::new();
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        let hour = Duration::from_secs(3600);
        let awaited = |reported| {
            let until = (hour, &stop);
            awaited(reported, until, Instant::now(), &progress, &metrics)
        };
        // What is known by then is told.
        let (report, reported) = oneshot::channel();
        let ended = Ended {
            status: Status::Done,
            counts: progress.counts(),
            elapsed_ms: 1,
            number: 0,
        };
        assert!(report.send(ended).is_ok());
        stop.cancel();
        assert_eq!(awaited(reported).await.status, Status::Done);
        let began = Instant::now();
        let (_report, reported) = oneshot::channel();
        assert_eq!(awaited(reported).await.status, Status::Timeout);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(metrics.push_timeouts.get(), 1);
    }
}

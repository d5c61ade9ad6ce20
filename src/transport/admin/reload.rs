//! `POST /v1/reload`: asks for a reload of the configuration, and waits for what comes of it.
//!
//! Reloads are one at a time. Whoever asks while one runs is answered by the next, which serves
//! everybody who asked until then: a hundred a second are a few reloads.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{AdminState, body};
use crate::metrics::ReloadResult;

/// Who may wait for one reload; the connections of the admin door are as many.
const WAITING_MAX: usize = 64;
/// A reload reads a few small files. Who has waited this long is told that it is not known yet.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What a reload came to. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In one word.
    pub result: ReloadResult,
    /// The keys that differ from before and hold from now on.
    pub applied: Vec<String>,
    /// The keys that differ from what runs, and will hold after a restart.
    pub needs_restart: Vec<String>,
    /// What is odd and yet was done.
    pub warnings: Vec<String>,
    /// Why nothing was changed.
    pub problems: Vec<String>,
    /// Where nothing was changed, whether it is the file's fault.
    #[serde(skip)]
    pub cause: Option<Cause>,
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The file cannot be run.
    File,
    /// The process was started without a file.
    NoFile,
    /// Not now: the process drains, or an earlier reload hangs.
    Unavailable,
}

impl Report {
    /// Nothing was changed, and why.
    pub fn refused(cause: Cause, problems: Vec<String>) -> Self {
        Self {
            result: ReloadResult::Refused,
            applied: Vec::new(),
            needs_restart: Vec::new(),
            warnings: Vec::new(),
            problems,
            cause: Some(cause),
        }
    }

    const fn status(&self) -> StatusCode {
        match self.cause {
            None => StatusCode::OK,
            Some(Cause::File) => StatusCode::UNPROCESSABLE_ENTITY,
            Some(Cause::NoFile) => StatusCode::CONFLICT,
            Some(Cause::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

type Answer = oneshot::Sender<Arc<Report>>;

/// Where reloads are asked for. Clones ask at the same place.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Option<Answer>>);

/// Where they are carried out.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<Option<Answer>>);

impl Reloads {
    /// Both ends.
    pub fn channel() -> (Self, Asked) {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        (Self(asks), Asked(asked))
    }

    /// Asks for a reload that begins after this moment. Waits for nothing.
    pub fn poke(&self) {
        // Where there is no room somebody's reload is to begin yet, and it does for this one too.
        let _ = self.0.try_send(None);
    }

    /// Asks for a reload that begins after this moment, and waits for its end, for 15 s at most.
    pub async fn ask(&self) -> Arc<Report> {
        let (answer, answered) = oneshot::channel();
        let unavailable = |why: &str| {
            let problems = vec![why.to_owned()];
            Arc::new(Report::refused(Cause::Unavailable, problems))
        };
        if self.0.try_send(Some(answer)).is_err() {
            return unavailable("too many wait for a reload already; try again");
        }
        match timeout(ANSWER_MAX, answered).await {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => unavailable("the process ends"),
            Err(_) => unavailable("no end of it within 15 s: it may yet be carried out"),
        }
    }
}

impl Asked {
    /// Waits for somebody to ask; everybody who has asked by then, to be answered together. `None`
    /// when nobody can any more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<Answer>> {
        let mut waiting: Vec<Answer> = self.0.recv().await?.into_iter().collect();
        for _ in 1..WAITING_MAX {
            match self.0.try_recv() {
                Ok(asked) => waiting.extend(asked),
                Err(_) => break,
            }
        }
        Some(waiting)
    }
}

/// What may be said in the body: nothing, so far.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {}

/// The answer to `POST /v1/reload`.
pub(super) async fn reload(State(state): State<AdminState>, request: Request) -> Response {
    if let Err(refused) = body::json::<Said>(request, "no body, or {}").await {
        return refused.into_response();
    }
    let report = state.reloads.ask().await;
    (report.status(), Json(&*report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Arc<Report> {
        let problems = vec!["2:1: what".to_owned()];
        Arc::new(Report::refused(Cause::File, problems))
    }

    /// Whoever is served together with others, and by which round.
    #[tokio::test]
    async fn who_asks_while_one_runs_is_answered_by_the_next() {
        let (reloads, mut asked) = Reloads::channel();
        let ask = || {
            let (answer, answered) = oneshot::channel();
            reloads.0.try_send(Some(answer)).expect("there is room");
            answered
        };
        let (one, two) = (ask(), ask());
        reloads.poke();
        let first = asked.next().await.expect("is asked");
        // While the first runs.
        let late = ask();
        for answer in first {
            answer.send(done()).expect("is waited for");
        }
        assert_eq!((one.await, two.await), (Ok(done()), Ok(done())));
        for answer in asked.next().await.expect("is asked") {
            answer.send(done()).expect("is waited for");
        }
        assert_eq!(late.await, Ok(done()));
        // Nobody waits for what a signal asked for.
        reloads.poke();
        reloads.poke();
        assert!(asked.next().await.expect("is asked").is_empty());
        drop(reloads);
        assert!(asked.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_nor_without_bound() {
        let (reloads, mut asked) = Reloads::channel();
        let late = reloads.ask().await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(late.problems[0].contains("15 s"), "{late:?}");
        // The one that gave up still stands there.
        for _ in 1..WAITING_MAX {
            reloads.poke();
        }
        let full = reloads.ask().await;
        assert!(full.problems[0].contains("too many"), "{full:?}");
        assert_eq!(asked.next().await.expect("is asked").len(), 1);
        drop(asked);
        let gone = reloads.ask().await;
        assert_eq!(gone.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

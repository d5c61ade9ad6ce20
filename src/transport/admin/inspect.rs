//! Looks at single sessions, at those that are behind, at jobs in flight and at connections that
//! have ended. They show users, groups and addresses, which no metric does.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdminState, plain};
use crate::clock::monotonic;
use crate::hub::inspect::{Rank, Seen};
use crate::hub::job::Running;
use crate::transport::closed::{self, Closed};
use crate::wire::reason::CloseReason;

/// Rows of a ranking at most.
const BEHIND_MAX: usize = 1_000;
/// Rows that are shown where nobody asks for more or fewer.
const ROWS: usize = 100;

/// What is known of those who are connected. Nothing here may wait.
pub trait Inspect: Send + Sync {
    /// How many there are of what, cheaply enough to be asked every second.
    fn pulse(&self) -> Pulse;

    /// The bounds that numbers are shown beside.
    fn limits(&self) -> Limits;

    /// The sessions of a user.
    fn sessions(&self, user: &str) -> Vec<Seen>;

    /// Messages that are kept for a user, and bytes of their payloads.
    fn kept(&self, user: &str) -> (u64, u64);

    /// The `max` sessions that are furthest behind, the furthest first.
    fn behind(&self, rank: Rank, max: usize) -> Vec<Seen>;

    /// Jobs in flight, the oldest first.
    fn jobs(&self) -> Vec<Running>;

    /// Up to `max` of the last connections that ended, newest first, and how many ever did.
    fn closed(&self, max: usize, wanted: &dyn Fn(&Closed) -> bool) -> (Vec<Closed>, u64);
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Connections held.
    pub connections: u64,
    /// Sessions attached.
    pub sessions: u64,
    /// Of them, those whose socket did not take everything.
    pub sessions_behind: u64,
    /// Bytes of the messages that the log holds.
    pub log_bytes: u64,
    /// Push jobs in flight.
    pub jobs: u64,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time.
    pub connections: u64,
    /// Push jobs in flight.
    pub jobs: u64,
    /// Bytes of the log.
    pub memory_budget: u64,
}

/// Parameters that a page knows, or why they are none.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// Of `/v1/sessions`.
#[derive(Deserialize)]
pub(super) struct OfUser {
    user: String,
}

/// `GET /v1/sessions?user=NAME`.
pub(super) async fn sessions(State(state): State<AdminState>, asked: Asked<OfUser>) -> Response {
    let Ok(Query(OfUser { user })) = asked else {
        return plain(StatusCode::BAD_REQUEST, "?user=NAME says whose\n");
    };
    let sessions = state.inspect.sessions(&user);
    let sessions: Vec<_> = sessions.iter().map(seen).collect();
    let (messages, bytes) = state.inspect.kept(&user);
    let kept = json!({ "messages": messages, "bytes": bytes });
    Json(json!({ "user": user, "sessions": sessions, "kept": kept })).into_response()
}

/// Of `/v1/behind`.
#[derive(Deserialize)]
pub(super) struct OfRanking {
    #[serde(default)]
    by: Rank,
    limit: Option<usize>,
}

/// `GET /v1/behind?by=messages&limit=100`.
pub(super) async fn behind(State(state): State<AdminState>, asked: Asked<OfRanking>) -> Response {
    let within = |limit: usize| (1..=BEHIND_MAX).contains(&limit);
    let Some(OfRanking { by, limit }) = asked
        .ok()
        .map(|asked| asked.0)
        .filter(|asked| asked.limit.is_none_or(within))
    else {
        let text =
            format!("?by=messages, bytes or age, and ?limit=N, from 1 to {BEHIND_MAX}, if any\n");
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let ranked = state.inspect.behind(by, limit.unwrap_or(ROWS));
    let sessions: Vec<_> = ranked.iter().map(seen).collect();
    let behind = state.inspect.pulse().sessions_behind;
    Json(json!({ "sessions_behind": behind, "sessions": sessions })).into_response()
}

/// `GET /v1/jobs`.
pub(super) async fn jobs(State(state): State<AdminState>) -> Response {
    let running = state.inspect.jobs();
    let running: Vec<_> = running.iter().map(job).collect();
    let in_flight = state.inspect.pulse().jobs;
    Json(json!({ "in_flight": in_flight, "running": running })).into_response()
}

/// Of `/v1/closed`.
#[derive(Deserialize)]
pub(super) struct OfEnds {
    user: Option<String>,
    reason: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/closed?user=NAME&reason=WORD&limit=100`.
pub(super) async fn closed(State(state): State<AdminState>, asked: Asked<OfEnds>) -> Response {
    let Some((asked, reason)) = asked.ok().and_then(|asked| known_reason(asked.0)) else {
        let text = format!(
            "?user=NAME, ?reason=WORD as in pushgate_connections_closed_total, and ?limit=N, from \
             1 to {}, if any\n",
            closed::KEPT
        );
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let wanted = |end: &Closed| {
        let is_of = |user: &str| end.who.as_ref().is_some_and(|who| &*who.user == user);
        reason.is_none_or(|reason| end.reason == reason) && asked.user.as_deref().is_none_or(is_of)
    };
    let (ends, ever) = state.inspect.closed(asked.limit.unwrap_or(ROWS), &wanted);
    let rows: Vec<_> = ends.iter().map(end).collect();
    let kept = ever.min(closed::KEPT as u64);
    Json(json!({ "closed_total": ever, "kept": kept, "connections": rows })).into_response()
}

/// `None` for a word that is no reason, or a number that is no limit.
fn known_reason(asked: OfEnds) -> Option<(OfEnds, Option<CloseReason>)> {
    if !asked
        .limit
        .is_none_or(|limit| (1..=closed::KEPT).contains(&limit))
    {
        return None;
    }
    let Some(word) = &asked.reason else {
        return Some((asked, None));
    };
    let mut all = CloseReason::ALL.into_iter();
    let reason = all.find(|reason| reason.word() == word)?;
    Some((asked, Some(reason)))
}

/// A session as JSON.
pub(super) fn seen(seen: &Seen) -> Value {
    json!({
        "user": &*seen.user,
        "device": &*seen.device,
        "session": seen.session,
        "groups": seen.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
        "peer": seen.peer.map(shown),
        "age_s": seen.age_s,
        "heartbeat_s": seen.heartbeat_s,
        "door": seen.door.word(),
        "silent_s": seen.silent_s,
        "behind": {
            "messages": seen.behind_messages,
            "bytes": seen.behind_bytes,
            "oldest_ms": seen.behind_ms,
        },
    })
}

/// A job as JSON.
pub(super) fn job(job: &Running) -> Value {
    let age = monotonic().saturating_duration_since(job.started);
    let counts = job.progress.counts();
    json!({
        "number": job.seq,
        "op": "push",
        "scope": job.scope.word(),
        "name": &*job.name,
        "targets": job.targets,
        "age_ms": u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        "visited": job.progress.visited().min(job.size),
        "size": job.size,
        "matched": counts.matched,
        "written": counts.written,
        "waiting": counts.waiting,
        "refused": counts.refused,
    })
}

/// An end as JSON.
fn end(end: &Closed) -> Value {
    let who = end.who.as_ref();
    json!({
        "time_ms": end.at_ms,
        "age_s": f64::from(end.age_ds) / 10.0,
        "reason": end.reason.word(),
        "peer": shown(end.peer.address()),
        "user": who.map(|who| &*who.user),
        "device": who.map(|who| &*who.device),
        "session": who.map(|who| who.session),
    })
}

/// An IPv4 address that came through an IPv6 socket is shown as what it is.
fn shown(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

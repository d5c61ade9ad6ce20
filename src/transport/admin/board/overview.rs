//! The state of one second as JSON: what the dashboard shows, and `/v1/overview`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::hub::inspect::Rank;
use crate::ledger::Kind;
use crate::metrics::{Metrics, OpLabel, Outcome};
use crate::transport::admin::AdminState;
use crate::transport::admin::inspect::{job, seen};
use crate::version;
use crate::wire::encoding::Protocol;
use crate::wire::reason::{CloseReason, RejectCause, Status};

/// Sessions of the ranking, jobs and storms that are in it; there are pages for more.
const ROWS_MAX: usize = 10;

/// `GET /v1/overview`.
pub(in crate::transport::admin) async fn show(State(state): State<AdminState>) -> Response {
    Json(overview(&state)).into_response()
}

/// How things stand. Reads what a scrape reads, and a few sessions.
pub(super) fn overview(state: &AdminState) -> Value {
    let metrics = &*state.metrics;
    let live = (state.live)();
    metrics.set_live(&live);
    let now_ms = Clock::system().now_ms();
    let limits = state.inspect.limits();
    let jobs = state.inspect.jobs();
    let behind = state.inspect.behind(Rank::Messages, ROWS_MAX);
    let uptime_s = now_ms as f64 / 1e3 - metrics.process_start_time.get();
    json!({
        "time_ms": now_ms,
        "version": version::VERSION,
        "build": version::SHORT,
        "phase": state.phase.now().word(),
        "uptime_s": uptime_s.max(0.0).round(),
        "second": state.board.history.last(),
        "connections": {
            "held": live.connections,
            "max": limits.connections,
            "sessions": live.sessions,
            "by_door": by_word(Protocol::ALL, |door| {
                (door.word(), live.sessions_by_door[door.index()])
            }),
            "unauthenticated": live.unauthenticated,
            "accept_queue": live.accept_queue,
            "opened_total": metrics.connections_opened.get(),
            "closed_total": by_word(CloseReason::ALL, |reason| {
                (reason.word(), metrics.connections_closed.at(reason.index()).get())
            }),
        },
        "datagrams": {
            "received_total": metrics.datagrams_received.get(),
            "rejected_total": by_word(RejectCause::ALL, |cause| {
                (cause.word(), metrics.datagrams_rejected.at(cause.index()).get())
            }),
            "kernel_drops_total": metrics.kernel_drops.get(),
        },
        "requests_total": requests(metrics),
        "repeats_total": metrics.repeats.get(),
        "push_timeouts_total": metrics.push_timeouts.get(),
        "deliveries": {
            "waiting": live.deliveries_waiting,
            "total": by_word(Outcome::ALL, |outcome| {
                (outcome.word(), metrics.deliveries.at(outcome as usize).get())
            }),
        },
        "log": {
            "messages": live.log_messages,
            "bytes": live.log_bytes,
            "budget_bytes": limits.memory_budget,
        },
        "history": {
            "messages": live.history_messages,
            "bytes": live.history_bytes,
        },
        "lanes": live.lanes,
        "sessions_behind": live.sessions_behind,
        "behind": behind.iter().map(seen).collect::<Vec<_>>(),
        "jobs": {
            "in_flight": state.inspect.pulse().jobs,
            "max": limits.jobs,
            "running": jobs.iter().take(ROWS_MAX).map(job).collect::<Vec<_>>(),
        },
        "tasks": tasks(state, live.connections),
        "leaks": leaks(state),
        "storms": state.storms.last(ROWS_MAX),
        "overloaded": metrics.overloaded.get() == 1,
    })
}

fn by_word<T, const N: usize>(all: [T; N], count: impl Fn(T) -> (&'static str, u64)) -> Value {
    let counts = all.into_iter().map(|each| {
        let (word, count) = count(each);
        (word.to_owned(), json!(count))
    });
    Value::Object(counts.collect())
}

/// Those that there were: an op and a status that never met are left out.
fn requests(metrics: &Metrics) -> Value {
    let mut ops = Map::new();
    for op in OpLabel::all() {
        let mut statuses = Map::new();
        for status in Status::ALL {
            let count = metrics.requests_that(op, status).get();
            if count > 0 {
                statuses.insert(status.word().to_owned(), json!(count));
            }
        }
        ops.insert(op.word().to_owned(), Value::Object(statuses));
    }
    Value::Object(ops)
}

/// The kinds of task that are suspected of a leak.
fn leaks(state: &AdminState) -> Value {
    let suspected = state.leaks.verdict().into_iter().map(|suspicion| {
        json!({
            "kind": suspicion.kind.word(),
            "live": suspicion.live,
            "explained": suspicion.explained,
            "oldest_s": suspicion.oldest.as_secs(),
        })
    });
    Value::Array(suspected.collect())
}

/// Tasks by kind, beside what there are for them.
fn tasks(state: &AdminState, connections: u64) -> Value {
    let reports = state.ledger.kinds();
    let live = |kind: Kind| reports[kind.index()].live;
    let rows = reports.iter().map(|report| {
        let work = match report.kind {
            Kind::Session => {
                let held = connections.saturating_sub(live(Kind::Refusal));
                Some((held, "connections held"))
            }
            Kind::PushJob => Some((state.inspect.pulse().jobs, "jobs in flight")),
            _ => None,
        };
        json!({
            "kind": report.kind.word(),
            "live": report.live,
            "started_total": report.started,
            "ended_total": report.ended,
            "panicked_total": report.panicked,
            "oldest_s": report.oldest.as_secs(),
            "work": work.map(|(count, _)| count),
            "work_is": work.map(|(_, what)| what),
        })
    });
    Value::Array(rows.collect())
}

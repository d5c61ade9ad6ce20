//! The admin door, HTTP/1.1. Pages are read with GET; what changes something is POST or DELETE:
//!
//! | path | answer |
//! |---|---|
//! | `/` | the dashboard; a list of these for who takes no HTML |
//! | `/metrics` | Prometheus text, version 0.0.4 |
//! | `/healthz` | 200 while the process works, else 503 |
//! | `/readyz` | 200 `ready` while it serves, else 503 and the word of its phase |
//! | `/debug/pprof/` | an index of the profiles |
//! | `/debug/pprof/profile?seconds=30` | where CPU time goes, gzipped protobuf |
//! | `/debug/pprof/flamegraph?seconds=30` | the same as SVG |
//! | `/debug/pprof/heap` | memory held by where it was allocated, gzipped protobuf |
//! | `/debug/pprof/tasks` | live tasks by kind and site, gzipped protobuf; text with `?debug=1` |
//! | `POST /v1/profiling/heap` | switches the samples for `heap` on or off |
//! | `/v1/log` | the level of the log, as JSON; `POST` changes it |
//! | `/v1/storms` | the storm that is going on, and the last ones, as JSON |
//! | `/v1/events` | the state of each second, as server-sent events |
//! | `/v1/overview` | the state of this moment, as JSON |
//! | `/v1/sessions?user=` | the sessions of a user |
//! | `/v1/behind` | the sessions that are furthest behind, ranked |
//! | `/v1/jobs` | push jobs in flight |
//! | `/v1/closed` | the last connections that ended |
//! | `POST /v1/reload` | reads the configuration again and says what came of it, as JSON |
//! | `/v1/push`, `/v1/presence`, `/v1/kick`, `/v1/groups` | requests of services ([`services`]) |
//! | `/v1/history`, `/v1/history/NUMBER` | what is kept; `DELETE` removes it |
//! | `/v1/openapi.json` | these for programs, OpenAPI 3.1 |
//!
//! Who may ask, and how, is decided before a page is called ([`access`]). But for those of services
//! the pages do not know the hub: what they show of it comes through the handles of [`AdminState`].

pub mod access;
pub mod board;
pub mod inspect;
pub mod log;
pub mod reload;
mod serve;
pub mod services;

mod body;
mod dashboard;
mod health;
mod heap;
mod index;
mod names;
mod openapi;
mod profile;
mod proto;
mod storms;
mod tasks;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use serve::{Listening, TASKS_MAX, serve};

use super::phase::PhaseCell;
use super::storms::Storms;
use crate::ledger::{Leaks, Ledger};
use crate::metrics::{Live, Metrics};
use access::Gate;
use board::Board;
use inspect::Inspect;
use reload::Reloads;
use services::Services;

/// What the admin door shows, and whom it lets in.
#[derive(Clone)]
pub struct AdminState {
    /// Rendered at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Shown as a profile; runs this door's tasks.
    pub ledger: Ledger,
    /// The values that are read at a scrape. Must not wait.
    pub live: Arc<dyn Fn() -> Live + Send + Sync>,
    /// What is known of single sessions, jobs and connections.
    pub inspect: Arc<dyn Inspect>,
    /// What the dashboard shows.
    pub board: Arc<Board>,
    /// Decides `/readyz`.
    pub phase: PhaseCell,
    /// Decides `/healthz`; the error says what does not work. Must not wait.
    pub health: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// The kinds of task that are suspected of a leak.
    pub leaks: Leaks,
    /// Who is let in, from the next request on.
    pub gate: Arc<ArcSwap<Gate>>,
    /// Where a reload is asked for.
    pub reloads: Reloads,
    /// Where requests of services go.
    pub services: Arc<Services>,
    /// What is known of storms.
    pub storms: Arc<Storms>,
    /// Where the level of the log is asked for.
    pub log: log::Handle,
    /// The address of the door as bound.
    pub address: SocketAddr,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The routes, behind the check of who asks.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(dashboard::root))
        .merge(dashboard::routes())
        .route("/v1/events", get(board::events))
        .route("/v1/overview", get(board::overview))
        .route("/v1/sessions", get(inspect::sessions))
        .route("/v1/behind", get(inspect::behind))
        .route("/v1/jobs", get(inspect::jobs))
        .route("/v1/closed", get(inspect::closed))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/debug/pprof/", get(index::profiles))
        .route("/debug/pprof/profile", get(profile::profile))
        .route("/debug/pprof/flamegraph", get(profile::flamegraph))
        .route("/debug/pprof/heap", get(heap::heap))
        .route("/debug/pprof/tasks", get(tasks::tasks))
        .route("/v1/profiling/heap", post(heap::set))
        .route("/v1/storms", get(storms::storms))
        .route("/v1/log", get(log::show).post(log::ask))
        .route("/v1/reload", post(reload::reload))
        .route("/v1/openapi.json", get(openapi::openapi))
        .merge(services::routes())
        .layer(from_fn_with_state(state.clone(), access::guard))
        .with_state(state)
}

/// A line of text.
fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, text.into()).into_response()
}

//! Is it well, is it ready, and what are its numbers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{AdminState, plain};
use crate::transport::phase::Phase;

/// All metrics, with those that are read at a scrape brought up to date.
pub(super) async fn metrics(State(state): State<AdminState>) -> Response {
    let is_ready = state.phase.now() == Phase::Ready;
    state.metrics.ready.set(is_ready.into());
    state.metrics.set_live(&(state.live)());
    state.ledger.publish();
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (headers, state.metrics.render()).into_response()
}

/// Does the process work?
pub(super) async fn healthz(State(state): State<AdminState>) -> Response {
    match (state.health)() {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(what) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")),
    }
}

/// Should it be given clients and pushes?
pub(super) async fn readyz(State(state): State<AdminState>) -> Response {
    let phase = state.phase.now();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    plain(status, format!("{}\n", phase.word()))
}

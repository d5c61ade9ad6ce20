//! `GET /v1/storms`: the storm that is going on, if there is one, and the last ones.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::AdminState;
use crate::transport::storms::Storm;

#[derive(Serialize)]
pub(super) struct Storms {
    storms: Vec<Storm>,
}

/// Newest first.
pub(super) async fn storms(State(state): State<AdminState>) -> Json<Storms> {
    let storms = state.storms.last(usize::MAX);
    Json(Storms { storms })
}

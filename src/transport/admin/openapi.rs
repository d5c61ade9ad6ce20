//! The routes of services for programs: an OpenAPI document, written by hand and held to what is
//! served by tests.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Version 3.1. It does not depend on the configuration.
const DOCUMENT: &str = include_str!("openapi.json");

/// The answer to `/v1/openapi.json`.
pub(super) async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, DOCUMENT).into_response()
}

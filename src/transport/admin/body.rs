//! The body of a POST: JSON, short, in time, and nothing in it that nobody would heed.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::plain;

/// What is said in a body is a word or two.
const BODY_BYTES_MAX: usize = 1_024;
/// From the end of a head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body is not taken.
pub(super) struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        plain(self.0, self.1)
    }
}

/// What the body says; `None` where there is none. `expected` is what may be sent, for the answer
/// to who sends something else, which is the error.
pub(super) async fn json<T: DeserializeOwned>(
    request: Request,
    expected: &str,
) -> Result<Option<T>, Refused> {
    let refused = |status, text| Err(Refused(status, text));
    // A page of another site can have a browser post forms and plain text without asking first.
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    };
    if !content_type.is_none_or(is_json) {
        let text = format!("send {expected}, as application/json\n");
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX);
    let Ok(body) = timeout(BODY_TIMEOUT, body).await else {
        let text = "the body did not come in time\n".to_owned();
        return refused(StatusCode::REQUEST_TIMEOUT, text);
    };
    let Ok(body) = body else {
        let text = format!("the body is longer than {BODY_BYTES_MAX} bytes\n");
        return refused(StatusCode::PAYLOAD_TOO_LARGE, text);
    };
    if body.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(&body) {
        Ok(said) => Ok(Some(said)),
        Err(_) => refused(StatusCode::BAD_REQUEST, format!("send {expected}\n")),
    }
}

//! What is kept, as JSON. Names of fields tell their units.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::hub::{KeptMessage, Place, Row};
use crate::transport::admin::services::answer::line;
use crate::wire::frame::Scope;

#[derive(Serialize)]
struct PageSaid<'a> {
    targets: Vec<RowSaid<'a>>,
    /// Text: it has more digits than a number of JavaScript.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    messages: u64,
    memory_bytes: u64,
    time_ms: u64,
}

#[derive(Serialize)]
struct RowSaid<'a> {
    scope: &'static str,
    name: &'a str,
    messages: u64,
    bytes: u64,
    oldest_number: u64,
    oldest_age_ms: u64,
    newest_number: u64,
    newest_age_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
}

#[derive(Serialize)]
struct Named<'a> {
    scope: &'static str,
    name: &'a str,
}

#[derive(Serialize)]
struct MessageSaid<'a> {
    number: u64,
    targets: Vec<Named<'a>>,
    exceptions: Vec<Named<'a>>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_base64: Option<String>,
    confirmed: u32,
    accepted_ms: u64,
    age_ms: u64,
    expires_ms: u64,
    expires_in_ms: u64,
    time_ms: u64,
}

#[derive(Serialize)]
struct Missing {
    error: &'static str,
}

/// A page of a list, and what is kept in all: messages, and bytes of memory.
pub(super) fn page(
    rows: &[Row],
    next: Option<Place>,
    (messages, memory_bytes): (u64, u64),
    time_ms: u64,
) -> Response {
    line(
        StatusCode::OK,
        &PageSaid {
            targets: rows.iter().map(said).collect(),
            next: next.map(|place| place.to_number().to_string()),
            messages,
            memory_bytes,
            time_ms,
        },
    )
}

fn said(row: &Row) -> RowSaid<'_> {
    RowSaid {
        scope: row.scope.word(),
        name: &row.name,
        messages: row.messages,
        bytes: row.bytes,
        oldest_number: row.oldest_number,
        oldest_age_ms: row.oldest_age_ms,
        newest_number: row.newest_number,
        newest_age_ms: row.newest_age_ms,
        expires_in_ms: row.expires_in_ms,
    }
}

/// One message, at this unix time in milliseconds.
pub(super) fn message(message: &KeptMessage, time_ms: u64) -> Response {
    let named = |scope: Scope, name| Named {
        scope: scope.word(),
        name,
    };
    let collapse = message.collapse.as_deref();
    let text = collapse.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let other = collapse.filter(|_| text.is_none()).map(|bytes| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    });
    let targets = message.targets.iter();
    let exceptions = message.exceptions.iter();
    line(
        StatusCode::OK,
        &MessageSaid {
            number: message.number,
            targets: targets.map(|(scope, name)| named(*scope, name)).collect(),
            exceptions: exceptions
                .map(|(scope, name)| named(*scope, name))
                .collect(),
            bytes: message.bytes,
            collapse: text,
            collapse_base64: other,
            confirmed: message.confirmed,
            accepted_ms: time_ms.saturating_sub(message.age_ms),
            age_ms: message.age_ms,
            expires_ms: time_ms.saturating_add(message.expires_in_ms),
            expires_in_ms: message.expires_in_ms,
            time_ms,
        },
    )
}

/// No message of that number is kept.
pub(super) fn missing() -> Response {
    let error = "no message of this number is kept, or none any more";
    line(StatusCode::NOT_FOUND, &Missing { error })
}

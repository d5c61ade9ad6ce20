//! `GET /v1/events`: the state of each second, as server-sent events, for as long as somebody
//! watches.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use prometheus::IntGauge;
use serde::Serialize;
use serde_json::to_string;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::overview::overview;
use crate::transport::admin::{AdminState, plain};

/// A stream ends in order before its connection would be cut: whoever watches asks for another, and
/// is given the last minutes with it.
const AGE_MAX: Duration = Duration::from_secs(240);
/// After which time who was refused may ask again, in seconds.
const RETRY_S: &str = "5";

/// One who watches.
struct Watching {
    latest: watch::Receiver<Bytes>,
    /// Sent before anything else.
    first: Option<Bytes>,
    until: Instant,
    stop: CancellationToken,
    _place: Place,
}

/// A place among the streams, counted while it is held.
struct Place {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Answers with a stream of events: `history` once, then `overview` each second.
pub(in crate::transport::admin) async fn events(State(state): State<AdminState>) -> Response {
    let Ok(permit) = Arc::clone(&state.board.streams).try_acquire_owned() else {
        state.metrics.event_streams_refused.inc();
        let text = "as many watch as may; try again in a few seconds\n";
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
        let retry = HeaderValue::from_static(RETRY_S);
        response.headers_mut().insert(header::RETRY_AFTER, retry);
        return response;
    };
    let open = state.metrics.event_streams.clone();
    open.inc();
    let place = Place {
        open,
        _permit: permit,
    };
    // Subscribed before the first state is put together: nothing falls between the two.
    let latest = state.board.latest.subscribe();
    let mut first = event("history", &state.board.history.columns()).to_vec();
    first.extend_from_slice(&event("overview", &overview(&state)));
    let watching = Watching {
        latest,
        first: Some(first.into()),
        until: Instant::now() + AGE_MAX,
        stop: state.ledger.stop_token().clone(),
        _place: place,
    };
    let events = stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        // A proxy that gathers what it passes on would hold the seconds back (nginx).
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

impl Watching {
    /// The next event; `None` when this stream is to end. States that come while its reader takes
    /// none are passed over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            changed = self.latest.changed() => changed.ok()?,
            () = sleep_until(self.until) => return None,
            () = self.stop.cancelled() => return None,
        }
        Some(self.latest.borrow_and_update().clone())
    }
}

/// An event as it is sent. JSON has no line breaks, which would end the event's line.
pub(super) fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = to_string(data).expect("names and numbers are JSON");
    format!("event: {name}\ndata: {data}\n\n").into()
}

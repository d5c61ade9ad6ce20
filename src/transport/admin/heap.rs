//! Where memory was allocated that is still held: samples of the allocator, one each 512 KiB or so.
//!
//! They are off until somebody switches them on, and only what is allocated from then on is seen.
//! The allocator walks the stack for a sample; so that no sample of CPU time interrupts it there,
//! the two profiles have one place ([`profile::place`](super::profile)), and heap samples stop for
//! as long as a CPU profile runs.

mod dump;
mod switch;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pprof::protos::Message;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::profile::{Refusal, attachment, gzip, place};
use super::{AdminState, body, plain};
use crate::ledger::Kind;

/// What may be said to the switch.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    active: bool,
}

/// How the switch stands.
#[derive(Serialize)]
struct Stands {
    active: bool,
    /// Bytes allocated between two samples, on average.
    sample_bytes: u64,
}

/// Whether heap samples are taken.
pub(super) fn is_active() -> bool {
    switch::is_active()
}

/// The answer to `/debug/pprof/heap`: gzipped protobuf for `go tool pprof`.
pub(super) async fn heap(State(state): State<AdminState>) -> Response {
    if let Some(refusal) = unavailable() {
        return refusal;
    }
    let Some(place) = place() else {
        return Refusal::Occupied.into_response();
    };
    if !switch::is_active() {
        let text = "heap samples are off, and only what is allocated while they are on is seen;\n\
                    switch them on: curl -X POST -H 'content-type: application/json' -d \
                    '{\"active\":true}' http://HOST/v1/profiling/heap\n";
        return plain(StatusCode::CONFLICT, text);
    }
    let work = move || {
        // Looking up names takes its time, and keeps the place until it is done.
        let _place = place;
        let text = switch::dump().map_err(|error| error.to_string())?;
        let (interval, stacks) = dump::read(&text).ok_or("a dump that is none of heap_v2")?;
        let profile = dump::profile(interval, &stacks);
        gzip(&profile.encode_to_vec()).map_err(|error| error.to_string())
    };
    let built = state.ledger.spawn_blocking(Kind::Admin, work).await;
    match built.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(bytes) => attachment("heap.pb.gz", bytes),
        Err(what) => Refusal::Failed(what).into_response(),
    }
}

/// The answer to `POST /v1/profiling/heap`.
pub(super) async fn set(request: Request) -> Response {
    let expected = "{\"active\":true} or {\"active\":false}";
    let said = match body::json::<Said>(request, expected).await {
        Ok(said) => said,
        Err(refused) => return refused.into_response(),
    };
    let Some(Said { active }) = said else {
        return plain(StatusCode::BAD_REQUEST, format!("send {expected}\n"));
    };
    if let Some(refusal) = unavailable() {
        return refusal;
    }
    // A CPU profile that runs has switched it off, and would switch it back.
    let Some(_place) = place() else {
        return Refusal::Occupied.into_response();
    };
    let was = switch::is_active();
    let forget = |()| if active { Ok(()) } else { switch::forget() };
    if let Err(error) = switch::set(active).and_then(forget) {
        return Refusal::Failed(error.to_string()).into_response();
    }
    if was != active {
        info!(active, "heap samples");
    }
    Json(Stands {
        active,
        sample_bytes: switch::interval_bytes(),
    })
    .into_response()
}

/// Heap samples are off as long as this exists, and then as before.
pub(super) struct Paused(bool);

/// Stops heap samples for a while; to be called with the place at the profiler.
pub(super) fn pause() -> Paused {
    let was = switch::is_active();
    if was {
        // Where it cannot be set, both go on: what is feared then is a rare moment.
        let _ = switch::set(false);
    }
    Paused(was)
}

impl Drop for Paused {
    fn drop(&mut self) {
        if self.0 {
            let _ = switch::set(true);
        }
    }
}

/// The answer where the allocator of this process does not sample.
fn unavailable() -> Option<Response> {
    (!switch::is_available()).then(|| {
        let text = "the allocator was started without heap samples: start the gateway with the \
                    environment variable _RJEM_MALLOC_CONF=prof:true,prof_active:false\n";
        plain(StatusCode::NOT_IMPLEMENTED, text)
    })
}

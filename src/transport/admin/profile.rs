//! Where CPU time goes: samples of the running threads, 99 a second of CPU time.
//!
//! One at a time, since the timer and its signal belong to the whole process; heap samples pause
//! meanwhile ([`heap`]). Who closes the connection ends the profile.

use std::sync::Once;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use nix::sys::signal::{Signal, raise};
use pprof::protos::Message;
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Report};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::names::qualified;
use super::{AdminState, heap, plain};
use crate::ledger::Kind;

/// Not 100, so that work on a round beat is not always or never met.
const FREQUENCY_HZ: i32 = 99;
const SECONDS_DEFAULT: u64 = 30;
const SECONDS_MAX: u64 = 120;

/// The one place at the profiler, of whatever kind.
static PROFILER: Semaphore = Semaphore::const_new(1);

/// What may be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    seconds: Option<u64>,
}

type Asked = Result<Query<Params>, QueryRejection>;

/// Why there is no profile.
pub(super) enum Refusal {
    Seconds,
    Occupied,
    Failed(String),
}

/// A profile that runs: the sampler before its place, so that it has stopped when that is free.
struct Running {
    sampler: ProfilerGuard<'static>,
    _heap: heap::Paused,
    _place: SemaphorePermit<'static>,
}

/// Gzipped protobuf for `go tool pprof`.
pub(super) async fn profile(State(state): State<AdminState>, asked: Asked) -> Response {
    let encoded = sampled(&state, asked, |report| {
        let profile = report.pprof().map_err(|error| error.to_string())?;
        gzip(&profile.encode_to_vec()).map_err(|error| error.to_string())
    });
    match encoded.await {
        Ok(bytes) => attachment("profile.pb.gz", bytes),
        Err(refusal) => refusal.into_response(),
    }
}

/// An SVG that a browser shows.
pub(super) async fn flamegraph(State(state): State<AdminState>, asked: Asked) -> Response {
    let drawn = sampled(&state, asked, |report| {
        let mut svg = Vec::new();
        if !report.data.is_empty() {
            report
                .flamegraph(&mut svg)
                .map_err(|error| error.to_string())?;
        }
        Ok(svg)
    });
    match drawn.await {
        Ok(svg) if svg.is_empty() => plain(StatusCode::OK, "no sample: no CPU time was used\n"),
        Ok(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// A file that is saved rather than shown.
pub(super) fn attachment(name: &str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    (headers, bytes).into_response()
}

pub(super) fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Samples for as long as was asked, then builds what was asked on a thread for blocking work:
/// names of symbols take their time.
async fn sampled(
    state: &AdminState,
    asked: Asked,
    build: fn(&Report) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, Refusal> {
    let seconds = seconds(asked).ok_or(Refusal::Seconds)?;
    let place = place().ok_or(Refusal::Occupied)?;
    let started = state
        .ledger
        .spawn_blocking(Kind::Admin, || start(place))
        .await;
    let running = started.unwrap_or_else(|error| Err(error.to_string()));
    let running = running.map_err(Refusal::Failed)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let work = move || {
        let report = running
            .sampler
            .report()
            .frames_post_processor(qualify)
            .build()
            .map_err(|error| error.to_string())?;
        let built = build(&report);
        // The tables that names are looked up in, which would stay in memory.
        backtrace::clear_symbol_cache();
        built
    };
    let built = state.ledger.spawn_blocking(Kind::Admin, work).await;
    built
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(Refusal::Failed)
}

/// The place at the profiler, unless somebody has it.
pub(super) fn place() -> Option<SemaphorePermit<'static>> {
    PROFILER.try_acquire().ok()
}

/// Gives each function a name that can be told from others.
fn qualify(frames: &mut Frames) {
    for symbol in frames.frames.iter_mut().flatten() {
        let name = qualified(&symbol.name(), &symbol.filename());
        symbol.name = Some(name.into_bytes());
    }
}

fn seconds(asked: Asked) -> Option<u64> {
    let Query(params) = asked.ok()?;
    let seconds = params.seconds.unwrap_or(SECONDS_DEFAULT);
    (1..=SECONDS_MAX).contains(&seconds).then_some(seconds)
}

fn start(place: SemaphorePermit<'static>) -> Result<Running, String> {
    static TABLES: Once = Once::new();
    // Before the first signal.
    let heap = heap::pause();
    TABLES.call_once(read_unwind_tables);
    let sampler = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY_HZ)
        .build();
    Ok(Running {
        sampler: sampler.map_err(|error| error.to_string())?,
        _heap: heap,
        _place: place,
    })
}

/// The unwinder reads its tables, and allocates for them, in the first sample's handler, which may
/// have interrupted the allocator. So the first sample is one of this thread, here, where it has
/// not; the timer of a second of CPU time does not come before it (tikv/pprof-rs#281).
fn read_unwind_tables() {
    if let Ok(sampler) = ProfilerGuardBuilder::default().frequency(1).build() {
        // What fails here is tried again by the first sample of the profile.
        let _ = raise(Signal::SIGPROF);
        drop(sampler);
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Seconds => {
                let text = format!("?seconds=N, from 1 to {SECONDS_MAX}, is all there is\n");
                plain(StatusCode::BAD_REQUEST, text)
            }
            Self::Occupied => {
                let text = "another profile is running; try again when it is done\n";
                plain(StatusCode::CONFLICT, text)
            }
            Self::Failed(what) => {
                let text = format!("the profile failed: {what}\n");
                plain(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

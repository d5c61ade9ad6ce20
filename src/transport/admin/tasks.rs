//! The live tasks by kind and spawn site: a protobuf that `go tool pprof` opens, or a table.

use std::collections::HashMap;
use std::fmt::Write;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use pprof::protos::{Label, Message, Profile, Sample};
use serde::Deserialize;

use super::profile::{attachment, gzip};
use super::proto::Builder;
use super::{AdminState, plain};
use crate::ledger::{Kind, KindReport, Ledger, SiteReport};

/// What may be asked for: text where `debug` is there and not 0.
#[derive(Deserialize)]
pub(super) struct Params {
    #[serde(default)]
    debug: String,
}

/// The answer to `/debug/pprof/tasks`.
pub(super) async fn tasks(
    State(state): State<AdminState>,
    Query(params): Query<Params>,
) -> Response {
    let as_text = !matches!(params.debug.as_str(), "" | "0");
    let ledger = state.ledger.clone();
    // A million tasks are read in a few milliseconds, which a worker thread has no time for.
    let work = move || {
        if as_text {
            Ok(plain(
                StatusCode::OK,
                table(&ledger.kinds(), &ledger.sites()),
            ))
        } else {
            gzip(&profile(&ledger).encode_to_vec()).map(|bytes| attachment("tasks.pb.gz", bytes))
        }
    };
    match state.ledger.spawn_blocking(Kind::Admin, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn table(kinds: &[KindReport], sites: &[SiteReport]) -> String {
    let total: u64 = kinds.iter().map(|report| report.live).sum();
    let mut text = format!("tasks: total {total}\n\n");
    text += "kind               live      started        ended panicked     oldest\n";
    for report in kinds {
        let KindReport {
            kind,
            live,
            started,
            ended,
            panicked,
            oldest,
        } = report;
        let (kind, oldest) = (kind.word(), oldest.as_secs_f64());
        let _ = writeln!(
            text,
            "{kind:<12} {live:>10} {started:>12} {ended:>12} {panicked:>8} {oldest:>9.1}s"
        );
    }
    text += "\nkind               live     oldest  spawned at\n";
    for SiteReport {
        kind,
        location,
        live,
        oldest,
    } in sites
    {
        let (kind, oldest) = (kind.word(), oldest.as_secs_f64());
        let _ = writeln!(text, "{kind:<12} {live:>10} {oldest:>9.1}s  {location}");
    }
    text
}

/// One sample for each site: the site called by its kind, with two values, how many tasks are live
/// and how old the oldest is. (The second is a maximum; pprof adds those of one kind up.)
fn profile(ledger: &Ledger) -> Profile {
    let mut builder = Builder::new(&[("tasks", "count"), ("oldest", "milliseconds")], "tasks");
    let kind_key = builder.string("kind");
    let mut kind_locations = HashMap::new();
    for site in ledger.sites() {
        let word = site.kind.word();
        let kind_location = *kind_locations
            .entry(site.kind)
            .or_insert_with(|| builder.location(0, &[(word, "", 0)]));
        let (file, line) = (site.location.file(), site.location.line());
        let name = format!("{file}:{line}");
        let site_location = builder.location(0, &[(&name, file, line)]);
        let live = i64::try_from(site.live).unwrap_or(i64::MAX);
        let oldest_ms = i64::try_from(site.oldest.as_millis()).unwrap_or(i64::MAX);
        let label = Label {
            key: kind_key,
            str: builder.string(word),
            ..Label::default()
        };
        builder.sample(Sample {
            // The leaf first.
            location_id: vec![site_location, kind_location],
            value: vec![live, oldest_ms],
            label: vec![label],
        });
    }
    builder.finish()
}

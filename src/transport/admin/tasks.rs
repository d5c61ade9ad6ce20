//! The live tasks by kind and spawn site: a protobuf that `go tool pprof` opens, or a table.

use std::collections::HashMap;
use std::fmt::Write;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use pprof::protos::{
    Function, Label, Line, Location, Mapping, Message, Profile, Sample, ValueType,
};
use serde::Deserialize;

use super::profile::{attachment, gzip};
use super::{AdminState, plain};
use crate::clock::Clock;
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
    let mut strings = Strings::default();
    let mut profile = Profile::default();
    // string_table[0] must be empty, and 0 elsewhere means "none".
    strings.index("");
    profile.sample_type = [("tasks", "count"), ("oldest", "milliseconds")]
        .map(|(ty, unit)| ValueType {
            ty: strings.index(ty),
            unit: strings.index(unit),
        })
        .to_vec();
    profile.default_sample_type = strings.index("tasks");
    let now_ms = i64::try_from(Clock::system().now_ms()).unwrap_or(i64::MAX);
    profile.time_nanos = now_ms.saturating_mul(1_000_000);
    // Says that names are final, so that pprof does not look for a binary to symbolize with.
    profile.mapping = vec![Mapping {
        id: 1,
        filename: strings.index("pushgate"),
        has_functions: true,
        has_filenames: true,
        has_line_numbers: true,
        ..Mapping::default()
    }];
    let kind_key = strings.index("kind");
    let mut kind_locations = HashMap::new();
    for site in ledger.sites() {
        let word = strings.index(site.kind.word());
        let kind_location = *kind_locations
            .entry(site.kind)
            .or_insert_with(|| location(&mut profile, word, 0, 0));
        let name = strings.index(&format!(
            "{}:{}",
            site.location.file(),
            site.location.line()
        ));
        let file = strings.index(site.location.file());
        let site_location = location(&mut profile, name, file, site.location.line().into());
        let live = i64::try_from(site.live).unwrap_or(i64::MAX);
        let oldest_ms = i64::try_from(site.oldest.as_millis()).unwrap_or(i64::MAX);
        profile.sample.push(Sample {
            // The leaf first.
            location_id: vec![site_location, kind_location],
            value: vec![live, oldest_ms],
            label: vec![Label {
                key: kind_key,
                str: word,
                ..Label::default()
            }],
        });
    }
    profile.string_table = strings.list;
    profile
}

/// Adds a function of this name with one location; returns the location's id.
fn location(profile: &mut Profile, name: i64, filename: i64, line: i64) -> u64 {
    let id = profile.location.len() as u64 + 1;
    profile.function.push(Function {
        id,
        name,
        system_name: name,
        filename,
        start_line: line,
    });
    profile.location.push(Location {
        id,
        mapping_id: 1,
        line: vec![Line {
            function_id: id,
            line,
        }],
        ..Location::default()
    });
    id
}

/// The string table: each string once, by index.
#[derive(Default)]
struct Strings {
    list: Vec<String>,
    known: HashMap<String, i64>,
}

impl Strings {
    fn index(&mut self, text: &str) -> i64 {
        if let Some(index) = self.known.get(text) {
            return *index;
        }
        let index = i64::try_from(self.list.len()).expect("a string table fits memory");
        self.list.push(text.to_owned());
        self.known.insert(text.to_owned(), index);
        index
    }
}

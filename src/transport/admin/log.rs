//! `/v1/log`: the level of the log, read with GET and changed with POST, for a while or until the
//! next reload.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::info;
use tracing::level_filters::LevelFilter;

use super::{AdminState, body, plain};

/// Whoever asks for a level for longer than this wants another configuration.
const FOR_MAX: Duration = Duration::from_secs(86_400);

/// What may be sent.
const EXPECTED: &str = "{\"level\": \"debug\"}, or with \"for\": \"10m\"";

/// The level of the log of this process.
pub trait Level: Send + Sync {
    /// What holds.
    fn shown(&self) -> Shown;

    /// Asks for another level, until `rest` is over or else until the next reload.
    ///
    /// # Errors
    /// Why it cannot be.
    fn ask(&self, level: LevelFilter, rest: Option<Duration>) -> anyhow::Result<()>;
}

/// Where the level is asked for; none where the log of the process is somebody else's.
pub type Handle = Option<Arc<dyn Level>>;

/// The level of the log, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The one that holds, beside what `RUST_LOG` says.
    pub level: String,
    /// That of the configuration, which holds again after a reload.
    pub configured: String,
    /// Seconds after which the configured one holds again; none where only a reload ends it.
    #[serde(rename = "for_s")]
    pub remaining_s: Option<u64>,
    /// The environment variable, which wins.
    pub rust_log: Option<String>,
}

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    level: String,
    #[serde(rename = "for")]
    rest: Option<String>,
}

impl Said {
    fn check(&self) -> Result<(LevelFilter, Option<Duration>), String> {
        let level = match self.level.as_str() {
            "off" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            other => return Err(format!("{other:?} is no level")),
        };
        let rest = self.rest.as_ref().map(|text| {
            let rest = humantime::parse_duration(text);
            let rest = rest.map_err(|error| format!("\"for\": {text:?}: {error}"))?;
            match rest.is_zero() || rest > FOR_MAX {
                true => Err(format!("\"for\": {text:?} is not within a day")),
                false => Ok(rest),
            }
        });
        Ok((level, rest.transpose()?))
    }
}

/// The answer to `GET /v1/log`.
pub(super) async fn show(State(state): State<AdminState>) -> Response {
    match &state.log {
        Some(log) => Json(log.shown()).into_response(),
        None => nobodys(),
    }
}

/// The answer to `POST /v1/log`.
pub(super) async fn ask(State(state): State<AdminState>, request: Request) -> Response {
    let said = match body::json::<Said>(request, EXPECTED).await {
        Ok(Some(said)) => said,
        Ok(None) => return plain(StatusCode::BAD_REQUEST, format!("send {EXPECTED}\n")),
        Err(refused) => return refused.into_response(),
    };
    let Some(log) = &state.log else {
        return nobodys();
    };
    let (level, rest) = match said.check() {
        Ok(said) => said,
        Err(why) => return plain(StatusCode::BAD_REQUEST, format!("{why}: send {EXPECTED}\n")),
    };
    if let Err(error) = log.ask(level, rest) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n"));
    }
    let rest = rest.map_or("the next reload".to_owned(), |rest| {
        humantime::format_duration(rest).to_string()
    });
    info!(target: "pushgate", %level, until = rest, "the level of the log was changed");
    Json(log.shown()).into_response()
}

fn nobodys() -> Response {
    let text = "the log of this process is not the gateway's\n";
    plain(StatusCode::CONFLICT, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_time_are_taken_and_nothing_else() {
        let parse = |text: &str| {
            let said: Said = serde_json::from_str(text).map_err(|error| error.to_string())?;
            said.check()
        };
        let (debug, ten) = (LevelFilter::DEBUG, Duration::from_secs(600));
        assert_eq!(parse(r#"{"level":"debug"}"#), Ok((debug, None)));
        let with_time = r#"{"level":"debug","for":"10m"}"#;
        assert_eq!(parse(with_time), Ok((debug, Some(ten))));
        for bad in [
            "",
            "{}",
            r#"{"level":"loud"}"#,
            r#"{"level":"DEBUG"}"#,
            r#"{"level":"debug","for":"soon"}"#,
            r#"{"level":"debug","for":"0s"}"#,
            r#"{"level":"debug","for":"25h"}"#,
            r#"{"level":"debug","until":"tomorrow"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

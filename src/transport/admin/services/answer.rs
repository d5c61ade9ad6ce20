//! What a service is answered: the words and counts of a reply as JSON, under the status of HTTP
//! that a program which knows only HTTP does right by.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::hub::remembered::Ended;
use crate::metrics::{HttpReject, OpLabel};
use crate::wire::datagram::Op;
use crate::wire::reason::Status;
use crate::wire::reply::Counts;

/// What became of a request.
pub(super) enum Outcome {
    /// This, with what follows the counts in a datagram.
    Ended(Ended, Vec<u8>),
    /// It is a repeat of one of which this became.
    Repeat(Ended),
    /// Its idempotency key was used for another request.
    OtherBytes,
}

impl Outcome {
    pub(super) const fn status(&self) -> Status {
        match self {
            Self::Ended(ended, _) | Self::Repeat(ended) => ended.status,
            Self::OtherBytes => Status::BadRequest,
        }
    }
}

/// The answer to an authentic request.
pub(super) struct Answer {
    pub(super) op: OpLabel,
    pub(super) outcome: Outcome,
    /// The gateway's clock, in unix milliseconds.
    pub(super) time_ms: u64,
    /// What is wrong with what was said.
    pub(super) fault: Option<String>,
}

#[derive(Serialize)]
struct Said {
    status: &'static str,
    matched: u32,
    written: u32,
    waiting: u32,
    refused: u32,
    elapsed_ms: u32,
    number: u64,
    time_ms: u64,
    repeat: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Seconds after which it is worth trying again: a bound is reached for moments, and a gateway that
/// drains is gone then, or back.
const RETRY_BUSY: &str = "1";
const RETRY_DRAINING: &str = "5";

/// A program that knows only HTTP tries again on 429 and 503, and on nothing else here.
const fn code(outcome: &Outcome) -> StatusCode {
    match outcome.status() {
        Status::Done | Status::NotKept => StatusCode::OK,
        // It goes on: a program that tried again would do it twice.
        Status::Accepted | Status::Timeout => StatusCode::ACCEPTED,
        Status::Busy => StatusCode::TOO_MANY_REQUESTS,
        Status::BadRequest if matches!(outcome, Outcome::OtherBytes) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Status::BadRequest => StatusCode::BAD_REQUEST,
        Status::Denied => StatusCode::FORBIDDEN,
        Status::Stale => StatusCode::CONFLICT,
        Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Answer {
    /// Whether the disk did not forget what was to go.
    const fn is_unerased(&self) -> bool {
        match (&self.outcome, self.op) {
            (Outcome::Ended(ended, _) | Outcome::Repeat(ended), OpLabel::Purge) => {
                ended.counts.refused > 0
            }
            _ => false,
        }
    }

    fn error(&self) -> Option<String> {
        let text = match self.outcome.status() {
            _ if self.is_unerased() => {
                "the disk failed: it is tried again until it takes it; what is left there by then \
                 comes back with a restart"
            }
            Status::Timeout if self.op == OpLabel::Purge => {
                "it takes longer than push.deadline, and goes on: waiting are still on disk"
            }
            Status::Done | Status::NotKept | Status::Accepted => return None,
            Status::Timeout => "it takes longer than push.deadline, and goes on",
            Status::Busy => "a bound is reached; nothing was done, try again",
            Status::BadRequest if matches!(self.outcome, Outcome::OtherBytes) => {
                "this Idempotency-Key was used for another request; nothing was done"
            }
            Status::BadRequest => match &self.fault {
                Some(fault) => return Some(fault.clone()),
                None => {
                    "over a bound of this gateway (push.max_payload, history.max_ttl, \
                     push.max_spread)"
                }
            },
            Status::Denied => "the key may not do this, or not to one of the targets",
            Status::Stale => "X-Pushgate-Time is outside the window; time_ms is the gateway's",
            Status::Draining => "the gateway is shutting down",
        };
        Some(text.to_owned())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let code = match self.is_unerased() {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => code(&self.outcome),
        };
        let error = self.error();
        let (ended, tail, repeat) = match self.outcome {
            Outcome::Ended(ended, tail) => (Some(ended), tail, false),
            Outcome::Repeat(ended) => (Some(ended), Vec::new(), true),
            Outcome::OtherBytes => (None, Vec::new(), false),
        };
        let (counts, elapsed_ms, number) = ended.map_or((Counts::default(), 0, 0), |ended| {
            (ended.counts, ended.elapsed_ms, ended.number)
        });
        let status = ended.map_or(Status::BadRequest, |ended| ended.status);
        let sessions = (self.op == Op::Presence.into() && status == Status::Done).then(|| {
            let (sessions, _) = tail.as_chunks();
            sessions.iter().copied().map(u32::from_be_bytes).collect()
        });
        let said = Said {
            status: status.word(),
            matched: counts.matched,
            written: counts.written,
            waiting: counts.waiting,
            refused: counts.refused,
            elapsed_ms,
            number,
            time_ms: self.time_ms,
            repeat,
            sessions,
            error,
        };
        let retry = match status {
            Status::Busy => Some(RETRY_BUSY),
            Status::Draining => Some(RETRY_DRAINING),
            _ => None,
        };
        let mut response = line(code, &said);
        if let Some(seconds) = retry {
            set(&mut response, header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// Why something that came is no request.
pub(super) struct Refusal {
    pub(super) cause: HttpReject,
    text: &'static str,
}

impl Refusal {
    pub(super) const fn new(cause: HttpReject, text: &'static str) -> Self {
        Self { cause, text }
    }
}

#[derive(Serialize)]
struct Refused {
    error: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match self.cause {
            HttpReject::Foreign => StatusCode::FORBIDDEN,
            HttpReject::Method => StatusCode::METHOD_NOT_ALLOWED,
            HttpReject::Connections => StatusCode::SERVICE_UNAVAILABLE,
            HttpReject::Unsigned | HttpReject::Key | HttpReject::Mac => StatusCode::UNAUTHORIZED,
            HttpReject::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            HttpReject::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            HttpReject::Slow => StatusCode::REQUEST_TIMEOUT,
            HttpReject::Gone => StatusCode::BAD_REQUEST,
        };
        let mut response = line(code, &Refused { error: self.text });
        if code == StatusCode::UNAUTHORIZED {
            set(&mut response, header::WWW_AUTHENTICATE, "Bearer");
        }
        if self.cause == HttpReject::Connections {
            set(&mut response, header::RETRY_AFTER, RETRY_BUSY);
            // It stands in an operator's place.
            set(&mut response, header::CONNECTION, "close");
        }
        response
    }
}

/// A line of JSON: people read it too.
pub(super) fn line(code: StatusCode, said: &impl Serialize) -> Response {
    let mut text = serde_json::to_string(said).expect("numbers and texts can be written");
    text.push('\n');
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (code, headers, text).into_response()
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_code_and_only_refusals_that_pass_are_tried_again() {
        for (status, expected) in [
            (Status::Done, 200),
            (Status::Accepted, 202),
            (Status::Timeout, 202),
            (Status::Busy, 429),
            (Status::BadRequest, 400),
            (Status::Denied, 403),
            (Status::Stale, 409),
            (Status::Draining, 503),
            (Status::NotKept, 200),
        ] {
            let ended = Ended {
                status,
                counts: Counts::default(),
                elapsed_ms: 0,
                number: 0,
            };
            let answer = Answer {
                op: Op::Push.into(),
                outcome: Outcome::Ended(ended, Vec::new()),
                time_ms: 0,
                fault: None,
            };
            assert_eq!(
                answer.error().is_some(),
                expected > 202 || status == Status::Timeout
            );
            let response = answer.into_response();
            assert_eq!(response.status(), expected, "{status}");
            let again = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(again, matches!(expected, 429 | 503), "{status}");
        }
    }
}

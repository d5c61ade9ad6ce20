//! HTTP for services: the requests of datagrams, for payloads that do not fit into one, and for
//! programs that speak HTTP.
//!
//! | route | request |
//! |---|---|
//! | `POST /v1/push` | PUSH; JSON, or the payload itself with everything else as parameters |
//! | `POST /v1/presence`, `GET /v1/presence?user=..` | PRESENCE |
//! | `POST /v1/kick` | KICK |
//! | `POST /v1/groups` | JOIN or LEAVE |
//! | `GET /v1/history` | what is kept, by target ([`history`]) |
//! | `GET /v1/history/{number}` | one message that is kept |
//! | `DELETE /v1/history` | its removal |
//!
//! This is a second entrance, not a second house. A credential is checked, by the head of a request
//! or once its body is there; what is said is written down as it stands in a datagram; and from
//! there on it goes the way of every datagram ([`Intake::command`]): recorded results, time window,
//! drain, permission, parsing, rate. What became of it has the same words and counts.
//!
//! A push to many is a job here too, and the task of the connection waits for its report. One whose
//! client hangs up is dropped, with its end of the channel, and the job does not notice.

mod answer;
mod arrival;
mod asked;
mod body;
mod credential;
mod history;
pub(super) mod place;
mod query;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::AdminState;
use crate::clock::{Clock, monotonic};
use crate::hub::Hub;
use crate::hub::command::{Caller, Command, Commanded};
use crate::hub::intake::{Intake, Moment};
use crate::hub::job::Job;
use crate::hub::pump::Pump;
use crate::hub::remembered::Ended;
use crate::ledger::{Kind, Ledger};
use crate::metrics::{Credential, HttpReject};
use crate::throttle::Throttle;
use crate::transport::report;
use crate::wire::reason::Status;
use answer::{Answer, Outcome, Refusal};
use arrival::Arrival;
use asked::{Asked, Form, Identity};
use credential::Shown;
use place::Place;

pub(super) use credential::KEY;

/// A body: the longest payload in base64 and 512 targets of 255 bytes are 225 KB.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// From the end of a head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever `push.deadline` is: a connection that is at its age's end has three minutes left.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// One log line on what operators did in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// What the routes of services need.
pub struct Services {
    hub: Arc<Hub>,
    intake: Arc<Intake>,
    ledger: Ledger,
    clock: Clock,
    deadline: Deadline,
    /// Lines on what operators did.
    audit: Throttle,
}

/// How long a request waits for its job, at this moment.
type Deadline = Box<dyn Fn() -> Duration + Send + Sync>;

impl Services {
    /// Puts the parts together; `deadline` is asked for each job, and must not wait.
    pub fn new(
        hub: Arc<Hub>,
        intake: Arc<Intake>,
        ledger: Ledger,
        clock: Clock,
        deadline: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let audit = Throttle::new(LOG_PERIOD, hub.metrics());
        Self {
            hub,
            intake,
            ledger,
            clock,
            deadline: Box::new(deadline),
            audit,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            instant: monotonic(),
            unix_ms: self.clock.now_ms(),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Push,
    Presence,
    Kick,
    Groups,
    History,
    Message,
    Purge,
}

/// The paths of services, where a service may ask with the credential of its key.
pub(super) const PATHS: [&str; 6] = [
    "/v1/push",
    "/v1/presence",
    "/v1/kick",
    "/v1/groups",
    "/v1/history",
    MESSAGE,
];

/// The path of a message, for any number.
const MESSAGE: &str = "/v1/history/{number}";

/// The path as the list of pages has it.
pub(super) fn pattern(path: &str) -> &str {
    let number = path.strip_prefix("/v1/history/");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    match number.is_some_and(is_number) {
        true => MESSAGE,
        false => path,
    }
}

/// The routes of services.
pub(super) fn routes() -> Router<AdminState> {
    let at = |route: Route| {
        move |State(state): State<AdminState>, request: Request| serve(state, route, request)
    };
    Router::new()
        .route("/v1/push", post(at(Route::Push)))
        .route(
            "/v1/presence",
            get(at(Route::Presence)).post(at(Route::Presence)),
        )
        .route("/v1/kick", post(at(Route::Kick)))
        .route("/v1/groups", post(at(Route::Groups)))
        .route(
            "/v1/history",
            get(at(Route::History)).delete(at(Route::Purge)),
        )
        .route(MESSAGE, get(at(Route::Message)))
}

/// One request, to its answer. It is dropped where it stands when its client hangs up.
async fn serve(state: AdminState, route: Route, request: Request) -> Response {
    let services = &*state.services;
    let mut arrival = Arrival::new(services.hub.metrics());
    match take(services, route, request, &mut arrival).await {
        Ok(response) => response,
        Err(refusal) => {
            arrival.rejected(refusal.cause);
            debug!(
                ?route,
                cause = refusal.cause.word(),
                "http request rejected"
            );
            refusal.into_response()
        }
    }
}

async fn take(
    services: &Services,
    route: Route,
    request: Request,
    arrival: &mut Arrival<'_>,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let place = parts.extensions.get::<Arc<Place>>();
    if !place.is_some_and(|place| place.become_a_services()) {
        return Err(Refusal::new(
            HttpReject::Connections,
            "as many connections of services as there may be stand already; try again",
        ));
    }
    let shown = credential::shown(services, &parts, services.clock.now_ms())?;
    let is_of_a_key = parts.headers.contains_key(KEY);
    let form = Form::of(route, &parts, is_of_a_key)?;
    let body = whole(body).await?;
    let (caller, credential) = match shown {
        Shown::Proven(caller, credential) => (caller, credential),
        Shown::Signed(claim, mac) => {
            let caller = claim.prove_mac(&credential::signed(&parts, &body), &mac);
            let caller = caller.ok_or(Refusal::new(
                HttpReject::Mac,
                "the signature is not that of this request",
            ))?;
            (caller, Credential::Signature)
        }
    };
    // From here on it is a request, and the intake counts what becomes of it.
    arrival.taken(credential);
    let moment = services.moment();
    let (response, op, status) = match route {
        Route::History | Route::Message | Route::Purge => {
            let identity = Identity::read(services, &parts, &body, credential);
            let sent = (&parts, &*body);
            history::answered(services, route, &caller, sent, &identity).await
        }
        _ => {
            let asked = Asked::read(services, route, form, &parts, &body, credential);
            let answer = carry_out(services, &caller, &asked, moment, &parts.headers).await;
            let (op, status) = (answer.op, answer.outcome.status());
            (answer.into_response(), op, status)
        }
    };
    let said = (op.word(), status.word(), credential.word());
    let (bytes, elapsed) = (body.len(), moment.instant.elapsed());
    debug!(
        op = said.0,
        status = said.1,
        credential = said.2,
        bytes,
        ?elapsed,
        "http request"
    );
    if credential == Credential::Operator
        && let Some(suppressed) = services.audit.admit(Instant::now())
    {
        info!(
            op = said.0,
            status = said.1,
            suppressed,
            "an operator's request"
        );
    }
    Ok(response)
}

/// The whole body, within its bounds of length and time.
async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(
            HttpReject::TooLarge,
            "a body has 262144 bytes at most",
        )),
        Ok(Err(_)) => Err(Refusal::new(HttpReject::Gone, "the body is cut short")),
        Err(_) => Err(Refusal::new(
            HttpReject::Slow,
            "a body has to be there within 10 s",
        )),
    }
}

async fn carry_out(
    services: &Services,
    caller: &Caller,
    asked: &Asked,
    moment: Moment,
    headers: &HeaderMap,
) -> Answer {
    let command = Command {
        op: asked.op,
        id: asked.id,
        digest: asked.digest,
        time_ms: asked.time_ms,
        body: asked.written.as_ref().ok().map(|written| &*written.body),
    };
    let commanded = {
        let mut cx = Pump::new(moment.instant);
        let commanded = services.intake.command(caller, &command, moment, &mut cx);
        cx.merge(services.hub.metrics());
        commanded
    };
    let outcome = match commanded {
        Commanded::Ended { ended, tail } => Outcome::Ended(ended, tail),
        Commanded::Repeat(ended) => Outcome::Repeat(ended),
        Commanded::OtherBytes => Outcome::OtherBytes,
        Commanded::Job(job) => Outcome::Ended(run(services, *job, headers).await, Vec::new()),
    };
    Answer {
        op: asked.op.into(),
        outcome,
        time_ms: services.clock.now_ms(),
        fault: asked.fault(),
    }
}

/// Gives the job its task and waits for its report, unless the client would rather not.
async fn run(services: &Services, job: Job, headers: &HeaderMap) -> Ended {
    let (started, progress, spread) = (Instant::now(), job.progress(), job.spread());
    let (report, reported) = oneshot::channel();
    services.ledger.spawn(Kind::PushJob, job.run(report));
    if prefers_no_wait(headers) {
        return Ended::so_far(Status::Accepted, &progress);
    }
    // It counts from the end of the spread.
    let deadline = (spread + (services.deadline)()).min(WAIT_MAX);
    let (metrics, stop) = (services.hub.metrics(), services.ledger.stop_token());
    report::awaited(reported, (deadline, stop), started, &progress, metrics).await
}

/// `Prefer: respond-async` (RFC 7240): ACCEPTED is all that the client wants to wait for.
fn prefers_no_wait(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::services as of_a_test;

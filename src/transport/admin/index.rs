//! Pages of links.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, Response};

use super::{AdminState, plain};

/// What there is to see, for who takes no HTML. Nothing in it is of this gateway: it is shown
/// without a token.
pub(super) fn pages() -> Response {
    plain(StatusCode::OK, PAGES)
}

const PAGES: &str = "\
pushgate: pages of the admin door

/                         the dashboard, in a browser
/metrics                  the numbers, for Prometheus
/healthz                  does the process work?
/readyz                   does it serve?
/debug/pprof/             where its time goes, and its tasks
/v1/overview              how things stand, as JSON
/v1/events                the same each second, as server-sent events
/v1/sessions?user=NAME    the sessions of a user
/v1/behind                the sessions that are furthest behind
/v1/jobs                  push jobs in flight
/v1/closed                the last connections that ended
/v1/storms                when many came or went at once
/v1/log                   the level of the log
/v1/history               what is kept, by target
/v1/openapi.json          how services ask by HTTP
";

/// The profiles, in the manner of Go's net/http/pprof: how many of each, and where.
pub(super) async fn profiles(State(state): State<AdminState>) -> Html<String> {
    let live: u64 = state.ledger.kinds().iter().map(|report| report.live).sum();
    let heap = match super::heap::is_active() {
        true => "on",
        false => "off",
    };
    Html(format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>/debug/pprof/</title>\n\
         <h1>/debug/pprof/</h1>\n<table>\n\
         <tr><th>count<th>profile\n\
         <tr><td>{live}<td><a href=\"tasks?debug=1\">tasks</a>: live tasks by kind and spawn site \
         (<a href=\"tasks\">protobuf</a>)\n\
         <tr><td>{heap}<td><a href=\"heap\">heap</a>: memory held, by where it was allocated while \
         samples are on (POST /v1/profiling/heap)\n\
         <tr><td><td><a href=\"profile?seconds=30\">profile</a>: CPU time, 1 to 120 seconds\n\
         <tr><td><td><a href=\"flamegraph?seconds=30\">flamegraph</a>: CPU time as SVG\n\
         </table>\n\
         <p>Look at one with <code>go tool pprof http://HOST/debug/pprof/profile?seconds=30</code>.\
         </p>\n",
    ))
}

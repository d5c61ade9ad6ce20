//! Pages of links.

use axum::extract::State;
use axum::response::Html;

use super::AdminState;
use crate::version;

/// What there is to see.
pub(super) async fn root(State(state): State<AdminState>) -> Html<String> {
    let phase = state.phase.now().word();
    let version = version::SHORT;
    Html(format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>pushgate</title>\n\
         <h1>pushgate {version}</h1>\n<p>This gateway is {phase}.</p>\n<ul>\n\
         <li><a href=\"/metrics\">metrics</a>: the numbers, for Prometheus</li>\n\
         <li><a href=\"/healthz\">healthz</a>: does the process work?</li>\n\
         <li><a href=\"/readyz\">readyz</a>: does it serve?</li>\n\
         <li><a href=\"/debug/pprof/\">profiles</a>: where its time goes, and its tasks</li>\n\
         </ul>\n",
    ))
}

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

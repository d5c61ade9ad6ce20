//! The files of the dashboard, and what a browser may do with them. They hold no data: what they
//! show, they ask the other pages for, with the token where one is set. So they are given to
//! everybody who may speak to this door at all.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::AdminState;
use super::index;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What stands under `/ui/`: its path, its type, its bytes.
const FILES: [(&str, &str, &str); 8] = [
    ("/ui/style.css", CSS, include_str!("ui/style.css")),
    ("/ui/app.js", SCRIPT, include_str!("ui/app.js")),
    ("/ui/api.js", SCRIPT, include_str!("ui/api.js")),
    ("/ui/chart.js", SCRIPT, include_str!("ui/chart.js")),
    ("/ui/dom.js", SCRIPT, include_str!("ui/dom.js")),
    ("/ui/format.js", SCRIPT, include_str!("ui/format.js")),
    ("/ui/overview.js", SCRIPT, include_str!("ui/overview.js")),
    ("/ui/users.js", SCRIPT, include_str!("ui/users.js")),
];

const PAGE: &str = include_str!("ui/index.html");

/// Nothing but these files and the pages of this door: no other site, no script in the markup, no
/// frame around it, and no text that becomes markup (`require-trusted-types-for`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Whether what stands at this path holds no data, and is shown to everybody.
pub(super) fn is_open(path: &str) -> bool {
    path == "/" || FILES.iter().any(|(file, ..)| *file == path)
}

/// The routes of the files.
pub(super) fn routes() -> Router<AdminState> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, body)| {
            router.route(path, get(move || async move { file(kind, body) }))
        })
}

/// `/`: the dashboard for who takes HTML, as browsers say that they do; else a list of the pages.
pub(super) async fn root(headers: HeaderMap) -> Response {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let takes_html =
        accepted.any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")));
    let mut response = match takes_html {
        true => file(HTML, PAGE),
        false => index::pages(),
    };
    let vary = HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, vary);
    response
}

fn file(kind: &'static str, body: &'static str) -> Response {
    let named = HeaderName::from_static;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (named("cross-origin-opener-policy"), "same-origin"),
        (named("cross-origin-resource-policy"), "same-origin"),
    ];
    (StatusCode::OK, headers, Body::from(body)).into_response()
}

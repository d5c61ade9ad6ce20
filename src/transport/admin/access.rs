//! Who may ask, and how. By the Host header, so that a web page cannot have its visitor's browser
//! ask a loopback address under a name of its own; by the Origin header, so that it cannot under
//! the right one either; by the bearer token where one is set; by the method and the parameters
//! that the page knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;

use super::{AdminState, dashboard, plain, services};
use crate::metrics::HttpReject;

/// A bearer token. What is kept is a MAC under it, not the token.
#[derive(Clone)]
pub struct Token(Arc<hmac::Tag>);

/// What the MAC is of; any fixed text does.
const STATEMENT: &[u8] = b"pushgate admin";

impl Token {
    /// The token whose text this is.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(hmac::sign(&key(text), STATEMENT)))
    }

    /// Whether this is the text of the token. The time it takes does not tell how much of it is
    /// right: two MACs are compared, in constant time.
    pub fn is(&self, text: &str) -> bool {
        hmac::verify(&key(text), STATEMENT, (*self.0).as_ref()).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn key(text: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
}

/// Whom the door lets in.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Asked of everybody where it is set.
    pub token: Option<Token>,
    /// Host names taken besides loopback names and the address, lower case, without a port.
    pub hosts: Box<[String]>,
}

/// Every page: its path, a method that it takes, and the parameters that it knows then.
///
/// A path of services ([`services::PATHS`]) checks its parameters, and who asks, itself.
pub(super) const PAGES: &[(&str, Method, &[&str])] = &[
    ("/", Method::GET, &[]),
    ("/ui/style.css", Method::GET, &[]),
    ("/ui/app.js", Method::GET, &[]),
    ("/ui/api.js", Method::GET, &[]),
    ("/ui/chart.js", Method::GET, &[]),
    ("/ui/dom.js", Method::GET, &[]),
    ("/ui/format.js", Method::GET, &[]),
    ("/ui/overview.js", Method::GET, &[]),
    ("/ui/users.js", Method::GET, &[]),
    ("/metrics", Method::GET, &[]),
    ("/healthz", Method::GET, &[]),
    ("/readyz", Method::GET, &[]),
    ("/debug/pprof/", Method::GET, &[]),
    ("/debug/pprof/profile", Method::GET, &["seconds"]),
    ("/debug/pprof/flamegraph", Method::GET, &["seconds"]),
    ("/debug/pprof/heap", Method::GET, &[]),
    ("/debug/pprof/tasks", Method::GET, &["debug"]),
    ("/v1/profiling/heap", Method::POST, &[]),
    ("/v1/storms", Method::GET, &[]),
    ("/v1/log", Method::GET, &[]),
    ("/v1/log", Method::POST, &[]),
    ("/v1/events", Method::GET, &[]),
    ("/v1/overview", Method::GET, &[]),
    ("/v1/sessions", Method::GET, &["user"]),
    ("/v1/behind", Method::GET, &["by", "limit"]),
    ("/v1/jobs", Method::GET, &[]),
    ("/v1/closed", Method::GET, &["user", "reason", "limit"]),
    ("/v1/reload", Method::POST, &[]),
    ("/v1/push", Method::POST, &[]),
    ("/v1/presence", Method::GET, &[]),
    ("/v1/presence", Method::POST, &[]),
    ("/v1/kick", Method::POST, &[]),
    ("/v1/groups", Method::POST, &[]),
    ("/v1/history", Method::GET, &[]),
    ("/v1/history", Method::DELETE, &[]),
    ("/v1/history/{number}", Method::GET, &[]),
    ("/v1/openapi.json", Method::GET, &[]),
];

/// Who asks, as far as the guard has looked. A page other than those of services is shown to
/// operators, and where no token is set to anybody who has come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Somebody with the token.
    Operator,
    /// Somebody, where no token is set.
    Nobody,
    /// A service that names its key: whether it has it is yet to be seen.
    Key,
    /// Somebody without the token, where one is set: only before a path of services, or a file of
    /// the dashboard.
    Stranger,
}

/// Answers who may not ask; passes the others on.
pub(super) async fn guard(
    State(state): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_service = services::PATHS.contains(&services::pattern(request.uri().path()));
    let mut response = match admitted(&state, &request, is_service) {
        Ok(asker) => {
            request.extensions_mut().insert(asker);
            next.run(request).await
        }
        Err(refusal) => {
            if is_service {
                let cause = match refusal.status() {
                    StatusCode::METHOD_NOT_ALLOWED => HttpReject::Method,
                    _ => HttpReject::Foreign,
                };
                state.metrics.http_rejected(cause);
            }
            *refusal
        }
    };
    let headers = response.headers_mut();
    let mut always = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    // Every answer is of this moment, and none is to be taken for another type than it says.
    always(header::CACHE_CONTROL, "no-store");
    always(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn admitted(
    state: &AdminState,
    request: &Request,
    is_service: bool,
) -> Result<Asker, Box<Response>> {
    let gate = state.gate.load();
    let host = host(request).filter(|host| host_is_taken(host, &gate.hosts, state.address));
    let Some(host) = host else {
        let text = "the Host header is not one of this gateway's; admin.hosts names more\n";
        return Err(Box::new(plain(StatusCode::FORBIDDEN, text)));
    };
    if !is_of_this_site(request.headers(), host) {
        let text = "the Origin header names another site\n";
        return Err(Box::new(plain(StatusCode::FORBIDDEN, text)));
    }
    let asker = match &gate.token {
        _ if is_service && request.headers().contains_key(services::KEY) => Asker::Key,
        None => Asker::Nobody,
        Some(token) if bearer(request.headers()).is_some_and(|text| token.is(text)) => {
            Asker::Operator
        }
        Some(_) if is_service || dashboard::is_open(request.uri().path()) => Asker::Stranger,
        Some(_) => {
            let mut response = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
            return Err(Box::new(response));
        }
    };
    match refusal(request, is_service) {
        Some(refusal) => Err(Box::new(refusal)),
        None => Ok(asker),
    }
}

/// Answers what the page does not take.
fn refusal(request: &Request, is_service: bool) -> Option<Response> {
    let path = services::pattern(request.uri().path());
    let at = || PAGES.iter().filter(|page| page.0 == path);
    if at().next().is_none() {
        return Some(plain(StatusCode::NOT_FOUND, "no such page; / lists them\n"));
    }
    let Some((.., parameters)) = at().find(|page| request.method() == page.1) else {
        let methods: Vec<_> = at().map(|page| page.1.as_str()).collect();
        let methods = methods.join(", ");
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("{methods} only\n"));
        if let Ok(methods) = HeaderValue::from_str(&methods) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        return Some(response);
    };
    if is_service {
        return None;
    }
    let query = request.uri().query().unwrap_or_default();
    let unknown = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default())
        .find(|name| !name.is_empty() && !parameters.contains(name));
    // One that is misspelt would be ignored, and something else done than was meant.
    unknown.map(|_| {
        let known = match parameters {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        let text = format!("unknown parameter; known here: {known}\n");
        plain(StatusCode::BAD_REQUEST, text)
    })
}

/// Whether the request comes from no page, or from one of this very site. Browsers say it with
/// every POST, and with every request of a script to another site.
fn is_of_this_site(headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    origins.next().is_none()
        && authority.is_some_and(|(scheme, authority)| {
            matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host)
        })
}

/// The one Host header, or the authority of an absolute request target, which takes its place
/// (RFC 9112, section 3.2.2).
fn host(request: &Request) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(text.trim())
}

/// Loopback names and addresses, the address of the door, and the hosts of the configuration. A
/// door on every address takes any address: what a hostile page can choose is a name.
fn host_is_taken(host: &str, hosts: &[String], door: SocketAddr) -> bool {
    let name = without_port(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = literal.parse::<IpAddr>() {
        let (ip, door) = (ip.to_canonical(), door.ip().to_canonical());
        if ip.is_loopback() || ip == door || door.is_unspecified() {
            return true;
        }
    }
    name == "localhost"
        || hosts
            .iter()
            .any(|taken| *taken == name || *taken == literal)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // The last colon of an IPv6 address stands within its brackets.
            if name.starts_with('[') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(door: &str, host: &str, taken: bool) {
        let hosts = ["push.example".to_owned(), "fd00::1".to_owned()];
        let door = door.parse().expect("is an address");
        assert_eq!(host_is_taken(host, &hosts, door), taken, "{host} at {door}");
    }

    #[test]
    fn loopback_names_the_address_and_the_configured_hosts_are_taken() {
        for host in [
            "localhost",
            "localhost:7401",
            "LOCALHOST.",
            "127.0.0.1",
            "127.0.0.1:7401",
            "127.1.2.3",
            "[::1]",
            "[::1]:7401",
            "10.0.0.5:7401",
            "push.example",
            "Push.Example:443",
            "[fd00::1]:80",
        ] {
            check("10.0.0.5:7401", host, true);
        }
    }

    #[test]
    fn other_names_are_not() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-push.example",
            "10.0.0.6",
            "push.example:80:80",
            "user@localhost",
            "[::2]",
        ] {
            check("10.0.0.5:7401", host, false);
        }
    }

    #[test]
    fn a_door_on_every_address_takes_any_address_and_no_other_name() {
        check("0.0.0.0:7401", "10.9.9.9:7401", true);
        check("[::]:7401", "10.9.9.9", true);
        check("0.0.0.0:7401", "evil.example", false);
    }

    #[test]
    fn a_token_is_the_whole_text_and_is_never_shown() {
        let token = Token::new("0123456789abcdef");
        assert!(token.is("0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcdeF",
        ] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}

//! Who may ask: by the Host header, so that a web page cannot have its visitor's browser ask a
//! loopback address under a name of its own; by the bearer token where one is set; by method.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;

use super::{AdminState, plain};

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

/// Answers who may not ask; passes the others on.
pub(super) async fn guard(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refusal(&state, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
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

fn refusal(state: &AdminState, request: &Request) -> Option<Response> {
    if !host(request).is_some_and(|host| host_is_taken(host, &state.hosts, state.address)) {
        let text = "the Host header is not one of this gateway's; admin.hosts names more\n";
        return Some(plain(StatusCode::FORBIDDEN, text));
    }
    if let Some(token) = &state.token
        && !bearer(request.headers()).is_some_and(|text| token.is(text))
    {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
        let scheme = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        return Some(response);
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Some(response);
    }
    None
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
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

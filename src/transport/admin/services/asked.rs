//! What a request asks for: in which form it says so, what it says, and under which id.

use axum::http::request::Parts;
use axum::http::{Method, header};
use ring::digest::{Context, SHA256};

use super::body::{self, Malformed, Written};
use super::{Refusal, Route, Services, credential};
use crate::metrics::{Credential, HttpReject};
use crate::wire::datagram::{self, Op};

/// How a request says what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its body is JSON and says everything.
    Json,
    /// Its parameters say everything, but for the payload.
    Parameters,
}

impl Form {
    pub(super) fn of(route: Route, parts: &Parts, is_of_a_key: bool) -> Result<Self, Refusal> {
        let refused = |text| Refusal::new(HttpReject::Type, text);
        if parts.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(refused("send the body without a content encoding"));
        }
        if matches!(parts.method, Method::GET | Method::DELETE) {
            return Ok(Self::Parameters);
        }
        let types = parts.headers.get(header::CONTENT_TYPE);
        let essence = types.and_then(|value| value.to_str().ok()?.split(';').next());
        let essence = essence.map(|text| text.trim().to_ascii_lowercase());
        let is_raw = route == Route::Push && parts.uri.query().is_some();
        match essence.as_deref() {
            // A page of another site can have a browser post these without asking first. A header
            // of our own it cannot add without asking.
            Some("application/x-www-form-urlencoded" | "multipart/form-data") => Err(refused(
                "no forms: say -H 'Content-Type: application/json', or the type of the payload",
            )),
            None | Some("text/plain") if !is_of_a_key => Err(refused(
                "without a service's key say -H 'Content-Type: application/json', or with \
                 parameters application/octet-stream",
            )),
            _ if is_raw => Ok(Self::Parameters),
            Some("application/json") => Ok(Self::Json),
            _ => Err(refused(
                "say what you want as application/json; only a push takes parameters and a \
                 payload of any other type",
            )),
        }
    }
}

/// Which request it is among those of its sender, and when it was sent.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) id: [u8; 16],
    pub(super) digest: u64,
    pub(super) time_ms: Option<u64>,
    /// What is wrong with what it says about that.
    pub(super) fault: Option<Malformed>,
}

impl Identity {
    pub(super) fn read(
        services: &Services,
        parts: &Parts,
        body: &[u8],
        credential: Credential,
    ) -> Self {
        let mut fault = None;
        let time_ms = credential::time_ms(&parts.headers).and_then(|time_ms| match time_ms {
            // Without a time whoever has recorded it could send it again for ever.
            None if credential == Credential::Signature => Err("a signature needs X-Pushgate-Time"),
            time_ms => Ok(time_ms),
        });
        let (id, digest) = match (time_ms, credential::idempotency_key(&parts.headers)) {
            (Err(why), _) | (_, Err(why)) => {
                fault = Some(why.to_owned());
                (rand::random(), 0)
            }
            (Ok(_), Ok(Some(key))) => {
                let sent = (parts.method.as_str(), parts.uri.to_string(), body);
                (named(key, credential), services.intake.digest_of(sent))
            }
            // The same bytes again, by whoever has recorded them on the way, are a repeat.
            (Ok(_), Ok(None)) if credential == Credential::Signature => {
                (half(&credential::signed(parts, body)), 0)
            }
            (Ok(_), Ok(None)) => (rand::random(), 0),
        };
        Self {
            id,
            digest,
            time_ms: time_ms.ok().flatten(),
            fault,
        }
    }
}

/// A request that is authentic, and what it says.
pub(super) struct Asked {
    pub(super) op: Op,
    pub(super) written: Result<Written, Malformed>,
    pub(super) id: [u8; 16],
    pub(super) digest: u64,
    pub(super) time_ms: Option<u64>,
}

impl Asked {
    pub(super) fn read(
        services: &Services,
        route: Route,
        form: Form,
        parts: &Parts,
        body: &[u8],
        credential: Credential,
    ) -> Self {
        let mut written = write_down(route, form, parts, body);
        let op = match (&written, route) {
            (Ok(written), _) => written.op,
            (Err(_), Route::Push) => Op::Push,
            (Err(_), Route::Presence) => Op::Presence,
            (Err(_), Route::Kick) => Op::Kick,
            (Err(_), _) => Op::Join,
        };
        let identity = Identity::read(services, parts, body, credential);
        if let Some(fault) = identity.fault {
            written = Err(fault);
        }
        Self {
            op,
            written,
            id: identity.id,
            digest: identity.digest,
            time_ms: identity.time_ms,
        }
    }

    /// Why it is a bad request, if it is one that can be told without the gateway's bounds.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.written {
            Err(why) => Some(why.clone()),
            Ok(written) => {
                let decoded = datagram::Request::decode(written.op, &written.body);
                decoded.err().map(|error| error.to_string())
            }
        }
    }
}

/// The request id behind an idempotency key. An operator's are not those of unsigned requests.
fn named(key: &str, credential: Credential) -> [u8; 16] {
    let whose = match credential {
        Credential::Operator => "operator",
        Credential::Secret | Credential::Signature | Credential::Unsigned => "service",
    };
    half(&[whose.as_bytes(), b"\n", key.as_bytes()])
}

/// The first half of a SHA-256 of `parts`: as many bits as a request id has.
fn half(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let (digest, mut id) = (context.finish(), [0; 16]);
    id.copy_from_slice(&digest.as_ref()[..16]);
    id
}

fn write_down(route: Route, form: Form, parts: &Parts, body: &[u8]) -> Result<Written, Malformed> {
    let query = parts.uri.query();
    match (route, form) {
        (Route::Push, Form::Parameters) => body::raw_push(query.unwrap_or_default(), body),
        (Route::Presence, Form::Parameters) if body.is_empty() => {
            body::presence_query(query.unwrap_or_default())
        }
        (_, Form::Parameters) => Err("a question in parameters has no body".to_owned()),
        (_, Form::Json) if query.is_some() => {
            Err("this route takes no parameters beside JSON".to_owned())
        }
        (Route::Push, Form::Json) => body::push(body),
        (Route::Presence, Form::Json) => body::presence(body),
        (Route::Kick, Form::Json) => body::kick(body),
        (Route::Groups, Form::Json) => body::groups(body),
        (Route::History | Route::Message | Route::Purge, Form::Json) => {
            Err("this route takes parameters alone".to_owned())
        }
    }
}

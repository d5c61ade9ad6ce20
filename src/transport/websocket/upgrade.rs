//! The request that a WebSocket begins with (RFC 6455, section 4): which is answered how. Bytes
//! alone: nothing here knows a socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tungstenite::Error;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::token;

/// Bytes of a request's head: room for the cookies of a page beside a token of 4 KiB.
pub(super) const HEAD_MAX: usize = 16 * 1024;

/// The subprotocol that the gateway speaks; what a client may offer beside it is its token.
pub(super) const SUBPROTOCOL: &str = "pushgate.v1";

/// A request that is granted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// Bytes of the request.
    pub(super) used: usize,
    /// What the client is told.
    pub(super) answer: Vec<u8>,
    /// The token that came with the request; empty without one.
    pub(super) token: Vec<u8>,
}

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status of the answer.
    pub(super) status: u16,
    /// For people.
    pub(super) why: &'static str,
}

const fn refuse(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

/// Judges what has come of a request; `None` while it is not whole. `is_allowed` knows which pages
/// may connect, by their origins.
pub(super) fn judge(
    bytes: &[u8],
    is_allowed: impl Fn(&str) -> bool,
) -> Result<Option<Upgrade>, Refusal> {
    let request = match Request::try_parse(bytes) {
        Ok(Some((used, request))) if used <= HEAD_MAX => Some((used, request)),
        Ok(None) if bytes.len() < HEAD_MAX => return Ok(None),
        Ok(_) | Err(Error::Capacity(CapacityError::TooManyHeaders)) => None,
        Err(error) => return Err(not_a_websocket(&error)),
    };
    let Some((used, request)) = request else {
        return Err(refuse(431, "the head of the request is too long"));
    };
    let mut response = create_response(&request).map_err(|error| not_a_websocket(&error))?;
    let headers = request.headers();
    // What the library leaves to others: section 4.2.1, points 2 and 5, and that nothing follows.
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let is_key = |key: &HeaderValue| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if !key.is_some_and(is_key) {
        return Err(refuse(400, "no Sec-WebSocket-Key of 16 bytes"));
    }
    if !headers.contains_key(header::HOST) {
        return Err(refuse(400, "no Host header"));
    }
    let has_body = |name: HeaderName| headers.get(name).is_some_and(|value| value != "0");
    if has_body(header::CONTENT_LENGTH) || has_body(header::TRANSFER_ENCODING) {
        return Err(refuse(400, "a request with a body"));
    }
    if request.uri().path() != "/" {
        return Err(refuse(404, "nothing is here; the path is /"));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if let Some(origin) = origins.next() {
        let is_allowed = origin.to_str().is_ok_and(is_allowed);
        if !is_allowed || origins.next().is_some() {
            return Err(refuse(403, "pages of this origin may not connect"));
        }
    }
    let token = token::find(&request)?;
    if is_offered(headers)? {
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let mut answer = Vec::new();
    put_head(&mut answer, &response);
    Ok(Some(Upgrade {
        used,
        answer,
        token,
    }))
}

fn put_head<T>(out: &mut Vec<u8>, response: &Response<T>) {
    write_response(out, response).expect("memory takes every head, and this one is text");
}

fn not_a_websocket(error: &Error) -> Refusal {
    let Error::Protocol(error) = error else {
        return refuse(400, "not a request of HTTP/1.1");
    };
    match error {
        ProtocolError::WrongHttpMethod => refuse(405, "the method is GET"),
        ProtocolError::WrongHttpVersion => refuse(505, "the version is HTTP/1.1"),
        ProtocolError::MissingConnectionUpgradeHeader
        | ProtocolError::MissingUpgradeWebSocketHeader => {
            refuse(426, "this is a WebSocket, for pushgate's clients")
        }
        ProtocolError::MissingSecWebSocketVersionHeader => {
            refuse(426, "the version of WebSocket is 13")
        }
        ProtocolError::MissingSecWebSocketKey => refuse(400, "no Sec-WebSocket-Key of 16 bytes"),
        _ => refuse(400, "not a request of HTTP/1.1"),
    }
}

/// The subprotocols that a client offers, in its order.
pub(super) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether ours is among them. A client that offers others alone would take no answer for good.
fn is_offered(headers: &HeaderMap) -> Result<bool, Refusal> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Ok(false);
    }
    match offered(headers).any(|offered| offered == SUBPROTOCOL) {
        true => Ok(true),
        false => Err(refuse(400, "the subprotocol is pushgate.v1")),
    }
}

/// Appends the answer to a request that is not granted, behind which the connection ends.
/// `retry_after_ms` is told where coming back is of use.
pub(super) fn put_refusal(out: &mut Vec<u8>, status: u16, why: &str, retry_after_ms: Option<u32>) {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers_mut();
    match status {
        405 => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
        426 => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, 13_u16.into());
        }
        _ => {}
    }
    if let Some(milliseconds) = retry_after_ms {
        headers.insert(header::RETRY_AFTER, milliseconds.div_ceil(1000).into());
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    headers.insert(header::CONTENT_LENGTH, (why.len() + 1).into());
    put_head(out, &response);
    out.extend_from_slice(why.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests;

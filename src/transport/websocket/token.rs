//! Where a token may stand in the request of a WebSocket: a browser's page can put it into no
//! header of its own, and not every page builds a HELLO by hand.
//!
//! A HELLO's own token comes before any of them, since it is said last and on purpose. Then what is
//! offered as a subprotocol, which the page chose for this very connection; then the cookie, which
//! the browser adds to every one; and last the query, which stands in the logs of whatever is
//! between.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use tungstenite::handshake::server::Request;
use tungstenite::http::header;

use super::upgrade::{Refusal, offered};

/// Before the token, in the base64 of RFC 4648, section 5, which is a subprotocol's alphabet.
const SUBPROTOCOL: &str = "pushgate.token.";
const COOKIE: &str = "pushgate_token";
const QUERY: &str = "token";

/// Unpadded: a subprotocol may hold no "=".
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD);

/// The token; empty without one.
pub(super) fn find(request: &Request) -> Result<Vec<u8>, Refusal> {
    let headers = request.headers();
    let mut encoded = offered(headers).filter_map(|offered| offered.strip_prefix(SUBPROTOCOL));
    if let Some(encoded) = encoded.next() {
        return BASE64.decode(encoded).map_err(|_| Refusal {
            status: 400,
            why: "the subprotocol's token is not base64 as of RFC 4648, section 5, unpadded",
        });
    }
    let lines = headers.get_all(header::COOKIE).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    let of_cookie = cookies.find_map(|cookie| {
        let (name, value) = cookie.split_once('=')?;
        (name.trim() == COOKIE).then(|| value.trim())
    });
    if let Some(token) = of_cookie {
        return Ok(token.as_bytes().to_vec());
    }
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let of_query = pairs.find(|(name, _)| name == QUERY);
    Ok(of_query.map_or_else(Vec::new, |(_, token)| token.into_owned().into_bytes()))
}

//! Who a service is, by the head of its request: the secret of its key, or a signature.
//!
//! ```text
//! X-Pushgate-Key: 7
//! Authorization: Bearer SECRET                  the secret, in hexadecimal digits; or
//! X-Pushgate-Signature: MAC                     HMAC-SHA256 under it, in hexadecimal digits, of
//!
//!     METHOD \n PATH[?QUERY] \n X-Pushgate-Time \n Idempotency-Key \n BODY
//! ```
//!
//! The first two are as they stand in the request line, the next two as they stand in their headers
//! (empty where there is none), and the body is its bytes. No datagram begins so: a signature of
//! one door is none of the other.

use std::net::SocketAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use super::{Refusal, Services};
use crate::hub::command::{Caller, Claim};
use crate::hub::intake::Intake;
use crate::metrics::{Credential, HttpReject};
use crate::transport::admin::access::{Asker, bearer};

/// Whose credential it is, in decimal digits; whoever sends it is a service.
pub(in crate::transport::admin) const KEY: HeaderName = HeaderName::from_static("x-pushgate-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pushgate-signature");
const TIME: HeaderName = HeaderName::from_static("x-pushgate-time");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a proxy adds: who sent it is not whom the connection is from.
const FORWARDED: [HeaderName; 4] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// The longest idempotency key: a UUID is 36 bytes, a SHA-256 in hexadecimal digits 64.
const IDEMPOTENCY_BYTES_MAX: usize = 64;

/// The MAC of a request.
pub(super) type Mac = [u8; 32];

/// A credential, as far as the head of a request shows it.
pub(super) enum Shown {
    /// It is good.
    Proven(Caller, Credential),
    /// It covers the body too, which has yet to come.
    Signed(Claim, Mac),
}

/// Looks at the credential in a request's head.
pub(super) fn shown(services: &Services, parts: &Parts, now_ms: u64) -> Result<Shown, Refusal> {
    let asker = parts.extensions.get::<Asker>();
    match asker.copied().unwrap_or(Asker::Stranger) {
        Asker::Key => of_a_key(&services.intake, &parts.headers, now_ms),
        Asker::Operator => Ok(Shown::Proven(Intake::operator(), Credential::Operator)),
        Asker::Nobody => {
            let peer = parts.extensions.get::<SocketAddr>();
            let is_forwarded = FORWARDED
                .iter()
                .any(|name| parts.headers.contains_key(name));
            peer.filter(|_| !is_forwarded)
                .and_then(|peer| services.intake.unsigned(peer.ip(), now_ms))
                .map(|caller| Shown::Proven(caller, Credential::Unsigned))
                .ok_or(NO_CREDENTIAL)
        }
        Asker::Stranger => Err(NO_CREDENTIAL),
    }
}

const NO_CREDENTIAL: Refusal = Refusal::new(
    HttpReject::Unsigned,
    "show a credential: X-Pushgate-Key with a bearer secret or a signature, or the bearer token \
     of admin.token_file",
);

/// One text for both: which keys there are is not told.
const WRONG: &str = "the key is not known here, or this is not its secret or its signature";

fn of_a_key(intake: &Intake, headers: &HeaderMap, now_ms: u64) -> Result<Shown, Refusal> {
    let key_id = one(headers, &KEY).and_then(|text| {
        // A number has one way to be written.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| is_plain)
    });
    let claim = key_id.and_then(|key_id: u32| intake.claim(key_id, now_ms));
    let claim = claim.ok_or(Refusal::new(HttpReject::Key, WRONG))?;
    let wrong = Refusal::new(HttpReject::Mac, WRONG);
    if headers.contains_key(SIGNATURE) {
        // Two credentials say two things; which one is meant is not guessed.
        let mac = one(headers, &SIGNATURE)
            .filter(|_| !headers.contains_key(header::AUTHORIZATION))
            .and_then(mac_of);
        return mac.map(|mac| Shown::Signed(claim, mac)).ok_or(wrong);
    }
    bearer(headers)
        .and_then(|secret| claim.prove_secret(secret))
        .map(|caller| Shown::Proven(caller, Credential::Secret))
        .ok_or(wrong)
}

/// The only header of this name, if its value is visible ASCII.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn mac_of(digits: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits.len() != 2 * mac.len() || !is_hex {
        return None;
    }
    for (at, byte) in mac.iter_mut().enumerate() {
        let pair = digits.get(2 * at..2 * at + 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(mac)
}

/// What a signature is of, one part behind the other.
pub(super) fn signed<'a>(parts: &'a Parts, body: &'a [u8]) -> [&'a [u8]; 9] {
    let target = parts.uri.path_and_query();
    let value = |name| parts.headers.get(name).map_or(&b""[..], |v| v.as_bytes());
    [
        parts.method.as_str().as_bytes(),
        b"\n",
        target.map_or(&b"/"[..], |target| target.as_str().as_bytes()),
        b"\n",
        value(TIME),
        b"\n",
        value(IDEMPOTENCY_KEY),
        b"\n",
        body,
    ]
}

/// The sender's time, in unix milliseconds, if it tells one.
pub(super) fn time_ms(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    if !headers.contains_key(TIME) {
        return Ok(None);
    }
    let text = one(headers, &TIME).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or("X-Pushgate-Time is not unix time in milliseconds")
}

/// The name that the sender has given to this request and its repeats, if any.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let is_good = |text: &&str| {
        (1..=IDEMPOTENCY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    one(headers, &IDEMPOTENCY_KEY)
        .filter(is_good)
        .map(Some)
        .ok_or("Idempotency-Key is not 1 to 64 visible ASCII characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_64_digits_and_nothing_else() {
        assert_eq!(mac_of(&"0f".repeat(32)), Some([0x0f; 32]));
        assert_eq!(mac_of(&"0F".repeat(32)), Some([0x0f; 32]));
        let short = "0".repeat(63);
        for digits in ["", &*short, &format!("{short}g"), &format!("{short}00")] {
            assert_eq!(mac_of(digits), None, "{digits}");
        }
        // A sign is no digit, and a character of two bytes is not two of them.
        assert_eq!(mac_of(&"+1".repeat(32)), None);
        assert_eq!(mac_of(&"ü".repeat(32)), None);
    }

    #[test]
    fn names_and_times_are_told_apart_from_nonsense() {
        let head = |name: HeaderName, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), value.parse().unwrap());
            }
            headers
        };
        let longest = "k".repeat(64);
        for (values, good) in [
            (&["a"][..], true),
            (&[&*longest], true),
            (&["\"8e03978e-40d5-43dd-bc93-6894a57f9324\""], true),
            (&[""], false),
            (&["a b"], false),
            (&["a", "a"], false),
            (&[&format!("{longest}k")], false),
        ] {
            let headers = head(IDEMPOTENCY_KEY, values);
            assert_eq!(idempotency_key(&headers).is_ok(), good, "{values:?}");
        }
        for (values, told) in [
            (&["0"][..], Ok(Some(0))),
            (&["1790000000000"], Ok(Some(1_790_000_000_000))),
            (&[], Ok(None)),
            (&["+1"], Err(())),
            (&["1.5"], Err(())),
            (&[""], Err(())),
            (&["1", "1"], Err(())),
            (&["18446744073709551616"], Err(())),
        ] {
            let headers = head(TIME, values);
            assert_eq!(time_ms(&headers).map_err(drop), told, "{values:?}");
        }
    }
}

//! What a token whose signature is good says: `sub`, `exp`, `nbf`, `groups`, `join`.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{Identity, TokenError};
use crate::hub::grant::Grant;
use crate::metrics::TokenFault;
use crate::wire::name::{self, NAME_BYTES_MAX};

/// Entries of `groups`, and of `join`: as many as a HELLO can name. What a session holds of them is
/// bounded by this and by the token's own length.
const ENTRIES_MAX: usize = 255;

const fn bad(why: &'static str) -> TokenError {
    TokenError::new(TokenFault::Claims, why)
}

/// Reads the claims at `now_ms`, in unix milliseconds. There is no leeway.
pub(super) fn identity(
    claims: &Map<String, Value>,
    now_ms: u64,
) -> Result<Identity<'static>, TokenError> {
    let expires_ms = match claims.get("exp") {
        Some(Value::Number(seconds)) => millis(seconds),
        Some(_) => return Err(bad("token: exp is no number")),
        None => return Err(bad("token: no exp")),
    };
    if expires_ms <= now_ms {
        let why = "the token has expired";
        return Err(TokenError::new(TokenFault::Expired, why));
    }
    match claims.get("nbf") {
        Some(Value::Number(seconds)) if now_ms < millis(seconds) => {
            let why = "token: nbf is ahead";
            return Err(TokenError::new(TokenFault::NotYet, why));
        }
        Some(Value::Number(_)) | None => {}
        Some(_) => return Err(bad("token: nbf is no number")),
    }
    let user = match claims.get("sub") {
        Some(Value::String(user)) => name::name(user.as_bytes())
            .map_err(|_| bad("token: sub is no name of 1 to 255 bytes"))?,
        Some(_) => return Err(bad("token: sub is no string")),
        None => return Err(bad("token: no sub")),
    };
    let groups = list(claims, "groups").ok_or(bad("token: groups is no list of strings"))?;
    let join = list(claims, "join").ok_or(bad("token: join is no list of strings"))?;
    if groups.len() > ENTRIES_MAX || join.len() > ENTRIES_MAX {
        return Err(bad("token: more than 255 groups or join"));
    }
    if !groups.iter().all(|group| is_group(group)) {
        return Err(bad("token: groups holds what is no group"));
    }
    if !join.iter().all(|pattern| is_pattern(pattern)) {
        return Err(bad("token: join holds what is no group or prefix"));
    }
    // Who left a group that its token gives may join it again.
    let allowed = groups.iter().chain(&join).copied();
    Ok(Identity {
        user: Cow::Owned(user.to_owned()),
        grant: Some(Grant::new(expires_ms, allowed)),
        groups: groups.into_iter().map(str::to_owned).collect(),
    })
}

/// A NumericDate (RFC 7519, 2), which may have a fraction, in milliseconds; before 1970 is 0.
fn millis(seconds: &Number) -> u64 {
    match seconds.as_u64() {
        Some(seconds) => seconds.saturating_mul(1_000),
        // The cast saturates.
        None => (seconds.as_f64().unwrap_or_default() * 1e3).max(0.0) as u64,
    }
}

/// The strings under a claim; none where it is missing, `None` where it is something else.
fn list<'c>(claims: &'c Map<String, Value>, claim: &str) -> Option<Vec<&'c str>> {
    match claims.get(claim) {
        None => Some(Vec::new()),
        Some(Value::Array(entries)) => entries.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}

fn is_group(group: &str) -> bool {
    name::group(group.as_bytes()).is_ok()
}

/// A group, or the beginning of groups (maybe empty) with one `*` at its end.
fn is_pattern(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.len() <= NAME_BYTES_MAX && is_group(prefix),
        None => is_group(pattern),
    }
}

//! Who a client is: what its token says, and whether that is believed.
//!
//! With `auth.mode = "none"` the token *is* the user's name. With `"jwt"` it is a JSON Web Token
//! (RFC 7519) in the compact form of RFC 7515, signed with one of the configured keys. Which
//! algorithm a key goes with is the configuration's to say, never the token's.

mod claims;
mod jwt;
mod key;
mod provider;
mod sign;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::hub::grant::Grant;
use crate::metrics::TokenFault;
use crate::wire::name;
use crate::wire::reason::CloseCode;

pub use jwt::{Jwt, Options};
pub use key::{Algorithm, Key, KeyError, PEM_BYTES_MAX};
pub use sign::{SigningError, SigningKey};

/// How clients say who they are.
#[derive(Debug)]
pub enum Auth {
    /// The token is the user's name, and every group is allowed.
    None,
    /// The token is a JSON Web Token.
    Jwt(Jwt),
}

/// Who a client is, as its token says.
#[derive(Debug)]
pub struct Identity<'t> {
    /// The user, a valid name.
    pub user: Cow<'t, str>,
    /// The groups to be in at once, each valid; a group may stand twice.
    pub groups: Vec<String>,
    /// What else the token allows and when it ends; `None`: everything, for ever.
    pub grant: Option<Grant>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct TokenError {
    /// What is counted.
    pub fault: TokenFault,
    /// Words for the author of a client; no part of the token or of a key. At most 255 bytes.
    pub why: &'static str,
}

impl TokenError {
    const fn new(fault: TokenFault, why: &'static str) -> Self {
        Self { fault, why }
    }

    /// The code of the CLOSE that tells it: a new token helps against expiry alone.
    pub const fn code(self) -> CloseCode {
        match self.fault {
            TokenFault::Expired => CloseCode::Expired,
            _ => CloseCode::Auth,
        }
    }
}

impl Auth {
    /// Who the bearer of `token` is, at `now_ms` (unix milliseconds).
    ///
    /// # Errors
    /// Why the token is not believed.
    pub fn check<'t>(&self, token: &'t [u8], now_ms: u64) -> Result<Identity<'t>, TokenError> {
        match self {
            Self::None => {
                let user = name::name(token).map_err(|_| {
                    TokenError::new(TokenFault::Malformed, "the token names no user")
                })?;
                Ok(Identity {
                    user: Cow::Borrowed(user),
                    groups: Vec::new(),
                    grant: None,
                })
            }
            Self::Jwt(jwt) => jwt.check(token, now_ms),
        }
    }
}

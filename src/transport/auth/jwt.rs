//! JSON Web Tokens: which key, is it signed with that key, and is it meant for this gateway.

use std::collections::HashSet;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::key::Key;
use super::{Identity, TokenError, claims, provider};
use crate::metrics::TokenFault;

/// What tokens are checked against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The keys, at least one, each `kid` once. The one without a `kid` is for the tokens without
    /// one, and for all where it is the only key.
    pub keys: Vec<(Option<String>, Key)>,
    /// A token must name it in its `aud`, where it is set.
    pub audience: Option<String>,
    /// A token must have it as its `iss`, where it is set.
    pub issuer: Option<String>,
}

/// The configured keys, ready to check with.
#[derive(Debug)]
pub struct Jwt {
    keys: Vec<Verifying>,
}

#[derive(Debug)]
struct Verifying {
    kid: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

impl Jwt {
    /// Makes the keys ready.
    pub fn new(options: &Options) -> Self {
        provider::install();
        let keys = options.keys.iter().map(|(kid, key)| Verifying {
            kid: kid.clone(),
            key: key.decoding(),
            validation: validation(options, key),
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// Who the bearer of `token` is, at `now_ms` (unix milliseconds). Nothing of the claims is read
    /// before the signature is found good.
    pub(super) fn check<'t>(
        &self,
        token: &'t [u8],
        now_ms: u64,
    ) -> Result<Identity<'t>, TokenError> {
        let header = decode_header(token).map_err(|error| of_header(&error))?;
        // RFC 7515, 4.1.11: an extension that is not understood makes the token invalid.
        if header.crit.is_some() {
            let why = "token: the header asks for extensions (crit)";
            return Err(TokenError::new(TokenFault::Malformed, why));
        }
        let verifying = self.key_for(header.kid.as_deref())?;
        let claims = decode::<Map<String, Value>>(token, &verifying.key, &verifying.validation);
        let claims = claims.map_err(|error| of_token(&error))?.claims;
        claims::identity(&claims, now_ms)
    }

    fn key_for(&self, kid: Option<&str>) -> Result<&Verifying, TokenError> {
        let why = match (kid, &self.keys[..]) {
            // Some issuers always write a kid; without kids in the configuration it says nothing.
            (_, [only]) if only.kid.is_none() => return Ok(only),
            (Some(_), _) => "token: no key has this kid",
            (None, _) => "token: no kid in the header",
        };
        let found = self.keys.iter().find(|key| key.kid.as_deref() == kid);
        found.ok_or(TokenError::new(TokenFault::Kid, why))
    }
}

fn validation(options: &Options, key: &Key) -> Validation {
    let mut validation = Validation::new(key.algorithm().into());
    // Its clock would be the machine's; times are checked with ours, to the millisecond.
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    validation.leeway = 0;
    validation.validate_aud = options.audience.is_some();
    let one = |text: &String| HashSet::from([text.clone()]);
    validation.aud = options.audience.as_ref().map(one);
    validation.iss = options.issuer.as_ref().map(one);
    let required = [
        ("aud", options.audience.is_some()),
        ("iss", options.issuer.is_some()),
    ];
    let required = required.into_iter().filter(|(_, is_set)| *is_set);
    validation.required_spec_claims = required.map(|(claim, _)| claim.to_owned()).collect();
    validation
}

fn of_header(error: &Error) -> TokenError {
    match error.kind() {
        // JSON, but not of a header that jsonwebtoken knows: in practice the alg, "none" included.
        ErrorKind::Json(error) if error.is_data() => {
            let why = "token: the header has no known alg";
            TokenError::new(TokenFault::Algorithm, why)
        }
        _ => TokenError::new(TokenFault::Malformed, "token: not a JSON Web Token"),
    }
}

fn of_token(error: &Error) -> TokenError {
    let (fault, why) = match error.kind() {
        ErrorKind::InvalidAlgorithm => (
            TokenFault::Algorithm,
            "token: the alg is not the one of this key",
        ),
        ErrorKind::InvalidSignature => (TokenFault::Signature, "token: the signature is not good"),
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => {
            (TokenFault::Audience, "token: no aud")
        }
        ErrorKind::InvalidAudience => (TokenFault::Audience, "token: the aud is another one"),
        ErrorKind::MissingRequiredClaim(_) => (TokenFault::Issuer, "token: no iss"),
        ErrorKind::InvalidIssuer => (TokenFault::Issuer, "token: the iss is another one"),
        ErrorKind::Json(_) => (TokenFault::Claims, "token: the claims are no JSON object"),
        _ => (TokenFault::Malformed, "token: not a JSON Web Token"),
    };
    TokenError::new(fault, why)
}

//! Every way in which a token can be wrong.

mod keys;

use serde_json::{Map, Value, json};

use super::*;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NOW_S: u64 = 1_790_000_000;
const NOW_MS: u64 = NOW_S * 1_000;

fn secret() -> Key {
    Key::from_hex(SECRET).unwrap()
}

fn jwt(keys: &[(Option<&str>, Key)]) -> Auth {
    let keys = keys.iter();
    let keys = keys.map(|(kid, key)| (kid.map(str::to_owned), key.clone()));
    Auth::Jwt(Jwt::new(&Options {
        keys: keys.collect(),
        ..Options::default()
    }))
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else {
        panic!("{value} is no object");
    };
    object
}

/// The least that a token needs.
fn claims() -> Map<String, Value> {
    object(json!({ "sub": "ada", "exp": NOW_S + 60 }))
}

fn signed(claims: Map<String, Value>) -> String {
    signed_as(None, claims)
}

fn signed_as(kid: Option<&str>, claims: Map<String, Value>) -> String {
    let key = SigningKey::of_secret(&secret()).unwrap();
    key.sign(kid, &claims).unwrap()
}

/// A token of this header (as it is) and these claims, with a signature over both that is good.
fn crafted(header: &str, claims: &str) -> String {
    let part = |text: &str| base64_url(text.as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let key: Vec<u8> = (0..32).collect();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signature = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64_url(signature.as_ref()))
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0;
        for at in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(at).copied().unwrap_or_default());
        }
        for at in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * at) & 0x3f;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[track_caller]
fn refused(auth: &Auth, token: &str, fault: TokenFault, word: &str) {
    let error = auth.check(token.as_bytes(), NOW_MS).expect_err(token);
    assert_eq!(error.fault, fault, "{error:?}");
    assert!(error.why.contains(word), "no {word:?} in {error:?}");
    let code = match fault {
        TokenFault::Expired => CloseCode::Expired,
        _ => CloseCode::Auth,
    };
    assert_eq!(error.code(), code);
}

#[test]
fn without_tokens_the_token_is_the_name() {
    let identity = Auth::None.check(b"ada", NOW_MS).unwrap();
    assert_eq!(identity.user, "ada");
    assert!(identity.grant.is_none() && identity.groups.is_empty());
    for token in ["", "a\nb", &"n".repeat(256)] {
        refused(&Auth::None, token, TokenFault::Malformed, "names no user");
    }
}

#[test]
fn a_token_says_who_its_bearer_is_and_what_it_may() {
    let mut claims = claims();
    claims.insert("groups".into(), json!(["news", "staff"]));
    claims.insert("join".into(), json!(["room/*", "lobby"]));
    claims.insert("what else".into(), json!({ "is": "ignored" }));
    let token = signed(claims);
    let identity = jwt(&[(None, secret())]).check(token.as_bytes(), NOW_MS);
    let identity = identity.unwrap();
    assert_eq!(identity.user, "ada");
    assert_eq!(identity.groups, ["news", "staff"]);
    let grant = identity.grant.unwrap();
    for (group, allowed) in [
        ("news", true),
        ("staff", true),
        ("room/7", true),
        ("lobby", true),
        ("lobby/2", false),
        ("other", false),
    ] {
        assert_eq!(grant.allows(group), allowed, "{group}");
    }
    assert!(!grant.is_over(NOW_MS + 59_999) && grant.is_over(NOW_MS + 60_000));
}

#[test]
fn without_the_claim_it_may_join_nothing() {
    let token = signed(claims());
    let identity = jwt(&[(None, secret())]).check(token.as_bytes(), NOW_MS);
    let identity = identity.unwrap();
    assert!(identity.groups.is_empty());
    assert!(!identity.grant.unwrap().allows("news"));
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let auth = jwt(&[(None, secret())]);
    let good = format!(r#"{{"sub":"ada","exp":{}}}"#, NOW_S + 60);
    assert!(
        auth.check(crafted(r#"{"alg":"HS256"}"#, &good).as_bytes(), NOW_MS)
            .is_ok()
    );
    for (header, word) in [
        (r#"{"alg":"none"}"#, "no known alg"),
        (r#"{"alg":"None"}"#, "no known alg"),
        (r#"{"alg":""}"#, "no known alg"),
        (r#"{"typ":"JWT"}"#, "no known alg"),
        (r#"{"alg":"HS384"}"#, "not the one of this key"),
        (r#"{"alg":"RS256"}"#, "not the one of this key"),
    ] {
        let token = crafted(header, &good);
        refused(&auth, &token, TokenFault::Algorithm, word);
        // And without a signature.
        let bare = token.rfind('.').unwrap() + 1;
        refused(&auth, &token[..bare], TokenFault::Algorithm, word);
    }
    let crit = crafted(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good);
    refused(&auth, &crit, TokenFault::Malformed, "crit");
}

#[test]
fn each_claim_must_be_what_it_has_to_be() {
    let auth = jwt(&[(None, secret())]);
    let long = "n".repeat(256);
    let many: Vec<String> = (0..256).map(|n| n.to_string()).collect();
    let soon = NOW_S + 60;
    for (claim, value, word) in [
        ("sub", Value::Null, "sub is no string"),
        ("sub", json!(7), "sub is no string"),
        ("sub", json!(""), "sub is no name"),
        ("sub", json!("a\nb"), "sub is no name"),
        ("sub", json!(long), "sub is no name"),
        ("exp", json!(soon.to_string()), "exp is no number"),
        ("exp", Value::Null, "exp is no number"),
        ("nbf", json!("1"), "nbf is no number"),
        ("groups", json!("news"), "groups is no list"),
        ("groups", json!([1]), "groups is no list"),
        ("groups", Value::Null, "groups is no list"),
        ("groups", json!(["news", ""]), "what is no group"),
        ("groups", json!(["room/*"]), "what is no group"),
        ("groups", json!([long]), "what is no group"),
        ("groups", json!(many), "more than 255"),
        ("join", json!({ "news": true }), "join is no list"),
        ("join", json!([null]), "join is no list"),
        ("join", json!([""]), "no group or prefix"),
        ("join", json!(["a*b"]), "no group or prefix"),
        ("join", json!(["**"]), "no group or prefix"),
        ("join", json!(["a\n*"]), "no group or prefix"),
        ("join", json!([format!("{long}*")]), "no group or prefix"),
        ("join", json!(many), "more than 255"),
    ] {
        let mut claims = claims();
        claims.insert(claim.into(), value);
        refused(&auth, &signed(claims), TokenFault::Claims, word);
    }
    for claim in ["sub", "exp"] {
        let mut claims = claims();
        claims.remove(claim);
        refused(&auth, &signed(claims), TokenFault::Claims, claim);
    }
    for claims in ["[]", "7", "\"ada\"", "{", ""] {
        let token = crafted(r#"{"alg":"HS256"}"#, claims);
        refused(&auth, &token, TokenFault::Claims, "no JSON object");
    }
}

#[test]
fn times_are_exact() {
    let auth = jwt(&[(None, secret())]);
    let at = |claim: &str, value: Value| {
        let mut claims = claims();
        claims.insert(claim.into(), value);
        let token = signed(claims);
        auth.check(token.as_bytes(), NOW_MS)
            .map(|_| ())
            .map_err(|error| error.fault)
    };
    let now = NOW_S as f64;
    assert_eq!(at("exp", json!(NOW_S)), Err(TokenFault::Expired));
    assert_eq!(at("exp", json!(now + 0.001)), Ok(()));
    assert_eq!(at("exp", json!(NOW_S + 1)), Ok(()));
    assert_eq!(at("exp", json!(0)), Err(TokenFault::Expired));
    assert_eq!(at("exp", json!(-5)), Err(TokenFault::Expired));
    assert_eq!(at("exp", json!(-1e300)), Err(TokenFault::Expired));
    assert_eq!(at("exp", json!(1e300)), Ok(()));
    assert_eq!(at("exp", json!(u64::MAX)), Ok(()));
    assert_eq!(at("nbf", json!(NOW_S)), Ok(()));
    assert_eq!(at("nbf", json!(now + 0.001)), Err(TokenFault::NotYet));
    assert_eq!(at("nbf", json!(NOW_S + 1)), Err(TokenFault::NotYet));
    assert_eq!(at("nbf", json!(-1)), Ok(()));
}

#[test]
fn audience_and_issuer_are_checked_where_they_are_set() {
    let check = |audience: Option<&str>, issuer: Option<&str>, claim: &str, value: Value| {
        let auth = Auth::Jwt(Jwt::new(&Options {
            keys: vec![(None, secret())],
            audience: audience.map(str::to_owned),
            issuer: issuer.map(str::to_owned),
        }));
        let mut claims = claims();
        if !value.is_null() {
            claims.insert(claim.into(), value);
        }
        let token = signed(claims);
        auth.check(token.as_bytes(), NOW_MS)
            .map(|_| ())
            .map_err(|error| error.fault)
    };
    let aud = |value| check(Some("pushgate"), None, "aud", value);
    assert_eq!(aud(json!("pushgate")), Ok(()));
    assert_eq!(aud(json!(["a", "pushgate"])), Ok(()));
    for value in [
        json!("push"),
        json!(["a"]),
        json!([]),
        json!(7),
        Value::Null,
    ] {
        assert_eq!(aud(value.clone()), Err(TokenFault::Audience), "{value}");
    }
    let iss = |value| check(None, Some("issuer"), "iss", value);
    assert_eq!(iss(json!("issuer")), Ok(()));
    for value in [json!("Issuer"), json!(7), Value::Null] {
        assert_eq!(iss(value.clone()), Err(TokenFault::Issuer), "{value}");
    }
    assert_eq!(check(None, None, "aud", json!("anyone")), Ok(()));
    assert_eq!(check(None, None, "iss", json!("anyone")), Ok(()));
}

#[test]
fn what_is_no_token_is_told_apart_from_a_bad_one() {
    let auth = jwt(&[(None, secret())]);
    let good = signed(claims());
    let padded = format!("{good}=");
    let four = format!("{good}.{good}");
    let spaced = format!(" {good}");
    for token in [
        "", "ada", ".", "..", "a.b", "a.b.c", "=.=.=", &four, &padded, &spaced,
    ] {
        let fault = auth.check(token.as_bytes(), NOW_MS).unwrap_err().fault;
        assert_eq!(fault, TokenFault::Malformed, "{token}");
    }
    assert!(auth.check(&[0xff; 300], NOW_MS).is_err());
    let null = crafted(r#"{"alg":null}"#, "{}");
    refused(&auth, &null, TokenFault::Malformed, "not a JSON Web Token");
    // Deep and long, and yet no more than its bytes.
    let deep = format!(
        "{}.e30.",
        base64_url(format!("{{\"a\":{}", "[".repeat(12_000)).as_bytes())
    );
    refused(&auth, &deep, TokenFault::Malformed, "not a JSON Web Token");
    let (head, _) = good.rsplit_once('.').unwrap();
    refused(
        &auth,
        &format!("{head}."),
        TokenFault::Signature,
        "signature",
    );
}

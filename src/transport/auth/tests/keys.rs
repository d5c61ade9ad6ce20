//! Which keys are taken, and what each of them verifies: tokens of other makers, and our own.

use super::*;

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/tokens/",
            $name
        ))
    };
}

#[test]
fn tokens_of_other_makers_are_taken() {
    let keys = [
        (
            Some("hs256"),
            Key::from_hex(data!("hs256.hex").trim()).unwrap(),
        ),
        (
            Some("rs256"),
            Key::from_public_pem(Algorithm::Rs256, data!("rs256.pub.pem")).unwrap(),
        ),
        (
            Some("es256"),
            Key::from_public_pem(Algorithm::Es256, data!("es256.pub.pem")).unwrap(),
        ),
        (
            Some("eddsa"),
            Key::from_public_pem(Algorithm::EdDsa, data!("eddsa.pub.pem")).unwrap(),
        ),
    ];
    let all = jwt(&keys);
    for token in [
        data!("hs256.jwt"),
        data!("rs256.jwt"),
        data!("es256.jwt"),
        data!("eddsa.jwt"),
    ] {
        let token = token.trim();
        let identity = all.check(token.as_bytes(), NOW_MS).expect(token);
        assert_eq!(
            (&*identity.user, &identity.groups[..]),
            ("ada", &["news".into()][..])
        );
        // One bit of the signature: its first digit, since the last may hold bits of nothing.
        let at = token.rfind('.').unwrap() + 1;
        let other = if token[at..].starts_with('A') {
            "B"
        } else {
            "A"
        };
        let forged = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        refused(&all, &forged, TokenFault::Signature, "signature");
    }
}

#[test]
fn what_is_made_here_is_taken_here_with_every_algorithm() {
    for (algorithm, private, public) in [
        (
            Algorithm::Rs256,
            data!("rs256.key.pem"),
            data!("rs256.pub.pem"),
        ),
        (
            Algorithm::Es256,
            data!("es256.key.pem"),
            data!("es256.pub.pem"),
        ),
        (
            Algorithm::EdDsa,
            data!("eddsa.key.pem"),
            data!("eddsa.pub.pem"),
        ),
    ] {
        let signing = SigningKey::from_private_pem(algorithm, private).unwrap();
        let token = signing.sign(None, &claims()).unwrap();
        let key = Key::from_public_pem(algorithm, public).unwrap();
        assert!(SigningKey::of_secret(&key).is_none());
        let auth = jwt(&[(None, key)]);
        assert!(
            auth.check(token.as_bytes(), NOW_MS).is_ok(),
            "{algorithm:?}"
        );
        // A token of the same key type, but another key's.
        refused(
            &jwt(&[(None, secret())]),
            &token,
            TokenFault::Algorithm,
            "alg",
        );
        let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm);
        assert!(SigningKey::from_private_pem(other.unwrap(), private).is_err());
    }
}

/// The trick that many libraries fell for: the public key, known to all, as the secret of HS256.
#[test]
fn a_public_key_is_no_secret() {
    let pem = data!("rs256.pub.pem");
    let public = Key::from_public_pem(Algorithm::Rs256, pem).unwrap();
    for secret in [pem.as_bytes(), public.bytes()] {
        let header = base64_url(br#"{"alg":"HS256"}"#);
        let claims = base64_url(format!(r#"{{"sub":"ada","exp":{}}}"#, NOW_S + 60).as_bytes());
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let message = format!("{header}.{claims}");
        let signature = base64_url(ring::hmac::sign(&key, message.as_bytes()).as_ref());
        let token = format!("{message}.{signature}");
        refused(
            &jwt(&[(None, public.clone())]),
            &token,
            TokenFault::Algorithm,
            "alg",
        );
    }
}

#[test]
fn the_kid_chooses_among_several_keys() {
    let other = Key::from_hex(&"ab".repeat(32)).unwrap();
    let two = jwt(&[(Some("old"), secret()), (Some("new"), other.clone())]);
    let check = |auth: &Auth, kid| {
        let token = signed_as(kid, claims());
        auth.check(token.as_bytes(), NOW_MS)
            .map(|_| ())
            .map_err(|error| error.fault)
    };
    assert_eq!(check(&two, Some("old")), Ok(()));
    assert_eq!(check(&two, Some("new")), Err(TokenFault::Signature));
    assert_eq!(check(&two, Some("older")), Err(TokenFault::Kid));
    assert_eq!(check(&two, None), Err(TokenFault::Kid));
    // The key without a kid is for tokens without one, once others have kids.
    let beside = jwt(&[(None, secret()), (Some("new"), other)]);
    assert_eq!(check(&beside, None), Ok(()));
    assert_eq!(check(&beside, Some("old")), Err(TokenFault::Kid));
    // Alone it is for all.
    assert_eq!(check(&jwt(&[(None, secret())]), Some("any")), Ok(()));
    assert_eq!(
        check(&jwt(&[(Some("old"), secret())]), None),
        Err(TokenFault::Kid)
    );
}

#[test]
fn only_keys_of_the_right_kind_are_taken() {
    let public = Key::from_public_pem;
    let kind = |algorithm| Err(KeyError::Kind(algorithm));
    let eddsa = data!("eddsa.pub.pem");
    assert_eq!(public(Algorithm::Rs256, eddsa), kind(Algorithm::Rs256));
    assert_eq!(public(Algorithm::Hs256, eddsa), kind(Algorithm::Hs256));
    assert_eq!(
        public(Algorithm::Es256, data!("p384.pub.pem")),
        kind(Algorithm::Es256)
    );
    assert_eq!(
        public(Algorithm::EdDsa, data!("es256.pub.pem")),
        kind(Algorithm::EdDsa)
    );
    let small = public(Algorithm::Rs256, data!("rsa1024.pub.pem"));
    assert_eq!(small, Err(KeyError::Small));
    for text in [
        "",
        "-----BEGIN PUBLIC KEY-----",
        data!("es256.key.pem"),
        SECRET,
    ] {
        let error = public(Algorithm::Es256, text).unwrap_err();
        assert_eq!(error, KeyError::Pem("PUBLIC KEY"), "{text}");
    }
    assert!(matches!(Key::from_hex("abcd"), Err(KeyError::Secret(_))));
    assert!(matches!(
        Key::from_hex(&"é".repeat(32)),
        Err(KeyError::Secret(_))
    ));
    let shown = format!("{:?}", (secret(), jwt(&[(None, secret())])));
    assert!(
        !shown.contains("1, 2, 3") && !shown.contains("0102"),
        "{shown}"
    );
}

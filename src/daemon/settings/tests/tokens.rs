//! `[auth]` in mode "jwt": keys, and all that can be wrong with them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::transport::auth::Algorithm;

const JWT: &str = "[auth]\nmode = \"jwt\"\n";

/// A directory with a configuration, and keys beside it.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("secret", SECRET),
        ("short", "abcd"),
        (
            "ed.pem",
            include_str!("../../../../tests/data/tokens/eddsa.pub.pem"),
        ),
        (
            "ec.pem",
            include_str!("../../../../tests/data/tokens/es256.pub.pem"),
        ),
        (
            "private.pem",
            include_str!("../../../../tests/data/tokens/eddsa.key.pem"),
        ),
        (
            "small.pem",
            include_str!("../../../../tests/data/tokens/rsa1024.pub.pem"),
        ),
        ("long", &"a".repeat(20_000)),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

fn parse_at(directory: &tempfile::TempDir, text: &str) -> Result<Settings, Problems> {
    Settings::parse(text, &directory.path().join("pushgate.toml"))
}

#[test]
fn several_keys_are_read_each_with_its_algorithm() {
    let directory = directory();
    let text = format!(
        "{JWT}algorithm = \"EdDSA\"\npublic_key_file = \"ed.pem\"\naudience = \"a\"\n\
         issuer = \"i\"\n[[auth.keys]]\nkid = \"1\"\nalgorithm = \"HS256\"\n\
         secret_file = \"secret\"\n[[auth.keys]]\nkid = \"2\"\npublic_key_file = \"ed.pem\"\n\
         [[auth.keys]]\nkid = \"3\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n"
    );
    let settings = parse_at(&directory, &text).unwrap();
    let AuthMode::Jwt(options) = &settings.auth.mode else {
        panic!("{:?}", settings.auth);
    };
    let keys = options.keys.iter();
    let keys = keys.map(|(kid, key)| (kid.as_deref(), key.algorithm()));
    let (ed, hs) = (Algorithm::EdDsa, Algorithm::Hs256);
    let expected = [
        (None, ed),
        (Some("1"), hs),
        (Some("2"), ed),
        (Some("3"), hs),
    ];
    assert_eq!(keys.collect::<Vec<_>>(), expected);
    assert_eq!(options.audience.as_deref(), Some("a"));
    assert_eq!(options.issuer.as_deref(), Some("i"));
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains(SECRET) && !shown.contains("1, 2, 3"),
        "{shown}"
    );
}

#[test]
fn with_tokens_a_door_may_be_open_to_others() {
    let open = "[[listeners]]\naddress = \"0.0.0.0:7400\"\n";
    let keys = format!("algorithm = \"HS256\"\nsecret = \"{SECRET}\"\n");
    good(&format!("{open}{JWT}{keys}"));
    // And as before without.
    check(
        &format!("{open}[auth]\nmode = \"none\""),
        "2:11",
        &["insecure = true"],
    );
}

#[test]
fn a_mode_without_keys_and_keys_without_the_mode_are_refused() {
    check(JWT, "2:8", &["auth.mode: no key", "secret_file"]);
    check(&format!("{JWT}algorithm = \"HS256\""), "2:8", &["no key"]);
    check(
        "[auth]\nmode = \"jtw\"",
        "2:8",
        &["\"jtw\"", "did you mean \"jwt\"?"],
    );
    for line in [
        "algorithm = \"HS256\"",
        "secret_file = \"x\"",
        "audience = \"a\"",
    ] {
        let forgotten = &["auth.mode is \"none\"", "mode = \"jwt\""];
        check(&format!("[auth]\n{line}"), place_of(line), forgotten);
    }
}

fn place_of(line: &str) -> &'static str {
    match line.find('=') {
        Some(9) => "2:12",
        Some(10) => "2:13",
        _ => "2:15",
    }
}

#[test]
fn a_key_that_is_none_is_refused_where_it_stands() {
    let directory = directory();
    for (text, words) in [
        (
            "secret = \"abcd\"",
            &["auth.algorithm: a key without an algorithm"][..],
        ),
        (
            "algorithm = \"none\"\nsecret = \"abcd\"",
            &["unknown value \"none\"", "HS256"],
        ),
        (
            "algorithm = \"HS384\"\nsecret = \"abcd\"",
            &["unknown value \"HS384\""],
        ),
        (
            "algorithm = \"HS256\"\nsecret = \"abcd\"",
            &["auth.secret: secret of 2 bytes", "openssl rand"],
        ),
        (
            "algorithm = \"HS256\"\nsecret_file = \"short\"",
            &["auth.secret_file: secret of 2"],
        ),
        (
            "algorithm = \"HS256\"\nsecret_file = \"gone\"",
            &["cannot be read"],
        ),
        (
            "algorithm = \"HS256\"\npublic_key_file = \"ed.pem\"",
            &["HS256 has no public key"],
        ),
        (
            "algorithm = \"EdDSA\"\nsecret_file = \"secret\"",
            &["EdDSA has no secret"],
        ),
        (
            "algorithm = \"EdDSA\"\npublic_key_file = \"ec.pem\"",
            &["another kind than EdDSA"],
        ),
        (
            "algorithm = \"ES256\"\npublic_key_file = \"ed.pem\"",
            &["another kind than ES256"],
        ),
        (
            "algorithm = \"RS256\"\npublic_key_file = \"small.pem\"",
            &["less than 2048 bits"],
        ),
        (
            "algorithm = \"EdDSA\"\npublic_key_file = \"private.pem\"",
            &["not a PEM file of a PUBLIC KEY", "-pubout"],
        ),
        (
            "algorithm = \"EdDSA\"\npublic_key_file = \"long\"",
            &["more than 16384 bytes"],
        ),
        (
            "algorithm = \"EdDSA\"\npublic_key_file = \"gone\"",
            &["cannot be read"],
        ),
    ] {
        let problems = parse_at(&directory, &format!("{JWT}{text}")).expect_err(text);
        let shown = problems.to_string();
        assert_eq!(problems.list.len(), 1, "{shown}");
        for word in words {
            assert!(shown.contains(word), "no {word:?} in {shown}");
        }
        assert!(!shown.contains("abcd"), "{shown}");
    }
}

#[test]
fn each_further_key_has_a_kid_of_its_own() {
    let key = format!("algorithm = \"HS256\"\nsecret = \"{SECRET}\"\n");
    let with = |kids: &[&str]| {
        let keys = kids
            .iter()
            .map(|kid| format!("[[auth.keys]]\n{kid}\n{key}"));
        format!("{JWT}{}", keys.collect::<String>())
    };
    good(&with(&["kid = \"a\"", "kid = \"b\""]));
    check(
        &with(&["kid = \"a\"", "kid = \"a\""]),
        "8:7",
        &["auth.keys[1].kid", "a second key"],
    );
    check(
        &with(&[""]),
        "3:1",
        &["auth.keys[0].kid: a key without a kid"],
    );
    check(&with(&["kid = \"\""]), "4:7", &["cannot be a kid"]);
    check(
        &with(&["kid = \"a\"\nkidd = 1"]),
        "5:1",
        &["did you mean \"kid\"?"],
    );
    let bare = format!("{JWT}[[auth.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\n");
    check(
        &bare,
        "3:1",
        &["auth.keys[0].secret_file", "nothing to check with"],
    );
    check(
        &format!("{JWT}{key}issuer = \"\""),
        "5:10",
        &["auth.issuer: empty"],
    );
}

//! TLS and load balancers of a listener.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;

/// A directory with `chain.pem` and `key.pem` that fit, `other.pem` (a key that does not), and
/// `nothing.pem`.
fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("chain.pem", cert.pem()),
        ("key.pem", signing_key.serialize_pem()),
        ("other.pem", other.signing_key.serialize_pem()),
        ("nothing.pem", "nothing\n".to_owned()),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// The one problem of a listener with this `tls`, as a person sees it.
#[track_caller]
fn tls(value: &str) -> String {
    let files = files();
    let text = format!("[[listeners]]\ntls = {value}");
    let problems = Settings::parse(&text, &files.path().join("pushgate.toml"));
    let problems = problems.expect_err("is refused").list;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].line, 2);
    format!("{}: {}", problems[0].key, problems[0])
}

#[test]
fn a_chain_and_its_key_are_read_from_the_directory_of_the_file() {
    let files = files();
    let text = "[[listeners]]\ntls = { cert = \"chain.pem\", key = \"key.pem\" }";
    let settings = Settings::parse(text, &files.path().join("pushgate.toml")).unwrap();
    let listener = &settings.listeners[0];
    assert!(listener.tls.is_some() && listener.trusted.is_none());
    let shown = format!("{:?}", listener.tls);
    assert!(
        shown.contains("chain.pem") && !shown.contains("PRIVATE"),
        "{shown}"
    );
    let again = Settings::parse(text, &files.path().join("pushgate.toml")).unwrap();
    assert_eq!(listener.tls, again.listeners[0].tls, "the same files");
}

#[test]
fn files_that_do_not_fit_are_named_with_the_way_out() {
    for (value, words) in [
        (
            "{ cert = \"chain.pem\", key = \"other.pem\" }",
            ["tls.key", "other.pem is not the key", "made for"],
        ),
        (
            "{ cert = \"chain.pem\", key = \"gone.pem\" }",
            ["tls.key", "gone.pem cannot be read", "relative paths"],
        ),
        (
            "{ cert = \"gone.pem\", key = \"key.pem\" }",
            ["tls.cert", "gone.pem cannot be read", "relative paths"],
        ),
        (
            "{ cert = \"nothing.pem\", key = \"key.pem\" }",
            ["tls.cert", "holds no certificate", "BEGIN CERTIFICATE"],
        ),
        (
            "{ cert = \"chain.pem\", key = \"nothing.pem\" }",
            ["tls.key", "holds no private key", "without a passphrase"],
        ),
        (
            "{ cert = \"chain.pem\" }",
            ["tls.key", "not there", "key = \"key.pem\""],
        ),
        (
            "{ key = \"key.pem\" }",
            ["tls.cert", "not there", "cert = \"chain.pem\""],
        ),
        (
            "{ cert = \"chain.pem\", key = \"key.pem\", kay = 1 }",
            ["tls.kay", "unknown key", "did you mean \"key\""],
        ),
        ("true", ["listeners[0].tls", "does not fit", "a table"]),
    ] {
        let said = tls(value);
        for word in words {
            assert!(said.contains(word), "{value}: no {word:?} in {said}");
        }
    }
}

#[test]
fn a_load_balancer_is_a_network_or_an_address() {
    let settings =
        good("[[listeners]]\nproxy_protocol = true\ntrusted = [\"10.0.0.0/8\", \"fd00::1\"]\n");
    let trusted = settings.listeners[0].trusted.as_ref().unwrap();
    let trusted: Vec<_> = trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "fd00::1/128"]);
    assert!(
        good("[[listeners]]\nproxy_protocol = false").listeners[0]
            .trusted
            .is_none()
    );
}

#[test]
fn a_header_is_taken_from_somebody_and_only_where_there_is_one() {
    let nobody = ["from nobody", "trusted = ["];
    check("[[listeners]]\nproxy_protocol = true", "2:18", &nobody);
    let empty = "[[listeners]]\nproxy_protocol = true\ntrusted = []";
    check(empty, "3:11", &nobody);
    let no_list = "[[listeners]]\nproxy_protocol = true\ntrusted = \"10.0.0.0/8\"";
    check(no_list, "3:11", &["a list of strings"]);
    let no_network = "[[listeners]]\nproxy_protocol = true\ntrusted = [\"10.0.0.0/33\"]";
    check(no_network, "3:12", &["trusted[0]", "is not a network"]);
    let no_header = "[[listeners]]\ntrusted = [\"10.0.0.0/8\"]";
    check(no_header, "2:11", &["proxy_protocol = true"]);
}

#[test]
fn a_page_is_named_as_browsers_name_it() {
    let of =
        |origin: &str| format!("[[listeners]]\nprotocol = \"websocket\"\norigins = [{origin:?}]");
    for origin in [
        "https://app.example",
        "http://localhost:8080",
        "https://[2001:db8::1]:8443",
        "chrome-extension://abcdefgh",
    ] {
        let listener = &good(&of(origin)).listeners[0];
        assert_eq!(listener.protocol, Protocol::WebSocket);
        assert_eq!(listener.origins, [origin]);
    }
    let form = ["origins[0]", "is no origin", "scheme://host"];
    for origin in [
        "app.example",
        "https://",
        "https://app.example/",
        "https://app.example/chat",
        "https://me@app.example",
        "://app.example",
        "null",
        "",
    ] {
        check(&of(origin), "3:12", &form);
    }
    check(&of("*"), "3:12", &["every page", "name the pages"]);
    check(&of("https://App.example"), "3:12", &["small letters"]);
    check(
        &of("https://app.example:443"),
        "3:12",
        &["leave the port out"],
    );
    check(
        &of("http://app.example:80"),
        "3:12",
        &["leave the port out"],
    );
    let native = "[[listeners]]\norigins = [\"https://app.example\"]";
    check(
        native,
        "2:11",
        &["only a WebSocket", "protocol = \"websocket\""],
    );
}

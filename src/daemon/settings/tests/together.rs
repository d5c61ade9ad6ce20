//! What must hold between keys, and what holds a secret.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn unsigned_datagrams_from_elsewhere_are_refused_with_the_way_out() {
    let open = "[udp]\nlisten = \"0.0.0.0:7400\"\n";
    check(
        open,
        "2:10",
        &["udp.listen", "[[keys]]", "unsigned = \"never\""],
    );
    let loopback = format!("{open}unsigned = \"loopback\"\n");
    check(&loopback, "2:10", &["udp.listen"]);
    good(&format!("{open}unsigned = \"never\"\n"));
    let key = format!("[[keys]]\nid = 1\nsecret = \"{SECRET}\"\n");
    assert_eq!(good(&format!("{open}{key}")).udp.unsigned, Unsigned::Never);
    check(
        &format!("{loopback}{key}"),
        "2:10",
        &["unsigned = \"never\""],
    );
    assert_eq!(
        good("[udp]\nlisten = \"127.9.0.1:1\"").udp.unsigned,
        Unsigned::Loopback
    );
    good("[udp]\nlisten = \"[::1]:1\"");
}

#[test]
fn clients_without_proof_are_refused_beyond_loopback() {
    let open = "[[listeners]]\naddress = \"0.0.0.0:7400\"\n";
    check(open, "2:11", &["listeners[0].address", "insecure = true"]);
    good(&format!("{open}[auth]\ninsecure = true"));
}

#[test]
fn the_admin_door_beyond_loopback_needs_a_token() {
    check(
        "[admin]\nlisten = \"0.0.0.0:7401\"",
        "2:10",
        &["admin.token_file"],
    );
    let missing = "[admin]\nlisten = \"0.0.0.0:7401\"\ntoken_file = \"no/such\"";
    check(
        missing,
        "3:14",
        &["/etc/pushgate/no/such", "cannot be read"],
    );
}

#[test]
fn secrets_in_files_are_read_beside_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef-token";
    for (name, text) in [("key", SECRET), ("token", token), ("short", "abc")] {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let path = dir.path().join("pushgate.toml");
    let text = "[[keys]]\nid = 1\nsecret_file = \"key\"\n\
                [admin]\nlisten = \"0.0.0.0:7401\"\ntoken_file = \"token\"\n";
    std::fs::write(&path, text).unwrap();
    let settings = Settings::load(&path).unwrap();
    assert_eq!(settings.keys[0].id, 1);
    assert_eq!(settings.admin.token.as_ref().unwrap().expose(), token);
    let shown = format!("{settings:?}");
    assert!(!shown.contains(SECRET) && !shown.contains(token), "{shown}");

    let printed = settings.to_toml();
    assert!(printed.contains("\"***\""), "{printed}");
    assert!(
        !printed.contains(SECRET) && !printed.contains(token),
        "{printed}"
    );

    let key = dir.path().join("key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let open = Settings::load(&path).unwrap_err().to_string();
    let way_out = format!("chmod 600 {}", key.display());
    for words in [
        "3:15: keys[0].secret_file",
        "open to others (mode 640)",
        &way_out,
    ] {
        assert!(open.contains(words), "no {words:?} in {open}");
    }

    let short = Settings::parse("[admin]\ntoken_file = \"short\"", &path).unwrap_err();
    assert!(
        short.to_string().contains("no token of 16 characters"),
        "{short}"
    );
    let short = Settings::parse("[[keys]]\nid = 1\nsecret_file = \"short\"", &path).unwrap_err();
    assert!(
        short.to_string().contains("3:15: keys[0].secret_file"),
        "{short}"
    );
    assert!(
        !short.to_string().contains("abc"),
        "shows the secret: {short}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_of_its_own() {
    let problems = Settings::load(Path::new("/no/such/file.toml")).unwrap_err();
    assert!(
        problems
            .to_string()
            .starts_with("/no/such/file.toml: cannot be read: "),
        "{problems}"
    );
}

#[test]
fn a_key_needs_an_id_and_one_good_secret() {
    let secret = format!("secret = \"{SECRET}\"");
    check(
        &format!("[[keys]]\n{secret}"),
        "1:1",
        &["keys[0].id: a key without an id"],
    );
    check(
        &format!("[[keys]]\nid = 0\n{secret}"),
        "2:6",
        &[
            "keys[0].id: 0 is the id of datagrams without a key",
            "write a number from 1 to 4294967295",
        ],
    );
    check(
        &format!("[[keys]]\nid = 4294967296\n{secret}"),
        "2:6",
        &["keys[0].id: 4294967296 is out of range; write a number from 1 to 4294967295"],
    );
    check(
        "[[keys]]\nid = 1",
        "1:1",
        &["a key without a secret", "openssl rand -hex 32"],
    );
    check(
        "[[keys]]\nid = 1\nsecret = \"00\"",
        "3:10",
        &["shorter than 32"],
    );
    check(
        "[[keys]]\nid = 1\nsecret = \"xyzxyz\"",
        "3:10",
        &["not hexadecimal"],
    );
    let bare = refused("[[keys]]\nid = 1\nsecret = 123456789").join("\n");
    assert!(bare.contains("3:10: keys[0].secret: integer"), "{bare}");
    assert!(!bare.contains("123456789"), "shows the secret: {bare}");
    let both = format!("[[keys]]\nid = 1\n{secret}\nsecret_file = \"a\"");
    check(&both, "3:10", &["keep one"]);
    let twice = format!("[[keys]]\nid = 1\n{secret}\n[[keys]]\nid = 1\n{secret}");
    check(&twice, "5:6", &["keys[1].id: a second key 1"]);
}

#[test]
fn what_a_key_may_is_a_list_of_known_words() {
    let key = format!("[[keys]]\nid = 1\nsecret = \"{SECRET}\"\n");
    let all = good(&key);
    assert_eq!((all.keys[0].ops.len(), all.keys[0].scopes.len()), (6, 3));
    assert_eq!(all.keys[0].groups, None);
    check(
        &format!("{key}ops = [\"push\", \"jion\"]"),
        "4:16",
        &["keys[0].ops[1]", "\"join\""],
    );
    check(&format!("{key}scopes = []"), "4:10", &["allows nothing"]);
    check(
        &format!("{key}groups = [\"a*b\"]"),
        "4:11",
        &["keys[0].groups[0]", "at its end"],
    );
}

#[test]
fn the_lifetime_of_a_key_is_two_moments_in_their_order() {
    let key = format!("[[keys]]\nid = 1\nsecret = \"{SECRET}\"\n");
    let (from, until) = ("not_before = 2030-01-01T00:00:00Z", "not_after = ");
    good(&format!("{key}{from}\n{until}2030-01-01T00:00:00Z"));
    check(
        &format!("{key}{from}\n{until}2029-12-31T23:59:59Z"),
        "5:13",
        &["keys[0].not_after", "ends before it begins"],
    );
    for odd in ["2030-01-01T00:00:00", "2030-01-01", "\"tomorrow\"", "5"] {
        check(
            &format!("{key}{until}{odd}"),
            "4:13",
            &["keys[0].not_after", "a time with its offset"],
        );
    }
    let warnings = good(&format!("{key}{until}2020-01-01T00:00:00Z")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].to_string().contains("it is over"),
        "{warnings:?}"
    );
    good(&format!("{key}rate = 4294967295"));
    check(
        &format!("{key}rate = -1"),
        "4:8",
        &["keys[0].rate", "a number"],
    );
}

#[test]
fn what_is_printed_means_the_same() {
    let text = format!(
        "[[keys]]\nid = 1\nsecret = \"{SECRET}\"\n[[keys]]\nid = 2\n\
        secret = \"{SECRET}\"\nops = [\"push\"]\nscopes = [\"group\"]\ngroups = [\"room/*\"]\n\
        rate = 5\n\
        not_before = 2026-01-01T00:00:00Z\nnot_after = 2100-01-01T00:00:00.25+01:00\n\
        [[listeners]]\nname = \"a \\\"b\\\"\"\naddress = \"[::1]:1\"\n\
        [[listeners]]\nname = \"web\"\naddress = \"[::1]:2\"\nprotocol = \"websocket\"\n\
        proxy_protocol = true\ntrusted = [\"10.0.0.0/8\"]\n\
        origins = [\"https://app.example\", \"http://localhost:8080\"]\n\
        [clients]\nqueue_bytes = \"2MiB\"\nheartbeat = \"90s\"\n[push]\ndeadline = \"0ms\"\n\
        [admin]\nhosts = [\"push.example\"]\n[log]\nlevel = \"off\"\nformat = \"json\"\n\
        users = \"hidden\"\n"
    );
    for settings in [Settings::default(), good(&text)] {
        let printed = settings.to_toml();
        assert!(!printed.contains(SECRET), "{printed}");
        let again = good(&printed.replace("***", SECRET));
        assert_eq!(format!("{again:#?}"), format!("{settings:#?}"), "{printed}");
    }
}

#[test]
fn each_door_has_a_name_and_an_address_of_its_own() {
    let two = "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[[listeners]]\n";
    check(
        &format!("{two}name = \"a\"\naddress = \"127.0.0.1:2\""),
        "5:8",
        &["a second listener"],
    );
    check(
        &format!("{two}name = \"b\"\naddress = \"127.0.0.1:1\""),
        "6:11",
        &["also the address"],
    );
    check(
        "[admin]\nlisten = \"127.0.0.1:7400\"",
        "1:1",
        &["listeners[0].address"],
    );
    good("[[listeners]]\naddress = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"");
    check("listeners = []", "1:13", &["nobody could connect"]);
    check("[[listeners]]\nname = \"a:b\"", "2:8", &["a colon"]);
}

#[test]
fn one_message_of_the_largest_payload_fits_every_bound_on_bytes() {
    check(
        "[clients]\nqueue_bytes = 65511",
        "2:15",
        &["at least 65512"],
    );
    good("[clients]\nqueue_bytes = 65512");
    good("[clients]\nqueue_bytes = 1024\n[push]\nmax_payload = 512");
    check("[history]\nbytes = \"1KiB\"", "2:9", &["at least 65512"]);
    check(
        "[clients]\nmemory_budget = \"1KiB\"",
        "2:17",
        &["at least 65512"],
    );
}

#[test]
fn a_spread_that_is_too_short_for_the_clients_is_warned_of() {
    let settings = good("[clients]\nmax_connections = 100000\n[drain]\nspread = \"49s\"");
    assert_eq!(settings.warnings.len(), 1);
    let warning = &settings.warnings[0];
    assert_eq!((warning.line, warning.key.as_str()), (4, "drain.spread"));
    assert!(warning.what.contains("take 50 s"), "{warning}");
    assert!(
        good("[clients]\nmax_connections = 20000")
            .warnings
            .is_empty()
    );
}

#[test]
fn hosts_are_names_alone() {
    check(
        "[admin]\nhosts = [\"https://push.example\"]",
        "2:10",
        &["without scheme"],
    );
    check("[admin]\nhosts = [\"push.example:80\"]", "2:10", &["port"]);
}

#[test]
fn an_open_header_is_one_problem_and_what_stands_under_it_is_none() {
    let way_out = ["not TOML: unclosed", "such as [clients] or [[keys]]"];
    check("[clients\nheartbeat = \"30s\"\n", "1:9", &way_out);
    check("[[keys]\nid = 1\nsecret = \"ab\"", "1:8", &way_out);
    // What stands before it and under the next one is checked all the same.
    let lines = refused("[log]\nlevel = 1\n[clients\nx = 1\ny = 1\n[push]\nmax_jobs = 0\n");
    let places: Vec<_> = lines.iter().map(|line| &line[..4]).collect();
    assert_eq!(places, ["2:9:", "3:9:", "7:12"], "{lines:#?}");
}

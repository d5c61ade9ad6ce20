use super::*;
use crate::wire::datagram::Request;

#[track_caller]
fn request(written: &Written) -> Request<'_> {
    Request::decode(written.op, &written.body).expect("it is well-formed")
}

#[test]
fn json_and_parameters_say_the_same() {
    let json = br#"{"targets": [{"user": "ada"}, {"all": true}, {"except_group": "n\u00f6ws"}],
        "payload": "h\u00e4", "ttl": "1h 30m", "collapse": "k"}"#;
    let json = push(json).expect("it is good");
    let query = "user=ada&all&except_group=n%C3%B6ws&ttl=1h+30m&collapse=k";
    let raw = raw_push(query, "hä".as_bytes()).expect("it is good");
    assert_eq!(json.body, raw.body);
    let Request::Push(push) = request(&json) else {
        panic!("it is a push");
    };
    let targets: Vec<_> = push.targets.iter().collect();
    let expected = [
        Target::User("ada"),
        Target::All,
        Target::ExceptGroup("nöws"),
    ];
    assert_eq!(targets, expected);
    assert_eq!(
        (push.ttl_s, push.spread_ms, push.collapse),
        (5_400, 0, &b"k"[..])
    );
    assert_eq!(push.payload, "hä".as_bytes());

    let asked = presence(br#"{"targets": [{"group": "g"}, {"all": true}]}"#).expect("good");
    assert_eq!(
        asked.body,
        presence_query("group=g&all=true").expect("good").body
    );
}

#[test]
fn payloads_are_text_or_base64_or_nothing() {
    for (said, payload) in [
        (r#""payload": "a\u0000b""#, &b"a\0b"[..]),
        (r#""payload_base64": "/wA=""#, b"\xff\0"),
        (r#""payload": """#, b""),
        (r#""spread": "0s""#, b""),
    ] {
        let json = format!(r#"{{"targets": [{{"all": true}}], {said}}}"#);
        let written = push(json.as_bytes()).expect(said);
        let Request::Push(push) = request(&written) else {
            panic!("it is a push");
        };
        assert_eq!(push.payload, payload, "{said}");
    }
}

#[test]
fn kicks_and_groups_are_written_whole() {
    let said = kick(br#"{"user": "ada", "device": "p", "hold": "2m", "reason": "r"}"#).unwrap();
    let expected = Kick {
        user: "ada",
        device: "p",
        hold_s: 120,
        reason: "r",
    };
    assert_eq!(request(&said), Request::Kick(expected));
    for (action, op) in [("join", Op::Join), ("leave", Op::Leave)] {
        let json = format!(r#"{{"action": "{action}", "group": "g", "users": ["a", "b"]}}"#);
        let said = groups(json.as_bytes()).unwrap();
        assert_eq!(said.op, op);
        let (Request::Join(membership) | Request::Leave(membership)) = request(&said) else {
            panic!("it is one of both");
        };
        assert_eq!(membership.group, "g");
        assert_eq!(membership.users.iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}

/// Refused here, not by a panic further down: what no datagram has room to say.
#[test]
fn what_a_datagram_cannot_say_is_refused() {
    let long = "x".repeat(256);
    let many = |entry: &str| vec![entry; 70_000].join(",");
    for (what, refused) in [
        ("no json", push(b"{").is_err()),
        (
            "unknown field",
            push(br#"{"targets": [], "to": 1}"#).is_err(),
        ),
        ("no targets", push(b"{}").is_err()),
        ("a number", push(br#"{"targets": [{"user": 1}]}"#).is_err()),
        (
            "a target twice",
            push(br#"{"targets": [{"user": "a", "group": "b"}]}"#).is_err(),
        ),
        (
            "all false",
            push(br#"{"targets": [{"all": false}]}"#).is_err(),
        ),
        ("all named", raw_push("all=ada", b"").is_err()),
        (
            "two payloads",
            push(br#"{"targets": [{"all": true}], "payload": "", "payload_base64": ""}"#).is_err(),
        ),
        (
            "no base64",
            push(br#"{"targets": [{"all": true}], "payload_base64": "a"}"#).is_err(),
        ),
        ("ttl without unit", raw_push("all&ttl=5", b"").is_err()),
        ("ttl of a part", raw_push("all&ttl=1500ms", b"").is_err()),
        ("ttl of ages", raw_push("all&ttl=200y", b"").is_err()),
        ("ttl twice", raw_push("all&ttl=5s&ttl=5s", b"").is_err()),
        ("spread of a part", raw_push("all&spread=5us", b"").is_err()),
        ("unknown parameter", raw_push("all&tttl=5s", b"").is_err()),
        ("an exception", presence_query("except_user=ada").is_err()),
        ("long user", raw_push(&format!("user={long}"), b"").is_err()),
        (
            "long key",
            raw_push(&format!("all&collapse={long}"), b"").is_err(),
        ),
        (
            "long reason",
            kick(format!(r#"{{"user": "a", "reason": "{long}"}}"#).as_bytes()).is_err(),
        ),
        (
            "users",
            groups(
                format!(
                    r#"{{"action": "join", "group": "g", "users": [{}]}}"#,
                    many(r#""u""#)
                )
                .as_bytes(),
            )
            .is_err(),
        ),
        (
            "targets",
            presence(format!(r#"{{"targets": [{}]}}"#, many(r#"{"all":true}"#)).as_bytes())
                .is_err(),
        ),
        (
            "action",
            groups(br#"{"action": "add", "group": "g", "users": []}"#).is_err(),
        ),
    ] {
        assert!(refused, "{what}");
    }
}

#[test]
fn a_number_for_a_duration_is_told_how_one_is_written() {
    let of_push = |field: &str| {
        let json = format!(r#"{{"targets": [{{"all": true}}], "{field}": 60}}"#);
        push(json.as_bytes()).unwrap_err()
    };
    let of_kick = kick(br#"{"user": "ada", "hold": 60}"#).unwrap_err();
    for why in [of_push("ttl"), of_push("spread"), of_kick] {
        assert!(why.contains("`60`") && why.contains("\"90s\""), "{why}");
    }
    let why = push(br#"{"targets": [{"all": true}], "ttl": "60"}"#).unwrap_err();
    assert!(why.contains("\"90s\""), "{why}");
}

//! HTTP for services: the same requests, keys, results and permissions as by datagram.

mod bounds;
mod credentials;
mod described;
mod repeats;

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use serde_json::{Value, json};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::http::Api;
use crate::support::sender::{Sender, push};

const SECRETS: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
];

/// Key 7 may do everything, key 8 only push, key 9 only use groups below `room/`.
fn keys() -> String {
    let [all, pushes, rooms] = SECRETS;
    format!(
        "[[keys]]\nid = 7\nsecret = \"{all}\"\n\
         [[keys]]\nid = 8\nsecret = \"{pushes}\"\nops = [\"push\"]\n\
         [[keys]]\nid = 9\nsecret = \"{rooms}\"\n\
         scopes = [\"group\"]\ngroups = [\"room/*\", \"staff\"]\n"
    )
}

fn secret(key_id: u32) -> &'static str {
    SECRETS[key_id as usize - 7]
}

/// Everything that is pushed to the client up to now.
async fn pushed(client: &mut Client) -> Vec<Vec<u8>> {
    client.send(&ClientFrame::Ping(b"now")).await;
    let mut payloads = Vec::new();
    loop {
        match client.next().await.expect("the client is served") {
            GatewayFrame::Push { payload, .. } => payloads.push(payload.to_vec()),
            GatewayFrame::Pong(b"now") => return payloads,
            _ => {}
        }
    }
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user-{number}")).collect()
}

#[tokio::test]
async fn what_is_asked_by_http_has_the_result_of_the_same_datagram() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let ada = Login::user("ada").device("phone").group("room/1");
    let ada = ada.enter(gateway.native).await;
    let bob = Login::user("bob").group("news").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);

    let too_many = users(513);
    let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
    let many_targets: Vec<Target<'_>> = too_many.iter().map(|user| Target::User(user)).collect();
    let all = json!([{"all": true}]);
    let room = [Target::Group("room/1")];
    let kick = |hold_s, reason| {
        RequestBody::Kick(Kick {
            user: "eve",
            device: "",
            hold_s,
            reason,
        })
    };
    // In both ways of saying it: a request, the route, and its JSON.
    let rows: Vec<(RequestBody<'_>, &str, Value)> = vec![
        (
            push(&[Target::User("ada")], b"1"),
            "push",
            json!({"targets": [{"user": "ada"}], "payload": "1"}),
        ),
        (push(&[Target::All], b""), "push", json!({"targets": all})),
        (
            push(&room, b"2"),
            "push",
            json!({"targets": [{"group": "room/1"}], "payload": "2"}),
        ),
        (
            push(
                &[
                    Target::All,
                    Target::ExceptUser("ada"),
                    Target::ExceptGroup("x"),
                ],
                b"3",
            ),
            "push",
            json!({"targets": [{"all": true}, {"except_user": "ada"}, {"except_group": "x"}],
                "payload": "3"}),
        ),
        (push(&[], b""), "push", json!({"targets": []})),
        (
            push(&[Target::ExceptUser("ada")], b""),
            "push",
            json!({"targets": [{"except_user": "ada"}]}),
        ),
        (
            push(&many_targets, b""),
            "push",
            json!({"targets": too_many.iter().map(|u| json!({"user": u})).collect::<Vec<_>>()}),
        ),
        (
            push(&[Target::Group("room/*")], b""),
            "push",
            json!({"targets": [{"group": "room/*"}]}),
        ),
        (
            RequestBody::Join {
                group: "room/2",
                users: &["ada", "bob", "nobody"],
            },
            "groups",
            json!({"action": "join", "group": "room/2", "users": ["ada", "bob", "nobody"]}),
        ),
        (
            RequestBody::Leave {
                group: "room/2",
                users: &["ada"],
            },
            "groups",
            json!({"action": "leave", "group": "room/2", "users": ["ada"]}),
        ),
        (
            RequestBody::Join {
                group: "news",
                users: &["ada"],
            },
            "groups",
            json!({"action": "join", "group": "news", "users": ["ada"]}),
        ),
        (
            RequestBody::Join {
                group: "room/2",
                users: &too_many,
            },
            "groups",
            json!({"action": "join", "group": "room/2", "users": too_many}),
        ),
        (
            RequestBody::Presence {
                targets: &[Target::User("ada"), Target::Group("room/1")],
            },
            "presence",
            json!({"targets": [{"user": "ada"}, {"group": "room/1"}]}),
        ),
        (
            RequestBody::Presence { targets: &room },
            "presence",
            json!({"targets": [{"group": "room/1"}]}),
        ),
        (
            RequestBody::Presence {
                targets: &[Target::ExceptUser("ada")],
            },
            "presence",
            json!({"targets": [{"except_user": "ada"}]}),
        ),
        (
            kick(60, "why"),
            "kick",
            json!({"user": "eve", "hold": "1m", "reason": "why"}),
        ),
        (
            kick(86_401, ""),
            "kick",
            json!({"user": "eve", "hold": "86401s"}),
        ),
        (
            kick(0, "a\nb"),
            "kick",
            json!({"user": "eve", "reason": "a\nb"}),
        ),
    ];
    for key_id in [7, 8, 9] {
        let sender = Sender::signed(gateway.udp, key_id, secret(key_id)).await;
        for api in [
            api.secret(key_id, secret(key_id)),
            api.signing(key_id, secret(key_id)),
        ] {
            for (request, route, json) in &rows {
                let answer = sender.ask(request).await;
                let said = api.post(&format!("/v1/{route}"), json).await;
                let what = format!("key {key_id}, {route} {json:.200}: {said:?}");
                assert_eq!(said.told().1, answer.status.word(), "{what}");
                let counts = answer.counts;
                let counts = [
                    counts.matched,
                    counts.written,
                    counts.waiting,
                    counts.refused,
                ];
                assert_eq!(said.counts(), counts.map(u64::from), "{what}");
                let sessions = said.body["sessions"]
                    .as_array()
                    .map_or(&[][..], |list| list);
                assert_eq!(sessions, answer.sessions, "{what}");
                assert!(
                    said.body["time_ms"].as_u64() >= Some(answer.time_ms),
                    "{what}"
                );
            }
        }
    }
    drop((ada, bob));
    let bye = api.secret(7, secret(7));
    bye.post("/v1/kick", &json!({"user": "eve"})).await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn ttl_collapse_and_spread_go_the_way_of_a_datagram() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let api = Api::unsigned(gateway.admin);
    for (ttl_s, spread_ms, collapse) in [(2, 0, ""), (0, 500, ""), (0, 0, "k"), (2, 500, "")] {
        let request = RequestBody::Push {
            reply: pushgate::wire::datagram::ReplyMode::One,
            collapse: collapse.as_bytes(),
            ttl_s,
            spread_ms,
            targets: &[Target::User("nobody")],
            payload: b"",
        };
        let answer = sender.ask(&request).await;
        let parameters =
            format!("user=nobody&ttl={ttl_s}s&spread={spread_ms}ms&collapse={collapse}");
        let said = api.push(&parameters, b"").await;
        assert_eq!(
            said.told().1,
            answer.status.word(),
            "{parameters}: {said:?}"
        );
        // Each door's kept message has a number of its own.
        let number = said.body["number"].as_u64();
        let next = if answer.number == 0 {
            0
        } else {
            answer.number + 1
        };
        assert_eq!(number, Some(next), "{parameters}: {said:?}");
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn clients_get_what_is_pushed_by_http() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let login = Login::user("ada").device("phone").group("news");
    let mut ada = login.enter(gateway.native).await;
    let mut bob = Login::user("böb").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    let bytes: Vec<u8> = (0..=255).collect();
    let said = api.push("user=ada&group=news&all=true", &bytes).await;
    assert_eq!((said.told(), said.counts()), ((200, "done"), [2, 2, 0, 0]));
    // A body of parameters is the payload whatever its type says.
    let target = "/v1/push?user=b%C3%B6b&except_group=no+such";
    let headers = ["Content-Type: application/json"];
    let said = api
        .send("POST", target, &headers, b"{\"is\": \"json\"}")
        .await;
    assert_eq!((said.told(), said.counts()), ((200, "done"), [1, 1, 0, 0]));
    assert_eq!(pushed(&mut ada).await, [&*bytes]);
    assert_eq!(pushed(&mut bob).await, [&*bytes, b"{\"is\": \"json\"}"]);

    let said = api
        .send("GET", "/v1/presence?all&user=ada&group=x", &[], b"")
        .await;
    assert_eq!(said.body["sessions"], json!([2, 1, 0]));
    let said = api
        .post(
            "/v1/kick",
            &json!({"user": "ada", "hold": "1h", "reason": "lost"}),
        )
        .await;
    assert_eq!(said.counts(), [1, 1, 0, 0]);
    let closed = ada.closed().await;
    assert_eq!(
        (closed.retry_after_ms, &*closed.reason),
        (3_600_000, "lost")
    );
    let refused = Login::user("ada")
        .device("phone")
        .try_enter(gateway.native)
        .await;
    assert!(refused.is_err(), "it is held out");
    drop((ada, bob));
    baseline.assert_back_at(&gateway).await;
}

/// The point of this door: a payload with its targets that no datagram has room for.
#[tokio::test]
async fn payloads_that_no_datagram_holds_are_pushed() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    let payload = "x".repeat(65_000);
    let users: Vec<String> = (0..511).map(|number| format!("{number:0255}")).collect();
    let mut targets: Vec<Value> = users.iter().map(|user| json!({"user": user})).collect();
    targets.push(json!({"user": "ada"}));
    let whole = json!({"targets": targets, "payload": payload});
    assert!(whole.to_string().len() > 3 * 65_507);
    let said = api.post("/v1/push", &whole).await;
    assert_eq!((said.told(), said.counts()), ((200, "done"), [1, 1, 0, 0]));
    let said = api.push("user=ada", payload.as_bytes()).await;
    assert_eq!((said.told(), said.counts()), ((200, "done"), [1, 1, 0, 0]));
    assert_eq!(
        pushed(&mut ada).await,
        [payload.as_bytes(), payload.as_bytes()]
    );
    let said = api.push("user=ada", &[b'x'; 65_001]).await;
    assert_eq!(said.told(), (400, "bad_request"));
    let error = said.body["error"].as_str().expect("a reason");
    assert!(error.contains("push.max_payload"), "{error}");
    assert_eq!(pushed(&mut ada).await, [b""; 0]);
    drop(ada);
    baseline.assert_back_at(&gateway).await;
}

/// What is wrong is said in words, and nothing is done.
#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    for (target, json, why) in [
        ("/v1/push", json!({}), "missing field `targets`"),
        (
            "/v1/push",
            json!({"targets": [], "x": 1}),
            "unknown field `x`",
        ),
        (
            "/v1/push",
            json!({"targets": []}),
            "0 targets are not 1 to 512",
        ),
        ("/v1/push", json!({"targets": [{"user": ""}]}), "empty name"),
        (
            "/v1/push",
            json!({"targets": [{"user": "a\u{7}"}]}),
            "control character",
        ),
        (
            "/v1/push",
            json!({"targets": [{"all": true}], "ttl": "soon"}),
            "is not a duration",
        ),
        (
            "/v1/kick",
            json!({"user": "ada", "hold": "2d"}),
            "hold of 172800 s exceeds 86400",
        ),
        ("/v1/kick?user=ada", json!({}), "no parameters"),
        (
            "/v1/groups",
            json!({"action": "add", "group": "g", "users": ["a"]}),
            "unknown variant",
        ),
        ("/v1/presence", json!([]), "the body is not"),
    ] {
        let said = api.post(target, &json).await;
        assert_eq!(said.told(), (400, "bad_request"), "{target} {json}");
        let error = said.body["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{target} {json}: {error}");
        assert_eq!(said.counts(), [0; 4]);
    }
    for (parameters, why) in [
        ("usr=ada", "unknown parameter \"usr\""),
        ("", "0 targets are not 1 to 512"),
        ("all=false", "all is true"),
        ("user=%zz", "hexadecimal"),
    ] {
        let said = api.push(parameters, b"").await;
        let error = said.body["error"].as_str().unwrap_or_default();
        assert!(
            said.code == 400 && error.contains(why),
            "{parameters}: {said:?}"
        );
    }
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.requests("push", "bad_request"), 10);
    baseline.assert_back_at(&gateway).await;
}

//! What is kept, looked at and removed over HTTP.

mod commands;
mod disk;

use std::collections::BTreeSet;

use pushgate::wire::frame::ClientFrame;
use serde_json::{Value, json};

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::{Api, Said};

/// Keeps a message, and returns its number.
async fn keep(api: &Api, parameters: &str, payload: &str) -> u64 {
    let said = api.push(parameters, payload.as_bytes()).await;
    assert_eq!(said.told(), (200, "done"), "{said:?}");
    said.body["number"].as_u64().expect("it has a number")
}

async fn get(api: &Api, target: &str) -> Said {
    api.send("GET", target, &[], b"").await
}

pub(crate) async fn purge(api: &Api, parameters: &str) -> Said {
    let target = format!("/v1/history?{parameters}");
    api.send("DELETE", &target, &[], b"").await
}

/// Scope, name and messages of each target of a page.
fn targets(page: &Value) -> Vec<(String, String, u64)> {
    let text = |row: &Value, field: &str| row[field].as_str().expect("a text").to_owned();
    let rows = page["targets"].as_array().expect("a list").iter();
    let row = |row| {
        let messages = row_number(row, "messages");
        (text(row, "scope"), text(row, "name"), messages)
    };
    rows.map(row).collect()
}

fn row_number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().expect("a number")
}

fn named(list: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    let owned = |&(scope, name, messages): &(&str, &str, u64)| {
        (scope.to_owned(), name.to_owned(), messages)
    };
    list.iter().map(owned).collect()
}

#[tokio::test]
async fn what_is_kept_is_listed_by_target_with_its_ages() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    let empty = get(&api, "/v1/history").await;
    assert_eq!(
        (targets(&empty.body), &empty.body["messages"]),
        (vec![], &json!(0))
    );
    keep(&api, "group=news&ttl=1h", "first").await;
    let second = keep(&api, "user=ada&user=bob&ttl=2h", "second").await;
    keep(&api, "group=news&all&ttl=90s", "third").await;
    let last = keep(&api, "user=ada&ttl=3h", "the last").await;
    let page = get(&api, "/v1/history").await.body;
    let expected = [
        ("group", "news", 2),
        ("user", "ada", 2),
        ("user", "bob", 1),
        ("all", "", 1),
    ];
    assert_eq!(targets(&page), named(&expected));
    assert!(page["next"].is_null(), "{page}");
    assert_eq!(page["messages"], 4);
    let (news, ada) = (&page["targets"][0], &page["targets"][1]);
    assert_eq!(
        (&ada["oldest_number"], &ada["newest_number"]),
        (&json!(second), &json!(last))
    );
    assert_eq!((&ada["bytes"], &news["bytes"]), (&json!(14), &json!(10)));
    let left = row_number(news, "expires_in_ms");
    assert!(
        (30_000..=90_000).contains(&left),
        "the first that expires: {news}"
    );
    eventually("it grows older", async || {
        let page = get(&api, "/v1/history?user=ada").await.body;
        let row = &page["targets"][0];
        let ages = (
            row_number(row, "oldest_age_ms"),
            row_number(row, "newest_age_ms"),
        );
        let is_old = ages.1 >= 100 && ages.0 >= ages.1;
        is_old.then_some(()).ok_or_else(|| row.to_string())
    })
    .await;
    // By name, and by scope.
    let asked = get(&api, "/v1/history?group=news&user=nobody&user=bob")
        .await
        .body;
    assert_eq!(
        targets(&asked),
        named(&[("group", "news", 2), ("user", "bob", 1)])
    );
    let users = get(&api, "/v1/history?scope=user").await.body;
    assert_eq!(targets(&users), named(&expected[1..3]));
    let all = get(&api, "/v1/history?scope=all").await.body;
    assert_eq!(targets(&all), named(&expected[3..]));
    for bad in [
        "all",
        "user=",
        "limit=0",
        "limit=1001",
        "after=x",
        "page=2",
        "user=a&limit=1",
    ] {
        let said = get(&api, &format!("/v1/history?{bad}")).await;
        assert_eq!(said.told(), (400, "bad_request"), "{bad}");
    }
    let (_, looked_up) = gateway.get("/v1/sessions?user=ada").await;
    let looked_up: Value = serde_json::from_str(&looked_up).expect("it is JSON");
    assert_eq!(looked_up["kept"], json!({"messages": 2, "bytes": 14}));
    assert_eq!(purge(&api, "all").await.counts(), [4, 4, 0, 0]);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages_each_target_once() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    for user in 0..25 {
        keep(&api, &format!("user=user-{user}&group=room&ttl=1h"), "").await;
    }
    let mut seen = BTreeSet::new();
    let (mut after, mut pages) = (String::new(), 0);
    loop {
        let page = get(&api, &format!("/v1/history?limit=10{after}"))
            .await
            .body;
        let listed = targets(&page);
        assert!(listed.len() <= 10, "{page}");
        pages += 1;
        for target in listed {
            assert!(seen.insert(target.clone()), "{target:?} twice");
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
        // What is gone meanwhile, with everything before it, is no reason to begin again.
        purge(&api, &format!("user=user-{}", pages * 3)).await;
    }
    assert!((3..=4).contains(&pages), "{pages}");
    assert!(seen.len() >= 25, "{seen:?}");
    assert!(seen.contains(&("group".to_owned(), "room".to_owned(), 25)));
    purge(&api, "all").await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_sender_reads_how_many_devices_have_confirmed_its_message() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    let parameters = "group=news&except_user=eve&collapse=score&ttl=1h";
    let number = keep(&api, parameters, "2:1").await;
    let at = format!("/v1/history/{number}");
    let told = get(&api, &at).await.body;
    assert_eq!(
        (&told["number"], &told["confirmed"]),
        (&json!(number), &json!(0))
    );
    let expected = [
        json!([{"scope": "group", "name": "news"}]),
        json!([{"scope": "user", "name": "eve"}]),
    ];
    assert_eq!(
        [&told["targets"], &told["exceptions"]],
        [&expected[0], &expected[1]]
    );
    assert_eq!(
        (&told["bytes"], &told["collapse"]),
        (&json!(3), &json!("score"))
    );
    let hour = row_number(&told, "expires_ms") - row_number(&told, "accepted_ms");
    assert!(hour.abs_diff(3_600_000) < 1_000, "{told}");
    let mut clients = Vec::new();
    for device in ["phone", "desk", "silent"] {
        let login = Login::user("ada")
            .device(device)
            .group("news")
            .resume((0, 0));
        let mut client = login.enter(gateway.native).await;
        if device != "silent" {
            client.send(&ClientFrame::Ack { number }).await;
        }
        client.assert_alive().await;
        clients.push(client);
    }
    assert_eq!(get(&api, &at).await.body["confirmed"], 2);
    assert_eq!(gateway.scrape().await.value("pushgate_confirmed_total"), 2);
    let seconds = gateway
        .scrape()
        .await
        .value("pushgate_ack_latency_seconds_count");
    assert_eq!(seconds, 2, "acceptance to ACK");
    assert_eq!(purge(&api, "group=news").await.counts(), [1, 1, 0, 0]);
    for gone in [&*at, "/v1/history/0", "/v1/history/18446744073709551615"] {
        assert_eq!(get(&api, gone).await.code, 404, "{gone}");
    }
    let said = get(&api, "/v1/history/18446744073709551616").await;
    assert_eq!(said.told(), (400, "bad_request"));
    assert_eq!(get(&api, &format!("{at}?user=ada")).await.code, 400);
    drop(clients);
    baseline.assert_back_at(&gateway).await;
}

const SECRETS: [&str; 3] = [
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
];

#[tokio::test]
async fn a_key_sees_and_removes_what_it_may_push_to_and_nothing_else() {
    let [all, rooms, asks] = SECRETS;
    let gateway = Gateway::start(&format!(
        "[[keys]]\nid = 7\nsecret = \"{all}\"\n\
         [[keys]]\nid = 8\nsecret = \"{rooms}\"\nscopes = [\"group\"]\ngroups = [\"room/*\"]\n\
         [[keys]]\nid = 9\nsecret = \"{asks}\"\nops = [\"presence\", \"kick\"]\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let root = Api::unsigned(gateway.admin);
    let (api, room, other) = (
        root.secret(7, all),
        root.signing(8, rooms),
        root.secret(9, asks),
    );
    let of_ada = keep(&api, "user=ada&ttl=1h", "ada's").await;
    let both = keep(&api, "group=room/1&user=ada&ttl=1h", "both").await;
    let in_room = keep(&api, "group=room/2&ttl=1h", "in a room").await;
    let seen = get(&room, "/v1/history").await.body;
    assert_eq!(
        targets(&seen),
        named(&[("group", "room/1", 1), ("group", "room/2", 1)])
    );
    assert_eq!(
        get(&room, &format!("/v1/history/{in_room}")).await.code,
        200
    );
    for number in [of_ada, both] {
        let said = get(&room, &format!("/v1/history/{number}")).await;
        // As one that nobody has pushed: no key learns what others have.
        let none = get(&room, "/v1/history/4711").await;
        assert_eq!((said.code, &said.body), (404, &none.body), "{number}");
        assert_eq!(none.code, 404);
        assert_eq!(get(&api, &format!("/v1/history/{number}")).await.code, 200);
    }
    assert_eq!(
        get(&room, "/v1/history?user=ada").await.told(),
        (403, "denied")
    );
    for denied in ["user=ada", "group=news", "scope=group", "scope=all", "all"] {
        assert_eq!(
            purge(&room, denied).await.told(),
            (403, "denied"),
            "{denied}"
        );
        assert_eq!(
            purge(&other, denied).await.told(),
            (403, "denied"),
            "{denied}"
        );
        assert_eq!(purge(&root, denied).await.code, 401, "{denied}");
    }
    for number in [of_ada, 4711] {
        let said = get(&other, &format!("/v1/history/{number}")).await;
        assert_eq!(said.told(), (403, "denied"), "whichever it asks for");
    }
    assert_eq!(get(&other, "/v1/history").await.told(), (403, "denied"));
    assert_eq!(get(&root, "/v1/history").await.code, 401);
    // It is taken from the room alone: who may not reach ada takes nothing from her.
    assert_eq!(purge(&room, "group=room/1").await.counts(), [1, 1, 0, 0]);
    let left = get(&api, "/v1/history").await.body;
    assert_eq!(
        targets(&left),
        named(&[("user", "ada", 2), ("group", "room/2", 1)])
    );
    for bad in [
        "",
        "user=a&user=b",
        "user=a&all",
        "all=no",
        "user=a&limit=1",
    ] {
        assert_eq!(purge(&api, bad).await.told(), (400, "bad_request"), "{bad}");
    }
    assert_eq!(purge(&api, "scope=user").await.counts(), [2, 2, 0, 0]);
    assert_eq!(purge(&api, "all").await.counts(), [1, 1, 0, 0]);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.requests("purge", "done"), 3);
    assert_eq!(scrape.requests("purge", "denied"), 10);
    assert_eq!(scrape.requests("purge", "bad_request"), 5);
    assert_eq!(scrape.requests("history", "denied"), 4);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_purge_is_carried_out_once_and_its_repeat_is_told_the_result() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    keep(&api, "user=ada&ttl=1h", "before").await;
    let once = ["Idempotency-Key: once"];
    let target = "/v1/history?user=ada";
    let first = api.send("DELETE", target, &once, b"").await;
    assert_eq!((first.counts(), first.is_repeat()), ([1, 1, 0, 0], false));
    keep(&api, "user=ada&ttl=1h", "after").await;
    let repeat = api.send("DELETE", target, &once, b"").await;
    assert_eq!((repeat.counts(), repeat.is_repeat()), ([1, 1, 0, 0], true));
    let left = get(&api, target).await.body;
    assert_eq!(
        targets(&left),
        named(&[("user", "ada", 1)]),
        "it came later"
    );
    let other = api.send("DELETE", "/v1/history?user=bob", &once, b"").await;
    assert_eq!(other.told(), (422, "bad_request"));
    assert_eq!(purge(&api, "user=ada").await.counts(), [1, 1, 0, 0]);
    baseline.assert_back_at(&gateway).await;
}

/// Purges, lists, looks and pushes at the same time: nothing is lost, and all is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_and_purges_go_on_beside_pushes() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..3 {
        let api = api.clone();
        tasks.spawn(async move {
            for round in 0..40 {
                keep(&api, &format!("user=user-{lane}&group=room&ttl=1h"), "x").await;
                match round % 4 {
                    1 => assert_eq!(get(&api, "/v1/history?limit=2").await.code, 200),
                    2 => {
                        let code = get(&api, "/v1/history/5").await.code;
                        assert!([200, 404].contains(&code), "{code}");
                    }
                    3 => {
                        let said = purge(&api, &format!("user=user-{lane}")).await;
                        assert!([200, 429].contains(&said.code), "{said:?}");
                    }
                    _ => {}
                }
            }
        });
    }
    tasks.join_all().await;
    eventually("nothing is purged any more", async || {
        let said = purge(&api, "all").await;
        (said.code == 200)
            .then_some(())
            .ok_or_else(|| format!("{said:?}"))
    })
    .await;
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.at("pushgate_history_removed_total", "purged"), 120);
    baseline.assert_back_at(&gateway).await;
}

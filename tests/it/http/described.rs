//! The document that describes the routes, against what they do. Every answer of every other test
//! of this door is held to it too, by the client that asks.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SECRETS, secret};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::gateway::Gateway;
use crate::support::http::{Api, BYTES, JSON, document, parsed};
use crate::support::{eventually, within};

#[tokio::test]
async fn the_document_is_served_and_is_of_this_version() {
    let gateway = Gateway::start("");
    let (code, text) = gateway.get("/v1/openapi.json").await;
    assert_eq!(code, 200);
    let served: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(served, document());
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["info"]["version"], env!("CARGO_PKG_VERSION"));
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("there are paths");
    let operations = paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("a path has operations");
        operations
            .iter()
            .map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    operations.collect()
}

#[tokio::test]
async fn its_examples_are_answered_as_they_say() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let ada = Login::user("ada").group("news").enter(gateway.native).await;
    let bob = Login::user("bob").group("news").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    let mut sent = 0;
    for (path, method, operation) in operations(&document()) {
        let pointer = "/requestBody/content/application~1json/examples";
        let examples = operation.pointer(pointer).and_then(Value::as_object);
        let pointer = "/responses/200/content/application~1json/examples";
        let answers = operation.pointer(pointer).and_then(Value::as_object);
        let answers = answers.expect("a good answer has its examples");
        for (name, example) in examples.into_iter().flatten() {
            let said = api.post(&path, &example["value"]).await;
            assert_eq!(said.code, 200, "{method} {path} {name}: {said:?}");
            let (mut said, mut stated) = (said.body, answers[name]["value"].clone());
            for varies in ["time_ms", "elapsed_ms"] {
                assert!(
                    stated[varies].is_u64() && said[varies].is_u64(),
                    "{path} {name}"
                );
                (stated[varies], said[varies]) = (json!(0), json!(0));
            }
            assert_eq!(said, stated, "{method} {path} {name}");
            sent += 1;
        }
        assert_eq!(
            examples.map_or(0, |list| list.len()),
            answers.len(),
            "{method} {path}"
        );
    }
    assert!(sent >= 7, "{sent}");
    drop((ada, bob));
    baseline.assert_back_at(&gateway).await;
}

/// Ways to ask, and what goes wrong with each: as many as it takes to see every code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_that_it_names_is_answered_and_no_other() {
    let [all, nothing, slow] = SECRETS;
    let config = format!(
        "[[keys]]\nid = 7\nsecret = \"{all}\"\n\
         [[keys]]\nid = 8\nsecret = \"{nothing}\"\nops = [\"ping\"]\n\
         [[keys]]\nid = 9\nsecret = \"{slow}\"\nrate = 1\n[drain]\nlinger = \"20s\"\n"
    );
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("history");
    let config = format!("{config}[history]\npath = \"{}\"\n", path.display());
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let users = (0..40).map(|number| Login::user(format!("user-{number}")));
    let crowd = Crowd::enter(gateway.native, users).await;
    let root = Api::unsigned(gateway.admin);
    let api = root.secret(7, secret(7));
    let (denied, limited) = (root.secret(8, secret(8)), root.secret(9, secret(9)));
    let good = |path: &str| match path {
        "/v1/push" => json!({"targets": [{"user": "user-1"}]}),
        "/v1/presence" => json!({"targets": [{"user": "user-1"}]}),
        "/v1/kick" => json!({"user": "nobody"}),
        "/v1/groups" => json!({"action": "join", "group": "g", "users": ["nobody"]}),
        other => panic!("what is {other}?"),
    };
    let operations = operations(&document());
    let kept = api.push("user=user-2&ttl=1h", b"kept").await;
    let number = kept.body["number"].as_u64().expect("it is kept");
    for (path, method, _) in &operations {
        let method = &*method.to_uppercase();
        let json = match method {
            "POST" => good(path).to_string(),
            _ => String::new(),
        };
        let (target, body) = match (path.as_str(), method) {
            ("/v1/history/{number}", _) => (format!("/v1/history/{number}"), ""),
            (_, "POST") => (path.clone(), &*json),
            _ => (format!("{path}?user=user-1"), ""),
        };
        let send = async |api: &Api, headers: &[&str], body: &str| {
            let headers = [headers, &[JSON]].concat();
            api.send(method, &target, &headers, body.as_bytes())
                .await
                .code
        };
        assert_eq!(send(&api, &[], body).await, 200);
        assert_eq!(send(&api, &[], "{").await, 400);
        assert_eq!(send(&root, &[], body).await, 401);
        assert_eq!(send(&denied, &[], body).await, 403);
        assert_eq!(send(&api, &["X-Pushgate-Time: 1000"], body).await, 409);
        assert_eq!(send(&api, &[], &" ".repeat(300_000)).await, 413);
        assert_eq!(send(&api, &["Content-Encoding: gzip"], body).await, 415);
        eventually("it is over its rate", async || {
            match send(&limited, &[], body).await {
                429 => Ok(()),
                code => Err(code.to_string()),
            }
        })
        .await;
        if method == "DELETE" || method == "POST" && path != "/v1/presence" {
            let named = ["Idempotency-Key: once"];
            let json = body.replace("user-1", "other").replace("nobody", "other");
            let json = if body.is_empty() { "other" } else { &*json };
            let named = [named[0], &format!("X-Path: {path}")];
            let first = send(&api, &named, body).await;
            // The name was used by the operation before, for another request.
            assert!([200, 422].contains(&first), "{first}");
            assert_eq!(send(&api, &named, json).await, 422);
        }
    }
    let missing = api.send("GET", "/v1/history/999", &[], b"").await;
    assert_eq!(missing.code, 404);
    let waits = ["Prefer: respond-async"];
    let said = api.send("DELETE", "/v1/history?user=bob", &waits, b"");
    assert_eq!(said.await.told(), (202, "accepted"));
    let waits = ["Prefer: wait=5, respond-async", BYTES];
    let said = api.send("POST", "/v1/push?all", &waits, b"1234").await;
    assert_eq!(said.told(), (202, "accepted"));
    // Each waits for ten seconds, all at the same time.
    let mut waiting = tokio::task::JoinSet::new();
    for (path, method, _) in &operations {
        let admin = gateway.admin;
        let target = path.replace("{number}", "1");
        let request = api.request(&method.to_uppercase(), &target, &[JSON], b"half of it");
        let request = String::from_utf8(request).expect("it is text");
        let request = request.replace("Content-Length: 10", "Content-Length: 11");
        let (path, method) = (path.clone(), method.clone());
        waiting.spawn(async move {
            let mut stream = TcpStream::connect(admin).await.expect("is there");
            stream.write_all(request.as_bytes()).await.expect("a write");
            let mut answer = Vec::new();
            let read = within("408", stream.read_to_end(&mut answer)).await;
            read.expect("an answer");
            (path, method, parsed(&answer).expect("an answer").code)
        });
    }
    let slow = waiting.join_all().await;
    crowd.leave().await;
    api.push("user=ada&group=news&ttl=1h", b"kept").await;
    std::fs::remove_dir_all(&path).expect("it is ours");
    let said = api.send("DELETE", "/v1/history?user=ada", &[], b"").await;
    assert_eq!((said.code, said.counts()), (500, [1, 0, 0, 1]), "{said:?}");
    api.send("DELETE", "/v1/history?all", &[], b"").await;
    baseline.assert_back_at(&gateway).await;
    gateway.signal(rustix::process::Signal::TERM);
    for (path, method, _) in &operations {
        eventually("it drains", async || {
            let json = match method.as_str() {
                "post" => good(path).to_string(),
                _ => String::new(),
            };
            let (method, target) = (method.to_uppercase(), path.replace("{number}", "1"));
            let said = api.send(&method, &target, &[JSON], json.as_bytes()).await;
            match said.code {
                503 => Ok(()),
                code => Err(code.to_string()),
            }
        })
        .await;
    }
    let mut seen = root.seen();
    seen.extend(slow);
    let described: BTreeSet<_> = operations
        .iter()
        .flat_map(|(path, method, operation)| {
            let codes = operation["responses"]
                .as_object()
                .expect("there are responses");
            let code =
                |code: &String| (path.clone(), method.clone(), code.parse().expect("a code"));
            codes.keys().map(code).collect::<Vec<_>>()
        })
        .collect();
    let only = |one: &BTreeSet<_>, other: &BTreeSet<_>| -> Vec<_> {
        one.difference(other)
            .cloned()
            .collect::<Vec<(String, String, u16)>>()
    };
    assert_eq!(only(&described, &seen), [], "described and not answered");
    assert_eq!(only(&seen, &described), [], "answered and not described");
}

//! Who is let in, as whom, and how often.

use pushgate::clock::Clock;
use pushgate::wire::seal::Key;
use serde_json::json;

use super::{SECRETS, keys, pushed, secret};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::{Api, BYTES, JSON};
use crate::support::write_secret;

const TOKEN: &str = "0123456789abcdef-of-the-admin";
const TARGET: &str = "/v1/push?user=ada";

#[tokio::test]
async fn without_the_right_credential_nothing_is_done() {
    let [all, pushes, _] = SECRETS;
    let config = keys() + "[[keys]]\nid = 10\nnot_after = 2020-01-01T00:00:00Z\nsecret = \"";
    let gateway = Gateway::start(&format!("{config}{all}\"\n"));
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    let bearer = format!("Authorization: Bearer {all}");
    let upper = format!("Authorization: bearer {}", all.to_uppercase());
    let other = format!("Authorization: Bearer {pushes}");
    let short = format!("Authorization: Bearer {}", &all[2..]);
    // Not zeros behind it, to which HMAC pads a secret anyway.
    let longer = format!("Authorization: Bearer {all}01");
    let zeros = format!("X-Pushgate-Signature: {}", "0".repeat(64));
    for (headers, code, cause) in [
        // No key: unsigned is not allowed where keys are.
        (&[][..], 401, "unsigned"),
        (&[&*bearer], 401, "unsigned"),
        (&["X-Pushgate-Key: 0"], 401, "key"),
        (&["X-Pushgate-Key: 6", &bearer], 401, "key"),
        (&["X-Pushgate-Key: 10", &bearer], 401, "key"),
        (&["X-Pushgate-Key: 07", &bearer], 401, "key"),
        (&["X-Pushgate-Key: +7", &bearer], 401, "key"),
        (&["X-Pushgate-Key: 4294967303", &bearer], 401, "key"),
        (
            &["X-Pushgate-Key: 7", "X-Pushgate-Key: 7", &bearer],
            401,
            "key",
        ),
        (&["X-Pushgate-Key: 7"], 401, "mac"),
        (&["X-Pushgate-Key: 7", "Authorization: Bearer"], 401, "mac"),
        (
            &["X-Pushgate-Key: 7", "Authorization: Bearer x"],
            401,
            "mac",
        ),
        (&["X-Pushgate-Key: 7", &other], 401, "mac"),
        (&["X-Pushgate-Key: 7", &short], 401, "mac"),
        (&["X-Pushgate-Key: 7", &longer], 401, "mac"),
        (&["X-Pushgate-Key: 7", &zeros], 401, "mac"),
        (&["X-Pushgate-Key: 7", &zeros, &bearer], 401, "mac"),
        (
            &["X-Pushgate-Key: 7", "X-Pushgate-Signature: 00", &bearer],
            401,
            "mac",
        ),
        (&["X-Pushgate-Key: 7", &bearer], 200, ""),
        (&["x-pushgate-key: 7", &upper], 200, ""),
    ] {
        let before = gateway.scrape().await;
        let said = api
            .with(headers)
            .send("POST", TARGET, &[BYTES], b"in")
            .await;
        assert_eq!(said.code, code, "{headers:?}: {said:?}");
        let after = gateway.scrape().await;
        let rejected = "pushgate_http_rejected_total";
        assert_eq!(
            after.sum(rejected),
            before.sum(rejected) + u64::from(code == 401)
        );
        if code == 401 {
            let more = after.at(rejected, cause) - before.at(rejected, cause);
            assert_eq!(more, 1, "{cause}: {headers:?}");
            assert!(
                said.head.contains("www-authenticate: bearer"),
                "{}",
                said.head
            );
        }
    }
    assert_eq!(pushed(&mut ada).await, [b"in"; 2]);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.at("pushgate_http_requests_total", "secret"), 2);
    assert_eq!(scrape.at("pushgate_key_datagrams_total", "7"), 2);
    drop(ada);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_signature_is_of_the_whole_request() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin).signing(7, secret(7));
    let now = Clock::system().now_ms();
    let time = format!("X-Pushgate-Time: {now}");
    let headers = [BYTES, &time, "Idempotency-Key: one"];
    let good = api.request("POST", TARGET, &headers, b"signed");
    let good = String::from_utf8(good).expect("it is text");
    for (what, instead) in [
        ("/v1/push?user=ada", "/v1/push?user=bob"),
        ("/v1/push?user=ada", "/v1/push?user=ada&"),
        ("\r\n\r\nsigned", "\r\n\r\nforged"),
        ("Idempotency-Key: one", "Idempotency-Key: two"),
        ("Idempotency-Key: one", "X-Other: one"),
        (&*time, &format!("X-Pushgate-Time: {}", now + 1)),
        ("X-Pushgate-Key: 7", "X-Pushgate-Key: 8"),
        ("X-Pushgate-Key: 7", "X-Pushgate-Key: 11"),
    ] {
        assert!(good.contains(what), "{what} in {good}");
        let forged = good.replace(what, instead);
        let target = forged.split(' ').nth(1).expect("a target").to_owned();
        let said = api.send_as_it_is("POST", &target, forged.as_bytes()).await;
        assert_eq!(said.code, 401, "{instead}: {said:?}");
    }
    let said = api.send_as_it_is("POST", TARGET, good.as_bytes()).await;
    assert_eq!((said.told(), said.is_repeat()), ((200, "done"), false));
    assert_eq!(pushed(&mut ada).await, [b"signed"]);

    // Its time is within the window of a datagram's, and it has one.
    for (time, told) in [
        ("1000".to_owned(), (409, "stale")),
        ((now - 16_000).to_string(), (409, "stale")),
        ((now + 60_000).to_string(), (409, "stale")),
        ("soon".to_owned(), (400, "bad_request")),
        (String::new(), (400, "bad_request")),
    ] {
        let time = format!("X-Pushgate-Time: {time}");
        let said = api.send("POST", TARGET, &[BYTES, &time], b"late").await;
        assert_eq!(said.told(), told, "{time}");
        assert!(said.body["time_ms"].as_u64() >= Some(now));
    }
    let key = Key::from_hex(secret(7)).expect("a secret");
    let mac = key.sign(&[b"POST\n/v1/push?user=ada\n\n\ntimeless"]);
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let timeless = format!("X-Pushgate-Signature: {mac}");
    let timeless = Api::unsigned(gateway.admin).with(&["X-Pushgate-Key: 7", &timeless]);
    let said = timeless.push("user=ada", b"timeless").await;
    assert_eq!(said.told(), (400, "bad_request"), "{said:?}");
    assert_eq!(pushed(&mut ada).await, [b""; 0]);
    drop(ada);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn unsigned_is_as_the_configuration_says_and_never_forwarded() {
    let gateway = Gateway::start("");
    let api = Api::unsigned(gateway.admin);
    let baseline = Baseline::of(&gateway).await;
    for (headers, code) in [
        (&[][..], 200),
        (&["X-Forwarded-For: 192.0.2.1"], 401),
        (&["Forwarded: for=192.0.2.1"], 401),
        (&["X-Real-IP: 192.0.2.1"], 401),
        (&["Via: 1.1 proxy"], 401),
        (&["Origin: https://evil.example"], 403),
        (&["Origin: http://localhost:1"], 403),
    ] {
        let said = api.with(headers).push("user=ada", b"").await;
        assert_eq!(said.code, code, "{headers:?}");
    }
    // What a page of another site can have a browser post without asking first.
    for (headers, code) in [
        (&[][..], 415),
        (&["Content-Type: text/plain"], 415),
        (&["Content-Type: Text/Plain; charset=utf-8"], 415),
        (&["Content-Type: application/x-www-form-urlencoded"], 415),
        (&["Content-Type: multipart/form-data; boundary=x"], 415),
        (&["Content-Type: image/png"], 200),
        (&["Content-Type: image/png", "Content-Encoding: gzip"], 415),
    ] {
        let said = api.send("POST", TARGET, headers, b"").await;
        assert_eq!(said.code, code, "{headers:?}");
    }
    let said = api
        .send("POST", "/v1/kick", &["Content-Type: text/json"], b"{}")
        .await;
    assert_eq!(said.code, 415);
    let said = api.send("PUT", TARGET, &[BYTES], b"").await;
    assert_eq!(said.code, 405);
    let scrape = gateway.scrape().await;
    for (cause, count) in [("unsigned", 4), ("foreign", 2), ("type", 7), ("method", 1)] {
        assert_eq!(
            scrape.at("pushgate_http_rejected_total", cause),
            count,
            "{cause}"
        );
    }
    assert_eq!(scrape.at("pushgate_http_requests_total", "unsigned"), 2);
    baseline.assert_back_at(&gateway).await;

    let never = Gateway::start("[udp]\nunsigned = \"never\"\n");
    let said = Api::unsigned(never.admin).push("user=ada", b"").await;
    assert_eq!(said.code, 401);
    // A service can send text, for no page can send its key.
    let keyed = Gateway::start(&keys());
    let api = Api::unsigned(keyed.admin).secret(7, secret(7));
    let said = api
        .send("POST", TARGET, &["Content-Type: text/plain"], b"")
        .await;
    assert_eq!(said.code, 200);
}

#[tokio::test]
async fn an_operator_with_the_token_may_do_everything_and_services_need_no_token() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("token");
    write_secret(&path, TOKEN);
    let gateway = Gateway::start(&format!("{}[admin]\ntoken_file = {path:?}\n", keys()));
    let token = format!("Authorization: Bearer {TOKEN}");
    let baseline_of = Api::unsigned(gateway.admin);
    let operator = baseline_of.with(&[&token]);
    let mut ada = Login::user("ada").device("d").enter(gateway.native).await;
    for (target, json) in [
        (
            "/v1/push",
            json!({"targets": [{"all": true}], "payload": "by an operator"}),
        ),
        (
            "/v1/groups",
            json!({"action": "join", "group": "g", "users": ["ada"]}),
        ),
        ("/v1/presence", json!({"targets": [{"group": "g"}]})),
    ] {
        let said = operator.post(target, &json).await;
        assert_eq!(
            (said.told(), said.counts()[0]),
            ((200, "done"), 1),
            "{target}"
        );
    }
    assert_eq!(pushed(&mut ada).await, [b"by an operator"]);
    // The token alone, and no page of another site, and nobody without.
    let foreign = baseline_of.with(&[&token, "Origin: https://evil.example"]);
    assert_eq!(
        foreign.post("/v1/kick", &json!({"user": "ada"})).await.code,
        403
    );
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    assert_eq!(operator.send("POST", TARGET, &form, b"").await.code, 415);
    let wrong = baseline_of.with(&[&format!("{token}x")]);
    for api in [&baseline_of, &wrong] {
        assert_eq!(
            api.post("/v1/kick", &json!({"user": "ada"})).await.code,
            401
        );
    }
    // A service has no need of the token, and the token is no key.
    let service = baseline_of.secret(8, secret(8));
    assert_eq!(service.push("user=ada", b"by a service").await.code, 200);
    assert_eq!(
        service.post("/v1/kick", &json!({"user": "ada"})).await.code,
        403
    );
    let mixed = baseline_of.with(&[&token, "X-Pushgate-Key: 7"]);
    assert_eq!(mixed.push("user=ada", b"").await.code, 401);
    // A key opens no page of operators.
    let headers = format!(
        "Host: {}\r\nX-Pushgate-Key: 7\r\nAuthorization: Bearer {}\r\n",
        gateway.admin,
        secret(7)
    );
    for page in ["/metrics", "/v1/openapi.json", "/v1/reload"] {
        let (code, _) = gateway.ask(&format!("GET {page}"), &headers, "").await;
        assert_eq!(code, 401, "{page}");
    }
    assert_eq!(pushed(&mut ada).await, [b"by a service"]);
    let said = operator
        .post("/v1/kick", &json!({"user": "ada", "reason": "bye"}))
        .await;
    assert_eq!(said.counts(), [1, 1, 0, 0]);
    assert_eq!(ada.closed().await.reason, "bye");
    let line = gateway.await_log("an operator's request");
    assert_eq!(line["status"], "done");
}

/// Every place where somebody could read a secret that was shown.
#[tokio::test]
async fn no_secret_is_logged() {
    let config = keys() + "[log]\nlevel = \"trace\"\n";
    let gateway = Gateway::start(&config);
    let api = Api::unsigned(gateway.admin);
    assert_eq!(api.secret(7, secret(7)).push("all", b"").await.code, 200);
    assert_eq!(api.signing(7, secret(7)).push("all", b"").await.code, 200);
    assert_eq!(api.secret(7, secret(8)).push("all", b"").await.code, 401);
    gateway.signal(rustix::process::Signal::TERM);
    let (_, log) = gateway.finish().await;
    assert!(
        log.iter().any(|line| line.contains("http request")),
        "{log:#?}"
    );
    for line in &log {
        for secret in SECRETS {
            assert!(!line.contains(secret), "{line}");
        }
        assert!(!line.to_lowercase().contains("bearer"), "{line}");
    }
}

#[tokio::test]
async fn a_key_over_its_rate_is_told_when_to_come_back() {
    let config = format!("[[keys]]\nid = 7\nrate = 3\nsecret = \"{}\"\n", SECRETS[0]);
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin).secret(7, SECRETS[0]);
    let busy = eventually("it is over its rate", async || {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let api = api.clone();
            asking.spawn(async move { api.push("user=ada", b"").await });
        }
        let said = asking.join_all().await;
        let busy = said.into_iter().find(|said| said.code == 429);
        busy.ok_or_else(|| "it was not".to_owned())
    })
    .await;
    assert_eq!(busy.told(), (429, "busy"));
    assert!(busy.head.contains("retry-after: 1"), "{}", busy.head);
    eventually("it is within its rate again", async || {
        let said = api.send("POST", TARGET, &[JSON], b"").await;
        (said.code == 200)
            .then_some(())
            .ok_or_else(|| format!("{said:?}"))
    })
    .await;
    baseline.assert_back_at(&gateway).await;
}

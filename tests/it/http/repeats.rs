//! Repeats, and who hangs up before the end.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{keys, pushed, secret};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::{Api, BYTES};

const TARGET: &str = "/v1/push?user=ada";

#[tokio::test]
async fn a_repeat_is_told_the_result_and_other_bytes_are_refused() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    let named = ["Idempotency-Key: one", BYTES];
    let (by_secret, signing) = (api.secret(7, secret(7)), api.signing(7, secret(7)));
    let first = by_secret.send("POST", TARGET, &named, b"once").await;
    assert_eq!((first.told(), first.is_repeat()), ((200, "done"), false));
    // Whoever comes later changes nothing about an answer that was given.
    let later = Login::user("ada").device("x").enter(gateway.native).await;
    for api in [&by_secret, &signing, &by_secret] {
        let again = api.send("POST", TARGET, &named, b"once").await;
        assert_eq!((again.told(), again.is_repeat()), ((200, "done"), true));
        assert_eq!(again.counts(), first.counts());
    }
    for (target, body) in [
        (TARGET, &b"twice"[..]),
        ("/v1/push?user=bob", b"once"),
        ("/v1/push?user=ada&", b"once"),
    ] {
        let other = by_secret.send("POST", target, &named, body).await;
        assert_eq!(other.told(), (422, "bad_request"), "{target}");
    }
    let other = by_secret
        .send(
            "POST",
            "/v1/kick",
            &[named[0], "Content-Type: application/json"],
            b"{}",
        )
        .await;
    assert_eq!(other.told(), (422, "bad_request"));
    // The name is one of this key.
    let said = api
        .secret(8, secret(8))
        .send("POST", TARGET, &named, b"other")
        .await;
    assert_eq!((said.told(), said.is_repeat()), ((200, "done"), false));
    // One that is not carried out is not remembered: its name can be used again.
    let denied = api.secret(9, secret(9));
    for _ in 0..2 {
        let said = denied.send("POST", TARGET, &named, b"").await;
        assert_eq!((said.told(), said.is_repeat()), ((403, "denied"), false));
    }
    for name in [
        "Idempotency-Key: ",
        "Idempotency-Key: a b",
        "Idempotency-Key: ü",
    ] {
        let said = by_secret.send("POST", TARGET, &[name, BYTES], b"").await;
        assert_eq!(said.told(), (400, "bad_request"), "{name}");
    }
    // A recorded result is told however old the time is by then.
    let late = ["Idempotency-Key: one", BYTES, "X-Pushgate-Time: 1000"];
    let said = signing.send("POST", TARGET, &late, b"once").await;
    assert_eq!((said.told(), said.is_repeat()), ((200, "done"), true));
    // Without a name every request is one of its own, but the very bytes of a signed one.
    let signed = signing.request("POST", TARGET, &[BYTES], b"signed");
    for is_repeat in [false, true, true] {
        let said = signing.send_as_it_is("POST", TARGET, &signed).await;
        assert_eq!((said.told(), said.is_repeat()), ((200, "done"), is_repeat));
    }
    for _ in 0..2 {
        let said = by_secret.push("user=ada", b"nameless").await;
        assert_eq!((said.told(), said.is_repeat()), ((200, "done"), false));
    }
    let expected = ["once", "other", "signed", "nameless", "nameless"];
    assert_eq!(pushed(&mut ada).await, expected.map(str::as_bytes));
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_repeats_total"), 6);
    drop((ada, later));
    baseline.assert_back_at(&gateway).await;
}

/// Datagrams come one after the other; these do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_repeats_at_the_same_moment_one_is_carried_out() {
    const ROUNDS: usize = 30;
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut ada = Login::user("ada").enter(gateway.native).await;
    let api = Api::unsigned(gateway.admin);
    for round in 0..ROUNDS {
        let mut asking = JoinSet::new();
        for _ in 0..16 {
            let api = api.clone();
            asking.spawn(async move {
                let name = format!("Idempotency-Key: round-{round}");
                api.send("POST", TARGET, &[&name, BYTES], b"once").await
            });
        }
        let said = asking.join_all().await;
        let firsts = said.iter().filter(|said| !said.is_repeat()).count();
        assert_eq!(firsts, 1, "{said:?}");
        assert!(said.iter().all(|said| said.told() == (200, "done")));
    }
    assert_eq!(pushed(&mut ada).await, [b"once"; ROUNDS]);
    drop(ada);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn what_there_is_no_room_to_remember_is_not_carried_out() {
    // Nothing is forgotten before 15 s + 50 ms + 10 s are over.
    let gateway = Gateway::start("[udp]\nmax_remembered = 2\n");
    let api = Api::unsigned(gateway.admin);
    for expected in [(200, "done"), (200, "done"), (429, "busy"), (429, "busy")] {
        assert_eq!(api.push("user=ada", b"").await.told(), expected);
    }
    assert_eq!(
        gateway.scrape().await.value("pushgate_remembered_requests"),
        2
    );
    let said = api.send("GET", "/v1/presence?all", &[], b"").await;
    assert_eq!(said.told(), (200, "done"), "what only asks needs no room");
}

const CLIENTS: usize = 600;

/// The bounds of a client do not matter here: a busy machine is not to close any.
fn patient(deadline: &str) -> String {
    format!(
        "[clients]\nqueue_messages = 4096\nqueue_age = \"60s\"\n[push]\ndeadline = \"{deadline}\"\n"
    )
}

fn crowd() -> impl Iterator<Item = Login> {
    (0..CLIENTS).map(|number| Login::user(format!("user-{number}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_outlives_its_deadline_goes_on_and_its_repeat_is_told_the_end() {
    let gateway = Gateway::start(&patient("0ms"));
    let baseline = Baseline::of(&gateway).await;
    let crowd = Crowd::enter(gateway.native, crowd()).await;
    let api = Api::unsigned(gateway.admin);
    let (mut accepted, mut timeouts) = (Vec::new(), 0);
    for number in 0..50_u32 {
        let name = format!("Idempotency-Key: {number}");
        let prefer = if number % 5 == 0 {
            "Prefer: respond-async"
        } else {
            "X-Other: 1"
        };
        let headers = [&*name, BYTES, prefer];
        let said = api
            .send("POST", "/v1/push?all", &headers, &number.to_be_bytes())
            .await;
        match said.told() {
            (202, "timeout") => timeouts += 1,
            (202, "accepted") => assert_eq!(number % 5, 0),
            (200, "done") => {}
            (429, "busy") => continue,
            other => panic!("{other:?} for broadcast {number}"),
        }
        accepted.push(number);
    }
    assert!(timeouts > 0, "no job outlived its deadline");
    crowd.assert_saw(&accepted).await;
    for number in &accepted {
        let name = format!("Idempotency-Key: {number}");
        eventually("the end is told", async || {
            let headers = [&*name, BYTES];
            let said = api
                .send("POST", "/v1/push?all", &headers, &number.to_be_bytes())
                .await;
            assert!(said.is_repeat(), "{said:?}");
            match said.told() {
                (200, "done") => {
                    assert_eq!(said.counts()[0], CLIENTS as u64);
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    crowd.assert_saw(&accepted).await;
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_push_timeouts_total"), timeouts);
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

/// Law 1 at this door: nobody waits for one who may have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_push_of_a_client_that_hung_up_reaches_everybody_and_leaves_nothing() {
    const BROADCASTS: u32 = 60;
    let gateway = Gateway::start(&patient("30s"));
    let baseline = Baseline::of(&gateway).await;
    let crowd = Crowd::enter(gateway.native, crowd()).await;
    let api = Api::unsigned(gateway.admin);
    // More walks than run at a time: most of them wait for their turn when the clients hang up.
    let mut connections = Vec::new();
    for number in 0..BROADCASTS {
        let mut stream = TcpStream::connect(gateway.admin).await.expect("is there");
        let request = api.request("POST", "/v1/push?all", &[BYTES], &number.to_be_bytes());
        stream.write_all(&request).await.expect("a write");
        connections.push(stream);
    }
    eventually("all have come", async || {
        let scrape = gateway.scrape().await;
        let come = scrape.sum("pushgate_http_requests_total");
        (come == u64::from(BROADCASTS))
            .then_some(())
            .ok_or_else(|| come.to_string())
    })
    .await;
    drop(connections);
    eventually("the jobs and the connections have ended", async || {
        let scrape = gateway.scrape().await;
        let live = ["push_job", "admin"].map(|kind| scrape.at("pushgate_tasks", kind));
        (live[0] == 0 && live[1] <= 2)
            .then_some(())
            .ok_or_else(|| format!("{live:?} live"))
    })
    .await;
    let scrape = gateway.scrape().await;
    let done = scrape.requests("push", "done");
    assert_eq!(
        done + scrape.requests("push", "busy"),
        u64::from(BROADCASTS)
    );
    let done = usize::try_from(done).expect("a few");
    crowd.await_messages(done).await;
    // Connections are many, so the order is the gateway's: one for all.
    let order = crowd.seen(0).numbers.clone();
    crowd.assert_saw(&order).await;
    let written = scrape.at("pushgate_deliveries_total", "written");
    assert_eq!(written, (done * CLIENTS) as u64);
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_gateway_that_drains_does_nothing_new() {
    let gateway = Gateway::start("[drain]\nlinger = \"10s\"\n");
    let api = Api::unsigned(gateway.admin);
    let named = ["Idempotency-Key: one", BYTES];
    assert_eq!(
        api.send("POST", TARGET, &named, b"").await.told(),
        (200, "done")
    );
    gateway.signal(rustix::process::Signal::TERM);
    let refused = eventually("it drains", async || {
        let said = api.push("user=ada", b"").await;
        match said.code {
            503 => Ok(said),
            code => Err(code.to_string()),
        }
    })
    .await;
    assert_eq!(refused.told(), (503, "draining"));
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    let said = api.post("/v1/kick", &json!({"user": "ada"})).await;
    assert_eq!(said.told(), (503, "draining"));
    let again = api.send("POST", TARGET, &named, b"").await;
    assert_eq!((again.told(), again.is_repeat()), ((200, "done"), true));
}

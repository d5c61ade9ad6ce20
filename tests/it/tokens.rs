//! Clients with JSON Web Tokens: who they are, what they may join, and when they have to go.

mod commands;
pub(crate) mod issuer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::{ClientFrame, GatewayFrame, HELLO, JOIN, TOKEN};
use pushgate::wire::reason::{CloseCode, RETRY_NEVER};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Closed, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

use issuer::{Issuer, data, made};

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970")
}

/// All that answers a HELLO, up to CURRENT.
async fn greeting(client: &mut Client, login: &Login) -> Vec<String> {
    client.send_bytes(&login.encode()).await;
    until_current(client).await
}

/// What comes up to the next CURRENT, in words.
async fn until_current(client: &mut Client) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        match client.next().await.expect("CURRENT comes") {
            GatewayFrame::Current { .. } => return words,
            GatewayFrame::Joined { group } => words.push(format!("joined {group}")),
            GatewayFrame::Refused {
                frame_type,
                code,
                group,
            } => words.push(format!("refused {frame_type} {} {group}", code.code())),
            GatewayFrame::Welcome(_) | GatewayFrame::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a frame that is refused, and says so in words.
async fn refused(client: &mut Client, frame: &ClientFrame<'_>) -> String {
    client.send(frame).await;
    match client.next().await.expect("REFUSED comes") {
        GatewayFrame::Refused {
            frame_type,
            code,
            group,
        } => format!("{frame_type} {} {group}", code.code()),
        other => panic!("{other:?}"),
    }
}

async fn turned_away(gateway: &Gateway, token: impl Into<String>) -> Closed {
    let entered = Login::user(token).try_enter(gateway.native).await;
    entered.err().expect("the token is not believed")
}

async fn refused_tokens(gateway: &Gateway, cause: &str) -> u64 {
    let name = format!("pushgate_tokens_refused_total{{cause=\"{cause}\"}}");
    gateway.scrape().await.value(&name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_says_who_and_which_groups() {
    let issuer = Issuer::new();
    let config = format!("{}[clients]\nmax_groups = 4\n", issuer.auth("old"));
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let arguments = [
        "--user", "ada", "--group", "news", "--group", "staff", "--join", "room/*",
    ];
    let token = issuer.token("old", &arguments);
    let login = Login::user(&*token)
        .group("room/1")
        .group("secret")
        .group("news")
        .group("room/2")
        .group("room/3");
    let mut client = Client::connect(gateway.native).await;
    let words = greeting(&mut client, &login).await;
    let expected = [
        "joined news".to_owned(),
        "joined staff".to_owned(),
        "joined room/1".to_owned(),
        "joined room/2".to_owned(),
        format!("refused {HELLO} 7 secret"),
        format!("refused {HELLO} 9 room/3"),
    ];
    assert_eq!(words, expected);

    // JOIN likewise; and what the token gave can be left, and joined again.
    let join = |group| ClientFrame::Join { group };
    assert_eq!(
        refused(&mut client, &join("secret")).await,
        format!("{JOIN} 7 secret")
    );
    assert_eq!(
        refused(&mut client, &join("room/3")).await,
        format!("{JOIN} 9 room/3")
    );
    client.leave("news").await;
    client.join("room/3").await;
    client.leave("room/3").await;
    client.join("news").await;

    // Pushes find the user that the token names, and the groups.
    let sender = Sender::unsigned(gateway.udp).await;
    for (target, payload) in [
        (Target::User("ada"), b"user" as &[u8]),
        (Target::Group("news"), b"news"),
    ] {
        let answer = sender.push(&[target], payload).await;
        assert_eq!(answer.counts.written, 1, "{answer:?}");
        assert_eq!(client.next_push().await.2, payload);
    }
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_told_why_and_counted() {
    let issuer = Issuer::new();
    let config = format!("{}audience = 'push'\n", issuer.auth("old"));
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let far = std::fs::read_to_string(data!("hs256.jwt")).expect("test data");
    let forged = issuer.token("new", &["--user", "ada", "--audience", "push"]);
    for (token, cause, word) in [
        ("ada".to_owned(), "malformed", "not a JSON Web Token"),
        (forged, "signature", "the signature is not good"),
        (far.trim().to_owned(), "audience", "the aud is another one"),
        (
            issuer.token("old", &["--user", "ada"]),
            "audience",
            "no aud",
        ),
    ] {
        let before = refused_tokens(&gateway, cause).await;
        let closed = turned_away(&gateway, token).await;
        assert_eq!(
            (closed.code, closed.retry_after_ms),
            (CloseCode::Auth, RETRY_NEVER)
        );
        assert!(closed.reason.contains(word), "{closed:?}");
        assert_eq!(refused_tokens(&gateway, cause).await, before + 1, "{cause}");
    }
    let expired = ["--user", "ada", "--audience", "push", "--ttl", "0s"];
    let closed = turned_away(&gateway, issuer.token("old", &expired)).await;
    assert_eq!(
        (closed.code, closed.retry_after_ms),
        (CloseCode::Expired, RETRY_NEVER)
    );
    assert_eq!(refused_tokens(&gateway, "expired").await, 1);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_token_and_comes_back_with_a_new_one() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let token = |ttl| issuer.token("old", &["--user", "ada", "--ttl", ttl]);
    let long = token("1h");
    let made = now();
    let short = token("3s");
    let mut client = Login::user(&*short).enter(gateway.native).await;
    let mut other = Login::user(&*long)
        .device("other")
        .enter(gateway.native)
        .await;
    let closed = client.closed().await;
    // Its end stands in whole seconds: not before the earliest that it can have.
    assert!(
        now() >= Duration::from_secs(made.as_secs() + 3),
        "closed before its end"
    );
    assert_eq!(
        (closed.code, closed.retry_after_ms),
        (CloseCode::Expired, RETRY_NEVER)
    );
    assert_eq!(closed.reason, "the token has expired");
    assert_eq!(turned_away(&gateway, short).await.code, CloseCode::Expired);
    let mut again = Login::user(&*long).enter(gateway.native).await;
    again.assert_alive().await;
    other.assert_alive().await;
    eventually("the session, and who came with its token", async || {
        let scrape = gateway.scrape().await;
        let expired = scrape.value("pushgate_connections_closed_total{reason=\"expired\"}");
        (expired == 2)
            .then_some(())
            .ok_or_else(|| expired.to_string())
    })
    .await;
    drop((client, other, again));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_renews_the_live_connection() {
    let issuer = Issuer::new();
    let config = format!("{}[clients]\nmax_groups = 3\n", issuer.auth("old"));
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let eve = issuer.token("old", &["--user", "eve", "--group", "eve"]);
    let forged = issuer.token("new", &["--user", "ada"]);
    let ended = issuer.token("old", &["--user", "ada", "--ttl", "0s"]);
    let arguments = [
        "--user", "ada", "--group", "staff", "--group", "news", "--group", "night", "--group",
        "day", "--join", "room/*",
    ];
    let renewed = issuer.token("old", &arguments);
    let short = issuer.token("old", &["--user", "ada", "--ttl", "4s", "--group", "news"]);
    let mut client = Login::user(&*short).enter(gateway.native).await;
    // The twin with the same token is not renewed: it shows when that ends.
    let mut twin = Login::user(&*short)
        .device("twin")
        .enter(gateway.native)
        .await;

    // What is not good changes nothing: a bad one, another user's, one that has ended.
    for (token, cause) in [
        ("nonsense", "malformed"),
        (&*eve, "user"),
        (&*forged, "signature"),
        (&*ended, "expired"),
    ] {
        let token = token.as_bytes();
        let word = refused(&mut client, &ClientFrame::Token { token }).await;
        assert_eq!(word, format!("{TOKEN} 7 "), "{cause}");
        assert_eq!(refused_tokens(&gateway, cause).await, 1, "{cause}");
    }

    // Further groups are joined as far as there is room, others stay, and what it may join is new.
    let token = renewed.as_bytes();
    client.send(&ClientFrame::Token { token }).await;
    let words = until_current(&mut client).await;
    let expected = [
        "joined staff".to_owned(),
        "joined night".to_owned(),
        format!("refused {TOKEN} 9 day"),
    ];
    assert_eq!(words, expected);
    client.leave("news").await;
    client.join("room/1").await;
    let join = ClientFrame::Join { group: "hall" };
    assert_eq!(refused(&mut client, &join).await, format!("{JOIN} 7 hall"));

    // The old end comes, and only who has not renewed goes.
    assert_eq!(twin.closed().await.code, CloseCode::Expired);
    client.assert_alive().await;
    drop((client, twin));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_end_in_a_new_token_counts_too() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let token = |ttl| issuer.token("old", &["--user", "ada", "--ttl", ttl]);
    let mut client = Login::user(token("1h")).enter(gateway.native).await;
    let short = token("2s");
    let token = short.as_bytes();
    client.send(&ClientFrame::Token { token }).await;
    assert_eq!(client.closed().await.code, CloseCode::Expired);
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tokens_a_renewal_is_refused() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let word = refused(&mut client, &ClientFrame::Token { token: b"ada" }).await;
    assert_eq!(word, format!("{TOKEN} 7 "));
    assert_eq!(refused_tokens(&gateway, "mode").await, 1);
    client.assert_alive().await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_stand_side_by_side_by_kid() {
    let issuer = Issuer::new();
    let secret = issuer.path("new");
    let config = format!(
        "[auth]\nmode = 'jwt'\nissuer = 'issuer'\n\
         [[auth.keys]]\nkid = 'new'\nalgorithm = 'HS256'\nsecret_file = '{secret}'\n\
         [[auth.keys]]\nkid = 'rs256'\nalgorithm = 'RS256'\npublic_key_file = '{}'\n\
         [[auth.keys]]\nkid = 'es256'\nalgorithm = 'ES256'\npublic_key_file = '{}'\n\
         [[auth.keys]]\nkid = 'eddsa'\nalgorithm = 'EdDSA'\npublic_key_file = '{}'\n",
        data!("rs256.pub.pem"),
        data!("es256.pub.pem"),
        data!("eddsa.pub.pem"),
    );
    let gateway = Gateway::start(&config);
    let baseline = Baseline::of(&gateway).await;
    let from = |kid| ["--user", "ada", "--issuer", "issuer", "--kid", kid];
    let mut clients = Vec::new();
    clients.push(
        Login::user(issuer.token("new", &from("new")))
            .enter(gateway.native)
            .await,
    );
    for (kid, algorithm, key, by_others) in [
        ("rs256", "RS256", data!("rs256.key.pem"), data!("rs256.jwt")),
        ("es256", "ES256", data!("es256.key.pem"), data!("es256.jwt")),
        ("eddsa", "EdDSA", data!("eddsa.key.pem"), data!("eddsa.jwt")),
    ] {
        let arguments = ["--key-file", key, "--algorithm", algorithm];
        let own = made(&[&from(kid), &arguments[..]].concat());
        let by_others = std::fs::read_to_string(by_others).expect("test data");
        for (device, token) in [("own", &*own), ("others", by_others.trim())] {
            let device = format!("{kid} {device}");
            let login = Login::user(token).device(device);
            clients.push(login.enter(gateway.native).await);
        }
    }
    // A kid that is not there, none at all, and the kid of another key.
    for (kid, cause) in [("older", "kid"), ("rs256", "algorithm")] {
        let closed = turned_away(&gateway, issuer.token("new", &from(kid))).await;
        assert_eq!(closed.code, CloseCode::Auth);
        assert_eq!(refused_tokens(&gateway, cause).await, 1, "{closed:?}");
    }
    let bare = issuer.token("new", &from("new")[..4]);
    assert_eq!(
        turned_away(&gateway, bare).await.reason,
        "token: no kid in the header"
    );
    for client in &mut clients {
        client.assert_alive().await;
    }
    drop(clients);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_counts_for_the_next_token_and_drops_nobody() {
    let issuer = Issuer::new();
    let gateway = Gateway::start(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let token = |secret| issuer.token(secret, &["--user", "ada"]);
    let mut before = Login::user(token("old")).enter(gateway.native).await;
    gateway.rewrite(&issuer.auth("new"));
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 200, "{answer}");
    let closed = turned_away(&gateway, token("old")).await;
    assert_eq!(closed.code, CloseCode::Auth);
    let login = Login::user(token("new")).device("new");
    let mut after = login.enter(gateway.native).await;
    before.assert_alive().await;
    after.assert_alive().await;
    drop((before, after));
    baseline.assert_back_at(&gateway).await;
}

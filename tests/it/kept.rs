//! Messages with a ttl: who was away receives them, once, in order, and is told the truth.

use std::time::{Duration, Instant};

use pushgate::wire::datagram::{ReplyMode, RequestBody, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame, Welcome};
use pushgate::wire::reason::{CloseCode, Status};

use crate::requests::counts;
use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Answer, Sender};

/// A push that is kept for `ttl_s`, under a collapse key where it is not empty.
pub(crate) async fn keep(
    sender: &Sender,
    target: Target<'_>,
    payload: &[u8],
    (ttl_s, collapse): (u32, &[u8]),
) -> Answer {
    let body = RequestBody::Push {
        reply: ReplyMode::One,
        collapse,
        ttl_s,
        spread_ms: 0,
        targets: &[target],
        payload,
    };
    sender.ask(&body).await
}

/// Comes in and reads up to CURRENT: WELCOME, the numbers and payloads of what was replayed, and
/// CURRENT's cursor.
pub(crate) async fn resume(
    gateway: &Gateway,
    login: &Login,
    place: (u64, u64),
) -> (Client, Welcome, Vec<(u64, Vec<u8>)>, u64) {
    let mut client = Client::connect(gateway.native).await;
    let login = login.clone().resume(place);
    client.send_bytes(&login.encode()).await;
    let (mut welcome, mut replayed) = (None, Vec::new());
    let current = loop {
        match client.next().await.expect("the gateway goes on") {
            GatewayFrame::Welcome(first) => welcome = Some(first),
            GatewayFrame::Push {
                number, payload, ..
            } => replayed.push((number, payload.to_vec())),
            GatewayFrame::Current { cursor } => break cursor,
            GatewayFrame::Joined { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    let welcome = welcome.expect("WELCOME comes first");
    (client, welcome, replayed, current)
}

#[tokio::test]
async fn who_was_away_receives_what_was_kept() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let ada = Target::User("ada");
    for (number, payload) in (1..).zip([b"one", b"two"]) {
        let answer = keep(&sender, ada, payload, (600, b"")).await;
        assert_eq!(answer.status, Status::Done);
        assert_eq!(answer.counts, counts(0, 0, 0, 0), "nobody is there");
        assert_eq!(answer.number, number);
    }
    // Live messages are for those who are there.
    sender.push(&[ada], b"live").await;
    keep(&sender, Target::User("bob"), b"not hers", (600, b"")).await;
    let login = Login::user("ada").device("phone");
    let (mut client, welcome, replayed, current) = resume(&gateway, &login, (0, 0)).await;
    assert!(welcome.resumed);
    assert_eq!(welcome.cursor, 0);
    let both = vec![(1, b"one".to_vec()), (2, b"two".to_vec())];
    assert_eq!(replayed, both);
    assert_eq!(current, 3, "the last number, whoever it was for");
    client.send(&ClientFrame::Ack { number: 2 }).await;
    // What comes now comes with its number.
    let answer = keep(&sender, ada, b"three", (600, b"")).await;
    assert_eq!((answer.counts, answer.number), (counts(1, 1, 0, 0), 4));
    let pushed = client.next().await;
    assert!(
        matches!(pushed, Some(GatewayFrame::Push { number: 4, .. })),
        "{pushed:?}"
    );
    drop(client);
    let place = (welcome.epoch, 4);
    let (client, again, replayed, _) = resume(&gateway, &login, place).await;
    assert!(again.resumed, "nothing was dropped");
    assert_eq!((again.cursor, replayed), (4, vec![]));
    drop(client);
    // Of another epoch, or ahead of the log: it is to fetch its state anew.
    for place in [(welcome.epoch ^ 1, 2), (welcome.epoch, 99)] {
        let (_client, told, replayed, current) = resume(&gateway, &login, place).await;
        assert!(!told.resumed);
        assert_eq!((told.cursor, replayed, current), (4, vec![], 4));
    }
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.value("pushgate_replayed_total"), 2);
    assert_eq!(
        scrape.value("pushgate_confirmed_total"),
        3,
        "by ACK, and by a cursor"
    );
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn only_the_newest_of_a_collapse_key_and_nothing_expired_is_replayed() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let news = Target::Group("news");
    for score in [b"1:0", b"1:1", b"2:1"] {
        keep(&sender, news, score, (600, b"score")).await;
    }
    keep(&sender, news, b"short", (1, b"")).await;
    keep(&sender, news, b"other", (600, b"weather")).await;
    eventually("the short one has expired", async || {
        let gone = gateway.scrape().await;
        let gone = gone.at("pushgate_history_removed_total", "expired");
        (gone == 1).then_some(()).ok_or_else(|| gone.to_string())
    })
    .await;
    let login = Login::user("ada").group("news");
    let (_client, _, replayed, current) = resume(&gateway, &login, (0, 0)).await;
    let newest = vec![(3, b"2:1".to_vec()), (5, b"other".to_vec())];
    assert_eq!((replayed, current), (newest, 5));
    drop(_client);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_resume_is_not_granted_where_something_was_dropped() {
    let gateway = Gateway::start("[history]\nmessages = 3\n");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for payload in [b"1", b"2", b"3", b"4", b"5"] {
        keep(&sender, Target::All, payload, (600, b"")).await;
    }
    let login = Login::user("ada");
    let (client, told, ..) = resume(&gateway, &login, (0, 0)).await;
    assert!(!told.resumed, "two are gone");
    drop(client);
    let epoch = told.epoch;
    let (client, told, replayed, _) = resume(&gateway, &login, (epoch, 1)).await;
    assert!(!told.resumed, "the second is gone");
    assert_eq!((told.cursor, replayed), (5, vec![]));
    drop(client);
    let (client, told, replayed, _) = resume(&gateway, &login, (epoch, 2)).await;
    assert!(told.resumed, "all that it lacks is there");
    assert_eq!(replayed.len(), 3);
    drop(client);
    // Who wants everything gets what is left.
    let (client, told, replayed, _) = resume(&gateway, &login, (0, 0)).await;
    assert!(!told.resumed);
    assert_eq!(replayed.len(), 3);
    drop(client);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn groups_of_a_service_outlive_a_disconnect_and_a_kick_ends_them() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = Login::user("ada").device("phone");
    let client = login.enter(gateway.native).await;
    let (users, room) = (["ada"], [Target::Group("room")]);
    let join = RequestBody::Join {
        group: "room",
        users: &users,
    };
    assert_eq!(sender.ask(&join).await.counts, counts(1, 1, 0, 0));
    drop(client);
    eventually("she is gone", async || {
        let sessions = gateway.scrape().await.value("pushgate_sessions");
        (sessions == 0)
            .then_some(())
            .ok_or_else(|| sessions.to_string())
    })
    .await;
    // Given while she is away, to the device that is remembered.
    let late = RequestBody::Join {
        group: "late",
        users: &users,
    };
    assert_eq!(sender.ask(&late).await.counts, counts(0, 0, 0, 0));
    keep(&sender, room[0], b"meanwhile", (600, b"")).await;
    let (mut client, _, replayed, _) = resume(&gateway, &login, (0, 0)).await;
    assert_eq!(replayed, [(1, b"meanwhile".to_vec())]);
    assert_eq!(sender.push(&room, b"").await.counts, counts(1, 1, 0, 0));
    let late = [Target::Group("late")];
    assert_eq!(sender.push(&late, b"").await.counts, counts(1, 1, 0, 0));
    // Another device of hers has its own.
    let tablet = Login::user("ada").device("tablet");
    let tablet = tablet.enter(gateway.native).await;
    assert_eq!(sender.push(&room, b"").await.counts, counts(1, 1, 0, 0));
    drop(tablet);
    let kick = RequestBody::Kick(pushgate::wire::datagram::Kick {
        user: "ada",
        device: "phone",
        hold_s: 0,
        reason: "",
    });
    assert_eq!(sender.ask(&kick).await.counts, counts(1, 1, 0, 0));
    assert_eq!(client.closed().await.code, CloseCode::Kicked);
    drop(client);
    let _client = login.enter(gateway.native).await;
    assert_eq!(sender.push(&room, b"").await.counts, counts(0, 0, 0, 0));
    drop(_client);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent_is_malformed() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let login = Login::user("ada");
    let mut client = login.enter(gateway.native).await;
    keep(&sender, Target::User("ada"), b"x", (600, b"")).await;
    client.next_push().await;
    for number in [1, 0] {
        client.send(&ClientFrame::Ack { number }).await;
    }
    client.assert_alive().await;
    client.send(&ClientFrame::Ack { number: 2 }).await;
    assert_eq!(client.closed().await.code, CloseCode::Protocol);
    drop(client);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_spread_push_reaches_each_at_a_moment_of_its_own() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let login = Login::user(format!("user{number}"));
        clients.push(login.enter(gateway.native).await);
    }
    let began = Instant::now();
    let body = RequestBody::Push {
        reply: ReplyMode::Two,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 1000,
        targets: &[Target::All],
        payload: b"refresh",
    };
    let datagram = sender.encode(&body);
    let mut answers = sender.expect(datagram.id);
    sender.send(&datagram.bytes).await;
    assert_eq!(answers.next().await.status, Status::Accepted);
    let mut arrivals = Vec::new();
    for client in &mut clients {
        assert_eq!(client.next_push().await.2, b"refresh");
        arrivals.push(began.elapsed());
    }
    let result = answers.next().await;
    assert_eq!(
        (result.status, result.counts),
        (Status::Done, counts(40, 40, 0, 0))
    );
    assert!(result.elapsed_ms >= 900, "not all at once: {result:?}");
    assert!(
        arrivals[39] - arrivals[0] > Duration::from_millis(500),
        "{arrivals:?}"
    );
    // Each message of a later push comes in its place, whoever has had a turn by then.
    drop(clients);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_spread_that_is_on_its_way_goes_out_when_the_gateway_ends() {
    let gateway = Gateway::start("");
    let sender = Sender::unsigned(gateway.udp).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let login = Login::user(format!("user{number}"));
        clients.push(login.enter(gateway.native).await);
    }
    let body = RequestBody::Push {
        reply: ReplyMode::None,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 300_000,
        targets: &[Target::All],
        payload: b"soon",
    };
    sender.send(&sender.encode(&body).bytes).await;
    eventually("the job runs", async || {
        let jobs = gateway.scrape().await.value("pushgate_jobs");
        (jobs == 1).then_some(()).ok_or_else(|| jobs.to_string())
    })
    .await;
    gateway.signal(rustix::process::Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.next_push().await.2, b"soon");
        assert_eq!(client.closed().await.code, CloseCode::Draining);
    }
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:#?}");
}

//! What senders are answered: every refusal, which of two comes first, and every way to answer.

use pushgate::clock::Clock;
use pushgate::wire::datagram::{Kick, ReplyMode, RequestBody, Target};
use pushgate::wire::frame::Scope;
use pushgate::wire::reason::Status;
use pushgate::wire::reply::Counts;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Answer, Sender, push, push_with};

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

async fn sender(gateway: &Gateway, key_id: u32) -> Sender {
    let secret = SECRETS[key_id as usize - 7];
    Sender::signed(gateway.udp, key_id, secret).await
}

pub(crate) const fn counts(matched: u32, written: u32, waiting: u32, refused: u32) -> Counts {
    Counts {
        matched,
        written,
        waiting,
        refused,
    }
}

pub(crate) fn told(answer: &Answer) -> (Status, Counts) {
    (answer.status, answer.counts)
}

pub(crate) const NOTHING: Counts = counts(0, 0, 0, 0);

fn push_options<'a>(
    collapse: &'a [u8],
    ttl_s: u32,
    spread_ms: u32,
    targets: &'a [Target<'a>],
) -> RequestBody<'a> {
    RequestBody::Push {
        reply: ReplyMode::One,
        collapse,
        ttl_s,
        spread_ms,
        targets,
        payload: b"",
    }
}

#[tokio::test]
async fn old_and_early_requests_are_stale_and_told_the_time() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let all = sender(&gateway, 7).await;
    let pushes = sender(&gateway, 8).await;
    let now = Clock::system().now_ms();
    for time_ms in [0, now - 16_000, now + 60_000, u64::MAX] {
        let id = rand::random();
        let datagram = all.encode_at(time_ms, id, &push(&[Target::All], b""));
        let answer = all.ask_datagram(&datagram).await;
        assert_eq!(told(&answer), (Status::Stale, NOTHING), "{time_ms}");
        assert!(now <= answer.time_ms && answer.time_ms < now + 60_000);
        // The age is looked at before the permission and before the body.
        let forbidden = RequestBody::Join {
            group: "*",
            users: &[],
        };
        let datagram = pushes.encode_at(time_ms, id, &forbidden);
        assert_eq!(pushes.ask_datagram(&datagram).await.status, Status::Stale);
    }
    // What was stale is not remembered: the id is as good as new.
    let id = rand::random();
    let old = all.encode_at(1, id, &push(&[Target::All], b""));
    assert_eq!(all.ask_datagram(&old).await.status, Status::Stale);
    let fresh = all.encode_at(now, id, &push(&[Target::All], b""));
    assert_eq!(all.ask_datagram(&fresh).await.status, Status::Done);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_key_is_denied_what_it_may_not_do() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada")
        .group("room/1")
        .enter(gateway.native)
        .await;
    let pushes = sender(&gateway, 8).await;
    let rooms = sender(&gateway, 9).await;
    let denied = (Status::Denied, NOTHING);
    let (one, outside) = (["ada"], "lounge");
    // The op comes before the body, which is wrong too.
    let join = RequestBody::Join {
        group: "*",
        users: &[],
    };
    assert_eq!(told(&pushes.ask(&join).await), denied);
    assert_eq!(told(&pushes.ask(&RequestBody::Ping(b"")).await), denied);
    for targets in [
        &[Target::All][..],
        &[Target::User("ada")],
        &[Target::Group(outside)],
        &[Target::Group("room")],
        &[Target::Group("staffroom")],
        &[Target::Group("room/1"), Target::Group(outside)],
    ] {
        assert_eq!(told(&rooms.push(targets, b"").await), denied, "{targets:?}");
        let presence = RequestBody::Presence { targets };
        assert_eq!(told(&rooms.ask(&presence).await), denied, "{targets:?}");
        // The body comes before scope and group.
        let both = push_options(b"", 1, 1, targets);
        assert_eq!(rooms.ask(&both).await.status, Status::BadRequest);
    }
    let join = RequestBody::Join {
        group: outside,
        users: &one,
    };
    assert_eq!(told(&rooms.ask(&join).await), denied);
    let leave = RequestBody::Leave {
        group: outside,
        users: &one,
    };
    assert_eq!(told(&rooms.ask(&leave).await), denied);
    // What it may, it does; an exception needs no permission.
    let allowed = [
        Target::Group("room/1"),
        Target::ExceptUser("bob"),
        Target::ExceptGroup(outside),
    ];
    assert_eq!(rooms.push(&allowed, b"in").await.counts, counts(1, 1, 0, 0));
    assert_eq!(
        rooms.push(&[Target::Group("staff")], b"").await.status,
        Status::Done
    );
    assert_eq!(
        pushes.push(&[Target::Group(outside)], b"").await.status,
        Status::Done
    );
    assert_eq!(
        client.next_push().await,
        (Scope::Group, "room/1".to_owned(), b"in".to_vec())
    );
    client.assert_alive().await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn strangers_hear_nothing() {
    let gateway = Gateway::start(&keys());
    let baseline = Baseline::of(&gateway).await;
    let known = sender(&gateway, 7).await;
    let unknown = Sender::signed(gateway.udp, 6, SECRETS[0]).await;
    let forged = Sender::signed(gateway.udp, 7, SECRETS[1]).await;
    let unsigned = Sender::unsigned(gateway.udp).await;
    let all = [Target::All];
    for stranger in [&unknown, &forged, &unsigned] {
        // From an address that gets answers, so that there is nothing else about it.
        known.send(&stranger.encode(&push(&all, b"")).bytes).await;
        stranger
            .send(&stranger.encode(&RequestBody::Ping(b"")).bytes)
            .await;
    }
    known.barrier().await;
    let scrape = gateway.scrape().await;
    for cause in ["key", "mac", "unsigned"] {
        assert_eq!(
            scrape.at("pushgate_datagrams_rejected_total", cause),
            2,
            "{cause}"
        );
    }
    for sender in [known, unknown, forged, unsigned] {
        assert_eq!(sender.unexpected(), []);
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn what_is_over_a_bound_is_a_bad_request() {
    let gateway = Gateway::start("[push]\nmax_payload = 100\n");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let all = [Target::All];
    let kick = |hold_s| {
        RequestBody::Kick(Kick {
            user: "ada",
            device: "",
            hold_s,
            reason: "",
        })
    };
    for body in [
        push_options(b"", 7 * 86_400 + 1, 0, &all),
        push_options(b"", 0, 600_001, &all),
        push_options(b"", 1, 1, &all),
        push(&[], b""),
        push(&[Target::ExceptUser("ada")], b""),
        push(&[Target::All; 513], b""),
        push(&[Target::User("")], b""),
        push(&[Target::Group("a*")], b""),
        push(&all, &[0; 101]),
        RequestBody::Presence {
            targets: &[Target::All; 257],
        },
        RequestBody::Presence {
            targets: &[Target::ExceptUser("ada")],
        },
        RequestBody::Join {
            group: "news",
            users: &[],
        },
        RequestBody::Leave {
            group: "",
            users: &["ada"],
        },
        RequestBody::Ping(&[0; 65]),
        kick(86_401),
    ] {
        let answer = sender.ask(&body).await;
        assert_eq!(told(&answer), (Status::BadRequest, NOTHING), "{body:?}");
    }
    for body in [
        push(&all, &[0; 100]),
        push(&[Target::All; 512], b""),
        kick(0),
    ] {
        assert_eq!(sender.ask(&body).await.status, Status::Done, "{body:?}");
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_push_is_answered_as_its_sender_wants() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        clients.push(
            Login::user(format!("u{number}"))
                .enter(gateway.native)
                .await,
        );
    }
    let sender = Sender::unsigned(gateway.udp).await;
    let all = [Target::All];
    // None: neither when it is carried out nor when it is refused, nor for a repeat.
    let silent = sender.encode(&push_with(ReplyMode::None, &all, b"silent"));
    sender.send(&silent.bytes).await;
    sender.send(&silent.bytes).await;
    let refused = push_with(ReplyMode::None, &[Target::ExceptUser("ada")], b"");
    sender.send(&sender.encode(&refused).bytes).await;
    sender.barrier().await;
    // Two: that it runs, and then the result.
    let twice = sender.encode(&push_with(ReplyMode::Two, &all, b"twice"));
    let mut answers = sender.expect(twice.id);
    sender.send(&twice.bytes).await;
    let accepted = answers.next().await;
    assert_eq!(accepted.status, Status::Accepted);
    let done = answers.next().await;
    assert_eq!(told(&done), (Status::Done, counts(40, 40, 0, 0)));
    for client in &mut clients {
        assert_eq!(client.next_push().await.2, b"silent");
        assert_eq!(client.next_push().await.2, b"twice");
        client.assert_alive().await;
    }
    sender.barrier().await;
    assert_eq!(answers.try_next(), None);
    assert_eq!(sender.unexpected(), []);
    drop(clients);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_job_over_its_deadline_answers_timeout_and_goes_on() {
    let gateway = Gateway::start("[push]\ndeadline = \"0ms\"\n");
    let baseline = Baseline::of(&gateway).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        clients.push(
            Login::user(format!("u{number}"))
                .enter(gateway.native)
                .await,
        );
    }
    let sender = Sender::unsigned(gateway.udp).await;
    let datagram = sender.encode(&push(&[Target::All], b"late"));
    let first = sender.ask_datagram(&datagram).await;
    assert!(
        [Status::Timeout, Status::Done].contains(&first.status),
        "{first:?}"
    );
    for client in &mut clients {
        assert_eq!(client.next_push().await.2, b"late");
    }
    eventually("the result is told to who asks again", async || match told(
        &sender.ask_datagram(&datagram).await,
    ) {
        (Status::Done, counts) if counts.matched == 40 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    drop(clients);
    baseline.assert_back_at(&gateway).await;
}

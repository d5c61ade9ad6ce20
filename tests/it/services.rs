//! What services do beside pushing: groups, kicks, and questions.

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use pushgate::wire::reason::{CloseCode, Status};

use crate::requests::{NOTHING, counts, told};
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

#[tokio::test]
async fn services_put_users_into_groups_and_take_them_out() {
    let gateway = Gateway::start("[clients]\nmax_groups = 2\n");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut phone = Login::user("ada")
        .device("phone")
        .enter(gateway.native)
        .await;
    let mut full = Login::user("ada")
        .device("full")
        .group("a")
        .group("b")
        .enter(gateway.native)
        .await;
    let mut bob = Login::user("bob").enter(gateway.native).await;
    let users = ["ada", "bob", "nobody"];
    let join = RequestBody::Join {
        group: "news",
        users: &users,
    };
    let joined = (Status::Done, counts(3, 2, 0, 1));
    assert_eq!(told(&sender.ask(&join).await), joined);
    for client in [&mut phone, &mut bob] {
        let expected = GatewayFrame::Joined { group: "news" };
        assert_eq!(client.next().await, Some(expected));
    }
    // What is so already counts as done.
    assert_eq!(told(&sender.ask(&join).await), joined);
    let news = [Target::Group("news")];
    assert_eq!(sender.push(&news, b"read").await.counts, counts(2, 2, 0, 0));
    let leave = RequestBody::Leave {
        group: "news",
        users: &["bob"],
    };
    assert_eq!(
        told(&sender.ask(&leave).await),
        (Status::Done, counts(1, 1, 0, 0))
    );
    assert_eq!(bob.next_push().await.2, b"read");
    let expected = GatewayFrame::Left { group: "news" };
    assert_eq!(bob.next().await, Some(expected));
    assert_eq!(sender.push(&news, b"").await.counts, counts(1, 1, 0, 0));
    // A client leaves a group that a service gave, too.
    phone.leave("news").await;
    assert_eq!(sender.push(&news, b"").await.counts, NOTHING);
    full.assert_alive().await;
    drop((phone, full, bob));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn presence_counts_sessions_and_ping_echoes() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut clients = Vec::new();
    for (user, device) in [("ada", "phone"), ("ada", "web"), ("bob", "")] {
        let login = Login::user(user).device(device).group("news");
        clients.push(login.enter(gateway.native).await);
    }
    let targets = [
        Target::User("ada"),
        Target::Group("news"),
        Target::User("nobody"),
        Target::All,
    ];
    let answer = sender
        .ask(&RequestBody::Presence { targets: &targets })
        .await;
    assert_eq!(
        (answer.status, &answer.sessions[..]),
        (Status::Done, &[2, 3, 0, 3][..])
    );
    assert_eq!(answer.counts, counts(8, 0, 0, 0));
    let answer = sender.ask(&RequestBody::Ping(&[7; 64])).await;
    assert_eq!(
        (told(&answer), &answer.tail[..]),
        ((Status::Done, NOTHING), &[7; 64][..])
    );
    // A client that says BYE is closed without a CLOSE, and gone.
    let mut leaving = clients.pop().expect("there are three");
    leaving.send(&ClientFrame::Bye).await;
    leaving.ended().await;
    eventually("bob is gone", async || {
        let bob = RequestBody::Presence {
            targets: &[Target::User("bob")],
        };
        let left = sender.ask(&bob).await.sessions;
        let scrape = gateway.scrape().await;
        let closed = scrape.at("pushgate_connections_closed_total", "bye");
        match (&left[..], closed) {
            ([0], 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    drop((clients, leaving));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_kick_closes_the_device_that_is_meant_and_holds_it_out() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let mut phone = Login::user("ada")
        .device("phone")
        .enter(gateway.native)
        .await;
    let mut web = Login::user("ada").device("web").enter(gateway.native).await;
    let kick = |device, hold_s, reason| {
        RequestBody::Kick(Kick {
            user: "ada",
            device,
            hold_s,
            reason,
        })
    };
    let answer = sender.ask(&kick("phone", 600, "no phones")).await;
    assert_eq!(told(&answer), (Status::Done, counts(1, 1, 0, 0)));
    let closed = phone.closed().await;
    assert_eq!(
        (closed.code, closed.retry_after_ms),
        (CloseCode::Kicked, 600_000)
    );
    assert_eq!(closed.reason, "no phones");
    let back = Login::user("ada")
        .device("phone")
        .try_enter(gateway.native)
        .await;
    let closed = back.err().expect("the hold is not over");
    assert_eq!(closed.code, CloseCode::Kicked);
    assert!((1..=600_000).contains(&closed.retry_after_ms), "{closed:?}");
    web.assert_alive().await;
    // Another kick takes the place of the first one's hold, and none at all lifts it.
    assert_eq!(sender.ask(&kick("phone", 0, "")).await.counts, NOTHING);
    let phone = Login::user("ada")
        .device("phone")
        .enter(gateway.native)
        .await;
    let answer = sender.ask(&kick("", 0, "all")).await;
    assert_eq!(answer.counts, counts(2, 2, 0, 0));
    let closed = web.closed().await;
    assert_eq!(
        (closed.code, closed.retry_after_ms),
        (CloseCode::Kicked, u32::MAX)
    );
    let nobody = RequestBody::Kick(Kick {
        user: "nobody",
        device: "",
        hold_s: 0,
        reason: "",
    });
    assert_eq!(told(&sender.ask(&nobody).await), (Status::Done, NOTHING));
    drop((phone, web));
    baseline.assert_back_at(&gateway).await;
}

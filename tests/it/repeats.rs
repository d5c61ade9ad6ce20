//! A request is carried out at most once, however often its bytes come.

use pushgate::wire::datagram::Target;
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use pushgate::wire::reason::Status;

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

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

#[tokio::test]
async fn a_thousand_times_the_same_bytes_push_once_and_have_one_answer() {
    let gateway = Gateway::start(&format!("[[keys]]\nid = 7\nsecret = \"{SECRET}\"\n"));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::signed(gateway.udp, 7, SECRET).await;
    let same = sender.encode(&push(&[Target::User("ada")], b"once"));
    let first = sender.ask_datagram(&same).await;
    assert_eq!((first.status, first.counts.matched), (Status::Done, 1));
    // Whoever comes later changes nothing about an answer that was given.
    let later = Login::user("ada")
        .device("later")
        .enter(gateway.native)
        .await;
    for _ in 1..1_000 {
        let mut again = sender.ask_datagram(&same).await;
        again.time_ms = first.time_ms;
        assert_eq!(again, first);
    }
    assert_eq!(pushed(&mut client).await, [b"once"]);
    let scrape = gateway.scrape().await;
    assert_eq!(scrape.requests("push", "done"), 1);
    assert!(scrape.value("pushgate_repeats_total") >= 999);
    drop((client, later));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_known_id_with_other_bytes_is_a_bad_request() {
    for secret in [None, Some(SECRET)] {
        let keys = secret.map(|secret| format!("[[keys]]\nid = 7\nsecret = \"{secret}\"\n"));
        let gateway = Gateway::start(&keys.unwrap_or_default());
        let baseline = Baseline::of(&gateway).await;
        let mut client = Login::user("ada").enter(gateway.native).await;
        let sender = match secret {
            Some(secret) => Sender::signed(gateway.udp, 7, secret).await,
            None => Sender::unsigned(gateway.udp).await,
        };
        let ada = [Target::User("ada")];
        let first = sender.encode(&push(&ada, b"first"));
        assert_eq!(sender.ask_datagram(&first).await.status, Status::Done);
        // Its age does not matter: that the id is known is seen first.
        for time_ms in [1, pushgate::clock::Clock::system().now_ms()] {
            let other = sender.encode_at(time_ms, first.id, &push(&ada, b"other"));
            let answer = sender.ask_datagram(&other).await;
            assert_eq!(
                (answer.status, answer.counts.matched),
                (Status::BadRequest, 0)
            );
        }
        assert_eq!(sender.ask_datagram(&first).await.status, Status::Done);
        assert_eq!(pushed(&mut client).await, [b"first"]);
        drop(client);
        baseline.assert_back_at(&gateway).await;
    }
}

#[tokio::test]
async fn a_full_memory_for_ids_is_busy_and_forgets_nobody() {
    let gateway = Gateway::start(&format!(
        "[udp]\nmax_remembered = 3\n[[keys]]\nid = 7\nsecret = \"{SECRET}\"\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::signed(gateway.udp, 7, SECRET).await;
    let ada = [Target::User("ada")];
    let first = sender.encode(&push(&ada, b"1"));
    assert_eq!(sender.ask_datagram(&first).await.status, Status::Done);
    assert_eq!(sender.push(&ada, b"2").await.status, Status::Done);
    assert_eq!(sender.push(&ada, b"3").await.status, Status::Done);
    let busy = sender.push(&ada, b"4").await;
    assert_eq!((busy.status, busy.counts.matched), (Status::Busy, 0));
    // What is known is still answered, and what need not be remembered is carried out.
    assert_eq!(sender.ask_datagram(&first).await.status, Status::Done);
    sender.barrier().await;
    assert_eq!(pushed(&mut client).await, [b"1", b"2", b"3"]);
    assert_eq!(
        gateway.scrape().await.value("pushgate_remembered_requests"),
        3
    );
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn one_of_two_keys_fills_half_of_the_memory_at_most() {
    let gateway = Gateway::start(&format!(
        "[udp]\nmax_remembered = 4\n\
         [[keys]]\nid = 7\nsecret = \"{SECRET}\"\n\
         [[keys]]\nid = 8\nsecret = \"{OTHER}\"\nscopes = [\"user\"]\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let greedy = Sender::signed(gateway.udp, 7, SECRET).await;
    let other = Sender::signed(gateway.udp, 8, OTHER).await;
    let nobody = [Target::User("nobody")];
    for expected in [Status::Done, Status::Done, Status::Busy] {
        assert_eq!(greedy.push(&nobody, b"").await.status, expected);
    }
    for expected in [Status::Done, Status::Done, Status::Busy] {
        assert_eq!(other.push(&nobody, b"").await.status, expected);
    }
    // What a key may not do is told before that there is no room.
    assert_eq!(other.push(&[Target::All], b"").await.status, Status::Denied);
    baseline.assert_back_at(&gateway).await;
}

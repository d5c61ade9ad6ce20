//! Who a line is about, and what it may say of that.

use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::frame::ClientFrame;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

const USER: &str = "ada-lovelace";
const DEVICE: &str = "ada's telephone";
const GROUP: &str = "the-analysts";

/// The fields of all lines since `ready` of a gateway at trace, in which ada came and went, was
/// replaced, refused, pushed to, counted and kicked.
async fn lines(users: &str) -> Vec<Value> {
    let gateway = Gateway::start(&format!(
        "[log]\nlevel = \"trace\"\nusers = \"{users}\"\n[clients]\nmax_devices = 1\n"
    ));
    let ada = Login::user(USER).device(DEVICE).group(GROUP);
    let sender = Sender::unsigned(gateway.udp).await;
    let mut old = ada.enter(gateway.native).await;
    old.send(&ClientFrame::Join { group: "another" }).await;
    let mut client = ada.enter(gateway.native).await;
    old.closed().await;
    let other = Login::user(USER).device("another");
    assert!(other.try_enter(gateway.native).await.is_err());
    sender
        .push(&[Target::User(USER), Target::Group(GROUP)], b"hello")
        .await;
    client.next_push().await;
    let kick = Kick {
        user: USER,
        device: DEVICE,
        hold_s: 1,
        reason: "",
    };
    sender.ask(&RequestBody::Kick(kick)).await;
    client.closed().await;
    assert!(ada.try_enter(gateway.native).await.is_err());
    eventually("everybody is gone", async || {
        let connections = gateway.scrape().await.value("pushgate_connections");
        (connections == 0)
            .then_some(())
            .ok_or_else(|| connections.to_string())
    })
    .await;
    gateway.signal(Signal::TERM);
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:#?}");
    let fields = |line: &String| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["fields"].clone()
    };
    log.iter().map(fields).collect()
}

fn ends(lines: &[Value]) -> Vec<&Value> {
    let is_end = |line: &&Value| line["message"] == "session ended";
    lines.iter().filter(is_end).collect()
}

#[tokio::test]
async fn the_line_on_a_session_says_whose_it_was_and_how_it_went() {
    let lines = lines("plain").await;
    let ends = ends(&lines);
    assert_eq!(ends.len(), 2, "{lines:#?}");
    for reason in ["replaced", "kicked"] {
        // Who is slower to take its CLOSE ends later.
        let end = ends.iter().find(|end| end["reason"] == reason);
        let end = end.unwrap_or_else(|| panic!("no {reason} in {lines:#?}"));
        assert_eq!(
            (&end["user"], &end["device"]),
            (&USER.into(), &DEVICE.into()),
            "{end}"
        );
        let peer = end["peer"].as_str().expect("an address");
        assert!(peer.starts_with("127.0.0.1:"), "{end}");
        assert!(end["session"].is_u64() && end["age_ms"].is_u64(), "{end}");
        assert_eq!(
            (&end["behind"], &end["behind_bytes"]),
            (&0.into(), &0.into()),
            "{end}"
        );
    }
    // Who did not get that far has a line as well.
    let turned = lines.iter().filter(|line| line["message"] == "turned away");
    assert_eq!(turned.count(), 2, "{lines:#?}");
}

#[tokio::test]
async fn names_are_hashed_or_hidden_where_that_is_asked_for() {
    for users in ["hashed", "hidden"] {
        let lines = lines(users).await;
        let all = format!("{lines:?}");
        for name in [USER, DEVICE, GROUP, "another"] {
            assert!(!all.contains(name), "{users}: {name} in {lines:#?}");
        }
        let ends = ends(&lines);
        assert_eq!(ends.len(), 2, "{lines:#?}");
        for end in &ends {
            let [user, device] = ["user", "device"].map(|key| end[key].as_str().expect("text"));
            match users {
                "hidden" => assert_eq!((user, device), ("***", "***")),
                _ => assert!(user.starts_with("hash:") && device != user, "{end}"),
            }
            assert_eq!(
                end["user"], ends[0]["user"],
                "lines of one user can be joined"
            );
        }
    }
}

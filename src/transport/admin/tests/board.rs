//! What the dashboard is told, over a door that knows nobody but what a test makes up.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::*;
use crate::hub::inspect::{Rank, Seen};
use crate::hub::job::Running;
use crate::hub::remembered::Progress;
use crate::ledger::{Explained, LeakWatch};
use crate::metrics::Outcome;
use crate::transport::admin::inspect::{Inspect, Limits, Pulse};
use crate::transport::closed::{Closed, ClosedRing, Who};
use crate::wire::datagram::Op;
use crate::wire::encoding::Protocol;
use crate::wire::frame::Scope;
use crate::wire::reason::{CloseReason, Status};
use crate::wire::reply::Counts;

/// Nobody is connected.
pub(super) struct Nobody;

impl Inspect for Nobody {
    fn pulse(&self) -> Pulse {
        Pulse::default()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn sessions(&self, _: &str) -> Vec<Seen> {
        Vec::new()
    }

    fn kept(&self, _: &str) -> (u64, u64) {
        (0, 0)
    }

    fn behind(&self, _: Rank, _: usize) -> Vec<Seen> {
        Vec::new()
    }

    fn jobs(&self) -> Vec<Running> {
        Vec::new()
    }

    fn closed(&self, _: usize, _: &dyn Fn(&Closed) -> bool) -> (Vec<Closed>, u64) {
        (Vec::new(), 0)
    }
}

/// One who is behind, one job at half of its way, and three who have left.
struct Few(ClosedRing);

impl Few {
    fn new() -> Self {
        let ring = ClosedRing::default();
        let peer: SocketAddr = "[::ffff:192.0.2.7]:9".parse().unwrap();
        for (at_ms, user) in [(1, Some("ada")), (2, Some("bob")), (3, None)] {
            let who = user.map(|user| Who {
                session: at_ms,
                user: user.into(),
                device: "".into(),
            });
            ring.note(Closed {
                at_ms,
                age_ds: 15,
                reason: match user {
                    Some(_) => CloseReason::Eof,
                    None => CloseReason::Reset,
                },
                peer: peer.into(),
                who,
            });
        }
        Self(ring)
    }
}

impl Inspect for Few {
    fn pulse(&self) -> Pulse {
        Pulse {
            connections: 3,
            sessions: 2,
            sessions_behind: 1,
            log_bytes: 4,
            jobs: 1,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: 10,
            jobs: 11,
            memory_budget: 12,
        }
    }

    fn sessions(&self, user: &str) -> Vec<Seen> {
        let seen = Seen {
            session: 7,
            user: user.into(),
            device: "<i>".into(),
            door: Protocol::WebSocket,
            groups: vec!["a".into(), "b".into()],
            peer: None,
            age_s: 8,
            heartbeat_s: 30,
            silent_s: 9,
            behind_messages: 1,
            behind_bytes: 2,
            behind_ms: 3,
        };
        vec![seen]
    }

    fn kept(&self, _: &str) -> (u64, u64) {
        (5, 6)
    }

    fn behind(&self, rank: Rank, max: usize) -> Vec<Seen> {
        assert!(max <= 1_000, "{max}");
        self.sessions(match rank {
            Rank::Messages => "by messages",
            Rank::Bytes => "by bytes",
            Rank::Age => "by age",
        })
    }

    fn jobs(&self) -> Vec<Running> {
        let progress = Arc::new(Progress::default());
        let counts = Counts {
            matched: 4,
            written: 3,
            waiting: 1,
            refused: 0,
        };
        progress.set(counts, 5);
        let job = Running {
            seq: 99,
            scope: Scope::Group,
            name: "news".into(),
            targets: 2,
            started: crate::clock::monotonic(),
            size: 10,
            progress,
        };
        vec![job]
    }

    fn closed(&self, max: usize, wanted: &dyn Fn(&Closed) -> bool) -> (Vec<Closed>, u64) {
        (self.0.last(max, wanted), self.0.noted())
    }
}

async fn door() -> Door {
    Door::open_with(|state| state.inspect = Arc::new(Few::new())).await
}

async fn json_of(door: &Door, path: &str) -> Value {
    let answer = door.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let is_json = answer.head.contains("content-type: application/json");
    assert!(is_json, "{path}: {}", answer.head);
    serde_json::from_str(answer.text()).unwrap()
}

#[tokio::test]
async fn sessions_jobs_and_ends_are_told_with_their_units() {
    let door = door().await;
    let session = |user| {
        json!({
            "user": user, "device": "<i>", "session": 7, "groups": ["a", "b"], "peer": null,
            "age_s": 8, "heartbeat_s": 30, "silent_s": 9, "door": "websocket",
            "behind": { "messages": 1, "bytes": 2, "oldest_ms": 3 },
        })
    };
    let found = json_of(&door, "/v1/sessions?user=ada%20b").await;
    assert_eq!(
        found,
        json!({
            "user": "ada b", "sessions": [session("ada b")],
            "kept": { "messages": 5, "bytes": 6 },
        })
    );
    for (query, user) in [
        ("", "by messages"),
        ("?by=bytes&limit=1000", "by bytes"),
        ("?by=age", "by age"),
    ] {
        let found = json_of(&door, &format!("/v1/behind{query}")).await;
        let expected = json!({ "sessions_behind": 1, "sessions": [session(user)] });
        assert_eq!(found, expected, "{query}");
    }
    let mut jobs = json_of(&door, "/v1/jobs").await;
    assert!(jobs["running"][0]["age_ms"].take().is_u64(), "{jobs}");
    let job = json!({
        "number": 99, "op": "push", "scope": "group", "name": "news", "targets": 2,
        "age_ms": null, "visited": 5, "size": 10,
        "matched": 4, "written": 3, "waiting": 1, "refused": 0,
    });
    assert_eq!(jobs, json!({ "in_flight": 1, "running": [job] }));
    let ends = json_of(&door, "/v1/closed?limit=1").await;
    let last = json!({
        "time_ms": 3, "age_s": 1.5, "reason": "reset", "peer": "192.0.2.7:9",
        "user": null, "device": null, "session": null,
    });
    assert_eq!(
        ends,
        json!({ "closed_total": 3, "kept": 3, "connections": [last] })
    );
    for (query, times) in [
        ("?user=ada", json!([1])),
        ("?reason=eof", json!([2, 1])),
        ("?reason=eof&user=bob", json!([2])),
        ("?reason=bye", json!([])),
        ("?user=eve", json!([])),
    ] {
        let found = json_of(&door, &format!("/v1/closed{query}")).await;
        let list = found["connections"].as_array().unwrap();
        let found: Vec<_> = list.iter().map(|end| end["time_ms"].clone()).collect();
        assert_eq!(json!(found), times, "{query}");
    }
}

#[tokio::test]
async fn the_overview_has_the_counters_and_what_they_are_bounded_by() {
    let door = door().await;
    let metrics = &door.state.metrics;
    metrics.request(Op::Push, Status::Busy);
    metrics.deliveries(Outcome::Expired, 5);
    metrics.connection_closed(CloseReason::Bye);
    let _tasks = door
        .state
        .ledger
        .spawn(Kind::Session, std::future::pending::<()>());
    door.state.turn();
    let first = json_of(&door, "/v1/overview").await;
    assert_eq!(first["second"], Value::Null, "a rate takes two looks");
    door.state.turn();
    let overview = json_of(&door, "/v1/overview").await;
    assert_eq!(overview["second"]["connections"], 3);
    assert_eq!(overview["second"]["p99_ms"], Value::Null);
    assert_eq!(overview["phase"], "starting");
    assert_eq!(overview["connections"]["max"], 10);
    assert_eq!(overview["connections"]["closed_total"]["bye"], 1);
    assert_eq!(overview["deliveries"]["total"]["expired"], 5);
    assert_eq!(overview["requests_total"]["push"], json!({ "busy": 1 }));
    assert_eq!(overview["datagrams"]["kernel_drops_total"], 4);
    assert_eq!(overview["log"]["budget_bytes"], 12);
    assert_eq!(overview["jobs"]["max"], 11);
    assert_eq!(overview["jobs"]["running"][0]["visited"], 5);
    assert_eq!(overview["behind"][0]["user"], "by messages");
    let tasks = overview["tasks"].as_array().unwrap();
    let session = tasks.iter().find(|task| task["kind"] == "session").unwrap();
    assert_eq!(session["live"], 1, "{session}");
    assert_eq!(session["work_is"], "connections held", "{session}");
}

#[tokio::test]
async fn a_suspected_leak_is_told_with_its_numbers() {
    let door = door().await;
    let AdminState {
        ledger,
        leaks,
        metrics,
        ..
    } = &door.state;
    assert_eq!(json_of(&door, "/v1/overview").await["leaks"], json!([]));
    for _ in 0..20 {
        drop(ledger.spawn(Kind::Refusal, std::future::pending::<()>()));
    }
    let suspected = metrics.leak_suspected.clone();
    let mut watch = LeakWatch::new(ledger.clone(), leaks.clone(), suspected);
    for _ in 0..5 {
        watch.look(|kind| {
            let (live, age) = (2, None);
            (kind == Kind::Refusal).then_some(Explained { kind, live, age })
        });
    }
    metrics.overloaded.set(1);
    let overview = json_of(&door, "/v1/overview").await;
    let leak = json!({ "kind": "refusal", "live": 20, "explained": 2, "oldest_s": 0 });
    assert_eq!(overview["leaks"], json!([leak]));
    assert_eq!(overview["overloaded"], true);
}

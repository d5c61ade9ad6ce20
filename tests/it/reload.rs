//! The configuration changes while the gateway runs, and nobody who is connected notices.

mod trust;

mod storm;

use pushgate::clock::Clock;
use pushgate::wire::datagram::{ReplyMode, RequestBody, Target};
use pushgate::wire::reason::{CloseCode, Status};
use rustix::process::Signal;
use serde_json::json;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::crowd::Crowd;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::sender::{Sender, push};

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn key(id: u32, more: &str) -> String {
    format!("[[keys]]\nid = {id}\nsecret = \"{SECRET}\"\n{more}\n")
}

/// Waits until so many reloads have ended so.
async fn reloaded(gateway: &Gateway, result: &str, times: u64) {
    eventually(format!("{times} times {result}"), async || {
        let now = gateway.scrape().await.at("pushgate_reloads_total", result);
        (now == times).then_some(()).ok_or_else(|| format!("{now}"))
    })
    .await;
}

/// Asks for a reload that changes exactly this.
async fn applies(gateway: &Gateway, config: &str, keys: &[&str]) {
    gateway.rewrite(config);
    let (status, answer) = gateway.reload().await;
    assert_eq!(
        (status, &answer["applied"]),
        (200, &json!(keys)),
        "{answer}"
    );
}

#[tokio::test]
async fn bounds_of_clients_change_and_those_who_are_there_stay() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let login = |device: &str| Login::user("ada").device(device);
    let mut phone = login("phone").enter(gateway.native).await;
    let mut desk = login("desk").enter(gateway.native).await;
    for group in ["a", "b", "c"] {
        phone.join(group).await;
    }

    applies(
        &gateway,
        "[clients]\nheartbeat = \"7s\"\nmax_devices = 2\nmax_groups = 2\n\
         max_frame = 300\nmax_hello = 300\n",
        &[
            "clients.heartbeat",
            "clients.max_devices",
            "clients.max_groups",
            "clients.max_hello",
            "clients.max_frame",
        ],
    )
    .await;
    for client in [&mut phone, &mut desk] {
        client.assert_alive().await;
    }
    let third = login("third").try_enter(gateway.native).await;
    assert_eq!(
        third.err().map(|closed| closed.code),
        Some(CloseCode::TooMany)
    );
    // Who takes the place of an older connection is no device more, and gets the new heartbeat.
    let mut again = crate::support::client::Client::connect(gateway.native).await;
    again.send_bytes(&login("desk").encode()).await;
    assert_eq!(again.greeted().await.expect("is let in").heartbeat_s, 7);
    assert_eq!(desk.closed().await.code, CloseCode::Replaced);
    // Nobody is taken out of a group; the next one is too many.
    let sender = Sender::unsigned(gateway.udp).await;
    let groups = ["a", "b", "c"].map(Target::Group);
    for group in groups {
        assert_eq!(sender.push(&[group], b"").await.counts.written, 1);
    }
    again.join("a").await;
    again.join("b").await;
    let group = "c";
    let join = pushgate::wire::frame::ClientFrame::Join { group };
    again.send(&join).await;
    let code = CloseCode::TooMany;
    let frame_type = pushgate::wire::frame::JOIN;
    let refused = pushgate::wire::frame::GatewayFrame::Refused {
        frame_type,
        code,
        group,
    };
    while again.next().await.expect("REFUSED comes") != refused {}
    // A HELLO, and a frame of a client that was there before.
    let long = (0..2).fold(Login::user("bob"), |login, n| {
        login.group(format!("{n:200}"))
    });
    let closed = long.try_enter(gateway.native).await.err();
    assert_eq!(closed.map(|closed| closed.code), Some(CloseCode::Protocol));
    phone.send_bytes(&302_u32.to_be_bytes()).await;
    assert_eq!(phone.closed().await.code, CloseCode::Protocol);

    applies(
        &gateway,
        "[clients]\nmax_connections = 1\n",
        &[
            "clients.heartbeat",
            "clients.max_connections",
            "clients.max_devices",
            "clients.max_groups",
            "clients.max_hello",
            "clients.max_frame",
        ],
    )
    .await;
    again.assert_alive().await;
    let closed = Login::user("bob").try_enter(gateway.native).await.err();
    assert_eq!(closed.map(|closed| closed.code), Some(CloseCode::TooMany));
    applies(
        &gateway,
        "[clients]\nmax_per_address = 1\n",
        &["clients.max_connections", "clients.max_per_address"],
    )
    .await;
    // The one that came without a bound is not among those of its address.
    let bob = Login::user("bob").enter(gateway.native).await;
    let closed = Login::user("eve").try_enter(gateway.native).await.err();
    assert_eq!(closed.map(|closed| closed.code), Some(CloseCode::TooMany));
    drop((bob, again, phone, desk));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn bounds_of_pushes_change() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let all = [Target::All];
    let of_length = async |bytes: usize| sender.push(&all, &vec![b'x'; bytes]).await.status;
    assert_eq!(of_length(1_001).await, Status::Done);
    applies(
        &gateway,
        "[push]\nmax_payload = 1000\n",
        &["push.max_payload"],
    )
    .await;
    assert_eq!(of_length(1_001).await, Status::BadRequest);
    assert_eq!(of_length(1_000).await, Status::Done);

    let ping = RequestBody::Ping(b"");
    let ahead = async || {
        let now = Clock::system().now_ms();
        let datagram = sender.encode_at(now + 5_000, rand::random(), &ping);
        sender.ask_datagram(&datagram).await.status
    };
    assert_eq!(ahead().await, Status::Stale);
    applies(
        &gateway,
        "[push]\nmax_payload = 1000\n[udp]\nfuture = \"1m\"\n",
        &["udp.future"],
    )
    .await;
    assert_eq!(ahead().await, Status::Done);

    let client = Login::user("ada").group("g").enter(gateway.native).await;
    applies(
        &gateway,
        "[clients]\nqueue_messages = 9\n[udp]\nmax_remembered = 1\n",
        &[
            "clients.queue_messages",
            "udp.future",
            "udp.max_remembered",
            "push.max_payload",
        ],
    )
    .await;
    // More are remembered than may be: nothing is forgotten, and nothing new is carried out.
    let busy = sender.ask(&push(&all, b"one too many")).await;
    assert_eq!(busy.status, Status::Busy);
    applies(
        &gateway,
        "",
        &["clients.queue_messages", "udp.max_remembered"],
    )
    .await;
    assert_eq!(sender.ask(&push(&all, b"")).await.status, Status::Done);
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_all_problems_are_told() {
    let gateway = Gateway::start(&key(7, ""));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::signed(gateway.udp, 7, SECRET).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let started = gateway.scrape().await;
    // The new key and the bound are good; the other two lines are not.
    let text = format!(
        "{}[clients]\nmax_devices = 1\nheartbeet = \"9s\"\n[log]\nlevel = \"loud\"\n",
        key(8, "")
    );
    gateway.rewrite_as_it_is(&text);
    let (status, answer) = gateway.reload().await;
    assert_eq!((status, &answer["result"]), (422, &json!("refused")));
    assert_eq!(answer["applied"], json!([]));
    let problems = answer["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 2, "{answer}");
    for (problem, words) in problems.iter().zip([
        ["pushgate.toml:7:1: clients.heartbeet", "did you mean"],
        ["pushgate.toml:9:9: log.level", "\"loud\""],
    ]) {
        let problem = problem.as_str().expect("a text");
        assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
    }
    assert!(!answer.to_string().contains(SECRET));
    let line = gateway.await_log("reload refused: nothing was changed");
    assert_eq!(
        line["problems"].as_str().map(|told| told.lines().count()),
        Some(2),
        "{line}"
    );
    assert!(!line.to_string().contains(SECRET));
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "refused", 2).await;

    let all = [Target::All];
    assert_eq!(sender.push(&all, b"still").await.counts.written, 1);
    assert_eq!(client.next_push().await.2, b"still");
    let second = Login::user("ada").device("2").enter(gateway.native).await;
    let good = |scrape: &crate::support::scrape::Scrape| {
        scrape.value("pushgate_config_last_reload_successful")
    };
    assert_eq!((good(&started), good(&gateway.scrape().await)), (1, 0));

    // A file that is gone, and one that is good again.
    std::fs::remove_file(gateway.directory.path().join("pushgate.toml")).expect("it is there");
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 422);
    assert!(answer.to_string().contains("cannot be read"), "{answer}");
    gateway.rewrite(&key(7, ""));
    let (status, answer) = gateway.reload().await;
    assert_eq!((status, &answer["result"]), (200, &json!("unchanged")));
    assert_eq!(good(&gateway.scrape().await), 1);
    drop((client, second));
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_done() {
    let gateway = Gateway::start("");
    let mut client = Login::user("ada").enter(gateway.native).await;
    gateway.rewrite(
        "[[listeners]]\nname = \"native\"\naddress = \"127.0.0.2:0\"\n\
         [udp]\nlisten = \"127.0.0.2:0\"\nreceive_buffer = 4096\n\
         [admin]\nlisten = \"127.0.0.2:0\"\n[log]\nformat = \"text\"\n\
         [clients]\nmax_devices = 1\n",
    );
    let stays = json!([
        "listeners[0].address",
        "udp.listen",
        "udp.receive_buffer",
        "admin.listen",
        "log.format"
    ]);
    let (status, answer) = gateway.reload().await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["applied"], json!(["clients.max_devices"]));
    assert_eq!(answer["needs_restart"], stays);
    let second = Login::user("ada")
        .device("2")
        .try_enter(gateway.native)
        .await;
    assert_eq!(
        second.err().map(|closed| closed.code),
        Some(CloseCode::TooMany)
    );
    let (_, answer) = gateway.reload().await;
    assert_eq!(answer["result"], json!("unchanged"));
    assert_eq!(answer["needs_restart"], stays);
    client.assert_alive().await;
}

#[tokio::test]
async fn the_level_of_the_log_goes_down_and_up_again() {
    let gateway = Gateway::start("");
    let leave = async || {
        let mut client = Login::user("ada").enter(gateway.native).await;
        client.shut_down().await;
        client.ended().await;
    };
    leave().await;
    applies(&gateway, "[log]\nlevel = \"debug\"\n", &["log.level"]).await;
    leave().await;
    gateway.await_log("session ended");
    applies(&gateway, "[log]\nlevel = \"info\"\n", &["log.level"]).await;
    leave().await;
    gateway.signal(Signal::TERM);
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0));
    let told = log.iter().filter(|line| line.contains("session ended"));
    assert_eq!(told.count(), 0, "{log:#?}");
}

#[tokio::test]
async fn sighup_ends_neither_the_process_nor_its_drain() {
    let gateway = Gateway::start("[drain]\nlinger = \"1s\"\n");
    let mut client = Login::user("ada").enter(gateway.native).await;
    gateway.signal(Signal::HUP);
    reloaded(&gateway, "unchanged", 1).await;
    client.assert_alive().await;
    gateway.signal(Signal::TERM);
    gateway.await_log("draining");
    gateway.signal(Signal::HUP);
    let line = gateway.await_log("reload refused: nothing was changed");
    assert_eq!(line["problems"], "the gateway is draining");
    assert_eq!(client.closed().await.code, CloseCode::Draining);
    let (code, _) = gateway.finish().await;
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_of_a_job_changes_for_the_next_one() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let logins = (0..500).map(|number| Login::user(format!("user-{number}")));
    let crowd = Crowd::enter(gateway.native, logins).await;
    let sender = Sender::unsigned(gateway.udp).await;
    assert_eq!(sender.push(&[Target::All], b"1").await.status, Status::Done);
    applies(&gateway, "[push]\ndeadline = \"0ms\"\n", &["push.deadline"]).await;
    // A job that is faster than the look at it is DONE all the same.
    eventually("a job is not waited for", async || {
        let status = sender.push(&[Target::All], b"2").await.status;
        (status == Status::Timeout)
            .then_some(())
            .ok_or_else(|| format!("{status:?}"))
    })
    .await;
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn how_many_pushes_may_be_under_way_changes_for_the_next_one() {
    let config = |max: u32| format!("[push]\nmax_jobs = {max}\n[drain]\nlinger = \"100ms\"\n");
    let gateway = Gateway::start(&config(1));
    let baseline = Baseline::of(&gateway).await;
    let logins = (0..40).map(|number| Login::user(format!("user-{number}")).group("news"));
    let crowd = Crowd::enter(gateway.native, logins).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let news = [Target::Group("news")];
    // One that takes its time.
    let spread = RequestBody::Push {
        reply: ReplyMode::Two,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 3_000,
        targets: &news,
        payload: b"soon",
    };
    let datagram = sender.encode(&spread);
    let mut answers = sender.expect(datagram.id);
    sender.send(&datagram.bytes).await;
    assert_eq!(answers.next().await.status, Status::Accepted);
    assert_eq!(sender.push(&news, b"now").await.status, Status::Busy);
    applies(&gateway, &config(2), &["push.max_jobs"]).await;
    assert_eq!(sender.push(&news, b"now").await.status, Status::Done);
    assert_eq!(answers.next().await.status, Status::Done);
    crowd.leave().await;
    baseline.assert_back_at(&gateway).await;
}

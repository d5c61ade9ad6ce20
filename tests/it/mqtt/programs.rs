//! Clients that others wrote, each in both versions: what is live, what is kept, and what was kept
//! while they were away.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::{Buf, BytesMut};
use pushgate::wire::datagram::{Kick, RequestBody, Target};
use pushgate::wire::frame::Scope;
use pushgate::wire::mqtt::{
    ClientPacket, ConnAck, PACKET_BYTES_MAX, Properties, Qos, ReasonCode, ServerPacket, Version,
    publish_head, split,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::gateway;
use crate::kept::keep;
use crate::support::baseline::Baseline;
use crate::support::gateway::Gateway;
use crate::support::process::{Process, await_line};
use crate::support::sender::Sender;
use crate::support::within;
use crate::support::write_secret;
use crate::support::{eventually, missing};
use crate::tokens::issuer::Issuer;

const ADA: Target<'_> = Target::User("ada");

/// Where `.ci/run` installs what is no package of the system.
fn installed(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/mqtt")
        .join(what)
}

fn is_there(what: &str, probe: &mut Command) -> bool {
    let is_there = probe.output().is_ok_and(|output| output.status.success());
    if !is_there {
        missing(what);
    }
    is_there
}

/// One run of a client: until it has got a message `end`.
trait Program {
    fn start(&self, gateway: &Gateway, version: &str, messages: usize) -> Process;

    /// The line that says that it has its subscriptions.
    fn subscribed(&self, version: &str) -> String;
}

/// A program that is given the port, the version, the user and the device.
struct Script {
    interpreter: &'static str,
    text: &'static str,
    modules: (&'static str, PathBuf),
    /// Of the subscription to everything, which is refused.
    refused: [&'static str; 2],
}

impl Script {
    fn command(&self, text: &str) -> Command {
        let mut command = Command::new(self.interpreter);
        let (variable, path) = &self.modules;
        let evaluate = if self.interpreter == "node" {
            "-e"
        } else {
            "-c"
        };
        command.env(variable, path).args([evaluate, text]);
        command
    }
}

impl Program for Script {
    fn start(&self, gateway: &Gateway, version: &str, _: usize) -> Process {
        let port = gateway.door("mqtt").port().to_string();
        let mut command = self.command(self.text);
        // Node takes the first argument behind -e for its own, unless told where they begin.
        if self.interpreter == "node" {
            command.arg("--");
        }
        Process::start(command.args([&port, version, "ada", "phone"]))
    }

    fn subscribed(&self, version: &str) -> String {
        let [of_3, of_5] = self.refused;
        let refused = if version == "5" { of_5 } else { of_3 };
        format!("subscribed 1 1 1 {refused}")
    }
}

struct MosquittoSub;

impl Program for MosquittoSub {
    fn start(&self, gateway: &Gateway, version: &str, messages: usize) -> Process {
        let port = gateway.door("mqtt").port().to_string();
        let protocol = if version == "5" { "mqttv5" } else { "mqttv311" };
        let count = messages.to_string();
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", protocol, "-d", "-c"]);
        command.args(["-u", "ada", "-i", "phone", "-q", "1", "-F", "%t %p qos=%q"]);
        command.args(["-t", "user", "-t", "all", "-t", "group/room", "-C", &count]);
        // It writes into a pipe when it has a block of it; what it tells comes line by line.
        let mut unbuffered = Command::new("stdbuf");
        unbuffered
            .arg("-oL")
            .arg(command.get_program())
            .args(command.get_args());
        Process::start(&mut unbuffered)
    }

    fn subscribed(&self, _: &str) -> String {
        "Subscribed (mid: 1): 1, 1, 1".to_owned()
    }
}

fn await_exactly(program: &Process, wanted: &str) {
    await_line(&program.stdout, |line| (line == wanted).then_some(()));
}

async fn confirmed(gateway: &Gateway, count: u64) {
    eventually(format!("{count} are confirmed"), async || {
        let now = gateway.scrape().await.value("pushgate_confirmed_total");
        (now == count)
            .then_some(())
            .ok_or_else(|| format!("{now} are"))
    })
    .await;
}

async fn check(program: &impl Program) {
    for version in ["3", "5"] {
        let gateway = gateway("");
        let baseline = Baseline::of(&gateway).await;
        let sender = Sender::unsigned(gateway.udp).await;
        let client = program.start(&gateway, version, 4);
        await_exactly(&client, &program.subscribed(version));
        sender.push(&[ADA], b"one").await;
        keep(&sender, Target::Group("room"), b"two", (600, b"")).await;
        sender.push(&[Target::All], b"three").await;
        await_exactly(&client, "user one qos=0");
        await_exactly(&client, "group/room two qos=1");
        await_exactly(&client, "all three qos=0");
        confirmed(&gateway, 1).await;
        sender.push(&[ADA], b"end").await;
        assert_eq!(client.finish().0, Some(0), "it leaves in order");

        eventually("it is remembered", async || {
            let scrape = gateway.scrape().await;
            let gone = scrape.value("pushgate_mqtt_sessions_remembered");
            (gone == 1)
                .then_some(())
                .ok_or_else(|| format!("{gone} are"))
        })
        .await;
        keep(&sender, ADA, b"away", (600, b"")).await;
        let client = program.start(&gateway, version, 2);
        await_exactly(&client, "user away qos=1");
        confirmed(&gateway, 2).await;
        keep(&sender, ADA, b"end", (600, b"")).await;
        await_exactly(&client, "user end qos=1");
        assert_eq!(client.finish().0, Some(0), "it leaves in order");
        gateway.purge().await;
        baseline.assert_back_at(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_sub_is_pushed_to() {
    // Asked for its version it says it, and fails.
    let mut version = Command::new("sh");
    version.args(["-c", "command -v mosquitto_sub"]);
    if is_there("mosquitto_sub", &mut version) {
        check(&MosquittoSub).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paho_is_pushed_to() {
    let paho = Script {
        interpreter: "python3",
        text: include_str!("programs/paho.py"),
        modules: ("PYTHONPATH", installed("python")),
        refused: ["128", "162"],
    };
    if is_there("paho-mqtt", &mut paho.command("import paho.mqtt.client")) {
        check(&paho).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gmqtt_is_pushed_to() {
    let gmqtt = Script {
        interpreter: "python3",
        text: include_str!("programs/gmqtt.py"),
        modules: ("PYTHONPATH", installed("python")),
        refused: ["128", "162"],
    };
    if is_there("gmqtt", &mut gmqtt.command("import gmqtt")) {
        check(&gmqtt).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mqtt_js_is_pushed_to() {
    let mqtt_js = Script {
        interpreter: "node",
        text: include_str!("programs/mqttjs.js"),
        modules: ("NODE_PATH", installed("node/node_modules")),
        refused: ["128", "162"],
    };
    if is_there("mqtt.js", &mut mqtt_js.command("require('mqtt')")) {
        check(&mqtt_js).await;
    }
}

/// Lines of `pushgate listen --mqtt`, until it has had `count` messages.
fn listen(door: std::net::SocketAddr, arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.args(["listen", "--mqtt", "--to", &door.to_string()]);
    Process::start(command.args(arguments))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_people_listens_over_mqtt() {
    let gateway = gateway("");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let who = ["--user", "ada", "--device", "phone", "--group", "room"];
    let program = listen(door, &[&who[..], &["--count", "4"]].concat());
    await_exactly(&program, "joined room");
    sender.push(&[ADA], b"one").await;
    keep(&sender, Target::Group("room"), b"two", (600, b"")).await;
    sender.push(&[Target::All], b"three").await;
    await_exactly(&program, "user: one");
    await_exactly(&program, "group room #1: two");
    await_exactly(&program, "all: three");
    confirmed(&gateway, 1).await;
    // Cut off, it comes back, and is sent what was kept meanwhile.
    let cut = RequestBody::Kick(Kick {
        user: "ada",
        device: "phone",
        hold_s: 1,
        reason: "a while",
    });
    assert_eq!(sender.ask(&cut).await.counts.matched, 1);
    keep(&sender, ADA, b"away", (600, b"")).await;
    await_exactly(&program, "user #2: away");
    assert_eq!(program.finish().0, Some(0));
    confirmed(&gateway, 2).await;
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
    // One that is not let in says why.
    let refused = listen(door, &["--user", "ada", "--device", "a\u{7f}", "--once"]);
    assert_eq!(refused.finish().0, Some(2), "no such device");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_token_is_the_password() {
    let issuer = Issuer::new();
    let gateway = gateway(&issuer.auth("old"));
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let file = gateway.directory.path().join("token");
    let token = issuer.token("old", &["--user", "ada"]);
    write_secret(&file, &token);
    let file = file.display().to_string();
    let program = listen(
        door,
        &["--token-file", &file, "--group", "news", "--count", "1"],
    );
    await_line(&program.stdout, |line| {
        line.contains("refused").then_some(())
    });
    sender.push(&[ADA], b"one").await;
    await_exactly(&program, "user: one");
    assert_eq!(program.finish().0, Some(0));
    write_secret(Path::new(&file), "no token");
    let (code, _, said) = listen(door, &["--token-file", &file, "--once"]).finish();
    assert_eq!(code, Some(1), "{said:?}");
    assert!(said.concat().contains("not authenticated"), "{said:?}");
    baseline.assert_back_at(&gateway).await;
}

/// A server that sends a kept message twice, as one may that does not know whether it arrived: both
/// are acknowledged, or its window would hold the second for ever, and one is printed.
#[tokio::test]
async fn what_comes_again_is_acknowledged_again() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let door = server.local_addr().expect("it is bound");
    let program = listen(
        door,
        &["--user", "ada", "--device", "phone", "--count", "2"],
    );
    let (mut stream, _) = within("it comes", server.accept()).await.expect("it comes");
    let (reason, properties) = (ReasonCode::SUCCESS, Properties::default());
    let mut said = Vec::new();
    let connack = ConnAck {
        session_present: false,
        reason,
        properties,
    };
    ServerPacket::ConnAck(connack).encode(Version::V5, &mut said);
    let suback = ServerPacket::SubAck {
        packet_id: 1,
        properties,
        codes: &[1, 1],
    };
    suback.encode(Version::V5, &mut said);
    let kept = |dup| {
        let (how, whom) = ((Version::V5, Qos::AtLeastOnce, dup), (Scope::User, ""));
        let mut bytes = Vec::new();
        publish_head(&mut bytes, how, whom, 5, 4);
        [&bytes[..], b"kept"].concat()
    };
    said.extend(kept(false));
    stream.write_all(&said).await.expect("it listens");
    let mut heard = BytesMut::new();
    let what = "the first is acknowledged";
    assert_eq!(within(what, acknowledged(&mut stream, &mut heard)).await, 5);
    stream.write_all(&kept(true)).await.expect("it listens");
    let what = "so is the second";
    assert_eq!(within(what, acknowledged(&mut stream, &mut heard)).await, 5);
    let mut live = Vec::new();
    let how = (Version::V5, Qos::AtMostOnce, false);
    publish_head(&mut live, how, (Scope::User, ""), 0, 4);
    live.extend(b"live");
    stream.write_all(&live).await.expect("it listens");
    let reading = stream.read_buf(&mut heard);
    within("it leaves", reading).await.expect("it leaves");
    drop(stream);
    let (code, printed, _) = program.finish();
    let expected = ["user #5: kept", "user: live"];
    assert_eq!(
        (code, &printed[1..]),
        (Some(0), &expected.map(str::to_owned)[..])
    );
}

/// The packet identifier of the next PUBACK.
async fn acknowledged(stream: &mut TcpStream, heard: &mut BytesMut) -> u16 {
    loop {
        while let Some(packet) = split(heard, PACKET_BYTES_MAX).expect("packets") {
            let used = packet.used;
            let decoded = ClientPacket::decode(&packet, Version::V5);
            let found = match decoded.expect("a packet") {
                ClientPacket::PubAck { packet_id, .. } => Some(packet_id),
                _ => None,
            };
            heard.advance(used);
            if let Some(packet_id) = found {
                return packet_id;
            }
        }
        let count = stream.read_buf(heard).await.expect("it is there");
        assert_ne!(count, 0, "it left before that");
    }
}

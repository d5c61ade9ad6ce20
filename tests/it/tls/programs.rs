//! Clients of their own process: one that others wrote, and the command line's.

use std::path::PathBuf;
use std::process::Command;

use pushgate::wire::datagram::Target;

use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::gateway::Gateway;
use crate::support::missing;
use crate::support::process::{Process, await_line};
use crate::support::sender::Sender;

const PYTHON: &str = r#"
import socket, ssl, struct, sys
host, port, ca, version = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
stream = socket.create_connection((host, int(port)))
stream = context.wrap_socket(stream, server_hostname="localhost")
print(stream.version(), flush=True)
hello = struct.pack(">BBHQQB", 1, 0, 0, 0, 0, 0) + b"\0" + struct.pack(">H", 3) + b"ada"
stream.sendall(struct.pack(">IB", 1 + len(hello), 1) + hello)
file = stream.makefile("rb")
while True:
    length = file.read(4)
    if not length:
        break
    body = file.read(struct.unpack(">I", length)[0])
    if body[0] == 135:
        print("current", flush=True)
    if body[0] == 130:
        print(body[11:].decode(), flush=True)
        stream.sendall(struct.pack(">IB", 1, 7))
print("end", flush=True)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_other_people_gets_what_is_pushed() {
    if Command::new("python3").arg("--version").output().is_err() {
        return missing("python3");
    }
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for (version, name) in [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")] {
        let mut command = Command::new("python3");
        command.args([
            "-c",
            PYTHON,
            "127.0.0.1",
            &gateway.native.port().to_string(),
        ]);
        command.arg(authority.path("ca.pem")).arg(version);
        let client = Process::start(&mut command);
        await_line(&client.stdout, |line| (line == name).then_some(()));
        await_line(&client.stdout, |line| (line == "current").then_some(()));
        let answer = sender.push(&[Target::User("ada")], b"to ada").await;
        assert_eq!(answer.counts.written, 1);
        let finished = tokio::task::spawn_blocking(|| client.finish());
        let (code, said, errors) = finished.await.expect("waiting does not panic");
        assert_eq!(
            (code, said),
            (Some(0), vec!["to ada".into(), "end".into()]),
            "{errors:?}"
        );
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_the_command_line_trusts_whom_it_is_told_to() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.listener("gate", ""));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let to = format!("localhost:{}", gateway.native.port());
    let listen = |ca: PathBuf, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        command.args([
            "listen", "--user", "ada", "--count", "1", "--to", &to, "--tls",
        ]);
        Process::start(command.arg("--ca").arg(ca).args(more))
    };
    let finish = async |client: Process| {
        let finished = tokio::task::spawn_blocking(|| client.finish());
        finished.await.expect("waiting does not panic")
    };
    let client = listen(authority.path("ca.pem"), &[]);
    await_line(&client.stdout, |line| {
        line.starts_with("connected").then_some(())
    });
    let answer = sender.push(&[Target::User("ada")], b"to ada").await;
    assert_eq!(answer.counts.matched, 1);
    let (code, said, _) = finish(client).await;
    assert_eq!((code, said), (Some(0), vec!["user: to ada".to_owned()]));
    let stranger = Authority::new();
    for client in [
        listen(stranger.path("ca.pem"), &[]),
        listen(authority.path("ca.pem"), &["--server-name", "push.example"]),
    ] {
        let (code, _, errors) = finish(client).await;
        let told = errors.join(" ");
        assert!(
            code == Some(1) && told.contains("no TLS with this gateway"),
            "{code:?} {told}"
        );
    }
    baseline.assert_back_at(&gateway).await;
}

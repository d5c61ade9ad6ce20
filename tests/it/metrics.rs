//! The metrics are what Prometheus takes.

use std::io::Write;
use std::process::{Command, Stdio};

use pushgate::wire::datagram::Target;

use crate::support::client::Login;
use crate::support::gateway::Gateway;
use crate::support::missing;
use crate::support::sender::Sender;

#[tokio::test]
async fn promtool_takes_the_metrics_of_a_live_gateway() {
    let gateway = Gateway::start("");
    let client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    sender.push(&[Target::All], b"counted").await;
    let (status, text) = gateway.get("/metrics").await;
    assert_eq!(status, 200);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    promtool
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match promtool.spawn() {
        Ok(child) => child,
        Err(error) => return missing(format_args!("promtool: {error}")),
    };
    let mut input = child.stdin.take().expect("stdin is piped");
    // It reads to the end before it says anything.
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{}: {said}",
        output.status
    );
    drop(client);
}

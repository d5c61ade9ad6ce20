//! The README's examples of HTTP for services, against the gateway.

use std::fs;
use std::process::Command;

use pushgate::wire::seal::Key;
use serde_json::{Value, json};

use super::programs::{Examples, Gateway, interpreter};
use super::{README, block};
use crate::support::process::Process;

/// What a program printed: JSON, one object behind the other.
#[track_caller]
fn printed(command: &mut Command) -> Vec<Value> {
    let (code, stdout, stderr) = Process::start(command).finish();
    assert_eq!(code, Some(0), "{stdout:?} {stderr:?} from {command:?}");
    let text = stdout.join("\n");
    let objects = serde_json::Deserializer::from_str(&text).into_iter();
    let objects: Result<Vec<Value>, _> = objects.collect();
    objects.unwrap_or_else(|error| panic!("{error} in {text:?} from {command:?}"))
}

fn script(examples: &Examples, name: &str, gateway: &Gateway) -> Command {
    let text = block(&format!("example: {name}")).replace(
        "http://127.0.0.1:7401",
        &format!("http://{}", gateway.admin),
    );
    let path = examples.directory.path().join(name);
    fs::write(&path, text).expect("the directory is writable");
    let mut command = Command::new(if name.ends_with("py") {
        "python3"
    } else {
        "sh"
    });
    command.arg(path).current_dir(examples.directory.path());
    command
}

#[test]
fn the_curl_examples_do_what_they_say() {
    let (Some(python), Some(_)) = (interpreter("python3"), interpreter("curl")) else {
        return;
    };
    let examples = Examples::extract();
    let gateway = Gateway::start(examples.directory.path(), "");
    let ada = examples.client(python, &gateway, &["ada", "phone", "news"]);
    let bob = examples.client(python, &gateway, &["bob", "phone"]);
    fs::write(examples.directory.path().join("message.bin"), "any bytes").expect("writable");
    let said = printed(&mut script(&examples, "http.sh", &gateway));
    let told: Vec<_> = said
        .iter()
        .map(|said| (&said["status"], &said["matched"]))
        .collect();
    let done = json!("done");
    let matched = [1, 1, 4, 2, 1].map(|count| json!(count));
    let expected: Vec<_> = matched.iter().map(|count| (&done, count)).collect();
    assert_eq!(told, expected, "{said:#?}");
    assert_eq!(said[2]["sessions"], json!([1, 1, 2]));
    for message in ["0 user - hello", "0 all - any bytes"] {
        let line = ada.stdout.recv().expect("the client lives");
        assert_eq!(line, message);
    }
    drop(bob);
}

#[test]
fn the_examples_of_what_is_kept_do_what_they_say() {
    if interpreter("curl").is_none() {
        return;
    }
    let examples = Examples::extract();
    let gateway = Gateway::start(examples.directory.path(), "");
    let said = printed(&mut script(&examples, "history.sh", &gateway));
    let [pushed, listed, looked, purged] = &said[..] else {
        panic!("four answers: {said:#?}");
    };
    assert_eq!(pushed["number"], 1);
    assert_eq!(listed["targets"][0]["name"], "zoe");
    assert_eq!(
        (&looked["bytes"], &looked["confirmed"]),
        (&json!(4), &json!(0))
    );
    assert_eq!(
        (&purged["status"], &purged["matched"]),
        (&json!("done"), &json!(1))
    );
}

#[test]
fn the_signed_examples_are_believed() {
    let examples = Examples::extract();
    let gateway = Gateway::start(examples.directory.path(), &examples.key_table());
    let programs = [
        ("signed.py", ["python3", "python3", "python3"]),
        ("signed.sh", ["sh", "curl", "openssl"]),
    ];
    for (name, needs) in programs {
        if needs.map(interpreter).contains(&None) {
            continue;
        }
        let signed = |target: &str| {
            let base = format!("http://{}", gateway.admin);
            let mut command = script(&examples, name, &gateway);
            command.args([&*base, "7"]).arg(examples.key_file());
            printed(command.args([target, "hellö & welcome"]))
        };
        let target = "/v1/push?user=ada&all=true";
        for is_repeat in [false, true] {
            let said = signed(target);
            assert_eq!(said[0]["status"], "done", "{name}: {said:?}");
            assert_eq!(said[0]["repeat"], is_repeat, "{name}: {said:?}");
        }
    }
    let taken = "pushgate_http_requests_total{credential=\"signature\"} 4";
    let metrics = gateway.metrics();
    let all_ran = ["python3", "curl", "openssl"]
        .map(interpreter)
        .iter()
        .all(Option::is_some);
    assert!(!all_ran || metrics.contains(taken), "{metrics}");
}

#[test]
fn the_worked_signature_is_right() {
    let (_, example) = README
        .split_once("```text\nPOST /v1/push")
        .expect("it stands there");
    let (request, _) = example.split_once("\n```").expect("a fence is closed");
    let request = format!("POST /v1/push{request}");
    let (head, body) = request.split_once("\n\n").expect("a head ends");
    let value = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}"))
    };
    let target = head.split(' ').nth(1).expect("a target");
    let (time, name) = (value("X-Pushgate-Time: "), value("Idempotency-Key: "));
    let signed = format!("POST\n{target}\n{time}\n{name}\n{body}");
    let stated = format!("`{}`", signed.replace('\n', "\\n"));
    assert!(README.contains(&stated), "no {stated}");
    let secret: Vec<u8> = (0..32).collect();
    let mac = Key::new(&secret)
        .expect("a secret")
        .sign(&[signed.as_bytes()]);
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(value("X-Pushgate-Signature: "), mac);
}

//! `pushgate history`, as a person runs it.

use std::process::Command;

use serde_json::Value;

use super::{SECRETS, keep};
use crate::support::baseline::Baseline;
use crate::support::gateway::Gateway;
use crate::support::http::Api;
use crate::support::process::Process;
use crate::support::write_secret;

/// Exit code, standard output, standard error.
async fn history(arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.arg("history").args(arguments);
    let finished = tokio::task::spawn_blocking(move || Process::start(&mut command).finish());
    let (code, stdout, stderr) = finished.await.expect("does not panic");
    (code, stdout, stderr.join("\n"))
}

#[tokio::test]
async fn what_is_kept_is_shown_looked_at_and_removed() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    let url = format!("http://{}", gateway.admin);
    let at = ["--url", &url];
    let (code, stdout, stderr) = history(&at).await;
    assert_eq!(
        (code, stdout.len(), &*stderr),
        (Some(0), 0, "nothing is kept")
    );
    let number = keep(&api, "group=a+%26+b%2Fc&user=ada&ttl=1h", "hello").await;
    keep(&api, "user=ada&ttl=2h", "again").await;
    let (code, stdout, stderr) = history(&at).await;
    assert_eq!((code, &*stderr), (Some(0), ""));
    let ends: Vec<_> = stdout.iter().map(|line| line.get(54..)).collect();
    assert_eq!(
        ends,
        [Some("target"), Some("group a & b/c"), Some("user ada")],
        "{stdout:#?}"
    );
    assert!(stdout[2].trim_start().starts_with("2 "), "{stdout:#?}");
    let (code, stdout, _) = history(&["--group", "a & b/c", "--json", at[0], at[1]]).await;
    let row: Value = serde_json::from_str(&stdout[0]).expect("it is JSON");
    assert_eq!(
        (code, stdout.len(), &row["messages"]),
        (Some(0), 1, &1.into())
    );
    let text = number.to_string();
    let (code, stdout, _) = history(&[&text, at[0], at[1]]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout[0].contains("5 bytes, for group a & b/c, user ada"),
        "{stdout:#?}"
    );
    assert_eq!(
        stdout.last().map(String::as_str),
        Some("confirmed by 0 devices")
    );
    let (code, stdout, _) = history(&[&text, "--json", at[0], at[1]]).await;
    let told: Value = serde_json::from_str(&stdout[0]).expect("it is JSON");
    assert_eq!((code, &told["number"]), (Some(0), &number.into()));
    let (code, stdout, stderr) = history(&["999", at[0], at[1]]).await;
    assert_eq!((code, stdout.len()), (Some(1), 0));
    assert!(
        stderr.contains("404: no message of this number"),
        "{stderr}"
    );
    // Nobody is there to be asked.
    let (code, _, stderr) = history(&["purge", "--user", "ada", at[0], at[1]]).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--yes"), "{stderr}");
    let purged = history(&["purge", "--user", "ada", "--yes", at[0], at[1]]).await;
    assert_eq!(
        purged,
        (
            Some(0),
            vec!["2 messages removed".to_owned()],
            String::new()
        )
    );
    let purged = history(&["purge", "--scope", "user", "--yes", at[0], at[1]]).await;
    assert_eq!(purged.1, ["0 messages removed"]);
    let (code, stdout, _) = history(&["purge", "--all", "--yes", "--json", at[0], at[1]]).await;
    let told: Value = serde_json::from_str(&stdout[0]).expect("it is JSON");
    assert_eq!(
        (code, &told["matched"], &told["status"]),
        (Some(0), &1.into(), &"done".into())
    );
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_list_of_several_pages_is_one_list() {
    let gateway = Gateway::start("");
    let baseline = Baseline::of(&gateway).await;
    let api = Api::unsigned(gateway.admin);
    let url = format!("http://{}", gateway.admin);
    // 512 targets are one message.
    for half in 0..2 {
        let users = (0..400).map(|user| format!("user=u{half}-{user}&"));
        keep(&api, &format!("{}ttl=1h", users.collect::<String>()), "").await;
    }
    let (code, stdout, _) = history(&["--json", "--url", &url]).await;
    assert_eq!((code, stdout.len()), (Some(0), 800));
    let (code, stdout, _) = history(&["--scope", "group", "--url", &url]).await;
    assert_eq!((code, stdout.len()), (Some(0), 0));
    history(&["purge", "--all", "--yes", "--url", &url]).await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_service_asks_with_its_key_and_an_operator_with_the_token() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        write_secret(&path, text);
        path.to_str().expect("a plain name").to_owned()
    };
    let [rooms, other, _] = SECRETS;
    let token = file("token", "0123456789-the-admin-token-9876543210");
    let gateway = Gateway::start(&format!(
        "[[keys]]\nid = 8\nsecret = \"{rooms}\"\nscopes = [\"group\"]\ngroups = [\"room/*\"]\n\
         [admin]\ntoken_file = \"{token}\"\n"
    ));
    let baseline_token = format!(
        "Authorization: Bearer {}",
        "0123456789-the-admin-token-9876543210"
    );
    let api = Api::unsigned(gateway.admin).with(&[&baseline_token]);
    keep(&api, "user=ada&ttl=1h", "hers").await;
    keep(&api, "group=room/1&ttl=1h", "theirs").await;
    let url = format!("http://{}", gateway.admin);
    let (right, wrong) = (file("right", rooms), file("wrong", other));
    let by_key =
        |file: &str| ["--url", &url, "--key-id", "8", "--key-file", file].map(str::to_owned);
    let asked = async |first: &[&str], as_whom: &[String]| {
        let as_whom = as_whom.iter().map(String::as_str);
        let arguments: Vec<&str> = first.iter().copied().chain(as_whom).collect();
        history(&arguments).await
    };
    let (code, stdout, _) = asked(&["--json"], &by_key(&right)).await;
    assert_eq!((code, stdout.len()), (Some(0), 1), "{stdout:#?}");
    let (code, _, stderr) = asked(&["--user", "ada"], &by_key(&right)).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("403"), "{stderr}");
    let (code, _, stderr) = asked(&[], &by_key(&wrong)).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("401"), "{stderr}");
    let none = ["--url", &url].map(str::to_owned);
    assert_eq!(asked(&[], &none).await.0, Some(1));
    let operator = ["--url", &url, "--token-file", &token].map(str::to_owned);
    let (code, stdout, _) = asked(&["--json"], &operator).await;
    assert_eq!((code, stdout.len()), (Some(0), 2), "{stdout:#?}");
    let config = gateway.directory.path().join("pushgate.toml");
    let config = config.to_str().expect("a plain name").to_owned();
    let by_config = ["--url", &url, "--config", &config].map(str::to_owned);
    assert_eq!(asked(&[], &by_config).await.0, Some(0));
    let removed = asked(&["purge", "--group", "room/1", "--yes"], &by_key(&right)).await;
    assert_eq!(removed.1, ["1 message removed"]);
    let missing = directory.path().join("missing");
    let missing = missing.to_str().expect("a plain name");
    assert_eq!(asked(&[], &by_key(missing)).await.0, Some(64));
    for usage in [
        &["17", "--user", "ada"][..],
        &["--scope", "nobody"],
        &["--user", ""],
        &["purge", "--yes"],
        &["purge", "--user", "a", "--all", "--yes"],
        &["--key-id", "8"],
    ] {
        assert_eq!(history(usage).await.0, Some(2), "{usage:?}");
    }
}

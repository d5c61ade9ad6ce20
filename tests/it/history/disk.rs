//! What is removed is off the disk before that is answered, and stays so.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::{get, keep, named, purge, targets};
use crate::kept::resume;
use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Api;

fn config(directory: &Path) -> String {
    let path = directory.display();
    format!("[udp]\nfuture = \"1ms\"\n[history]\npath = \"{path}\"\nsync = \"1m\"\n")
}

/// Whether any file of the history holds this text.
fn stands(directory: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(directory).expect("the directory is there");
    let paths = files.map(|file| file.expect("it can be read").path());
    let mut logs = paths.filter(|path| path.is_file());
    logs.any(|path| {
        // A file may have gone since the directory was read.
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

/// What a user is replayed who asks for everything.
async fn replayed(gateway: &Gateway, user: &str) -> Vec<String> {
    let (_, _, replayed, _) = resume(gateway, &Login::user(user), (0, 0)).await;
    let texts = replayed
        .into_iter()
        .map(|(_, payload)| String::from_utf8(payload).expect("it is text"));
    texts.collect()
}

#[tokio::test]
async fn what_is_purged_is_in_no_file_and_does_not_come_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let gateway = Gateway::start(&config(directory.path()));
    let api = Api::unsigned(gateway.admin);
    keep(&api, "user=ada&ttl=1h", "ada's own, one of two").await;
    let both = keep(&api, "user=ada&user=bob&ttl=1h", "of ada and bob").await;
    keep(&api, "user=bob&ttl=1h", "bob's own").await;
    keep(&api, "user=ada&collapse=k&ttl=1h", "superseded since").await;
    keep(&api, "user=ada&collapse=k&ttl=1h", "two of two").await;
    let mut bob = Login::user("bob")
        .resume((0, 0))
        .enter(gateway.native)
        .await;
    bob.send(&pushgate::wire::frame::ClientFrame::Ack { number: both })
        .await;
    bob.assert_alive().await;
    assert!(stands(directory.path(), "ada's own"));
    assert_eq!(purge(&api, "user=ada").await.counts(), [3, 3, 0, 0]);
    for gone in ["ada's own", "two of two", "superseded since"] {
        assert!(!stands(directory.path(), gone), "{gone}");
    }
    for left in ["of ada and bob", "bob's own"] {
        assert!(stands(directory.path(), left), "{left}");
    }
    let at = format!("/v1/history/{both}");
    let told = get(&api, &at).await.body;
    assert_eq!(told["targets"], json!([{"scope": "user", "name": "bob"}]));
    assert_eq!(told["confirmed"], 1);
    drop(bob);
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.finish().await.0, None, "it was killed");
    let gateway = Gateway::start(&config(directory.path()));
    let api = Api::unsigned(gateway.admin);
    let baseline = Baseline::of(&gateway).await;
    let page = get(&api, "/v1/history").await.body;
    assert_eq!(targets(&page), named(&[("user", "bob", 2)]));
    assert_eq!(replayed(&gateway, "ada").await, [""; 0]);
    assert_eq!(
        replayed(&gateway, "bob").await,
        ["of ada and bob", "bob's own"]
    );
    // Who has confirmed it was known in memory alone.
    assert_eq!(get(&api, &at).await.body["confirmed"], 0);
    baseline.assert_back_at(&gateway).await;
    assert_eq!(purge(&api, "all").await.counts(), [2, 2, 0, 0]);
    assert!(!stands(directory.path(), "bob"), "not even the name");
    let messages = gateway.scrape().await.value("pushgate_history_messages");
    assert_eq!(messages, 0);
}

/// The disk fails here since a directory stands where a file has to be made.
#[tokio::test]
async fn a_disk_that_fails_is_told_and_the_purge_goes_on_by_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let gateway = Gateway::start(&config(directory.path()));
    let api = Api::unsigned(gateway.admin);
    let baseline = Baseline::of(&gateway).await;
    keep(&api, "user=ada&ttl=1h", "ada's own").await;
    keep(&api, "user=bob&ttl=1h", "bob's own").await;
    let in_the_way = directory.path().join("0000000000000001.log.tmp");
    std::fs::create_dir(&in_the_way).expect("the directory is writable");
    let said = purge(&api, "user=ada").await;
    assert_eq!((said.code, said.counts()), (500, [1, 0, 0, 1]), "{said:?}");
    let error = said.body["error"].as_str().expect("it says why");
    assert!(error.contains("the disk failed"), "{error}");
    assert!(stands(directory.path(), "ada's own"));
    assert_eq!(gateway.scrape().await.value("pushgate_store_failing"), 1);
    // Pushes go on meanwhile.
    keep(&api, "user=bob&ttl=1h", "bob's second").await;
    std::fs::remove_dir(&in_the_way).expect("it is empty");
    eventually("the disk has forgotten it", async || {
        match stands(directory.path(), "ada's own") {
            true => Err("not yet".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    assert_eq!(purge(&api, "user=ada").await.counts(), [0, 0, 0, 0]);
    for left in ["bob's own", "bob's second"] {
        assert!(stands(directory.path(), left), "{left}");
    }
    assert_eq!(purge(&api, "all").await.counts(), [2, 2, 0, 0]);
    let failing = gateway.scrape().await.value("pushgate_store_failing");
    assert_eq!(failing, 0);
    baseline.assert_back_at(&gateway).await;
}

/// DONE of a push means that it is on disk: also where the sync was that of a purge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_and_purges_share_the_disk_and_both_are_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config(directory.path()).replace("\"1m\"", "\"always\"");
    let gateway = Gateway::start(&config);
    let api = Api::unsigned(gateway.admin);
    let baseline = Baseline::of(&gateway).await;
    let pushing = {
        let api = api.clone();
        tokio::spawn(async move {
            let one = || keep(&api, "user=ada&user=bob&ttl=1h", "a message of both");
            // The first begins a sync, and the others wait for the next one, which may be that of
            // a purge: nobody else comes to begin another.
            for _ in 0..20 {
                tokio::join!(one(), one(), one());
            }
        })
    };
    let mut removed = 0;
    while !pushing.is_finished() {
        let said = purge(&api, "user=ada").await;
        assert_eq!(said.code, 200, "{said:?}");
        removed += said.counts()[0];
    }
    pushing.await.expect("every push is answered");
    removed += purge(&api, "user=ada").await.counts()[0];
    assert_eq!(removed, 60);
    assert_eq!(purge(&api, "user=bob").await.counts(), [60, 60, 0, 0]);
    baseline.assert_back_at(&gateway).await;
}

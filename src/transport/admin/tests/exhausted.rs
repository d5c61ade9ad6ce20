//! Without a descriptor left. The limit is that of a process, so the test runs itself in a child.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const CHILD: &str = "PUSHGATE_TEST_EXHAUSTED";
const NAME: &str =
    "transport::admin::tests::exhausted::it_answers_when_the_process_has_no_descriptor_left";

#[test]
fn it_answers_when_the_process_has_no_descriptor_left() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let test = tokio::time::timeout(Duration::from_secs(30), without_descriptors());
            test.await.expect("it answers");
        });
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(
        said.contains("1 passed"),
        "the child ran another test:\n{said}"
    );
}

async fn without_descriptors() {
    let limit = Rlimit {
        current: Some(64),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let door = Door::open().await;
    assert_eq!(door.get("/healthz").await.status, 200);

    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    for round in 0..20 {
        // One for this side of the connection; none for the other.
        drop(hoard.pop());
        let mut stream = TcpStream::connect(door.state.address).await.unwrap();
        assert!(
            File::open("/dev/null").is_err(),
            "round {round}: there are none left"
        );
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(parsed(&answer).status, 200, "round {round}");
        // The door's end is closed before its task has ended and taken the spare back.
        while 1 < door.state.ledger.kinds()[Kind::Admin.index()].live {
            tokio::task::yield_now().await;
        }
        drop(stream);
        hoard.push(File::open("/dev/null").unwrap());
        assert!(
            File::open("/dev/null").is_err(),
            "round {round}: the spare is back"
        );
    }
    let text = door.state.metrics.render();
    let shortages = text
        .lines()
        .find(|line| line.contains("kind=\"emfile\""))
        .unwrap();
    assert!(!shortages.ends_with(" 0"), "{shortages}");
}

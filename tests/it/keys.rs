//! Keys of services while the gateway runs: their time, their rate, and that nothing shows them.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use pushgate::clock::Clock;
use pushgate::wire::datagram::{RequestBody, Target};
use pushgate::wire::reason::Status;
use rustix::process::Signal;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::process::Process;
use crate::support::sender::{Sender, push};

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";
const REJECTED: &str = "pushgate_datagrams_rejected_total";
const PING: RequestBody<'_> = RequestBody::Ping(b"?");

/// A moment so many milliseconds from now, as the configuration has it.
fn moment(from_now_ms: i64) -> String {
    let ms = Clock::system().now_ms().saturating_add_signed(from_now_ms);
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_millis(moment).to_string()
}

#[tokio::test]
async fn a_key_gives_way_to_the_next_without_a_moment_in_between() {
    let (ends, begins) = (moment(2_000), moment(3_600_000));
    let gateway = Gateway::start(&format!(
        "[[keys]]\nid = 7\nsecret = \"{OLD}\"\nnot_after = {ends}\n\
         [[keys]]\nid = 8\nsecret = \"{NEW}\"\nnot_before = 2020-01-01T00:00:00Z\n\
         [[keys]]\nid = 9\nsecret = \"{NEW}\"\nnot_before = \"{begins}\"\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let old = Sender::signed(gateway.udp, 7, OLD).await;
    let new = Sender::signed(gateway.udp, 8, NEW).await;
    let early = Sender::signed(gateway.udp, 9, NEW).await;

    let all = [Target::All];
    let request = old.encode(&push(&all, b"old"));
    let mut answers = old.expect(request.id);
    old.send(&request.bytes).await;
    assert_eq!(answers.next().await.status, Status::Done);
    assert_eq!(new.push(&all, b"new").await.status, Status::Done);
    assert_eq!(client.next_push().await.2, b"old");
    assert_eq!(client.next_push().await.2, b"new");

    // The repeat is answered as long as its key is known, and then it is silent too.
    eventually("the old key is unknown", async || {
        old.send(&request.bytes).await;
        new.barrier().await;
        let unknown = gateway.scrape().await.at(REJECTED, "key");
        (unknown > 0)
            .then_some(())
            .ok_or_else(|| "it is known".to_owned())
    })
    .await;
    while answers.try_next().is_some() {}
    let before = gateway.scrape().await.at(REJECTED, "key");
    old.send(&old.encode(&push(&all, b"late")).bytes).await;
    early.send(&early.encode(&push(&all, b"early")).bytes).await;
    eventually("both are taken in", async || {
        let now = gateway.scrape().await.at(REJECTED, "key");
        (now >= before + 2)
            .then_some(())
            .ok_or_else(|| format!("{now} of {before} and 2"))
    })
    .await;
    assert_eq!(new.push(&all, b"last").await.status, Status::Done);
    assert_eq!(
        client.next_push().await.2,
        b"last",
        "nothing of an unknown key"
    );
    assert_eq!(answers.try_next(), None);
    assert!(old.unexpected().is_empty() && early.unexpected().is_empty());

    let (_, text) = gateway.get("/metrics").await;
    let used = |id: u32| {
        let series = format!("pushgate_key_last_used_timestamp_seconds{{key=\"{id}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.expect("each key has a series")
            .parse::<f64>()
            .expect("a time")
    };
    assert!(
        1.7e9 < used(7) && used(7) < used(8),
        "{} {}",
        used(7),
        used(8)
    );
    assert!(used(9) == 0.0, "{}", used(9));
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn a_key_over_its_rate_is_busy_and_then_answered_again() {
    let gateway = Gateway::start(&format!(
        "[[keys]]\nid = 7\nsecret = \"{OLD}\"\nrate = 1\n\
         [[keys]]\nid = 8\nsecret = \"{NEW}\"\n"
    ));
    let baseline = Baseline::of(&gateway).await;
    let limited = Sender::signed(gateway.udp, 7, OLD).await;
    let free = Sender::signed(gateway.udp, 8, NEW).await;

    let (mut done, mut busy) = (0, 0);
    let datagrams: Vec<_> = (0..10).map(|_| limited.encode(&PING)).collect();
    let mut answers: Vec<_> = datagrams.iter().map(|one| limited.expect(one.id)).collect();
    for datagram in &datagrams {
        limited.send(&datagram.bytes).await;
    }
    for answers in &mut answers {
        match answers.next().await.status {
            Status::Done => done += 1,
            Status::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(done > 0 && busy > 0, "{done} done, {busy} busy");
    for _ in 0..10 {
        assert_eq!(free.ask(&PING).await.status, Status::Done, "another key");
    }

    // The same bytes, until they are carried out, and then as often as anybody likes.
    let request = limited.encode(&push(&[Target::All], b"patient"));
    eventually("the rate allows it again", async || {
        match limited.ask_datagram(&request).await.status {
            Status::Done => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for _ in 0..10 {
        assert_eq!(limited.ask_datagram(&request).await.status, Status::Done);
    }
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn wrong_macs_of_one_source_crowd_nobody_out() {
    let gateway = Gateway::start(&format!("[[keys]]\nid = 7\nsecret = \"{OLD}\"\n"));
    let baseline = Baseline::of(&gateway).await;
    let elsewhere = Sender::signed_from("127.0.0.2:0", gateway.udp, 7, OLD).await;
    let known = Sender::signed(gateway.udp, 7, OLD).await;
    known.barrier().await;
    let stranger = Sender::signed(gateway.udp, 7, NEW).await;
    let forged = stranger.encode(&push(&[Target::All], &[0; 60_000])).bytes;
    let flooded = async || {
        for _ in 0..64 {
            stranger.send(&forged).await;
        }
        let scrape = gateway.scrape().await;
        (scrape.at(REJECTED, "mac"), scrape.at(REJECTED, "source"))
    };
    let (mac, _) = eventually("MACs are no longer computed", async || {
        match flooded().await {
            (mac, source) if source > 100 => Ok((mac, source)),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(mac > 0, "the first ones are");
    for _ in 0..5 {
        flooded().await;
        // One that has been heard of, one from another address, and one at the very address, new.
        let new = Sender::signed(gateway.udp, 7, OLD).await;
        for sender in [&known, &elsewhere, &new] {
            assert_eq!(sender.ask(&PING).await.status, Status::Done);
        }
    }
    assert_eq!(
        stranger.unexpected(),
        [],
        "nothing unauthenticated is answered"
    );
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn kernel_drops_show_in_the_next_scrape_although_nothing_follows() {
    let gateway = Gateway::start("[udp]\nreceive_buffer = 4096\n");
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let datagram = vec![0; 1_000];
    let counted = async || {
        let scrape = gateway.scrape().await;
        let received = scrape.value("pushgate_datagrams_received_total");
        (received, scrape.value("pushgate_kernel_drops_total"))
    };
    assert_eq!(counted().await, (0, 0));
    // While it stands still, nothing is taken out of the buffer.
    gateway.signal(Signal::STOP);
    for _ in 0..200 {
        sender.send(&datagram).await;
    }
    gateway.signal(Signal::CONT);
    let (_, dropped) = counted().await;
    assert!(
        0 < dropped && dropped < 200,
        "{dropped} in the very next scrape"
    );
    eventually("what was not dropped is received", async || {
        let (received, still) = counted().await;
        assert_eq!(still, dropped, "nothing follows the burst");
        (received + dropped == 200)
            .then_some(())
            .ok_or_else(|| format!("{received} received, {dropped} dropped"))
    })
    .await;
    baseline.assert_back_at(&gateway).await;
}

/// A file of its owner's alone, or with another mode.
fn write(directory: &std::path::Path, name: &str, text: &str, mode: u32) {
    let path = directory.join(name);
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(text.as_bytes()).expect("it is written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode).expect("its mode is set");
}

#[tokio::test]
async fn no_secret_is_shown_anywhere() {
    const TOKEN: &str = "0123456789-the-admin-token-9876543210";
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), "7", OLD, 0o600);
    write(directory.path(), "token", TOKEN, 0o600);
    let at = directory.path().display();
    let config = format!(
        "[[keys]]\nid = 7\nsecret_file = \"{at}/7\"\n[[keys]]\nid = 8\nsecret = \"{NEW}\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{at}/token\"\n[log]\nlevel = \"trace\"\n"
    );
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        let digits = pairs.map(|pair| std::str::from_utf8(pair).expect("ASCII"));
        digits
            .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
            .collect()
    };
    let mut secrets = vec![TOKEN.as_bytes().to_vec()];
    for hex in [OLD, NEW] {
        secrets.extend([hex.as_bytes().to_vec(), hex.to_uppercase().into_bytes()]);
        // Half of it is enough to be a leak, and some are shown as lists of numbers.
        let raw = bytes(hex);
        secrets.push(format!("{:?}", &raw[..16]).trim_end_matches(']').into());
        secrets.push(raw[..16].to_vec());
    }
    let assert_hidden = |what: &str, text: &[u8]| {
        assert!(!text.is_empty(), "{what} says nothing");
        for secret in &secrets {
            let shown = text.windows(secret.len()).any(|part| part == secret);
            assert!(!shown, "{what} shows {:?}", String::from_utf8_lossy(secret));
        }
    };

    write(directory.path(), "gate.toml", &config, 0o600);
    for option in ["--print-config", "--config"] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        check
            .arg("check")
            .arg("--config")
            .arg(directory.path().join("gate.toml"));
        if option == "--print-config" {
            check.arg(option);
        }
        let (code, stdout, stderr) = Process::start(&mut check).finish();
        assert_eq!(code, Some(0), "{stderr:?}");
        let said = [stdout, stderr].concat().join("\n");
        assert_eq!(said.contains("***"), option == "--print-config", "{said}");
        assert_hidden(option, said.as_bytes());
    }
    let settings = pushgate::daemon::settings::Settings::load(&directory.path().join("gate.toml"));
    let settings = settings.expect("a good configuration");
    assert_hidden("Debug", format!("{settings:?} {settings:#?}").as_bytes());

    let gateway = Gateway::start(&config);
    let mut client = Login::user("ada").enter(gateway.native).await;
    for (id, secret) in [(7, OLD), (8, NEW)] {
        let sender = Sender::signed(gateway.udp, id, secret).await;
        assert_eq!(
            sender.push(&[Target::All], b"hello").await.status,
            Status::Done
        );
        client.next_push().await;
    }
    // Under the wrong secret, and to a door that asks for its token.
    let wrong = Sender::signed(gateway.udp, 7, NEW).await;
    wrong.send(&wrong.encode(&PING).bytes).await;
    assert_eq!(gateway.get("/metrics").await.0, 401);
    for page in [
        "/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/debug/pprof/",
        "/debug/pprof/tasks?debug=1",
    ] {
        let (status, body) = gateway
            .get_with(page, &format!("Authorization: Bearer {TOKEN}"))
            .await;
        assert_eq!(status, 200, "{page}");
        assert_hidden(page, body.as_bytes());
    }
    drop(client);
    gateway.signal(Signal::TERM);
    let (code, log) = gateway.finish().await;
    assert_eq!(code, Some(0), "{log:#?}");
    assert_hidden("the log", log.join("\n").as_bytes());
}

#[test]
fn a_secret_that_others_can_read_is_refused_but_for_a_credential() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let check = |file: &str, credentials: bool| {
        let config = format!("[[keys]]\nid = 7\nsecret_file = \"{file}\"\n");
        write(directory.path(), "gate.toml", &config, 0o644);
        let mut check = Command::new(env!("CARGO_BIN_EXE_pushgate"));
        check
            .arg("check")
            .arg("--config")
            .arg(directory.path().join("gate.toml"));
        check.env_remove("CREDENTIALS_DIRECTORY");
        if credentials {
            check.env(
                "CREDENTIALS_DIRECTORY",
                directory.path().join("credentials"),
            );
        }
        let (code, _, stderr) = Process::start(&mut check).finish();
        (code, stderr.join("\n"))
    };
    std::fs::create_dir(directory.path().join("credentials")).expect("a directory");
    write(directory.path(), "key", OLD, 0o640);
    let (code, said) = check("key", false);
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("mode 640") && said.contains("chmod 600"),
        "{said}"
    );
    write(directory.path(), "key", OLD, 0o600);
    assert_eq!(check("key", false), (Some(0), String::new()));

    // systemd lets the service's user read a credential by an access list, which shows as 0440.
    write(&directory.path().join("credentials"), "key", OLD, 0o440);
    let credential = "$CREDENTIALS_DIRECTORY/key";
    assert_eq!(check(credential, true), (Some(0), String::new()));
    let (code, said) = check(credential, false);
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("is not set") && said.contains("LoadCredential="),
        "{said}"
    );
    write(&directory.path().join("credentials"), "key", OLD, 0o444);
    let (code, said) = check(credential, true);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("mode 444"), "{said}");
}

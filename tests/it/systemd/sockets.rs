//! Sockets that are passed: taken where they fit, refused with a way out where they do not.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use pushgate::wire::datagram::Target;
use rustix::process::Signal;

use crate::support::baseline::Baseline;
use crate::support::client::Login;
use crate::support::manager::{Manager, no_socket};
use crate::support::sender::Sender;

#[tokio::test]
async fn what_is_passed_takes_the_place_of_every_address() {
    let manager = Manager::new();
    // What the configuration says of addresses is for a start without the manager.
    let gateway = manager.start(
        "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:1'\n\
         [udp]\nlisten = '127.0.0.1:1'\n[admin]\nlisten = '127.0.0.1:2'\n",
    );
    let udp = manager.udp.local_addr().expect("it is bound");
    let admin = manager.admin.local_addr().expect("it is bound");
    let addresses = (gateway.native, gateway.udp, gateway.admin);
    assert_eq!(addresses, (manager.address(), udp, admin));
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::unsigned(gateway.udp).await;
    let answer = sender.push(&[Target::User("ada")], b"hello").await;
    assert_eq!(answer.counts.written, 1);
    assert_eq!(client.next_push().await.2, b"hello");
    // A reload does not move them either, and finds nothing that would.
    let (status, report) = gateway.reload().await;
    assert_eq!(status, 200, "{report}");
    let unchanged =
        report["result"] == "unchanged" && report["needs_restart"] == serde_json::json!([]);
    assert!(unchanged, "{report}");
    drop(client);
    baseline.assert_back_at(&gateway).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().await.0, Some(0));
}

#[tokio::test]
async fn a_listener_that_nobody_passes_a_socket_for_binds_its_own() {
    let mut manager = Manager::new();
    manager.names = "other:udp:admin";
    let gateway = manager.start(
        "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
         [[listeners]]\nname = 'other'\naddress = '127.0.0.1:1'\n",
    );
    assert_ne!(gateway.native, manager.address());
    for door in [gateway.native, manager.address()] {
        drop(Login::user("ada").enter(door).await);
    }
}

#[tokio::test]
async fn what_is_meant_for_another_process_is_left_alone() {
    let mut manager = Manager::new();
    manager.env = vec![("PID_OF_OTHERS", "1".to_owned())];
    let gateway = manager.start("");
    assert_ne!(gateway.native, manager.address());
    drop(Login::user("ada").enter(gateway.native).await);
}

/// Starts on these descriptors, which are refused with these words.
#[track_caller]
fn refused(manager: &Manager, streams: [OwnedFd; 3], why: &[&str]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("pushgate.toml");
    std::fs::write(&config, "").expect("the directory is writable");
    let (code, _, log) = manager.spawn_with(streams, &config).finish();
    let log = log.join("\n");
    assert_eq!(code, Some(64), "{log}");
    assert!(why.iter().all(|words| log.contains(words)), "{log}");
}

#[tokio::test]
async fn what_does_not_fit_ends_the_start() {
    let mut manager = Manager::new();
    let socket = |address: &str| OwnedFd::from(TcpListener::bind(address).expect("a free port"));
    let datagrams = || OwnedFd::from(manager.udp.try_clone().expect("descriptors are left"));
    let local = || socket("127.0.0.1:0");
    // Anybody could be any user, and anybody ask the admin door.
    let open = [socket("0.0.0.0:0"), datagrams(), socket("0.0.0.0:0")];
    let why = [
        "listeners[0].address",
        "admin.listen",
        "service manager passes",
    ];
    refused(&manager, open, &why);
    let file = [no_socket(), datagrams(), local()];
    refused(&manager, file, &["\"native\"", "no socket"]);
    let swapped = [datagrams(), datagrams(), local()];
    refused(&manager, swapped, &["\"native\"", "ListenStream="]);
    let (one, two, three) = (local(), datagrams(), local());
    manager.names = "native:udp:metrics";
    let names = ["\"metrics\"", "FileDescriptorName=", "native, udp, admin"];
    refused(&manager, [one, two, three], &names);
}

//! MQTT behind what stands before any door, and beside clients that do not read.

use pushgate::wire::datagram::Target;
use pushgate::wire::mqtt::{Property, Qos, ReasonCode, Version};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{ended, gateway};
use crate::kept::keep;
use crate::proxy::header;
use crate::requests::counts;
use crate::support::baseline::Baseline;
use crate::support::certificates::Authority;
use crate::support::gateway::Gateway;
use crate::support::mqtt::{Entrance, MqttClient};
use crate::support::sender::Sender;

#[tokio::test]
async fn mqtt_goes_through_tls_and_a_load_balancer() {
    let authority = Authority::new();
    let more = "protocol = 'mqtt'\nproxy_protocol = true\ntrusted = ['127.0.0.1']\n\
                [clients]\nmax_per_address = 1\n";
    let gateway = Gateway::start(&authority.listener("gate", more));
    let baseline = Baseline::of(&gateway).await;
    let sender = Sender::unsigned(gateway.udp).await;
    for (version, tls) in [(Version::V3, &TLS12), (Version::V5, &TLS13)] {
        let config = authority.client(&[tls]);
        let connect = async |from: &str| {
            let mut client = MqttClient::connect(gateway.native, version).await;
            client.send_bytes(&header(Some(from))).await;
            client
        };
        let entrance = Entrance::of(version, "ada", "phone");
        let secured = connect("192.0.2.7:1").await.secured(&config).await;
        let (mut ada, granted) = entrance.try_enter_over(secured).await;
        assert_eq!(granted.reason, ReasonCode::SUCCESS);
        ada.want("user", Qos::AtLeastOnce).await;
        for size in [0, 1, 16_000, 65_000] {
            let payload = vec![b'.'; size];
            let answer = sender.push(&[Target::User("ada")], &payload).await;
            assert_eq!(answer.counts.matched, 1);
            assert_eq!(ada.message().await.payload, payload);
        }
        let answer = keep(&sender, Target::User("ada"), b"kept", (600, b"")).await;
        let kept = ada.message().await;
        assert_eq!(kept.packet_id, u16::try_from(answer.number).expect("small"));
        ada.acknowledge(kept.packet_id).await;
        // One address has one place; before TLS and CONNECT nothing can be said to the next.
        let mut second = connect("192.0.2.7:2").await;
        assert!(second.rest().await.is_empty());
        ada.assert_quiet().await;
        ada.leave().await;
    }
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_nobody_else_notices() {
    let gateway = gateway("[clients]\nqueue_bytes = '512KiB'\nqueue_age = '60s'\n");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let mut reader = Entrance::of(Version::V5, "reader", "").enter(door).await;
    reader.want("all", Qos::AtMostOnce).await;
    let entrance = Entrance::of(Version::V3, "blocked", "phone");
    let narrow = MqttClient::connect_narrow(door, Version::V3).await;
    let mut blocked = entrance.try_enter_over(narrow).await.0;
    blocked.want("all", Qos::AtMostOnce).await;
    let payload = vec![b'x'; 60_000];
    let mut pushes = 0;
    loop {
        let (answer, _) = sender.push_patiently(&[Target::All], &payload).await;
        assert_eq!(reader.message().await.payload.len(), payload.len());
        pushes += 1;
        if answer.counts.matched == 1 || answer.counts.refused == 1 {
            break;
        }
        assert!(pushes < 1_000, "it is never slow");
    }
    reader.assert_quiet().await;
    reader.leave().await;
    drop(blocked);
    baseline.assert_back_at(&gateway).await;
    assert_eq!(ended(&gateway, "slow").await, 1);
}

/// One that is cut in the middle of a message, under QoS 1, is sent all of it again.
#[tokio::test]
async fn a_message_that_was_cut_off_is_sent_again_whole() {
    let gateway = gateway("[clients]\nqueue_bytes = '16MiB'\n");
    let baseline = Baseline::of(&gateway).await;
    let (door, sender) = (gateway.door("mqtt"), Sender::unsigned(gateway.udp).await);
    let entrance = Entrance::lasting(Version::V5, "ada", "phone");
    let narrow = MqttClient::connect_narrow(door, Version::V5).await;
    let mut ada = entrance.try_enter_over(narrow).await.0;
    ada.want("user", Qos::AtLeastOnce).await;
    // More than the sockets hold.
    let payload = vec![b'x'; 60_000];
    let mut kept = 0;
    loop {
        let answer = keep(&sender, Target::User("ada"), &payload, (600, b"")).await;
        kept += 1;
        if answer.counts == counts(1, 0, 1, 0) {
            break;
        }
        assert!(kept < 1_000, "the sockets hold everything");
    }
    drop(ada);
    let mut ada = entrance
        .with(Property::RECEIVE_MAXIMUM, 7)
        .enter(door)
        .await;
    assert!(ada.session_present);
    for number in 1..=kept {
        let message = ada.message().await;
        assert_eq!(
            (message.number, message.payload.len()),
            (Some(number), 60_000)
        );
        ada.acknowledge(message.packet_id).await;
    }
    ada.assert_quiet().await;
    drop(ada);
    gateway.purge().await;
    baseline.assert_back_at(&gateway).await;
}

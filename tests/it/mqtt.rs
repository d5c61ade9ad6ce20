//! MQTT at a door of its own: what is supported, what is refused, and that both are what the README
//! says.

mod doors;
mod ends;
mod messages;
mod programs;
mod refused;
mod sessions;

use std::net::SocketAddr;

use pushgate::wire::mqtt::Version;

use crate::support::gateway::Gateway;
use crate::support::mqtt::MqttClient;

/// A gateway with a door for each protocol.
fn gateway(rest: &str) -> Gateway {
    let doors = "[[listeners]]\nname = 'native'\naddress = '127.0.0.1:0'\n\
                 [[listeners]]\nname = 'mqtt'\naddress = '127.0.0.1:0'\nprotocol = 'mqtt'\n";
    Gateway::start(&format!("{doors}{rest}"))
}

/// Connections that ended for this reason.
async fn ended(gateway: &Gateway, reason: &str) -> u64 {
    let scrape = gateway.scrape().await;
    scrape.at("pushgate_connections_closed_total", reason)
}

/// Connections, each from an address of its own: the answers to one address would come ever later.
fn from_elsewhere(door: SocketAddr) -> impl AsyncFnMut(Version) -> MqttClient {
    let mut last = 1;
    async move |version| {
        last += 1;
        MqttClient::connect_from([127, 0, 0, last].into(), door, version).await
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16);
    digits
        .chunks(2)
        .map(|two| pair(two).expect("digits"))
        .collect()
}

/// What is supported and refused, as the README lists it; beside it, where a test shows it.
const LISTED: [(&str, &str); 28] = [
    (
        "CONNECT of 3.1.1 and 5",
        "messages::each_target_has_its_topic",
    ),
    (
        "clean start, session expiry",
        "sessions::a_session_ends_at_its_expiry",
    ),
    (
        "takeover",
        "sessions::what_is_in_flight_is_sent_again_when_a_connection_takes_over",
    ),
    (
        "keep alive",
        "ends::who_says_nothing_for_one_and_a_half_keep_alives_is_cut",
    ),
    (
        "SUBSCRIBE, UNSUBSCRIBE",
        "messages::each_target_has_its_topic",
    ),
    (
        "wildcards that are exact",
        "messages::wildcards_are_granted_where_they_mean_what_they_say",
    ),
    (
        "QoS 0 and 1 to the client",
        "messages::kept_messages_go_with_qos_1_and_are_acknowledged",
    ),
    (
        "in-flight window",
        "messages::no_more_are_in_flight_than_the_client_takes",
    ),
    ("redelivery", "sessions::a_session_goes_on_where_it_was"),
    (
        "Maximum Packet Size of the client",
        "messages::what_is_too_long_for_the_client_is_skipped_and_counted",
    ),
    (
        "assigned client identifier",
        "messages::a_client_is_told_what_it_is_granted",
    ),
    (
        "PINGREQ",
        "messages::a_ping_is_answered_however_the_packets_are_cut",
    ),
    (
        "DISCONNECT with a reason",
        "ends::a_drain_says_so_and_both_doors_take_over_from_each_other",
    ),
    (
        "CONNACK with a reason",
        "refused::who_may_not_come_in_is_told_why_where_that_can_be_said",
    ),
    (
        "TLS, PROXY header, limits, drain",
        "doors::mqtt_goes_through_tls_and_a_load_balancer",
    ),
    ("PUBLISH", "refused::nobody_publishes_here"),
    (
        "wildcards over groups",
        "refused::what_cannot_be_had_is_refused_by_name",
    ),
    (
        "shared subscriptions",
        "refused::what_cannot_be_had_is_refused_by_name",
    ),
    (
        "other topics",
        "refused::what_cannot_be_had_is_refused_by_name",
    ),
    (
        "groups that are not allowed",
        "refused::a_token_is_the_password",
    ),
    (
        "subscription identifiers",
        "refused::what_cannot_be_had_is_refused_by_name",
    ),
    (
        "retained messages",
        "messages::a_client_is_told_what_it_is_granted",
    ),
    (
        "will",
        "refused::who_may_not_come_in_is_told_why_where_that_can_be_said",
    ),
    (
        "enhanced authentication",
        "refused::who_may_not_come_in_is_told_why_where_that_can_be_said",
    ),
    (
        "QoS 2 packets",
        "refused::who_breaks_the_protocol_is_cut_with_the_reason",
    ),
    (
        "Message Expiry Interval",
        "messages::kept_messages_go_with_qos_1_and_are_acknowledged",
    ),
    (
        "groups with `+` or `#` in their names",
        "messages::a_group_that_a_service_gives_comes_unasked",
    ),
    (
        "malformed packets",
        "refused::who_breaks_the_protocol_is_cut_with_the_reason",
    ),
];

/// The first cells of the table behind a marker.
fn rows(marker: &str) -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(marker).expect("the marker is there");
    let table = rest
        .trim_start()
        .lines()
        .take_while(|line| line.starts_with('|'));
    let cells = table.map(|row| row.trim_start_matches("| ").split(" |").next());
    cells.skip(2).flatten().collect()
}

#[test]
fn the_list_of_what_is_supported_and_refused_is_frozen() {
    let listed = [
        rows("<!-- mqtt: supported -->"),
        rows("<!-- mqtt: refused -->"),
    ]
    .concat();
    assert_eq!(listed, LISTED.map(|(what, _)| what));
    let sources = [
        ("ends", include_str!("mqtt/ends.rs")),
        ("messages", include_str!("mqtt/messages.rs")),
        ("sessions", include_str!("mqtt/sessions.rs")),
        ("refused", include_str!("mqtt/refused.rs")),
        ("doors", include_str!("mqtt/doors.rs")),
    ];
    for (what, test) in LISTED {
        let (module, name) = test.split_once("::").expect("module::test");
        let source = sources.iter().find(|(known, _)| *known == module);
        let is_there = source.is_some_and(|(_, text)| text.contains(&format!("fn {name}(")));
        assert!(is_there, "{what}: no test {test}");
    }
}

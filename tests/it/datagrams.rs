//! Datagrams of strangers: no answer, no push, and each counted by the first thing that is wrong.

use std::collections::BTreeMap;

use pushgate::wire::datagram::{Op, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::scrape::Scrape;
use crate::support::sender::{Sender, push};

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const KEY_ID: u32 = 7;
const REJECTED: &str = "pushgate_datagrams_rejected_total";

/// Datagrams between two looks whether all have been taken in: they fit the smallest buffer.
const AT_ONCE: usize = 50;

fn config() -> String {
    format!("[[keys]]\nid = {KEY_ID}\nsecret = \"{SECRET}\"\n")
}

/// What is wrong with a datagram of no right MAC, by the contract's order alone.
fn cause(bytes: &[u8]) -> &'static str {
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    match () {
        () if bytes.len() < 64 => "short",
        () if &bytes[..2] != b"PG" => "magic",
        () if bytes[2] != 1 => "version",
        () if !(1..=6).contains(&bytes[3]) => "op",
        () if word(4) == 0 => "unsigned",
        () if word(4) != KEY_ID => "key",
        () => "mac",
    }
}

/// Random bytes of random length, most of which are right so far and then no more.
fn random_datagram(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..200)];
    random.fill(&mut bytes[..]);
    let depth = random.random_range(0..6);
    let mut set = |at: usize, right: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + right.len()) {
            place.copy_from_slice(right);
        }
    };
    let op = [random.random_range(1..=6)];
    let key_id = if random.random() { KEY_ID } else { 0 };
    if depth > 0 {
        set(0, b"PG");
    }
    if depth > 1 {
        set(2, &[1]);
    }
    if depth > 2 {
        set(3, &op);
    }
    if depth > 3 {
        set(4, &key_id.to_be_bytes());
    }
    bytes
}

/// Sends them all, never more than fit the buffer, and asks what became of them.
async fn send_all(
    gateway: &Gateway,
    sender: &Sender,
    datagrams: &[Vec<u8>],
) -> (Scrape, BTreeMap<&'static str, u64>) {
    let mut expected: BTreeMap<&'static str, u64> = BTreeMap::new();
    for some in datagrams.chunks(AT_ONCE) {
        for datagram in some {
            *expected.entry(cause(datagram)).or_default() += 1;
            sender.send(datagram).await;
        }
        sender.barrier().await;
    }
    (gateway.scrape().await, expected)
}

/// Exactly these were rejected, and all else that came were the barriers' PINGs.
#[track_caller]
fn assert_counted(scrape: &Scrape, expected: &BTreeMap<&'static str, u64>) {
    for (cause, count) in expected {
        assert_eq!(scrape.at(REJECTED, cause), *count, "{cause}");
    }
    assert_eq!(scrape.sum(REJECTED), expected.values().sum::<u64>());
    assert_eq!(scrape.value("pushgate_kernel_drops_total"), 0);
    let pings = scrape.requests("ping", "done");
    assert_eq!(
        scrape.sum("pushgate_requests_total"),
        pings,
        "only PINGs were carried out"
    );
}

/// The client is served, and nothing was pushed to it before.
async fn assert_nothing_came(client: &mut Client) {
    client.send(&ClientFrame::Ping(b"now")).await;
    assert_eq!(client.next().await, Some(GatewayFrame::Pong(b"now")));
}

#[tokio::test]
async fn random_datagrams_are_counted_by_cause_and_never_answered() {
    let gateway = Gateway::start(&config());
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::signed(gateway.udp, KEY_ID, SECRET).await;
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let datagrams: Vec<Vec<u8>> = (0..20_000).map(|_| random_datagram(&mut random)).collect();
    let (scrape, expected) = send_all(&gateway, &sender, &datagrams).await;
    assert_eq!(expected.len(), 7, "every cause is among {expected:?}");
    assert_counted(&scrape, &expected);
    assert_eq!(sender.unexpected(), []);
    assert_nothing_came(&mut client).await;
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

#[tokio::test]
async fn no_single_bit_of_a_signed_datagram_can_be_changed() {
    let gateway = Gateway::start(&config());
    let baseline = Baseline::of(&gateway).await;
    let mut client = Login::user("ada").enter(gateway.native).await;
    let sender = Sender::signed(gateway.udp, KEY_ID, SECRET).await;
    let original = sender.encode(&push(&[Target::All, Target::User("ada")], b"once"));
    let bits = 0..8 * original.bytes.len();
    let flipped: Vec<Vec<u8>> = bits
        .map(|bit| {
            let mut bytes = original.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        })
        .collect();
    let (scrape, expected) = send_all(&gateway, &sender, &flipped).await;
    assert!(
        expected["mac"] > 8 * 32 && expected["op"] > 0,
        "{expected:?}"
    );
    assert_counted(&scrape, &expected);
    assert_eq!(sender.unexpected(), []);
    assert_nothing_came(&mut client).await;
    // As it was sent it is carried out.
    assert_eq!(original.bytes[3], Op::Push.code());
    let answer = sender.ask_datagram(&original).await;
    assert_eq!(answer.counts.matched, 1);
    assert_eq!(client.next_push().await.2, b"once");
    drop(client);
    baseline.assert_back_at(&gateway).await;
}

//! The checks of a datagram that depend on its key, on a clock of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Hub;
use super::super::access::{Grant, Keyring};
use super::super::holds::Holds;
use super::super::intake::{Handled, Intake, IntakeOptions, Moment};
use super::super::job::Jobs;
use super::super::pump::Pump;
use super::super::remembered::Remembered;
use super::options;
use crate::hub::freshness::Freshness;
use crate::metrics::Metrics;
use crate::wire::datagram::{Header, ReplyMode, RequestBody, Target, encode_request};
use crate::wire::reason::{RejectCause, Status};
use crate::wire::reply::decode_reply;
use crate::wire::seal::Key;

const PING: RequestBody<'_> = RequestBody::Ping(b"?");
const START_MS: u64 = 1_790_000_000_000;

fn secret(id: u32) -> Key {
    let byte = u8::try_from(id).expect("a small id");
    Key::new(&[byte; 32]).expect("long enough")
}

fn keyring(rate: u32, ids: &[u32]) -> Keyring {
    let grant = |id: &u32| {
        let grant = Grant {
            rate,
            ..Grant::everything(Some(secret(*id)))
        };
        (*id, grant)
    };
    Keyring::new(ids.iter().map(grant), false)
}

struct Fixture {
    intake: Intake,
    started: Instant,
    /// Milliseconds since the start.
    now_ms: u64,
    source: SocketAddr,
    next_id: u8,
}

impl Fixture {
    fn new(keyring: Keyring) -> Self {
        let started = Instant::now();
        let hub = Arc::new(Hub::new(options(), Arc::new(Metrics::new()), 1, started));
        let remembered = Arc::new(Remembered::new(1_000, keyring.ids(), 27));
        let (jobs, holds) = (Arc::new(Jobs::new(10, 1)), Arc::new(Holds::default()));
        let bounds = IntakeOptions {
            freshness: Freshness::new(15_000, 1_000, 0),
            max_payload: 65_000,
            max_ttl: Duration::from_secs(86_400),
            max_spread: Duration::from_secs(600),
        };
        let intake = Intake::new(hub, keyring, remembered, jobs, holds, bounds);
        let source = ([192, 0, 2, 1], 5).into();
        Self {
            intake,
            started,
            now_ms: 0,
            source,
            next_id: 0,
        }
    }

    fn datagram(&mut self, key_id: u32, key: &Key, body: &RequestBody<'_>) -> Vec<u8> {
        self.next_id += 1;
        let header = Header {
            op: body.op().code(),
            key_id,
            time_ms: START_MS + self.now_ms,
            request_id: [self.next_id; 16],
        };
        let mut bytes = Vec::new();
        encode_request(&mut bytes, &header, body, Some(key));
        bytes
    }

    /// The answer's status, or why there is none.
    fn handle(&self, bytes: &[u8], key: &Key) -> Result<Status, RejectCause> {
        let moment = Moment {
            instant: self.started + Duration::from_millis(self.now_ms),
            unix_ms: START_MS + self.now_ms,
        };
        let (mut cx, mut out) = (Pump::new(moment.instant), Vec::new());
        let handled = self
            .intake
            .handle(bytes, self.source, moment, &mut cx, &mut out);
        match handled {
            Handled::Silent(cause) => {
                assert!(out.is_empty(), "a stranger is answered");
                Err(cause)
            }
            Handled::Answered => Ok(decode_reply(&out, Some(key)).expect("a reply").1.status),
            Handled::Quiet | Handled::Job(_) => panic!("neither is asked for"),
        }
    }

    fn ask(&mut self, id: u32, body: &RequestBody<'_>) -> Result<Status, RejectCause> {
        let bytes = self.datagram(id, &secret(id), body);
        self.handle(&bytes, &secret(id))
    }
}

const fn push<'a>(targets: &'a [Target<'a>]) -> RequestBody<'a> {
    RequestBody::Push {
        reply: ReplyMode::One,
        collapse: b"",
        ttl_s: 0,
        spread_ms: 0,
        targets,
        payload: b"",
    }
}

#[test]
fn keys_are_replaced_from_the_next_datagram_on() {
    let mut gateway = Fixture::new(keyring(0, &[7, 8]));
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Done));
    assert_eq!(gateway.ask(9, &PING), Err(RejectCause::Key));
    gateway.intake.set_keyring(keyring(0, &[8, 9]));
    assert_eq!(gateway.ask(7, &PING), Err(RejectCause::Key));
    assert_eq!(gateway.ask(8, &PING), Ok(Status::Done));
    let user = [Target::User("nobody")];
    assert_eq!(
        gateway.ask(9, &push(&user)),
        Ok(Status::Done),
        "its ids are remembered"
    );
    let uses: Vec<_> = gateway.intake.key_uses();
    let counted: Vec<_> = uses.iter().map(|key| (key.id, key.datagrams)).collect();
    assert_eq!(counted, [(8, 1), (9, 1)]);
}

#[test]
fn a_rate_is_for_what_would_be_carried_out_and_outlives_a_reload() {
    let mut gateway = Fixture::new(keyring(3, &[7]));
    let user = [Target::User("nobody")];
    let first = gateway.datagram(7, &secret(7), &push(&user));
    // A repeat costs nothing, nor does what is refused for another reason.
    for _ in 0..10 {
        assert_eq!(gateway.handle(&first, &secret(7)), Ok(Status::Done));
        let bad = RequestBody::Ping(&[0; 65]);
        assert_eq!(gateway.ask(7, &bad), Ok(Status::BadRequest));
    }
    let presence = RequestBody::Presence { targets: &user };
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Done));
    assert_eq!(gateway.ask(7, &presence), Ok(Status::Done));
    for body in [push(&user), presence, PING] {
        assert_eq!(gateway.ask(7, &body), Ok(Status::Busy), "{body:?}");
    }
    assert_eq!(gateway.handle(&first, &secret(7)), Ok(Status::Done));
    gateway.intake.set_keyring(keyring(3, &[7, 8]));
    assert_eq!(
        gateway.ask(7, &PING),
        Ok(Status::Busy),
        "the bucket is as it was"
    );
    assert_eq!(
        gateway.ask(8, &PING),
        Ok(Status::Done),
        "another key has its own"
    );
    gateway.now_ms = 400;
    assert_eq!(
        gateway.ask(7, &PING),
        Ok(Status::Done),
        "a third of a second later"
    );
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Busy));
}

#[test]
fn wrong_macs_of_a_source_are_not_computed_without_end() {
    let mut gateway = Fixture::new(keyring(0, &[7]));
    let honest = gateway.source;
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Done));
    gateway.source.set_port(6);
    let large = push(&[Target::All]);
    let mut forged = gateway.datagram(7, &secret(9), &large);
    forged.resize(60_000, 0);
    let causes: Vec<_> = (0..50)
        .map(|_| gateway.handle(&forged, &secret(7)).expect_err("silent"))
        .collect();
    assert_eq!(causes[0], RejectCause::Mac);
    assert_eq!(causes[49], RejectCause::Source);
    // A small one of another service there fits, and one that has proven itself always does.
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Done));
    gateway.source = honest;
    assert_eq!(
        gateway.ask(7, &push(&[Target::User("nobody")])),
        Ok(Status::Done)
    );
    // Crowded by small ones, the address has no room for a newcomer at this moment. Those whom it
    // knows do not notice.
    gateway.source.set_port(7);
    forged.truncate(100);
    for _ in 0..5_000 {
        let _ = gateway.handle(&forged, &secret(7));
    }
    gateway.source.set_port(8);
    assert_eq!(gateway.ask(7, &PING), Err(RejectCause::Source));
    gateway.source = honest;
    assert_eq!(gateway.ask(7, &PING), Ok(Status::Done));
    gateway.source = ([192, 0, 2, 2], 6).into();
    let cause = gateway.handle(&forged, &secret(7));
    assert_eq!(cause, Err(RejectCause::Mac), "another source");
}

#[test]
fn unsigned_datagrams_are_taken_from_this_machine_alone() {
    let mut gateway = Fixture::new(Keyring::new([], true));
    let header = Header {
        op: PING.op().code(),
        key_id: 0,
        time_ms: START_MS,
        request_id: [1; 16],
    };
    let mut bytes = Vec::new();
    encode_request(&mut bytes, &header, &PING, None);
    for source in ["192.0.2.1:5", "[::ffff:192.0.2.1]:5", "[2001:db8::1]:5"] {
        gateway.source = source.parse().expect("an address");
        let unsigned = Err(RejectCause::Unsigned);
        assert_eq!(gateway.handle(&bytes, &secret(7)), unsigned, "{source}");
    }
}

//! Nanoseconds a datagram from its bytes to its answer, and what it costs to refuse one: before its
//! MAC is computed, and after.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use pushgate::hub::access::{Grant, Keyring};
use pushgate::hub::freshness::Freshness;
use pushgate::hub::holds::Holds;
use pushgate::hub::intake::{Intake, IntakeOptions, Moment};
use pushgate::hub::job::Jobs;
use pushgate::hub::pump::Pump;
use pushgate::hub::remembered::Remembered;
use pushgate::hub::{Hub, Options};
use pushgate::metrics::Metrics;
use pushgate::wire::datagram::{Header, RequestBody, encode_request};
use pushgate::wire::seal::Key;

const NOW_MS: u64 = 1_790_000_000_000;
const BYTES: [usize; 3] = [200, 1_200, 65_507];

fn main() {
    divan::main();
}

struct Gateway {
    intake: Intake,
    started: Instant,
    key: Key,
}

impl Gateway {
    fn new() -> Self {
        let started = Instant::now();
        let options = Options {
            max_devices: 8,
            max_groups: 64,
            queue_messages: 1_024,
            queue_bytes: 1 << 20,
            queue_age: Duration::from_secs(10),
            memory_budget: 1 << 30,
            retry_spread: Duration::from_secs(10),
            max_frame: 65_512,
            history_messages: 1000,
            history_bytes: 1 << 20,
            remember_groups: Duration::from_secs(300),
        };
        let hub = Arc::new(Hub::new(options, Arc::new(Metrics::new()), 1, started));
        let key = Key::new(&[7; 32]).expect("a secret of 32 bytes");
        let keyring = Keyring::new([(7, Grant::everything(Some(key.clone())))], false);
        let remembered = Arc::new(Remembered::new(1_000, keyring.ids(), 27));
        let (jobs, holds) = (Arc::new(Jobs::new(1, 1)), Arc::new(Holds::default()));
        let bounds = IntakeOptions {
            freshness: Freshness::new(15_000, 1_000, 0),
            max_payload: 65_000,
            max_ttl: Duration::from_secs(86_400),
            max_spread: Duration::from_secs(600),
        };
        let intake = Intake::new(hub, keyring, remembered, jobs, holds, bounds);
        Self {
            intake,
            started,
            key,
        }
    }

    fn ping(&self, bytes: usize, key: &Key) -> Vec<u8> {
        let header = Header {
            op: 6,
            key_id: 7,
            time_ms: NOW_MS,
            request_id: [0xa5; 16],
        };
        let mut datagram = Vec::new();
        let body = RequestBody::Ping(&[0; 64]);
        encode_request(&mut datagram, &header, &body, Some(key));
        datagram.resize(bytes.max(datagram.len()), 0);
        datagram
    }

    /// At this time of its clock.
    fn handle(&self, datagram: &[u8], now: Duration, out: &mut Vec<u8>) {
        let source: SocketAddr = ([192, 0, 2, 1], 5).into();
        let moment = Moment {
            instant: self.started + now,
            unix_ms: NOW_MS,
        };
        let mut cx = Pump::new(moment.instant);
        out.clear();
        let datagram = black_box(datagram);
        black_box(self.intake.handle(datagram, source, moment, &mut cx, out));
    }
}

#[divan::bench]
fn answer_a_ping(bencher: Bencher<'_, '_>) {
    let gateway = Gateway::new();
    let (datagram, mut out) = (gateway.ping(0, &gateway.key), Vec::with_capacity(256));
    bencher.bench_local(|| gateway.handle(&datagram, Duration::ZERO, &mut out));
}

/// The budget is full each time.
#[divan::bench(args = BYTES)]
fn refuse_a_wrong_mac(bencher: Bencher<'_, '_>, bytes: usize) {
    let gateway = Gateway::new();
    let (datagram, mut out) = (gateway.ping(bytes, &gateway.key), Vec::new());
    let datagram = [&datagram[..40], &[0; 24], &datagram[64..]].concat();
    let mut now = Duration::ZERO;
    bencher.bench_local(|| {
        now += Duration::from_secs(1);
        gateway.handle(&datagram, now, &mut out);
    });
}

/// The budget is empty.
#[divan::bench(args = BYTES)]
fn refuse_a_source(bencher: Bencher<'_, '_>, bytes: usize) {
    let gateway = Gateway::new();
    let (datagram, mut out) = (gateway.ping(bytes, &gateway.key), Vec::new());
    let datagram = [&datagram[..40], &[0; 24], &datagram[64..]].concat();
    for _ in 0..5_000 {
        gateway.handle(&datagram, Duration::ZERO, &mut out);
    }
    bencher.bench_local(|| gateway.handle(&datagram, Duration::ZERO, &mut out));
}

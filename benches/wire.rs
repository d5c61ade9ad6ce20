//! Nanoseconds a frame and a datagram, and that decoding them allocates nothing: where divan
//! prints no allocations below a bench, there were none.

use divan::{AllocProfiler, Bencher, black_box};
use pushgate::wire::datagram::{
    Header, Op, ReplyMode, Request, RequestBody, Target, Unverified, encode_request,
};
use pushgate::wire::frame::{
    self, ClientFrame, HelloFields, LENGTH_BYTES, Scope, encode_hello, push_header,
};
use pushgate::wire::reason::Status;
use pushgate::wire::reply::{Counts, Reply, encode_reply};
use pushgate::wire::seal::Key;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// `clients.max_frame` and `clients.max_hello`, as they are by default.
const FRAME_BYTES_MAX: usize = 4096;
const HELLO_BYTES_MAX: usize = 16_384;

const NOW_MS: u64 = 1_790_000_000_000;

fn main() {
    divan::main();
}

fn key() -> Key {
    Key::new(&[7; 32]).expect("a secret of 32 bytes")
}

fn header() -> Header {
    Header {
        op: Op::Push.code(),
        key_id: 7,
        time_ms: NOW_MS,
        request_id: [0xa5; 16],
    }
}

/// A client of four groups with a token as long as a small JSON Web Token.
#[divan::bench]
fn decode_hello(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    let hello = HelloFields {
        version: frame::PROTOCOL_VERSION,
        resume: true,
        heartbeat_s: 30,
        epoch: 1,
        cursor: 41,
        device: "phone",
        groups: &["room/1", "room/2", "room/3", "news"],
        token: &[b't'; 200],
    };
    encode_hello(&mut bytes, &hello);
    bencher.bench(|| decode(black_box(&bytes), HELLO_BYTES_MAX));
}

#[divan::bench]
fn decode_join(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    ClientFrame::Join { group: "room/1" }.encode(&mut bytes);
    bencher.bench(|| decode(black_box(&bytes), FRAME_BYTES_MAX));
}

/// From the bytes of a stream to the value of a frame.
fn decode(bytes: &[u8], max: usize) -> ClientFrame<'_> {
    let (body, consumed) = frame::split(bytes, max)
        .expect("a good length")
        .expect("a whole frame");
    assert_eq!(consumed, LENGTH_BYTES + body.len());
    ClientFrame::decode(body).expect("a good frame")
}

/// Into a buffer that has been used before, as a connection's has.
#[divan::bench]
fn encode_push_header(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(512);
    bencher.bench_local(|| {
        out.clear();
        push_header(
            &mut out,
            black_box(42),
            Scope::Group,
            black_box("room/1"),
            128,
        );
        black_box(&out);
    });
}

/// A payload of 128 bytes to one user: header, seal, body, and a walk over the targets.
#[divan::bench]
fn decode_and_verify_push(bencher: Bencher<'_, '_>) {
    let (key, mut bytes) = (key(), Vec::new());
    let push = RequestBody::Push {
        reply: ReplyMode::One,
        collapse: b"",
        ttl_s: 3600,
        spread_ms: 0,
        targets: &[Target::User("user-42")],
        payload: &[0xee; 128],
    };
    encode_request(&mut bytes, &header(), &push, Some(&key));
    bencher.bench(|| {
        let unverified = Unverified::parse(black_box(&bytes)).expect("a good header");
        let datagram = unverified.verify(&key).expect("a good seal");
        let request = Request::decode(datagram.op(), datagram.body()).expect("a good body");
        if let Request::Push(push) = &request {
            push.targets.iter().for_each(|target| {
                black_box(target);
            });
        }
        request
    });
}

/// Into a buffer that has been used before, as the UDP loop's has.
#[divan::bench]
fn encode_and_seal_reply(bencher: Bencher<'_, '_>) {
    let (key, request, mut out) = (key(), header(), Vec::with_capacity(1200));
    let reply = Reply {
        status: Status::Done,
        counts: Counts {
            matched: 3,
            written: 2,
            waiting: 1,
            refused: 0,
        },
        elapsed_ms: 17,
        number: 42,
        tail: b"",
    };
    bencher.bench_local(|| {
        out.clear();
        encode_reply(
            &mut out,
            black_box(&request),
            NOW_MS,
            black_box(&reply),
            Some(&key),
        );
        black_box(&out);
    });
}

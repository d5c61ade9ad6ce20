//! The hub's handovers under every schedule that a random scheduler finds: append, pump, join,
//! leave, detach and takeover, each from its own thread.
//!
//! `cargo test --features interleavings --example interleavings` runs them: the feature puts the
//! scheduler's locks and atomics in the place of `std`'s throughout the hub.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pushgate::hub::pump::{Pump, Pumped};
use pushgate::hub::session::Session;
use pushgate::hub::{Appended, Attach, Closing, Hub, Options, Push, Sink, Target};
use pushgate::metrics::Metrics;
use pushgate::wire::frame::{GatewayFrame, split};
use pushgate::wire::reason::CloseReason;
use shuttle::sync::Mutex;
use shuttle::thread;

/// Schedules tried for each test; each is a different random one, and a failing one is printed so
/// that it can be replayed.
const SCHEDULES: usize = 1500;

/// Blocks for its first writes, in turns, then takes everything.
struct Flaky(Mutex<(usize, Vec<u8>)>);

impl Flaky {
    fn new(turns: usize) -> Self {
        Self(Mutex::new((turns, Vec::new())))
    }

    fn payloads(&self) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let (mut rest, mut payloads) = (&state.1[..], Vec::new());
        while let Some((body, used)) = split(rest, 1 << 16).unwrap() {
            if let GatewayFrame::Push { payload, .. } = GatewayFrame::decode(body).unwrap() {
                payloads.push(payload[0]);
            }
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "no frame is left half written");
        payloads
    }
}

impl Sink for Flaky {
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let count = match state.0 {
            0 => whole.len(),
            turns => {
                state.0 -= 1;
                if turns % 2 == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                whole.len().min(20)
            }
        };
        state.1.extend_from_slice(&whole[..count]);
        Ok(count)
    }
}

struct Bench {
    hub: Hub,
    start: Instant,
}

type Client = Arc<Session<Flaky>>;

impl Bench {
    fn new() -> Arc<Self> {
        let start = Instant::now();
        let options = Options {
            max_devices: 8,
            max_groups: 8,
            queue_messages: 1024,
            queue_bytes: 1 << 20,
            queue_age: Duration::from_secs(10),
            memory_budget: 1 << 30,
            retry_spread: Duration::from_secs(1),
            max_frame: 65_512,
            history_messages: 1000,
            history_bytes: 1 << 20,
            remember_groups: Duration::from_secs(300),
        };
        let metrics = Arc::new(Metrics::new());
        Arc::new(Self {
            hub: Hub::new(options, metrics, 1, start),
            start,
        })
    }

    fn cx(&self) -> Pump {
        Pump::new(self.start)
    }

    fn attach(&self, user: &str, groups: &[&str], turns: usize) -> Client {
        let attach = Attach {
            user,
            device: "",
            groups,
            refused: &[],
            heartbeat_s: 30,
            resume: None,
            ..Attach::default()
        };
        let attached = self.hub.attach(&attach, Flaky::new(turns), &self.cx());
        attached.map_err(|(error, _)| error).expect("there is room")
    }

    fn push(&self, targets: &[Target<'_>], id: u8) {
        let push = Push {
            targets,
            exceptions: &[],
            payload: &[id],
            ..Push::default()
        };
        if let Appended::Walk(mut walk) = self.hub.append(&push, self.start).expect("room") {
            let counts = walk.finish(&self.hub, &mut self.cx());
            assert_eq!(
                counts.matched,
                counts.written + counts.waiting + counts.refused
            );
        }
    }

    /// The client's own task: pumps until it is level.
    fn drain(&self, client: &Client) {
        while self.hub.pump(client, &mut self.cx()) != Pumped::Level {}
    }
}

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(scenario, SCHEDULES);
}

#[test]
fn appends_and_pumps_from_all_sides_keep_one_order() {
    check(|| {
        let bench = Bench::new();
        let one = bench.attach("one", &["g"], 5);
        let two = bench.attach("two", &["g"], 0);
        let mut threads = Vec::new();
        for (id, targets) in [
            (1, vec![Target::All]),
            (2, vec![Target::Group("g")]),
            (3, vec![Target::Group("g"), Target::All]),
        ] {
            let bench = Arc::clone(&bench);
            threads.push(thread::spawn(move || bench.push(&targets, id)));
        }
        let (owner, client) = (Arc::clone(&bench), Arc::clone(&one));
        threads.push(thread::spawn(move || owner.drain(&client)));
        for thread in threads {
            thread.join().unwrap();
        }
        bench.drain(&one);
        bench.drain(&two);
        let (first, second) = (one.sink().payloads(), two.sink().payloads());
        assert_eq!(first, second);
        assert_eq!(first.len(), 3);
        assert_eq!(bench.hub.held(), (0, 0));
        assert_eq!(bench.hub.sessions_behind(), 0);
    });
}

#[test]
fn a_join_receives_what_comes_later_and_a_leave_nothing_more() {
    check(|| {
        let bench = Bench::new();
        let client = bench.attach("one", &[], 3);
        let stays = bench.attach("two", &["g"], 0);
        let pusher = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                for id in 1..=3 {
                    bench.push(&[Target::Group("g")], id);
                }
            })
        };
        let member: Arc<Session> = Arc::clone(&client) as _;
        bench.hub.join(&member, "g").unwrap();
        bench.hub.leave(&member, "g", &mut bench.cx());
        pusher.join().unwrap();
        bench.drain(&client);
        bench.drain(&stays);
        assert_eq!(stays.sink().payloads(), [1, 2, 3]);
        let seen = client.sink().payloads();
        assert!(
            seen.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{seen:?}"
        );
        assert_eq!(bench.hub.held(), (0, 0));
    });
}

#[test]
fn whoever_detaches_in_the_middle_takes_nothing_from_the_others() {
    check(|| {
        let bench = Bench::new();
        let goes = bench.attach("one", &["g"], 3);
        let stays = bench.attach("two", &["g"], 2);
        let closer = {
            let (bench, goes) = (Arc::clone(&bench), Arc::clone(&goes));
            thread::spawn(move || bench.hub.close(&*goes, Closing::silent(CloseReason::Eof)))
        };
        let pusher = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                bench.push(&[Target::All], 1);
                bench.push(&[Target::Group("g")], 2);
            })
        };
        closer.join().unwrap();
        pusher.join().unwrap();
        bench.drain(&stays);
        assert_eq!(stays.sink().payloads(), [1, 2]);
        assert_eq!((bench.hub.sessions(), bench.hub.held()), (1, (0, 0)));
        bench.hub.close(&*stays, Closing::silent(CloseReason::Eof));
        assert_eq!((bench.hub.sessions(), bench.hub.lanes()), (0, 0));
    });
}

#[test]
fn of_racing_takeovers_the_newest_stays() {
    check(|| {
        let bench = Bench::new();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let bench = Arc::clone(&bench);
                thread::spawn(move || {
                    let attach = Attach {
                        user: "one",
                        device: "",
                        groups: &["g"],
                        refused: &[],
                        heartbeat_s: 30,
                        resume: None,
                        ..Attach::default()
                    };
                    bench.hub.attach(&attach, Flaky::new(0), &bench.cx()).ok()
                })
            })
            .collect();
        let mut clients = Vec::new();
        for thread in threads {
            clients.extend(thread.join().unwrap());
        }
        bench.push(&[Target::User("one"), Target::Group("g")], 7);
        clients.sort_by_key(|client| client.id());
        let newest = clients.pop().expect("one came in");
        bench.drain(&newest);
        assert_eq!(newest.sink().payloads(), [7]);
        for replaced in clients {
            bench.drain(&replaced);
            assert!(replaced.sink().payloads().is_empty());
        }
        assert_eq!((bench.hub.sessions(), bench.hub.lanes()), (1, 2));
    });
}

#[test]
fn a_lane_that_was_emptied_takes_no_other_of_its_name_along() {
    // Few switches at the right places, which a scheduler by priorities finds.
    let scenario = || {
        let bench = Bench::new();
        bench.attach("one", &[], 0);
        let attaching = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.attach("one", &[], 0))
        };
        // Ends whoever is attached at this moment, and lets the next one in.
        for session in bench.hub.sessions_of("one") {
            bench
                .hub
                .close(&*session, Closing::silent(CloseReason::Eof));
        }
        let attach = Attach {
            user: "one",
            device: "b",
            groups: &[],
            refused: &[],
            heartbeat_s: 30,
            resume: None,
            ..Attach::default()
        };
        let third = bench
            .hub
            .attach(&attach, Flaky::new(0), &bench.cx())
            .ok()
            .expect("room");
        attaching.join().unwrap();
        bench.push(&[Target::User("one")], 7);
        bench.drain(&third);
        assert_eq!(third.sink().payloads(), [7]);
    };
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

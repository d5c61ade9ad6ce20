//! Random histories with kept messages, collapse keys, ends of ttl, disconnects at every point
//! and resumes, against a plain model: every message that was ever pushed, and what each
//! connection saw.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::{DEVICES, GROUPS, ModelTarget, USERS, exception, target};
use super::*;
use crate::hub::walk::Walk;
use crate::hub::{Closing, Resume};
use crate::metrics::Outcome;
use crate::wire::reason::CloseReason;

#[derive(Clone, Debug)]
enum Step {
    Attach {
        user: u8,
        device: u8,
        groups: Vec<u8>,
        from: From,
    },
    Join {
        client: usize,
        group: u8,
    },
    Push {
        targets: Vec<ModelTarget>,
        exceptions: Vec<ModelTarget>,
        ttl: Option<u8>,
        collapse: Option<u8>,
        size: usize,
    },
    Walk {
        walk: usize,
        members: usize,
    },
    Room {
        client: usize,
        room: Option<usize>,
    },
    Writable {
        client: usize,
    },
    /// The connection breaks.
    Break {
        client: usize,
    },
    Ack {
        client: usize,
    },
    Wait {
        seconds: u8,
    },
}

/// Where a client comes back from.
#[derive(Clone, Copy, Debug)]
enum From {
    Anew,
    Everything,
    Cursor,
    /// An older one than it has.
    Older(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..64usize;
    let from = prop_oneof![
        1 => Just(From::Anew),
        2 => Just(From::Everything),
        5 => Just(From::Cursor),
        1 => (1..4u8).prop_map(From::Older),
    ];
    let groups = prop::collection::vec(0..3u8, 0..3);
    prop_oneof![
        4 => (0..4u8, 0..2u8, groups, from)
            .prop_map(|(user, device, groups, from)| Step::Attach { user, device, groups, from }),
        1 => (client.clone(), 0..3u8).prop_map(|(client, group)| Step::Join { client, group }),
        10 => (
            prop::collection::vec(target(), 1..4),
            prop::collection::vec(exception(), 0..2),
            prop::option::weighted(0.7, 1..30u8),
            prop::option::weighted(0.4, 0..2u8),
            0..300usize,
        ).prop_map(|(targets, exceptions, ttl, collapse, size)| {
            Step::Push { targets, exceptions, ttl, collapse, size }
        }),
        6 => (0..8usize, 1..4usize).prop_map(|(walk, members)| Step::Walk { walk, members }),
        4 => (client.clone(), prop::option::weighted(0.7, 0..400usize))
            .prop_map(|(client, room)| Step::Room { client, room }),
        5 => client.clone().prop_map(|client| Step::Writable { client }),
        3 => client.clone().prop_map(|client| Step::Break { client }),
        2 => client.prop_map(|client| Step::Ack { client }),
        1 => (0..6u8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

#[derive(Clone, Debug)]
struct Pushed {
    id: u32,
    targets: Vec<ModelTarget>,
    exceptions: Vec<ModelTarget>,
    /// Number and end.
    kept: Option<(u64, Instant)>,
    collapse: Option<u8>,
}

struct Client {
    session: FakeSession,
    user: u8,
    device: u8,
    /// Groups, and how many messages there were at the join: 0 for those of a HELLO that resumes.
    groups: BTreeMap<u8, usize>,
    /// How many messages there were when it came.
    came: usize,
    promised: bool,
    /// WELCOME's cursor.
    cursor: u64,
    /// Whether what was kept is replayed.
    replays: bool,
    /// Frames that were looked at.
    looked: usize,
    seen: Vec<usize>,
    /// Messages of which the sink had a part before.
    begun: Option<usize>,
    handled: u64,
    current: Option<u64>,
    acked: u64,
}

struct Model {
    bench: Bench,
    now: Instant,
    pushed: Vec<Pushed>,
    clients: Vec<Client>,
    walks: Vec<Walk>,
    /// The number up to which each device has handled everything, and at which bound it stands.
    cursors: BTreeMap<(u8, u8), u64>,
    matched: u64,
    /// Nothing was dropped at a bound, and nobody was cut.
    roomy: bool,
}

impl Client {
    fn is_open(&self) -> bool {
        let wants = self.session.poll_wants(std::task::Waker::noop());
        wants.closing.is_none()
    }

    /// By which targets the message at `at` is for it, in their order.
    fn matches(&self, pushed: &Pushed, at: usize) -> Option<ModelTarget> {
        let is_in = |target: ModelTarget| match target {
            ModelTarget::All => true,
            ModelTarget::User(user) => user == self.user,
            ModelTarget::Group(group) => {
                self.groups.get(&group).is_some_and(|joined| *joined <= at)
            }
        };
        if pushed.exceptions.iter().any(|target| is_in(*target)) {
            return None;
        }
        pushed.targets.iter().copied().find(|target| is_in(*target))
    }

    /// Whether it was to be sent the message at all.
    fn is_due(&self, pushed: &Pushed, at: usize) -> bool {
        let replayed =
            || self.replays && pushed.kept.is_some_and(|(number, _)| number > self.cursor);
        (at >= self.came || replayed()) && self.matches(pushed, at).is_some()
    }
}

impl Model {
    fn new(options: Options, roomy: bool) -> Self {
        let bench = Bench::new(options);
        let now = bench.start;
        Self {
            bench,
            now,
            pushed: Vec::new(),
            clients: Vec::new(),
            walks: Vec::new(),
            cursors: BTreeMap::new(),
            matched: 0,
            roomy,
        }
    }

    fn cx(&self) -> Pump {
        Pump::new(self.now)
    }

    fn open(&self, number: usize) -> Option<usize> {
        let count = self.clients.len();
        let at = (count > 0).then(|| number % count)?;
        self.clients[at].is_open().then_some(at)
    }

    /// Whether a later message, of the first `known`, stands in for that at `at` at a client.
    fn superseded(&self, client: &Client, at: usize, known: usize, surely: bool) -> bool {
        let older = &self.pushed[at];
        self.pushed[..known]
            .iter()
            .enumerate()
            .skip(at + 1)
            .any(|(later, newer)| {
                let stands_in = older.collapse.is_some()
                    && older.collapse == newer.collapse
                    && match (older.kept, newer.kept) {
                        (None, None) => true,
                        (Some((_, old)), Some((_, new))) => old <= new,
                        _ => false,
                    };
                let mut shared = older
                    .targets
                    .iter()
                    .filter(|target| newer.targets.contains(target));
                let is_in = |target: &ModelTarget| match target {
                    ModelTarget::Group(group) => {
                        client.groups.get(group).is_some_and(|joined| *joined <= at)
                    }
                    ModelTarget::User(user) => *user == client.user,
                    ModelTarget::All => true,
                };
                let addressed = client.matches(newer, later).is_some();
                stands_in && addressed && shared.any(|target| !surely || is_in(target))
            })
    }

    fn pump(&self, client: usize) {
        let session = &self.clients[client].session;
        while self.bench.hub.pump(session, &mut self.cx()) == Pumped::More {}
    }

    fn apply(&mut self, step: &Step) {
        let known = self.pushed.len();
        match step {
            Step::Attach {
                user,
                device,
                groups,
                from,
            } => {
                self.attach(*user, *device, groups, *from);
            }
            Step::Join { client, group } => {
                let Some(at) = self.open(*client) else { return };
                let session: Arc<Session> = Arc::clone(&self.clients[at].session) as _;
                let name = GROUPS[usize::from(*group)];
                self.bench.hub.join(&session, name).expect("few groups");
                self.clients[at].groups.entry(*group).or_insert(known);
            }
            Step::Push {
                targets,
                exceptions,
                ttl,
                collapse,
                size,
            } => {
                self.push(targets, exceptions, (*ttl, *collapse), *size);
            }
            Step::Walk { walk, members } => {
                if self.walks.is_empty() {
                    return;
                }
                let at = walk % self.walks.len();
                let mut cx = self.cx();
                let done = self.walks[at].step(&self.bench.hub, *members, &mut cx);
                cx.merge(self.bench.hub.metrics());
                if done {
                    let walk = self.walks.remove(at);
                    self.count(&walk);
                }
            }
            Step::Room { client, room } => {
                let Some(at) = self.open(*client) else { return };
                self.clients[at].session.sink().set_room(*room);
            }
            Step::Writable { client } => {
                let Some(at) = self.open(*client) else { return };
                self.pump(at);
            }
            Step::Break { client } => {
                let Some(at) = self.open(*client) else { return };
                let session = &self.clients[at].session;
                let closing = Closing::silent(CloseReason::Eof);
                self.bench.hub.close(&**session, closing);
            }
            Step::Ack { client } => {
                let Some(at) = self.open(*client) else { return };
                self.look(at, known);
                let client = &mut self.clients[at];
                let number = client.handled.max(client.current.unwrap_or(0));
                let result = self
                    .bench
                    .hub
                    .confirm(&*client.session, number, &Pump::new(self.now));
                assert_eq!(result, Ok(()));
                client.acked = client.acked.max(number);
            }
            Step::Wait { seconds } => {
                self.now += Duration::from_secs(u64::from(*seconds));
                while !self.bench.hub.expire(3, self.now) {}
            }
        }
        for at in 0..self.clients.len() {
            self.look(at, known);
        }
    }

    fn attach(&mut self, user: u8, device: u8, groups: &[u8], from: From) {
        let groups: BTreeSet<u8> = groups.iter().copied().collect();
        let names: Vec<_> = groups
            .iter()
            .map(|group| GROUPS[usize::from(*group)])
            .collect();
        let cursor = self.cursors.get(&(user, device)).copied().unwrap_or(0);
        let resume = match from {
            From::Anew => None,
            From::Everything => Some(Resume {
                epoch: 0,
                cursor: 0,
            }),
            From::Cursor => Some(Resume { epoch: 1, cursor }),
            From::Older(by) => {
                let cursor = cursor.saturating_sub(u64::from(by));
                Some(Resume { epoch: 1, cursor })
            }
        };
        let attach = Attach {
            user: USERS[usize::from(user)],
            device: DEVICES[usize::from(device)],
            groups: &names,
            refused: &[],
            heartbeat_s: 30,
            resume,
            ..Attach::default()
        };
        let attached = self
            .bench
            .hub
            .attach(&attach, FakeSink::of(attach.device), &self.cx());
        let session = attached.map_err(|(error, _)| error).expect("there is room");
        let GatewayFrame::Welcome(welcome) = first_answer(&session) else {
            panic!("WELCOME is first");
        };
        let replays = welcome.resumed || matches!(from, From::Everything);
        let head = self
            .pushed
            .iter()
            .filter(|pushed| pushed.kept.is_some())
            .count() as u64;
        match resume {
            Some(resume) if welcome.resumed && resume.epoch != 0 => {
                assert_eq!(welcome.cursor, resume.cursor, "the client's own");
            }
            Some(resume) if resume.epoch == 0 => assert_eq!(welcome.cursor, 0),
            _ => assert_eq!(welcome.cursor, head, "the head of the log"),
        }
        assert!(
            welcome.resumed || resume.is_none() || !self.roomy,
            "where nothing was dropped a resume is granted"
        );
        let joined = if replays { 0 } else { self.pushed.len() };
        self.clients.push(Client {
            session,
            user,
            device,
            groups: groups.into_iter().map(|group| (group, joined)).collect(),
            came: self.pushed.len(),
            promised: welcome.resumed,
            cursor: welcome.cursor,
            replays,
            looked: 0,
            seen: Vec::new(),
            begun: None,
            handled: welcome.cursor,
            current: None,
            acked: 0,
        });
        // Without a replay it has a new life: what it missed is fetched elsewhere.
        self.cursors.insert((user, device), welcome.cursor);
    }

    fn push(
        &mut self,
        targets: &[ModelTarget],
        exceptions: &[ModelTarget],
        (ttl, collapse): (Option<u8>, Option<u8>),
        size: usize,
    ) {
        let names: Vec<_> = targets.iter().map(|target| target.target()).collect();
        let except: Vec<_> = exceptions.iter().map(|target| target.target()).collect();
        let id = u32::try_from(self.pushed.len()).expect("few");
        let mut payload = id.to_be_bytes().to_vec();
        payload.resize(4 + size, b'.');
        let key = collapse.map(|collapse| [collapse]);
        let ttl = ttl.map(|ttl| Duration::from_secs(ttl.into()));
        let push = Push {
            targets: &names,
            exceptions: &except,
            payload: &payload,
            ttl,
            collapse: key.as_ref().map(|key| (7, &key[..])),
        };
        let number = match self.bench.hub.append(&push, self.now) {
            Ok(Appended::Nobody(number)) => number,
            Ok(Appended::Walk(walk)) => {
                let number = walk.number();
                self.walks.push(walk);
                number
            }
            Err(_) => return,
        };
        assert_eq!(number > 0, ttl.is_some());
        self.pushed.push(Pushed {
            id,
            targets: targets.to_vec(),
            exceptions: exceptions.to_vec(),
            kept: ttl.map(|ttl| (number, self.now + ttl)),
            collapse,
        });
    }

    fn count(&mut self, walk: &Walk) {
        let counts = walk.counts();
        let sum = counts.written + counts.waiting + counts.refused;
        assert_eq!(counts.matched, sum);
        self.matched += u64::from(counts.matched);
    }

    /// Looks at what a client has seen since; `known` messages were there before this step.
    fn look(&mut self, at: usize, known: usize) {
        let frames = self.clients[at].session.sink().whole_frames();
        let looked = self.clients[at].looked;
        for bytes in &frames[looked..] {
            match GatewayFrame::decode(bytes).expect("well-formed") {
                GatewayFrame::Push {
                    number,
                    scope,
                    group,
                    payload,
                } => {
                    self.look_at_push(at, known, number, (scope, group), payload);
                }
                GatewayFrame::Current { cursor } => self.look_at_current(at, cursor),
                _ => {}
            }
        }
        let session = &self.clients[at].session;
        let begun = session.lock().unsent.as_ref().map(|unsent| {
            let body = session.sink().body(unsent.taken.frame());
            match GatewayFrame::decode(&body).expect("well-formed") {
                GatewayFrame::Push { payload, .. } => id_of(payload),
                other => panic!("{other:?}"),
            }
        });
        let client = &mut self.clients[at];
        client.looked = frames.len();
        client.begun = begun;
        let key = (client.user, client.device);
        let cursor = client.handled.max(client.current.unwrap_or(0));
        if client.is_open() {
            self.cursors.insert(key, cursor);
        }
    }

    fn look_at_push(
        &mut self,
        at: usize,
        known: usize,
        number: u64,
        header: (Scope, &str),
        payload: &[u8],
    ) {
        let client = &self.clients[at];
        let id = id_of(payload);
        let pushed = &self.pushed[id];
        assert!(client.is_due(pushed, id), "{id} was not for this client");
        assert!(
            client.seen.last().is_none_or(|last| *last < id),
            "in the order of the log"
        );
        let matched = client.matches(pushed, id).expect("it was due");
        let expected = match matched.target() {
            Target::All => (Scope::All, ""),
            Target::User(_) => (Scope::User, ""),
            Target::Group(name) => (Scope::Group, name),
        };
        assert_eq!(header, expected, "under its first target");
        assert_eq!(number, pushed.kept.map_or(0, |(number, _)| number));
        assert!(number == 0 || number > client.handled, "numbers rise");
        if client.begun != Some(id) {
            let ends = pushed.kept.map(|(_, ends)| ends);
            assert!(ends.is_none_or(|ends| ends > self.now), "{id} had expired");
            assert!(
                !self.superseded(client, id, known, true),
                "{id} had been superseded"
            );
        }
        let client = &mut self.clients[at];
        client.seen.push(id);
        client.handled = client.handled.max(number);
    }

    /// CURRENT: everything up to the number that addresses the session has been sent.
    fn look_at_current(&mut self, at: usize, cursor: u64) {
        self.missing(at, |number| number != 0 && number <= cursor);
        let client = &mut self.clients[at];
        assert!(
            client.current.is_none(),
            "once, where nothing asks for another"
        );
        client.current = Some(cursor);
    }

    /// What of the numbers meant (0: live) was due and has not come for no good reason.
    fn missing(&self, at: usize, is_meant: impl Fn(u64) -> bool) {
        let client = &self.clients[at];
        for (id, pushed) in self.pushed.iter().enumerate() {
            let number = pushed.kept.map_or(0, |(number, _)| number);
            let broken = client.replays && !client.promised && id < client.came;
            // Live messages behind a replay are let go where they are too many.
            let let_go = number == 0 && client.replays && !self.roomy;
            let excused = client.seen.contains(&id)
                || let_go
                || !is_meant(number)
                || !client.is_due(pushed, id)
                || pushed.kept.is_some_and(|(_, ends)| ends <= self.now)
                || self.superseded(client, id, self.pushed.len(), false)
                // What is left is replayed, without a promise.
                || broken;
            assert!(excused, "{id} never came");
        }
    }

    /// Lets everything run out, and compares.
    fn settle(mut self) {
        let known = self.pushed.len();
        for mut walk in std::mem::take(&mut self.walks) {
            let mut cx = self.cx();
            walk.finish(&self.bench.hub, &mut cx);
            cx.merge(self.bench.hub.metrics());
            self.count(&walk);
        }
        for at in 0..self.clients.len() {
            self.clients[at].session.sink().set_room(None);
            self.pump(at);
            self.look(at, known);
            if self.clients[at].is_open() {
                self.missing(at, |_| true);
                assert!(self.clients[at].current.is_some(), "CURRENT has come");
            }
        }
        assert_eq!(
            self.bench.hub.held(),
            (0, 0),
            "the log holds nothing for nobody"
        );
        self.check_confirmed();
        for client in &self.clients {
            let closing = Closing::silent(CloseReason::Eof);
            self.bench.hub.close(&*client.session, closing);
        }
        let deliveries = |outcome| {
            self.bench
                .hub
                .metrics()
                .deliveries
                .at(outcome as usize)
                .get()
        };
        let mut cx = self.cx();
        cx.merge(self.bench.hub.metrics());
        let skipped = deliveries(Outcome::Skipped);
        assert!(!self.roomy || skipped == 0);
        self.now += Duration::from_secs(3600);
        while !self.bench.hub.expire(5, self.now) {}
        // Devices go as many at a time, and not before what they have confirmed.
        for _ in 0..self.clients.len() / 5 + 1 {
            self.bench.hub.expire(5, self.now);
        }
        assert_eq!((self.bench.hub.kept(), self.bench.hub.lanes()), ((0, 0), 0));
        assert_eq!(self.bench.hub.devices_gone(), 0);
    }

    /// No message is confirmed by more devices than there are, nor by fewer than said so last.
    fn check_confirmed(&self) {
        for pushed in &self.pushed {
            let Some((number, _)) = pushed.kept else {
                continue;
            };
            let Some(kept) = self.bench.hub.kept_message(number, self.now) else {
                continue;
            };
            let id = pushed.id as usize;
            let said: BTreeSet<_> = self
                .clients
                .iter()
                .filter(|client| client.acked >= number && client.seen.contains(&id))
                // Who asks for everything once more has confirmed it before, as far as is known.
                .filter(|client| client.promised || !client.replays)
                .filter(|client| client.cursor > 0 || !client.replays)
                .map(|client| (client.user, client.device))
                .collect();
            assert!(
                kept.confirmed as usize >= said.len(),
                "{number}: {said:?} of {kept:?}"
            );
            assert!(kept.confirmed <= 8, "{number}: {kept:?}");
        }
    }
}

fn id_of(payload: &[u8]) -> usize {
    u32::from_be_bytes(payload[..4].try_into().expect("four bytes")) as usize
}

/// What waits for the first pump.
fn first_answer(session: &FakeSession) -> GatewayFrame<'static> {
    let inner = session.lock();
    let bytes: &'static [u8] = inner.control.rest().to_vec().leak();
    let (body, _) = session.sink().split(bytes).expect("whole");
    GatewayFrame::decode(body).expect("well-formed")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_kept_message_reaches_whom_it_was_promised_to(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let patient = Options {
            queue_age: Duration::from_secs(3600),
            ..options()
        };
        let mut model = Model::new(patient, true);
        for step in &steps {
            model.apply(step);
        }
        model.settle();
    }

    #[test]
    fn with_little_room_a_resume_is_granted_only_where_it_is_true(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let tight = Options {
            queue_messages: 6,
            queue_bytes: 2500,
            memory_budget: 6000,
            history_messages: 5,
            ..options()
        };
        let mut model = Model::new(tight, false);
        for step in &steps {
            model.apply(step);
        }
        model.settle();
    }
}

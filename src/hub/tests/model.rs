//! Random histories against a plain model: a list of messages for each client.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::hub::Closing;
use crate::hub::pump::By;
use crate::hub::walk::Walk;
use crate::wire::reason::CloseReason;

#[derive(Clone, Debug)]
enum Step {
    Attach {
        user: u8,
        device: u8,
        groups: Vec<u8>,
    },
    Join {
        client: usize,
        group: u8,
    },
    Leave {
        client: usize,
        group: u8,
    },
    Push {
        targets: Vec<ModelTarget>,
        exceptions: Vec<ModelTarget>,
        size: usize,
    },
    Walk {
        walk: usize,
        members: usize,
    },
    /// The sink takes so many bytes more from now on; `None`: any number.
    Room {
        client: usize,
        room: Option<usize>,
    },
    Writable {
        client: usize,
    },
    Bye {
        client: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelTarget {
    All,
    User(u8),
    Group(u8),
}

pub(super) const USERS: [&str; 4] = ["ada", "bob", "eve", "zoe"];
pub(super) const DEVICES: [&str; 2] = ["", "phone"];
pub(super) const GROUPS: [&str; 3] = ["news", "room", "muted"];

impl ModelTarget {
    pub(super) fn target(self) -> Target<'static> {
        match self {
            Self::All => Target::All,
            Self::User(user) => Target::User(USERS[usize::from(user)]),
            Self::Group(group) => Target::Group(GROUPS[usize::from(group)]),
        }
    }
}

pub(super) fn target() -> impl Strategy<Value = ModelTarget> {
    prop_oneof![
        Just(ModelTarget::All),
        (0..4u8).prop_map(ModelTarget::User),
        (0..3u8).prop_map(ModelTarget::Group),
    ]
}

pub(super) fn exception() -> impl Strategy<Value = ModelTarget> {
    target().prop_filter("all is no exception", |target| *target != ModelTarget::All)
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..64usize;
    prop_oneof![
        3 => (0..4u8, 0..2u8, prop::collection::vec(0..3u8, 0..3))
            .prop_map(|(user, device, groups)| Step::Attach { user, device, groups }),
        3 => (client.clone(), 0..3u8).prop_map(|(client, group)| Step::Join { client, group }),
        2 => (client.clone(), 0..3u8).prop_map(|(client, group)| Step::Leave { client, group }),
        9 => (
            prop::collection::vec(target(), 1..4),
            prop::collection::vec(exception(), 0..2),
            0..300usize,
        ).prop_map(|(targets, exceptions, size)| Step::Push { targets, exceptions, size }),
        6 => (0..8usize, 1..4usize).prop_map(|(walk, members)| Step::Walk { walk, members }),
        4 => (client.clone(), prop::option::weighted(0.7, 0..400usize))
            .prop_map(|(client, room)| Step::Room { client, room }),
        4 => client.clone().prop_map(|client| Step::Writable { client }),
        1 => client.prop_map(|client| Step::Bye { client }),
    ]
}

/// What a client shall still see, or may.
struct Expected {
    id: u32,
    /// The targets by which it still matches, in order.
    matched: Vec<ModelTarget>,
    /// The groups by which it is excepted; user exceptions never make it here.
    excepted: BTreeSet<u8>,
}

struct Client {
    session: FakeSession,
    user: u8,
    device: u8,
    groups: BTreeSet<u8>,
    expected: Vec<Expected>,
}

impl Client {
    fn is_open(&self) -> bool {
        self.session
            .poll_wants(std::task::Waker::noop())
            .closing
            .is_none()
    }

    fn matches(&self, target: ModelTarget) -> bool {
        match target {
            ModelTarget::All => true,
            ModelTarget::User(user) => user == self.user,
            ModelTarget::Group(group) => self.groups.contains(&group),
        }
    }

    fn seen(&self) -> Vec<(Scope, String, u32)> {
        let pushes = self.session.sink().pushes().into_iter();
        pushes
            .map(|(scope, group, payload)| (scope, group, id_of(&payload)))
            .collect()
    }

    /// Messages of which the sink has taken a byte.
    fn begun(&self) -> BTreeSet<u32> {
        let mut begun: BTreeSet<u32> = self.seen().into_iter().map(|(_, _, id)| id).collect();
        if let Some(unsent) = &self.session.lock().unsent {
            let body = self.session.sink().body(unsent.taken.frame());
            match GatewayFrame::decode(&body).expect("well-formed") {
                GatewayFrame::Push { payload, .. } => begun.insert(id_of(payload)),
                other => panic!("{other:?}"),
            };
        }
        begun
    }

    fn expect(&mut self, id: u32, targets: &[ModelTarget], exceptions: &[ModelTarget]) {
        let matched: Vec<_> = targets
            .iter()
            .copied()
            .filter(|t| self.matches(*t))
            .collect();
        let by_user = exceptions.iter().any(|exception| match exception {
            ModelTarget::Group(_) => false,
            other => self.matches(*other),
        });
        if matched.is_empty() || by_user {
            return;
        }
        let excepted = exceptions.iter().filter_map(|exception| match exception {
            ModelTarget::Group(group) if self.groups.contains(group) => Some(*group),
            _ => None,
        });
        let excepted = excepted.collect();
        self.expected.push(Expected {
            id,
            matched,
            excepted,
        });
    }

    fn leave(&mut self, group: u8) {
        let begun = self.begun();
        self.groups.remove(&group);
        for expected in &mut self.expected {
            if begun.contains(&expected.id) {
                continue;
            }
            expected
                .matched
                .retain(|target| *target != ModelTarget::Group(group));
        }
        self.expected
            .retain(|expected| !expected.matched.is_empty());
    }

    /// Every message once, in order, under its first target; for a closed client what it saw is a
    /// beginning of that.
    fn check(&self, whole: bool) {
        let mut expected = self.expected.iter();
        for (scope, group, id) in self.seen() {
            let found = expected
                .by_ref()
                .find(|expected| {
                    let may_be_missing = !expected.excepted.is_empty();
                    assert!(
                        expected.id == id || may_be_missing,
                        "{} is missing",
                        expected.id
                    );
                    expected.id == id
                })
                .unwrap_or_else(|| panic!("{id} was not for this client"));
            assert!(found.excepted.is_empty(), "{id} was excepted");
            let header = match found.matched[0].target() {
                Target::All => (Scope::All, ""),
                Target::User(_) => (Scope::User, ""),
                Target::Group(name) => (Scope::Group, name),
            };
            assert_eq!((scope, group.as_str()), header);
        }
        if whole {
            let rest: Vec<_> = expected
                .filter(|expected| expected.excepted.is_empty())
                .map(|expected| expected.id)
                .collect();
            assert!(rest.is_empty(), "{rest:?} never came");
        }
    }
}

fn id_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().expect("four bytes"))
}

#[derive(Default)]
struct Model {
    clients: Vec<Client>,
    walks: Vec<Walk>,
    next_id: u32,
}

impl Model {
    fn client(&mut self, number: usize) -> Option<&mut Client> {
        let count = self.clients.len();
        (count > 0)
            .then(|| &mut self.clients[number % count])
            .filter(|client| client.is_open())
    }

    fn apply(&mut self, bench: &Bench, step: &Step) {
        match step {
            Step::Attach {
                user,
                device,
                groups,
            } => {
                let groups: BTreeSet<u8> = groups.iter().copied().collect();
                let names: Vec<_> = groups.iter().map(|g| GROUPS[usize::from(*g)]).collect();
                let (name, device_name) =
                    (USERS[usize::from(*user)], DEVICES[usize::from(*device)]);
                let session = bench.attach(name, device_name, &names);
                for old in &self.clients {
                    if (old.user, old.device) == (*user, *device) {
                        assert!(!old.is_open(), "the older connection is replaced");
                    }
                }
                let expected = Vec::new();
                let client = Client {
                    session,
                    user: *user,
                    device: *device,
                    groups,
                    expected,
                };
                self.clients.push(client);
            }
            Step::Join { client, group } => {
                let Some(client) = self.client(*client) else {
                    return;
                };
                let session: Arc<Session> = Arc::clone(&client.session) as _;
                let name = GROUPS[usize::from(*group)];
                bench.hub.join(&session, name).expect("few groups");
                client.groups.insert(*group);
            }
            Step::Leave { client, group } => {
                let Some(client) = self.client(*client) else {
                    return;
                };
                let session: Arc<Session> = Arc::clone(&client.session) as _;
                // What was accepted before is sent first.
                bench
                    .hub
                    .pump_locked(&*session, &mut session.lock(), By::Other, &mut bench.cx());
                client.leave(*group);
                bench
                    .hub
                    .leave(&session, GROUPS[usize::from(*group)], &mut bench.cx());
            }
            Step::Push {
                targets,
                exceptions,
                size,
            } => {
                let names: Vec<_> = targets.iter().map(|target| target.target()).collect();
                let except: Vec<_> = exceptions.iter().map(|target| target.target()).collect();
                let mut payload = self.next_id.to_be_bytes().to_vec();
                payload.resize(4 + size, b'.');
                let push = Push {
                    targets: &names,
                    exceptions: &except,
                    payload: &payload,
                    ..Push::default()
                };
                match bench.hub.append(&push, bench.start) {
                    Ok(Appended::Nobody(_)) => {}
                    Ok(Appended::Walk(walk)) => self.walks.push(walk),
                    Err(_) => return,
                }
                for client in self.clients.iter_mut().filter(|client| client.is_open()) {
                    client.expect(self.next_id, targets, exceptions);
                }
                self.next_id += 1;
            }
            Step::Walk { walk, members } => {
                if self.walks.is_empty() {
                    return;
                }
                let at = walk % self.walks.len();
                if self.walks[at].step(&bench.hub, *members, &mut bench.cx()) {
                    check_counts(&self.walks.remove(at));
                }
            }
            Step::Room { client, room } => {
                if let Some(client) = self.client(*client) {
                    client.session.sink().set_room(*room);
                }
            }
            Step::Writable { client } => {
                if let Some(client) = self.client(*client) {
                    bench.pump(&client.session);
                }
            }
            Step::Bye { client } => {
                if let Some(client) = self.client(*client) {
                    bench
                        .hub
                        .close(&*client.session, Closing::silent(CloseReason::Bye));
                }
            }
        }
    }

    /// Lets everything run out, and compares.
    fn settle(mut self, bench: &Bench) {
        for mut walk in std::mem::take(&mut self.walks) {
            walk.finish(&bench.hub, &mut bench.cx());
            check_counts(&walk);
        }
        for client in &self.clients {
            client.session.sink().set_room(None);
            assert_eq!(bench.pump(&client.session), Pumped::Level);
            client.check(client.is_open());
        }
        assert_eq!(bench.hub.held(), (0, 0), "nothing is kept for nobody");
        assert_eq!(
            (bench.hub.sessions_behind(), bench.hub.deliveries_waiting()),
            (0, 0)
        );
        for client in self.clients {
            bench
                .hub
                .close(&*client.session, Closing::silent(CloseReason::Eof));
        }
        assert_eq!((bench.hub.sessions(), bench.hub.lanes()), (0, 0));
    }
}

fn check_counts(walk: &Walk) {
    let counts = walk.counts();
    assert_eq!(
        counts.matched,
        counts.written + counts.waiting + counts.refused
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_client_sees_what_the_model_says(steps in prop::collection::vec(step(), 1..120)) {
        let bench = Bench::new(options());
        let mut model = Model::default();
        for step in &steps {
            model.apply(&bench, step);
        }
        model.settle(&bench);
    }

    #[test]
    fn with_tight_bounds_a_closed_client_saw_a_beginning(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let tight = Options {
            queue_messages: 6,
            queue_bytes: 1500,
            memory_budget: 4000,
            ..options()
        };
        let bench = Bench::new(tight);
        let mut model = Model::default();
        for step in &steps {
            model.apply(&bench, step);
        }
        model.settle(&bench);
    }
}

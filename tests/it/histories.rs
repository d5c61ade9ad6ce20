//! Random histories through real sockets: joins, leaves, pushes to every kind of target, takeovers
//! and clients that do not read. Each client's stream equals what a plain list says.
//!
//! The model knows exactly who is where, since each step is over before the next one begins: a
//! client's own JOIN and LEAVE are followed by a PING, a service's request by its answer.
//! `PUSHGATE_SEED=N cargo test --test it histories` runs the history of that seed again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pushgate::wire::datagram::{RequestBody, Target};
use pushgate::wire::frame::{ClientFrame, GatewayFrame, Scope};
use pushgate::wire::reason::{CloseCode, Status};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::baseline::Baseline;
use crate::support::client::{Client, Login};
use crate::support::gateway::Gateway;
use crate::support::sender::Sender;

const USERS: [&str; 8] = ["ada", "bob", "cat", "dan", "eve", "fay", "gus", "zoe"];
const DEVICES: [&str; 3] = ["", "phone", "web"];
const GROUPS: [&str; 3] = ["news", "room", "muted"];
const STEPS: usize = 4_000;
/// A history ends after this time, wherever it is.
const LONGEST: Duration = Duration::from_secs(8);
/// Clients that do not read at a time: with more, a push may be BUSY, and rightly so.
const BLOCKED_MAX: usize = 6;

/// A message as a client sees it: under which target, and which one it is.
type Message = (Scope, String, u32);

struct Member {
    client: Client,
    user: &'static str,
    groups: BTreeSet<&'static str>,
    /// Those of the groups that a service gave: they outlive a takeover.
    given: BTreeSet<&'static str>,
    expected: Vec<Message>,
    seen: Vec<Message>,
    blocked: bool,
}

impl Member {
    fn matches(&self, target: &Target<'_>) -> bool {
        match target {
            Target::All => true,
            Target::User(user) | Target::ExceptUser(user) => *user == self.user,
            Target::Group(group) | Target::ExceptGroup(group) => self.groups.contains(group),
        }
    }

    /// Under which target it is addressed, if it is.
    fn addressed(&self, targets: &[Target<'_>]) -> Option<(Scope, String)> {
        let mut matching = targets.iter().filter(|target| self.matches(target));
        if matching.clone().any(Target::is_exception) {
            return None;
        }
        matching.next().map(|target| match target {
            Target::Group(group) => (Scope::Group, (*group).to_owned()),
            Target::User(_) => (Scope::User, String::new()),
            _ => (Scope::All, String::new()),
        })
    }

    /// The next frame, which is noted if it is a message.
    async fn read(&mut self) -> Option<Vec<u8>> {
        match self.client.next().await.expect("the client is served") {
            GatewayFrame::Push {
                scope,
                group,
                payload,
                ..
            } => {
                let id = payload.first_chunk().expect("a number");
                let id = u32::from_be_bytes(*id);
                self.seen.push((scope, group.to_owned(), id));
                None
            }
            GatewayFrame::Pong(bytes) => Some(bytes.to_vec()),
            GatewayFrame::Close { code, reason, .. } => panic!("closed: {code} {reason}"),
            _ => None,
        }
    }

    /// Reads all that it shall have seen by now, and nothing else.
    async fn catch_up(&mut self) {
        while self.seen.len() < self.expected.len() {
            self.read().await;
        }
        self.do_now(None).await;
        assert_eq!(self.seen, self.expected);
    }

    /// Sends a frame, and waits until it has taken effect.
    async fn do_now(&mut self, frame: Option<ClientFrame<'_>>) {
        if let Some(frame) = frame {
            self.client.send(&frame).await;
        }
        let token: [u8; 8] = rand::random();
        self.client.send(&ClientFrame::Ping(&token)).await;
        while self.read().await.as_deref() != Some(&token) {}
    }

    /// It is replaced: what it has seen is a beginning of what it should.
    async fn assert_replaced(mut self) {
        loop {
            match self.client.next().await.expect("CLOSE comes first") {
                GatewayFrame::Push {
                    scope,
                    group,
                    payload,
                    ..
                } => {
                    let id = u32::from_be_bytes(*payload.first_chunk().expect("a number"));
                    self.seen.push((scope, group.to_owned(), id));
                }
                GatewayFrame::Close { code, .. } => {
                    assert_eq!(code, CloseCode::Replaced);
                    break;
                }
                _ => {}
            }
        }
        assert_eq!(self.client.next().await, None);
        assert!(self.expected.starts_with(&self.seen), "not a beginning");
        assert!(
            self.blocked || self.seen.len() == self.expected.len(),
            "one is missing"
        );
    }
}

/// The members by user and device, in an order that the seed alone decides.
struct History<'a> {
    gateway: &'a Gateway,
    sender: Sender,
    random: StdRng,
    members: BTreeMap<(&'static str, &'static str), Member>,
    pushes: u32,
    /// Messages that were waiting when their push was answered.
    waited: u32,
}

impl History<'_> {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(&mut self.random).expect("there are some")
    }

    /// A member who reads, or does not.
    fn member(&mut self, blocked: bool) -> Option<&mut Member> {
        let those = self
            .members
            .iter()
            .filter(|(_, member)| member.blocked == blocked);
        let keys: Vec<_> = those.map(|(key, _)| *key).collect();
        let key = keys.choose(&mut self.random)?;
        self.members.get_mut(key)
    }

    async fn attach(&mut self) {
        let (user, device) = (self.one_of(&USERS), self.one_of(&DEVICES));
        let mut old = self.members.remove(&(user, device));
        if let Some(old) = old.as_mut().filter(|old| !old.blocked) {
            old.catch_up().await;
        }
        let groups: BTreeSet<_> = GROUPS
            .into_iter()
            .filter(|_| self.random.random_bool(0.4))
            .collect();
        let mut login = Login::user(user).device(device);
        for group in &groups {
            login = login.group(*group);
        }
        let mut client = Client::connect_narrow(self.gateway.native).await;
        client.send_bytes(&login.encode()).await;
        client.greeted().await.expect("everybody is let in");
        let given = old.as_ref().map(|old| old.given.clone());
        let given = given.unwrap_or_default();
        if let Some(old) = old {
            old.assert_replaced().await;
        }
        let member = Member {
            client,
            user,
            groups: &groups | &given,
            given,
            expected: Vec::new(),
            seen: Vec::new(),
            blocked: false,
        };
        self.members.insert((user, device), member);
    }

    async fn change_group(&mut self) {
        let (group, join) = (self.one_of(&GROUPS), self.random.random_bool(0.6));
        let Some(member) = self.member(false) else {
            return;
        };
        // What was accepted for the group before the LEAVE is on its way, and has to come first.
        member.catch_up().await;
        if join {
            member.do_now(Some(ClientFrame::Join { group })).await;
            member.groups.insert(group);
        } else {
            member.do_now(Some(ClientFrame::Leave { group })).await;
            member.groups.remove(group);
            member.given.remove(group);
        }
    }

    async fn change_users(&mut self) {
        let (group, join) = (self.one_of(&GROUPS), self.random.random_bool(0.6));
        let users = [self.one_of(&USERS), self.one_of(&USERS)];
        let users = if users[0] == users[1] {
            &users[..1]
        } else {
            &users
        };
        let mut found = Vec::new();
        for ((user, _), member) in &mut self.members {
            if users.contains(user) {
                // Whether a message that waits is still for one who leaves is not the question.
                if member.blocked {
                    return;
                }
                found.push(member);
            }
        }
        let body = match join {
            true => RequestBody::Join { group, users },
            false => RequestBody::Leave { group, users },
        };
        for member in &mut found {
            member.catch_up().await;
        }
        let answer = self.sender.ask(&body).await;
        assert_eq!(answer.status, Status::Done);
        let count = u32::try_from(found.len()).expect("few");
        assert_eq!(
            (answer.counts.matched, answer.counts.written),
            (count, count)
        );
        for member in found {
            for groups in [&mut member.groups, &mut member.given] {
                match join {
                    true => groups.insert(group),
                    false => groups.remove(group),
                };
            }
        }
    }

    fn target(&mut self) -> Target<'static> {
        match self.random.random_range(0..4) {
            0 => Target::All,
            1 => Target::User(self.one_of(&USERS)),
            _ => Target::Group(self.one_of(&GROUPS)),
        }
    }

    async fn push(&mut self) {
        let mut targets: Vec<_> = (0..self.random.random_range(1..4))
            .map(|_| self.target())
            .collect();
        if self.random.random_bool(0.3) {
            let exception = match self.random.random() {
                true => Target::ExceptUser(self.one_of(&USERS)),
                false => Target::ExceptGroup(self.one_of(&GROUPS)),
            };
            let place = self.random.random_range(0..=targets.len());
            targets.insert(place, exception);
        }
        let mut payload = vec![b'.'; self.random.random_range(4..8_000)];
        payload[..4].copy_from_slice(&self.pushes.to_be_bytes());
        let answer = self.sender.push(&targets, &payload).await;
        assert_eq!(answer.status, Status::Done, "{targets:?}");
        let mut matched = 0;
        for member in self.members.values_mut() {
            if let Some((scope, group)) = member.addressed(&targets) {
                member.expected.push((scope, group, self.pushes));
                matched += 1;
            }
        }
        assert_eq!(answer.counts.matched, matched, "{targets:?}");
        assert_eq!(answer.counts.refused, 0);
        self.waited += answer.counts.waiting;
        self.pushes += 1;
    }

    async fn step(&mut self) {
        let blocked = self
            .members
            .values()
            .filter(|member| member.blocked)
            .count();
        match self.random.random_range(0..100) {
            0..8 => self.attach().await,
            8..25 => self.change_group().await,
            25..32 => self.change_users().await,
            32..36 if blocked < BLOCKED_MAX => {
                if let Some(member) = self.member(false) {
                    member.catch_up().await;
                    member.blocked = true;
                }
            }
            36..38 => {
                if let Some(member) = self.member(true) {
                    member.catch_up().await;
                    member.blocked = false;
                }
            }
            38..42 => {
                if let Some(member) = self.member(false) {
                    member.catch_up().await;
                }
            }
            _ => self.push().await,
        }
    }
}

#[tokio::test]
async fn every_stream_equals_what_the_model_says() {
    let seed = std::env::var("PUSHGATE_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    eprintln!("PUSHGATE_SEED={seed}");
    // Nobody is too slow: how far behind a client may be is not the question here.
    let gateway = Gateway::start(
        "[clients]\nqueue_messages = 100000\nqueue_bytes = \"512MiB\"\nqueue_age = \"10m\"\n",
    );
    let baseline = Baseline::of(&gateway).await;
    let mut history = History {
        gateway: &gateway,
        sender: Sender::unsigned(gateway.udp).await,
        random: StdRng::seed_from_u64(seed),
        members: BTreeMap::new(),
        pushes: 0,
        waited: 0,
    };
    let started = Instant::now();
    for _ in 0..STEPS {
        if started.elapsed() > LONGEST {
            break;
        }
        history.step().await;
    }
    let History {
        members,
        pushes,
        waited,
        sender,
        ..
    } = history;
    for (_, mut member) in members {
        member.catch_up().await;
    }
    eprintln!("{pushes} pushes, {waited} deliveries waited");
    assert!(
        waited > 0,
        "nobody was ever behind: the history shows nothing about it"
    );
    drop(sender);
    baseline.assert_back_at(&gateway).await;
}

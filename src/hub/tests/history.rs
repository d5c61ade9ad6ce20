//! Looks at what is kept, and purges of it.

use super::*;
use crate::hub::history::Erased;
use crate::hub::{KeptMessage, Place, Resume, Row, Whose};
use crate::metrics::Gone;
use crate::wire::datagram::{self, Targets};
use crate::wire::reason::CloseReason;

impl Bench {
    /// Keeps a message for a while; its number.
    pub(super) fn keep(&self, targets: &[Target<'_>], payload: &[u8], ttl_s: u64) -> u64 {
        let push = Push {
            targets,
            payload,
            ttl: Some(Duration::from_secs(ttl_s)),
            ..Push::default()
        };
        match self.hub.append(&push, self.start).expect("there is room") {
            Appended::Nobody(number) => number,
            Appended::Walk(mut walk) => {
                walk.finish(&self.hub, &mut self.cx());
                walk.number()
            }
        }
    }

    /// Everything that is kept, looked at `max` messages and `rows` targets at a time.
    fn list(&self, rows: usize, max: usize) -> Vec<Row> {
        let (mut all, mut place) = (Vec::new(), Place::default());
        loop {
            let mut found = Vec::new();
            let next = self
                .hub
                .list_kept(place, (rows, max), |_, _| true, &mut found);
            assert!(found.len() <= rows);
            for mut kept in found {
                while !kept.step(max) {}
                all.extend(kept.row(self.start + Duration::from_secs(1)));
            }
            let Some(next) = next else { return all };
            assert_ne!(next, place, "it goes on");
            // As whoever asks for the next page writes it.
            place = Place::from_number(next.to_number());
        }
    }

    fn purge(&self, whose: Whose, step: usize) -> (u64, Vec<Erased>) {
        let (mut purge, mut erased) = (self.hub.begin_purge(whose), Vec::new());
        while !self.hub.step_purge(&mut purge, step, &mut erased) {}
        (purge.removed, erased)
    }

    fn look(&self, number: u64) -> Option<KeptMessage> {
        self.hub.kept_message(number, self.start)
    }

    /// The payloads that a client gets which asks for everything.
    fn replayed(&self, user: &str, groups: &[&str]) -> Vec<Vec<u8>> {
        let attach = Attach {
            user,
            device: "later",
            groups,
            refused: &[],
            heartbeat_s: 30,
            resume: Some(Resume {
                epoch: 0,
                cursor: 0,
            }),
            ..Attach::default()
        };
        let attached = self.hub.attach(&attach, FakeSink::default(), &self.cx());
        let session = attached.map_err(|(error, _)| error).expect("there is room");
        self.pump(&session);
        let payloads = session.sink().pushes().into_iter();
        let payloads = payloads.map(|(_, _, payload)| payload).collect();
        let closing = Closing::silent(CloseReason::Eof);
        self.hub.close(&*session, closing);
        payloads
    }
}

const ADA: Target<'_> = Target::User("ada");
const BOB: Target<'_> = Target::User("bob");
const NEWS: Target<'_> = Target::Group("news");

fn user(name: &str) -> Whose {
    Whose::Target(Scope::User, name.into())
}

#[test]
fn targets_are_listed_once_each_in_the_order_of_their_oldest_messages() {
    let bench = Bench::new(options());
    bench.keep(&[NEWS], b"one", 50);
    bench.keep(&[BOB, ADA], b"", 90);
    bench.keep(&[NEWS, Target::All], b"three", 20);
    bench.keep(&[ADA], b"four", 70);
    for (rows, max) in [(100, 100), (1, 100), (100, 1), (1, 1), (2, 3)] {
        let listed = bench.list(rows, max);
        let shown: Vec<_> = listed
            .iter()
            .map(|row| (row.scope, &*row.name, row.messages, row.bytes))
            .collect();
        let expected = [
            (Scope::Group, "news", 2, 8),
            (Scope::User, "bob", 1, 0),
            (Scope::User, "ada", 2, 4),
            (Scope::All, "", 1, 5),
        ];
        assert_eq!(shown, expected, "{rows} {max}");
        let news = &listed[0];
        let numbers = (news.oldest_number, news.newest_number);
        assert_eq!((numbers, news.oldest_age_ms), ((1, 3), 1_000));
        assert_eq!(news.expires_in_ms, Some(19_000), "the first that expires");
    }
    let mut found = Vec::new();
    let only = |scope, name: &str| scope == Scope::User && name == "ada";
    let next = bench
        .hub
        .list_kept(Place::default(), (9, 99), only, &mut found);
    assert_eq!((found.len(), next), (1, None));
    assert_eq!(found[0].target(), (Scope::User, "ada"));
    assert!(bench.hub.kept_of(Target::User("eve")).is_none());
}

/// However many messages have nothing to show, a step looks at as many as it may.
#[test]
fn a_step_of_a_list_is_bounded_whatever_it_finds() {
    let bench = Bench::new(options());
    for _ in 0..100 {
        bench.keep(&[ADA], b"", 60);
    }
    let mut found = Vec::new();
    let next = bench
        .hub
        .list_kept(Place::default(), (9, 10), |_, _| true, &mut found);
    assert_eq!(found.len(), 1);
    let next = next.expect("there is more to look at");
    let steps = (1..).scan(next, |place, step| {
        *place = bench
            .hub
            .list_kept(*place, (9, 10), |_, _| true, &mut Vec::new())?;
        Some(step)
    });
    assert!((9..=25).contains(&steps.last().expect("several")));
    let mut kept = bench.hub.kept_of(ADA).expect("something is kept");
    let looks = (1..).find(|_| kept.step(10)).expect("it ends");
    assert_eq!(looks, 10);
}

#[test]
fn a_message_is_told_with_whom_it_is_for_and_how_many_have_confirmed_it() {
    let bench = Bench::new(options());
    let push = Push {
        targets: &[ADA, NEWS],
        exceptions: &[BOB],
        payload: b"hello",
        ttl: Some(Duration::from_secs(30)),
        collapse: Some((7, b"key")),
    };
    assert!(matches!(
        bench.hub.append(&push, bench.start),
        Ok(Appended::Nobody(1))
    ));
    let told = bench.look(1).expect("it is kept");
    assert_eq!(told.targets(), [ADA, NEWS]);
    assert_eq!(told.exceptions, [(Scope::User, "bob".into())]);
    assert_eq!(told.collapse.as_deref(), Some(&b"key"[..]));
    assert_eq!(
        (told.bytes, told.confirmed, told.expires_in_ms),
        (5, 0, 30_000)
    );
    assert_eq!((bench.look(0), bench.look(2)), (None, None));
    let second = bench.keep(&[ADA], b"", 30);
    let phone = bench.attach("ada", "phone", &[]);
    bench.keep(&[ADA], b"three", 30);
    bench.pump(&phone);
    bench
        .hub
        .confirm(&phone, 3, &bench.cx())
        .expect("it was sent");
    let confirmed = |number| bench.look(number).expect("it is kept").confirmed;
    // What came before the phone did was never sent to it.
    assert_eq!((confirmed(second), confirmed(3)), (0, 1));
}

#[test]
fn a_purge_takes_one_targets_messages_and_leaves_them_to_the_others() {
    for step in [1, 2, 100] {
        let bench = Bench::new(options());
        bench.keep(&[ADA], b"ada's", 60);
        let shared = bench.keep(&[BOB, ADA, NEWS], b"shared", 60);
        bench.keep(&[BOB], b"bob's", 60);
        let (removed, erased) = bench.purge(user("ada"), step);
        assert_eq!(removed, 2);
        assert_eq!((erased[0].number, &erased[0].targets), (1, &None));
        assert_eq!(erased[1].number, shared);
        let left = erased[1].targets.as_deref().expect("it stays for others");
        let left: Vec<_> = Targets::from_bytes(left).expect("targets").iter().collect();
        let expected = [
            datagram::Target::User("bob"),
            datagram::Target::Group("news"),
        ];
        assert_eq!(left, expected);
        assert_eq!(bench.look(shared).expect("it stays").targets(), [BOB, NEWS]);
        assert_eq!(bench.replayed("ada", &[]), [b""; 0]);
        assert_eq!(bench.replayed("ada", &["news"]), [b"shared"]);
        assert_eq!(bench.replayed("bob", &[]), [&b"shared"[..], b"bob's"]);
        let purged = bench
            .hub
            .metrics()
            .history_removed
            .at(Gone::Purged as usize);
        assert_eq!(purged.get(), 1, "one is not kept any more");
        // What is left costs what it would have cost from the start.
        let other = Bench::new(options());
        other.keep(&[BOB, NEWS], b"shared", 60);
        other.keep(&[BOB], b"bob's", 60);
        let header = 15;
        let (messages, bytes) = other.hub.kept();
        assert_eq!(
            bench.hub.kept(),
            (messages, bytes + header),
            "its frame is there yet"
        );
        bench.purge(user("bob"), step);
        assert_eq!(
            bench
                .purge(Whose::Target(Scope::Group, "news".into()), step)
                .0,
            1
        );
        assert_eq!((bench.hub.kept(), bench.hub.lanes()), ((0, 0), 0));
    }
}

#[test]
fn a_purge_is_of_a_scope_or_of_everything() {
    let fill = || {
        let bench = Bench::new(options());
        bench.keep(&[Target::All, ADA], b"1", 60);
        bench.keep(&[BOB, NEWS], b"2", 60);
        bench.keep(&[Target::All], b"3", 60);
        bench
    };
    let left = |whose, step| {
        let bench = fill();
        let removed = bench.purge(whose, step).0;
        let names = bench.list(9, 9).into_iter();
        let names: Vec<_> = names
            .map(|row| (row.name.to_string(), row.messages))
            .collect();
        (removed, names)
    };
    let row = |name: &str, messages| (name.to_owned(), messages);
    for step in [1, 2, 100] {
        let users = [row("", 2), row("news", 1)];
        assert_eq!(left(Whose::Scope(Scope::User), step), (2, users.to_vec()));
        let all = [row("ada", 1), row("bob", 1), row("news", 1)];
        assert_eq!(left(Whose::Scope(Scope::All), step), (2, all.to_vec()));
        assert_eq!(left(Whose::Everything, step), (3, Vec::new()));
    }
    let bench = fill();
    bench.purge(Whose::Everything, 1);
    assert_eq!((bench.hub.kept(), bench.hub.lanes()), ((0, 0), 0));
}

#[test]
fn a_purge_ends_where_it_began_and_takes_nothing_that_came_later() {
    for whose in [user("ada"), Whose::Everything] {
        let bench = Bench::new(options());
        for _ in 0..10 {
            bench.keep(&[ADA], b"before", 60);
        }
        let (mut purge, mut erased) = (bench.hub.begin_purge(whose), Vec::new());
        assert!(!bench.hub.step_purge(&mut purge, 4, &mut erased));
        bench.keep(&[ADA], b"after", 60);
        while !bench.hub.step_purge(&mut purge, 4, &mut erased) {
            bench.keep(&[ADA], b"after", 60);
        }
        assert_eq!((purge.removed, erased.len()), (10, 10));
        assert!(!bench.replayed("ada", &[]).contains(&b"before".to_vec()));
        assert!(bench.hub.kept().0 >= 2);
    }
}

/// A purge is no drop at a bound: whoever resumes is promised what is left, and truly.
#[test]
fn a_purge_stands_against_nobodys_resume() {
    let bench = Bench::new(options());
    bench.keep(&[ADA], b"1", 60);
    bench.keep(&[ADA], b"2", 60);
    bench.purge(user("ada"), 9);
    let attach = Attach {
        user: "ada",
        device: "",
        groups: &[],
        refused: &[],
        heartbeat_s: 30,
        resume: Some(Resume {
            epoch: 1,
            cursor: 0,
        }),
        ..Attach::default()
    };
    let attached = bench.hub.attach(&attach, FakeSink::default(), &bench.cx());
    let session = attached.map_err(|(error, _)| error).expect("there is room");
    bench.pump(&session);
    let frames = session.sink().frames();
    assert!(
        format!("{:?}", frames[0]).contains("resumed: true"),
        "{frames:?}"
    );
}

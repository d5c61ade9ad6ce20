//! What is kept, for who may push to the same targets: a list by target, one message, a purge.
//!
//! A list is made in steps that yield, each of which holds the log's lock for some tens of
//! microseconds; a page has a bound in rows, and one in how far it looks. A page whose client hangs
//! up is dropped between two steps. A purge is a job, as a push to many is.

mod said;
mod wanted;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::answer::{Answer, Outcome};
use super::asked::Identity;
use super::body::Malformed;
use super::{Route, Services, WAIT_MAX, prefers_no_wait};
use crate::clock::monotonic;
use crate::hub::command::Caller;
use crate::hub::kept::{Order, Ordered, PurgeJob, Question, Viewer};
use crate::hub::remembered::Ended;
use crate::hub::{Kept, Place, Row, Whose};
use crate::ledger::Kind;
use crate::metrics::OpLabel;
use crate::transport::report;
use crate::wire::frame::Scope;
use crate::wire::reason::Status;
use wanted::Wanted;

/// Targets of one page where nobody asks for more or fewer.
const ROWS: usize = 100;
/// Messages that one page looks at for its targets, and as many for what its rows say, however many
/// these are: with nothing to show, some ten milliseconds of work.
const LOOKS_MAX: usize = 100_000;
/// Of these, in one step.
const STEP: usize = 256;

/// An answer, and what it was asked for and how that ended.
type Told = (Response, OpLabel, Status);

/// A request that is authentic, to its answer.
pub(super) async fn answered(
    services: &Services,
    route: Route,
    caller: &Caller,
    (parts, body): (&Parts, &[u8]),
    identity: &Identity,
) -> Told {
    let wanted = match &identity.fault {
        Some(fault) => Err(fault.clone()),
        None => Wanted::read(parts, body),
    };
    match route {
        Route::Purge => {
            let headers = &parts.headers;
            purged(
                services,
                caller,
                wanted.and_then(Wanted::purge),
                identity,
                headers,
            )
            .await
        }
        Route::Message => {
            let number = wanted.and_then(Wanted::message);
            let number = number.and_then(|()| number_of(parts));
            message(services, caller, number, identity)
        }
        _ => listed(services, caller, wanted.and_then(Wanted::list), identity).await,
    }
}

/// The last part of the path.
fn number_of(parts: &Parts) -> Result<u64, Malformed> {
    let digits = parts.uri.path().rsplit('/').next().unwrap_or_default();
    wanted::number("the number", digits)
}

async fn listed(
    services: &Services,
    caller: &Caller,
    wanted: Result<Wanted, Malformed>,
    identity: &Identity,
) -> Told {
    let targets = wanted.as_ref().ok().map(Wanted::targets);
    let question = Question {
        time_ms: identity.time_ms,
        targets: targets.as_deref(),
    };
    let viewer = services.intake.look(caller, question, services.moment());
    match (viewer, &wanted) {
        (Ok(viewer), Ok(wanted)) => {
            let (rows, next) = rows(services, &viewer, wanted).await;
            let total = services.hub.kept();
            let now_ms = services.clock.now_ms();
            done(said::page(&rows, next, total, now_ms))
        }
        (Err(status), _) => refused(services, status, wanted.err()),
        (Ok(_), Err(_)) => refused(services, Status::BadRequest, wanted.err()),
    }
}

/// One page of a list, and from where it goes on.
async fn rows(
    services: &Services,
    viewer: &Viewer<'_>,
    wanted: &Wanted,
) -> (Vec<Row>, Option<Place>) {
    let hub = &services.hub;
    let targets = wanted.targets();
    let (mut found, mut next) = (Vec::new(), None);
    if targets.is_empty() {
        let may_see = |scope: Scope, name: &str| {
            wanted.scope.is_none_or(|only| only == scope) && viewer.may_see(scope, name)
        };
        let max = wanted.limit.unwrap_or(ROWS);
        let mut from = wanted.after.map(Place::from_number).unwrap_or_default();
        for _ in 0..LOOKS_MAX / STEP {
            next = hub.list_kept(from, (max, STEP), may_see, &mut found);
            let Some(place) = next else { break };
            if found.len() >= max {
                break;
            }
            from = place;
            yield_now().await;
        }
    } else {
        found.extend(targets.iter().filter_map(|target| hub.kept_of(*target)));
    }
    let (rows, cut) = looked_at(found, LOOKS_MAX, targets.is_empty()).await;
    (rows, cut.or(next))
}

/// What there is to be said of those that were found, for `looks` looks in all. Where these are
/// spent the page of a list ends, and goes on from there; its first row is told in any case, and so
/// are targets by name: without when the first message expires, which only looking tells.
async fn looked_at(found: Vec<Kept>, mut looks: usize, is_list: bool) -> (Vec<Row>, Option<Place>) {
    let mut rows = Vec::new();
    for mut kept in found {
        let mut is_whole = false;
        // Between the steps nothing is locked, however much is kept for it.
        while !is_whole && looks > 0 {
            let before = kept.looked();
            is_whole = kept.step(STEP.min(looks));
            looks = looks.saturating_sub((kept.looked() - before).max(1));
            yield_now().await;
        }
        if !is_whole && is_list && !rows.is_empty() {
            return (rows, Some(kept.place()));
        }
        rows.extend(kept.row(monotonic()));
    }
    (rows, None)
}

fn message(
    services: &Services,
    caller: &Caller,
    number: Result<u64, Malformed>,
    identity: &Identity,
) -> Told {
    let moment = services.moment();
    let look = |number: &u64| services.hub.kept_message(*number, moment.instant);
    let question = Question {
        time_ms: identity.time_ms,
        targets: number.is_ok().then_some(&[]),
    };
    match services.intake.look(caller, question, moment) {
        Ok(viewer) => {
            let found = number.as_ref().ok().and_then(look);
            // It is shown to who might have pushed it, and to nobody else that it is there.
            let found = found.filter(|message| viewer.may_see_all(&message.targets()));
            let now_ms = services.clock.now_ms();
            let response = found.map_or_else(said::missing, |found| said::message(&found, now_ms));
            done(response)
        }
        Err(status) => refused(services, status, number.err()),
    }
}

async fn purged(
    services: &Services,
    caller: &Caller,
    whose: Result<Whose, Malformed>,
    identity: &Identity,
    headers: &HeaderMap,
) -> Told {
    let order = Order {
        id: identity.id,
        digest: identity.digest,
        time_ms: identity.time_ms,
        whose: whose.as_ref().ok().cloned(),
    };
    let outcome = match services.intake.purge(caller, &order, services.moment()) {
        Ordered::Refused(ended) => Outcome::Ended(ended, Vec::new()),
        Ordered::Repeat(ended) => Outcome::Repeat(ended),
        Ordered::OtherBytes => Outcome::OtherBytes,
        Ordered::Job(job) => Outcome::Ended(run(services, *job, headers).await, Vec::new()),
    };
    told(services, OpLabel::Purge, outcome, whose.err())
}

/// Gives the purge its task and waits for its report, unless the client would rather not.
async fn run(services: &Services, job: PurgeJob, headers: &HeaderMap) -> Ended {
    let (started, progress) = (Instant::now(), job.progress());
    let (report, reported) = oneshot::channel();
    services.ledger.spawn(Kind::Store, job.run(report));
    if prefers_no_wait(headers) {
        return Ended::so_far(Status::Accepted, &progress);
    }
    let deadline = (services.deadline)().min(WAIT_MAX);
    let stop = services.ledger.stop_token();
    let reported = report::reported_within(reported, (deadline, stop), started, &progress).await;
    reported.unwrap_or_else(|so_far| so_far)
}

fn done(response: Response) -> Told {
    (response, OpLabel::History, Status::Done)
}

fn refused(services: &Services, status: Status, fault: Option<Malformed>) -> Told {
    let outcome = Outcome::Ended(Ended::refused(status), Vec::new());
    told(services, OpLabel::History, outcome, fault)
}

fn told(services: &Services, op: OpLabel, outcome: Outcome, fault: Option<Malformed>) -> Told {
    let status = outcome.status();
    let time_ms = services.clock.now_ms();
    let answer = Answer {
        op,
        outcome,
        time_ms,
        fault,
    };
    (answer.into_response(), op, status)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::of_a_test;
    use super::*;
    use crate::hub::{Hub, Push, Target};
    use crate::ledger::Ledger;
    use crate::metrics::Metrics;

    fn found(hub: &Hub, from: Place) -> Vec<Kept> {
        let mut found = Vec::new();
        hub.list_kept(from, (9, 1_000), |_, _| true, &mut found);
        found
    }

    fn told((rows, _): &(Vec<Row>, Option<Place>)) -> Vec<(&str, bool)> {
        let told = |row: &'_ Row| row.expires_in_ms.is_some();
        rows.iter().map(|row| (&*row.name, told(row))).collect()
    }

    #[tokio::test]
    async fn the_rows_of_a_page_share_its_looks() {
        let metrics = Arc::new(Metrics::new());
        let services = of_a_test(&Ledger::new(&metrics), &metrics);
        let hub = &services.hub;
        for user in ["a", "b", "c"] {
            for _ in 0..10 {
                let push = Push {
                    targets: &[Target::User(user)],
                    ttl: Some(Duration::from_secs(60)),
                    ..Push::default()
                };
                hub.append(&push, monotonic()).expect("there is room");
            }
        }
        let all = || found(hub, Place::default());
        let whole = looked_at(all(), 30, true).await;
        assert_eq!(told(&whole), [("a", true), ("b", true), ("c", true)]);
        assert_eq!(whole.1, None);
        // A row that is not whole is the next page's.
        let page = looked_at(all(), 25, true).await;
        assert_eq!(told(&page), [("a", true), ("b", true)]);
        let next = page.1.expect("it goes on");
        let rest = looked_at(found(hub, next), 25, true).await;
        assert_eq!((told(&rest), rest.1), (vec![("c", true)], None));
        // More than a page looks at is kept for one target alone: the list goes on all the same.
        let page = looked_at(all(), 5, true).await;
        assert_eq!((told(&page), page.1.is_some()), (vec![("a", false)], true));
        // Who asks by name is told of all.
        let named = looked_at(all(), 15, false).await;
        assert_eq!(told(&named), [("a", true), ("b", false), ("c", false)]);
        assert_eq!(named.1, None);
    }
}

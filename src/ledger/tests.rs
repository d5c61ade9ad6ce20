use std::time::Duration;

use tokio::sync::oneshot;

use super::task::{Counted, Guard};
use super::*;

fn ledger() -> Ledger {
    Ledger::new(&Metrics::new())
}

fn report(ledger: &Ledger, kind: Kind) -> KindReport {
    ledger
        .kinds()
        .into_iter()
        .find(|report| report.kind == kind)
        .unwrap()
}

#[test]
fn every_kind_is_listed_at_its_index_under_its_own_word() {
    let mut words = std::collections::HashSet::new();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind.index(), index);
        assert!(words.insert(kind.word()), "{} twice", kind.word());
    }
}

#[tokio::test]
async fn a_task_is_live_until_it_has_ended() {
    let ledger = ledger();
    let (end, ended) = oneshot::channel::<()>();
    let task = ledger.spawn(Kind::Session, async move { ended.await.unwrap() });
    let during = report(&ledger, Kind::Session);
    assert_eq!((during.live, during.started, during.ended), (1, 1, 0));
    end.send(()).unwrap();
    task.await.unwrap();
    let after = report(&ledger, Kind::Session);
    assert_eq!(
        (after.live, after.started, after.ended, after.panicked),
        (0, 1, 1, 0)
    );
    assert_eq!(report(&ledger, Kind::Udp).started, 0, "kinds are apart");
}

#[tokio::test]
async fn a_panic_is_counted_and_harms_nothing() {
    let ledger = ledger();
    let task = ledger.spawn(Kind::PushJob, async { panic!("meant to") });
    assert!(task.await.unwrap_err().is_panic());
    let work = ledger.spawn_blocking(Kind::PushJob, || panic!("meant to"));
    assert!(work.await.unwrap_err().is_panic());
    assert_eq!(ledger.spawn(Kind::PushJob, async { 5 }).await.unwrap(), 5);
    let after = report(&ledger, Kind::PushJob);
    assert_eq!(
        (after.live, after.started, after.ended, after.panicked),
        (0, 3, 3, 2)
    );
}

#[tokio::test]
async fn an_aborted_task_has_ended_and_has_not_panicked() {
    let ledger = ledger();
    let task = ledger.spawn(Kind::Session, std::future::pending::<()>());
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let after = report(&ledger, Kind::Session);
    assert_eq!((after.live, after.ended, after.panicked), (0, 1, 0));
}

#[tokio::test]
async fn a_task_whose_handle_was_dropped_is_counted_and_waited_for() {
    let ledger = ledger();
    let stop = ledger.stop_token().clone();
    drop(ledger.spawn(Kind::Listener, async move { stop.cancelled().await }));
    tokio::task::yield_now().await;
    assert_eq!(report(&ledger, Kind::Listener).live, 1);
    let early = tokio::time::timeout(Duration::from_millis(20), ledger.wait()).await;
    assert!(early.is_err(), "waits for a live task");
    ledger.stop_token().cancel();
    ledger.wait().await;
    assert_eq!(report(&ledger, Kind::Listener).live, 0);
}

#[tokio::test]
async fn what_a_task_held_is_given_back_before_it_counts_as_ended() {
    struct Look(Ledger, std::sync::mpsc::Sender<u64>);
    impl Drop for Look {
        fn drop(&mut self) {
            self.1.send(report(&self.0, Kind::Session).live).unwrap();
        }
    }
    let (seen, at_drop) = std::sync::mpsc::channel();
    let ledger = ledger();
    let look = Look(ledger.clone(), seen);
    let held = async move {
        let _look = look;
        std::future::pending::<()>().await;
    };
    let task = ledger.spawn(Kind::Session, held);
    tokio::task::yield_now().await;
    task.abort();
    task.await.unwrap_err();
    assert_eq!(at_drop.recv().unwrap(), 1);
}

#[tokio::test]
async fn the_oldest_is_the_age_of_the_first_that_is_still_live() {
    let ledger = ledger();
    let first = ledger.spawn(Kind::Session, std::future::pending::<()>());
    tokio::time::sleep(Duration::from_millis(60)).await;
    let second = ledger.spawn(Kind::Session, std::future::pending::<()>());
    assert!(Duration::from_millis(60) <= report(&ledger, Kind::Session).oldest);
    first.abort();
    first.await.unwrap_err();
    assert!(report(&ledger, Kind::Session).oldest < Duration::from_millis(60));
    second.abort();
    second.await.unwrap_err();
    assert_eq!(report(&ledger, Kind::Session).oldest, Duration::ZERO);
}

#[tokio::test]
async fn sites_are_told_apart_by_line_and_vanish_with_their_last_task() {
    let ledger = ledger();
    let line = line!();
    let first = ledger.spawn(Kind::Session, std::future::pending::<()>());
    let pair: Vec<_> = (0..2)
        .map(|_| ledger.spawn(Kind::Session, std::future::pending::<()>()))
        .collect();
    let sites = ledger.sites();
    assert_eq!(sites.len(), 2);
    assert!(
        sites
            .iter()
            .all(|site| site.location.file().ends_with("ledger/tests.rs"))
    );
    assert_eq!((sites[0].location.line(), sites[0].live), (line + 1, 1));
    assert_eq!((sites[1].location.line(), sites[1].live), (line + 3, 2));
    first.abort();
    first.await.unwrap_err();
    assert_eq!(ledger.sites().len(), 1);
    drop(pair);
}

#[tokio::test]
async fn thousands_of_tasks_that_ended_leave_nothing_behind() {
    let ledger = ledger();
    for _ in 0..100 {
        let tasks: Vec<_> = (0..100)
            .map(|_| ledger.spawn(Kind::PushJob, async {}))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(report(&ledger, Kind::PushJob).ended, 10_000);
    assert_eq!(
        ledger.account(Kind::PushJob).slab().slots(),
        100,
        "as many as were live at once"
    );
    assert!(ledger.sites().is_empty());
}

#[tokio::test]
async fn a_survey_of_several_chunks_counts_each_task_once() {
    let ledger = ledger();
    let mut tasks: Vec<_> = (0..20_000)
        .map(|_| ledger.spawn(Kind::Client, std::future::pending::<()>()))
        .collect();
    for task in tasks.drain(5_000..10_000) {
        task.abort();
        task.await.unwrap_err();
    }
    assert_eq!(report(&ledger, Kind::Client).live, 15_000);
    assert_eq!(ledger.sites()[0].live, 15_000);
}

#[tokio::test]
async fn a_scrape_shows_what_is_live() {
    let metrics = Metrics::new();
    let ledger = Ledger::new(&metrics);
    let _task = ledger.spawn(Kind::Session, std::future::pending::<()>());
    ledger.publish();
    let text = metrics.render();
    assert!(
        text.contains("pushgate_tasks{kind=\"session\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("pushgate_tasks_started_total{kind=\"session\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("pushgate_tasks_panicked_total{kind=\"udp\"} 0\n"),
        "{text}"
    );
}

#[test]
fn the_books_cost_a_task_at_most_32_bytes() {
    assert!(size_of::<Guard>() <= 16);
    assert!(size_of::<Counted<[u64; 100]>>() <= size_of::<[u64; 100]>() + 32);
}

//! Which jobs run, and how far they have come.

use std::sync::Arc;

use super::{Appended, Bench, Target, options};
use crate::hub::job::{Jobs, Work};
use crate::hub::remembered::Progress;
use crate::wire::frame::Scope;

#[test]
fn a_job_is_listed_with_its_progress_until_its_place_is_given_back() {
    let bench = Bench::new(options());
    for number in 0..20 {
        bench.attach(&format!("user{number}"), "", &["news"]);
    }
    let targets = [Target::Group("news"), Target::User("user3")];
    let Appended::Walk(walk) = bench.append(&targets, b"x") else {
        panic!("they are there");
    };
    let jobs = Jobs::new(2, 1);
    let progress = Arc::new(Progress::default());
    let mut permit = jobs.admit().expect("there is room");
    let other = jobs.admit().expect("there is room");
    assert!(jobs.running().is_empty(), "none of them is a task yet");
    let work = Work::Walk(walk);
    permit.list(&work, bench.start, &progress);
    let Work::Walk(mut walk) = work else {
        panic!("it is a walk");
    };
    assert!(!walk.step(&bench.hub, 8, &mut bench.cx()));
    progress.set(walk.counts(), walk.visited());
    let [running] = &jobs.running()[..] else {
        panic!("one runs");
    };
    assert_eq!((running.scope, &*running.name), (Scope::Group, "news"));
    assert_eq!((running.targets, running.size), (2, 21));
    assert_eq!(running.progress.visited(), 8);
    while !walk.step(&bench.hub, 8, &mut bench.cx()) {}
    // One of them is met twice, and counts once.
    assert_eq!((walk.visited(), walk.counts().matched), (21, 20));
    drop(permit);
    assert!(jobs.running().is_empty());
    assert_eq!(jobs.len(), 1);
    drop(other);
    assert!(jobs.is_empty());
}

//! Real threads: order under a flood of small pushes, with pumps, walks and memberships from all
//! sides.

use std::thread;

use super::*;

#[test]
fn a_flood_from_many_threads_arrives_in_one_order_everywhere() {
    const SENDERS: u32 = 4;
    const PUSHES: u32 = 500;
    let bench = Bench::new(Options {
        queue_messages: u64::MAX,
        ..options()
    });
    let sessions: Vec<_> = (0..8)
        .map(|n| bench.attach(&n.to_string(), "", &["news"]))
        .collect();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let bench = &bench;
            scope.spawn(move || {
                for number in 0..PUSHES {
                    let payload = (sender * PUSHES + number).to_be_bytes();
                    let targets: &[Target<'_>] = match number % 3 {
                        0 => &[Target::All],
                        1 => &[Target::Group("news"), Target::All],
                        _ => &[Target::Group("news")],
                    };
                    bench.push(targets, &payload);
                }
            });
        }
        for session in &sessions[..4] {
            let bench = &bench;
            scope.spawn(move || {
                for room in 0..2000 {
                    session.sink().set_room(Some(room % 97));
                    bench.hub.pump(session, &mut bench.cx());
                }
                session.sink().set_room(None);
            });
        }
    });
    for session in &sessions {
        bench.pump(session);
    }
    let ids = |session: &FakeSession| -> Vec<Vec<u8>> {
        session
            .sink()
            .pushes()
            .into_iter()
            .map(|(_, _, payload)| payload)
            .collect()
    };
    let first = ids(&sessions[0]);
    assert_eq!(first.len(), (SENDERS * PUSHES) as usize);
    for session in &sessions[1..] {
        assert_eq!(ids(session), first);
    }
    for sender in 0..SENDERS {
        let of_sender: Vec<_> = first
            .iter()
            .map(|id| u32::from_be_bytes(id[..].try_into().expect("four bytes")))
            .filter(|id| id / PUSHES == sender)
            .collect();
        assert!(of_sender.is_sorted());
    }
    assert_eq!(bench.hub.held(), (0, 0));
}

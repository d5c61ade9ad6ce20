//! Who keeps a seat, who loses it, and that none is lost.

use std::future::{pending, ready};

use super::*;

fn source(number: u32) -> Source {
    Source::of(std::net::Ipv4Addr::from_bits(number).into())
}

/// A table with so many seats, and those who sit there: (source, seconds since it sat down).
struct Hall {
    seats: Seats,
    now: Instant,
    sitting: Vec<(u32, u64, oneshot::Receiver<Infallible>)>,
}

impl Hall {
    fn new(max: usize) -> Self {
        Self {
            seats: Seats::new(max),
            now: Instant::now(),
            sitting: Vec::new(),
        }
    }

    /// One from `from` comes; whether there was a seat.
    fn comes(&mut self, from: u32) -> bool {
        let (result, gone) = self.seats.admit(source(from), self.now);
        drop(gone);
        self.sitting
            .retain_mut(|(_, _, lost)| lost.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let Ok(Seat::Taken(number, lost)) = result else {
            return false;
        };
        self.sitting.push((from, number, lost));
        true
    }

    /// Who sits there, in the order of coming.
    fn sitting(&self) -> Vec<u32> {
        self.sitting.iter().map(|(from, ..)| *from).collect()
    }
}

#[test]
fn an_eighth_of_the_connections_may_be_strangers() {
    let cases = [
        (1, 1),
        (3, 2),
        (100, 50),
        (500, 64),
        (8_000, 1_000),
        (1 << 20, 4_096),
    ];
    for (connections, expected) in cases {
        assert_eq!(seats(connections), expected, "{connections}");
    }
}

#[test]
fn who_holds_the_most_loses_the_oldest_one_at_once() {
    let mut hall = Hall::new(4);
    for from in [7, 1, 7, 7] {
        assert!(hall.comes(from));
    }
    assert!(hall.comes(2), "all are young, but 7 holds three");
    assert_eq!(hall.sitting(), [1, 7, 7, 2]);
    assert!(!hall.comes(7), "it would only push out its own");
    assert_eq!(hall.sitting(), [1, 7, 7, 2]);
    hall.now += PATIENCE;
    assert!(hall.comes(7), "its oldest has had its time");
    assert_eq!(hall.sitting(), [1, 7, 2, 7]);
}

#[test]
fn where_nobody_holds_more_than_the_new_one_the_oldest_has_its_time() {
    let mut hall = Hall::new(3);
    for from in [1, 2, 3] {
        assert!(hall.comes(from));
    }
    assert!(!hall.comes(4));
    hall.now += PATIENCE;
    assert!(hall.comes(4));
    assert_eq!(hall.sitting(), [2, 3, 4]);
}

#[test]
fn one_source_cannot_fill_the_hall_against_others() {
    let mut hall = Hall::new(64);
    for round in 0..1_000 {
        hall.comes(666);
        if round % 10 == 0 && round < 300 {
            assert!(hall.comes(round));
        }
    }
    let others = hall.sitting().iter().filter(|from| **from != 666).count();
    assert_eq!(others, 30, "every other one keeps its seat");
    assert_eq!(hall.seats.taken.len(), 64);
    assert_eq!(hall.seats.held.values().sum::<usize>(), 64);
}

#[test]
fn fewer_seats_hold_from_the_next_one_on() {
    let mut hall = Hall::new(8);
    for from in 0..8 {
        assert!(hall.comes(from));
    }
    hall.seats.max = 4;
    assert!(!hall.comes(9));
    assert_eq!(hall.sitting(), [4, 5, 6, 7]);
}

fn strangers() -> Strangers {
    // Two connections make one seat.
    Strangers::new(2, &Metrics::new())
}

#[tokio::test]
async fn a_seat_is_given_back_on_every_path() {
    let strangers = strangers();
    let mut first = strangers.stranger(source(1));
    assert!(strangers.is_empty(), "who need not wait takes no seat");
    assert_eq!(first.wait(ready(7)).await, Ok(7));
    assert_eq!(strangers.len(), 1);
    assert_eq!(first.wait(ready(8)).await, Ok(8));
    assert_eq!(strangers.len(), 1, "the same seat");
    first.set_source(source(3));
    assert!(strangers.is_empty());
    assert_eq!(first.wait(ready(9)).await, Ok(9));
    drop(first);
    assert!(strangers.is_empty());
    assert!(strangers.seats().held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_stops_waiting_and_gets_no_other_seat() {
    let strangers = strangers();
    let mut first = strangers.stranger(source(1));
    let mut second = strangers.stranger(source(2));
    let waits = async { first.wait(pending::<()>()).await };
    let comes = async {
        assert_eq!(second.wait(ready(())).await, Err(Cut), "too early");
        tokio::time::advance(PATIENCE).await;
        second = strangers.stranger(source(2));
        second.wait(ready(())).await
    };
    assert_eq!(tokio::join!(waits, comes), (Err(Cut), Ok(())));
    assert_eq!(first.wait(ready(())).await, Err(Cut));
    drop(first);
    assert_eq!(strangers.len(), 1, "the seat is the second one's");
    assert_eq!(strangers.cut_total.get(), 2);
}

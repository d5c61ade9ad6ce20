//! What a session has been sent under QoS 1 and has not acknowledged.
//!
//! ```text
//!            cursor          reached            ever
//!  numbers ────┼──── in flight ──┼── sent on an ──┼──── never sent
//!              │   (QoS 1, not   │   earlier      │
//!   all handled│   acknowledged) │   connection   │
//! ```
//!
//! A client acknowledges in the order in which it received (MQTT 5, 4.6), so one number says how
//! far it is: the cursor, from which a later connection goes on.

use std::collections::VecDeque;

use crate::hub::Begun;
use crate::wire::mqtt::packet_id;

/// Packet identifiers are unique among so many numbers in a row.
const IDS: u64 = 65_535;

/// Messages in flight, whatever the client says that it takes: as many as a client may be behind
/// by, and 8 bytes each.
pub(super) const IN_FLIGHT_MAX: u16 = 1024;

/// The numbers in flight, and where the session is.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Sent under QoS 1 on this connection and not acknowledged; rising.
    #[expect(
        clippy::box_collection,
        reason = "most sessions have none most of the time, and hold a word for it"
    )]
    in_flight: Option<Box<VecDeque<u64>>>,
    /// All up to here has been sent on this connection, or need not be.
    reached: u64,
    /// The highest number that was sent on any connection of the session.
    ever: u64,
    /// How many may be in flight.
    max: u16,
}

impl Window {
    /// A session that has handled all up to `cursor`, and was sent what it was up to `ever`.
    pub(super) fn new(cursor: u64, ever: u64, receive_maximum: u16) -> Self {
        Self {
            in_flight: None,
            reached: cursor,
            ever: ever.max(cursor),
            max: receive_maximum.clamp(1, IN_FLIGHT_MAX),
        }
    }

    /// Forgets what was: the session begins at `cursor`.
    pub(super) fn begin(&mut self, cursor: u64) {
        self.in_flight = None;
        (self.reached, self.ever) = (cursor, cursor);
    }

    /// Everything up to here has been handled, or was sent under QoS 0.
    pub(super) fn cursor(&self) -> u64 {
        self.first().map_or(self.reached, |first| first - 1)
    }

    /// The highest number that was ever sent.
    pub(super) const fn ever(&self) -> u64 {
        self.ever
    }

    /// Whether the message was sent before.
    pub(super) const fn is_repeat(&self, number: u64) -> bool {
        number <= self.ever
    }

    /// Whether one more may be sent under QoS 1, behind those that are about to be.
    pub(super) fn admits(&self, number: u64, begun: Begun) -> bool {
        let first = self.first().or(begun.first);
        self.len() + begun.count < usize::from(self.max)
            && first.is_none_or(|first| number - first < IDS)
    }

    /// The message has gone out, or begun to; `is_acknowledged`: under QoS 1.
    pub(super) fn sent(&mut self, number: u64, is_acknowledged: bool) {
        if is_acknowledged {
            self.in_flight.get_or_insert_default().push_back(number);
        }
        self.reach(number);
    }

    /// All up to here has been sent, or is not for this session.
    pub(super) fn reach(&mut self, number: u64) {
        self.reached = self.reached.max(number);
        self.ever = self.ever.max(self.reached);
    }

    /// The client has received the message of this packet identifier, and before it all the others
    /// that were in flight. Whether it was in flight.
    pub(super) fn acknowledge(&mut self, id: u16) -> bool {
        let Some(in_flight) = &mut self.in_flight else {
            return false;
        };
        // The first, if the client keeps to the order; else those before it are not acknowledged,
        // and stay.
        let mut numbers = in_flight.iter();
        let Some(place) = numbers.position(|number| packet_id(*number) == id) else {
            return false;
        };
        in_flight.remove(place);
        if in_flight.is_empty() {
            // A burst's memory goes back.
            self.in_flight = None;
        }
        true
    }

    /// The first in flight.
    fn first(&self) -> Option<u64> {
        self.in_flight.as_ref()?.front().copied()
    }

    /// How many are in flight.
    fn len(&self) -> usize {
        self.in_flight.as_ref().map_or(0, |numbers| numbers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Begun = Begun {
        count: 0,
        first: None,
    };

    #[test]
    fn the_cursor_is_before_the_first_that_is_not_acknowledged() {
        let mut window = Window::new(10, 10, 3);
        assert_eq!(window.cursor(), 10);
        for number in [12, 15, 16] {
            assert!(window.admits(number, NONE), "{number}");
            window.sent(number, true);
        }
        assert!(!window.admits(17, NONE), "three is the most");
        assert_eq!((window.cursor(), window.ever()), (11, 16));
        assert!(window.acknowledge(15));
        assert_eq!(window.cursor(), 11, "12 is still in flight");
        assert!(window.acknowledge(12));
        assert!(!window.acknowledge(12), "it is not in flight any more");
        assert_eq!(window.cursor(), 15);
        assert!(window.acknowledge(16));
        assert_eq!((window.cursor(), window.len()), (16, 0));
        window.reach(20);
        assert_eq!((window.cursor(), window.ever()), (20, 20));
    }

    #[test]
    fn what_is_about_to_be_sent_counts() {
        let window = Window::new(0, 0, 3);
        let begun = |count| Begun {
            count,
            first: Some(1),
        };
        assert!(window.admits(3, begun(2)));
        assert!(!window.admits(4, begun(3)));
    }

    #[test]
    fn no_two_in_flight_have_the_same_identifier() {
        let mut window = Window::new(0, 0, u16::MAX);
        assert!(window.admits(
            65_535,
            Begun {
                count: 1,
                first: Some(1)
            }
        ));
        assert!(!window.admits(
            65_536,
            Begun {
                count: 1,
                first: Some(1)
            }
        ));
        window.sent(1, true);
        assert!(window.admits(65_535, NONE));
        assert!(!window.admits(65_536, NONE));
        assert!(window.acknowledge(1));
        assert!(window.admits(65_536, NONE));
    }

    #[test]
    fn what_was_sent_under_qos_0_needs_no_acknowledgement() {
        let mut window = Window::new(0, 0, 10);
        window.sent(5, false);
        window.sent(6, true);
        window.sent(7, false);
        assert_eq!((window.cursor(), window.ever(), window.len()), (5, 7, 1));
        assert!(window.acknowledge(6));
        assert_eq!(window.cursor(), 7);
    }

    #[test]
    fn a_later_connection_knows_what_was_sent_before() {
        let mut window = Window::new(10, 20, 10);
        assert!(window.is_repeat(20) && !window.is_repeat(21));
        window.sent(11, true);
        assert_eq!((window.cursor(), window.ever()), (10, 20));
        assert!(window.acknowledge(11));
        assert_eq!(
            (window.cursor(), window.ever()),
            (11, 20),
            "12 to 20 may be to come"
        );
    }

    #[test]
    fn a_client_that_takes_none_is_sent_one_at_a_time() {
        assert!(Window::new(0, 0, 0).admits(1, NONE));
        assert!(!Window::new(0, 0, 1).admits(
            2,
            Begun {
                count: 1,
                first: Some(1)
            }
        ));
        let all = Begun {
            count: IN_FLIGHT_MAX.into(),
            first: Some(1),
        };
        assert!(!Window::new(0, 0, u16::MAX).admits(2_000, all));
    }
}

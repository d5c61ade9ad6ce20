//! What the dashboard shows: the last five minutes, the state of this second, and the streams of
//! those who watch.
//!
//! Once a second [`AdminState::turn`] notes a sample: a few counters and gauges, some microseconds.
//! What costs more is put together only while somebody watches, once for all of them. A stream
//! holds no queue: who reads slowly is given the latest state, and who does not read at all is cut
//! off (see [`serve`](super::serve())).

mod events;
mod history;
mod overview;
mod quantile;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

pub(super) use events::events;
pub(super) use overview::show as overview;

use super::AdminState;
use crate::clock::{Clock, monotonic};
use history::{Counters, History};

/// Streams at once: a quarter of the connections, so that others can always look too.
pub(super) const STREAMS_MAX: usize = 16;

/// What those who watch share.
#[derive(Debug)]
pub struct Board {
    history: History,
    /// The state of this second, ready to be sent; empty until somebody watches.
    latest: watch::Sender<Bytes>,
    streams: Arc<Semaphore>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            history: History::default(),
            latest: watch::Sender::new(Bytes::new()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl AdminState {
    /// Notes how things stand, and shows it to who watches. To be called once a second; waits for
    /// nobody.
    pub fn turn(&self) {
        let counters = Counters::read(&self.metrics);
        let at_ms = Clock::system().now_ms();
        let pulse = self.inspect.pulse();
        self.board
            .history
            .note((monotonic(), at_ms), &pulse, counters);
        if self.board.latest.receiver_count() > 0 {
            let overview = overview::overview(self);
            let event = events::event("overview", &overview);
            self.board.latest.send_replace(event);
        }
    }
}

//! What the load beside this one is told, and what it answers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::super::load::{Cost, Shape};
use super::super::recorder::{Latencies, Recorder};
use super::super::rival::Rival;
use crate::cli::args;
use crate::wire::seal::Key;

/// One thing to do. The first says what load it is, the others are for that load.
#[derive(Debug, Deserialize, Serialize)]
pub(in super::super) enum Order {
    /// Be the clients of a loop, which it starts.
    Loop { clients: usize },
    /// Be the clients and the sender of a gateway, which it starts.
    Gateway { clients: usize },
    /// Be the clients and the sender of another server, which it starts.
    Rival { rival: Rival, clients: usize },
    /// Be one client of a gateway that is there, by this number, and the sender of its messages.
    Client {
        native: SocketAddr,
        udp: SocketAddr,
        key: Option<(u32, Secret)>,
        number: usize,
    },
    /// See `FloorLoad::writes`.
    Writes {
        count: usize,
        messages: usize,
        joined: usize,
        size: usize,
    },
    /// See `FloorLoad::relays`.
    Relays {
        count: usize,
        bytes: usize,
        size: usize,
        window: usize,
    },
    /// So many visits to the loop; or only what it takes that so many come, who leave later.
    Visits {
        count: usize,
        window: usize,
        stay: bool,
    },
    /// See `GatewayLoad::broadcasts`.
    Broadcasts { count: usize, shape: Shape },
    /// See `GatewayLoad::singles`.
    Singles { count: usize, shape: Shape },
    /// How much memory a client takes.
    Resident,
}

/// What it says.
#[derive(Debug, Deserialize, Serialize)]
pub(in super::super) enum Answer {
    /// So many clients more; an order's own answer follows.
    Connected(u64),
    /// It is what it was told to be.
    Ready,
    /// It has done what it was told.
    Done(Cost),
    /// The same, of [`Order::Broadcasts`]: also when the last client had each message, as pairs of
    /// nanoseconds and how often.
    Timed(Cost, Vec<(u64, u64)>),
    /// Resident bytes a client, of [`Order::Resident`].
    Bytes(u64),
    /// The same, of [`Order::Singles`].
    Heard(Heard),
    /// It could not.
    Failed(String),
}

/// What came of pushes to one client, as pairs of nanoseconds and how often.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(in super::super) struct Heard {
    at_client: Vec<(u64, u64)>,
    answers: Vec<(u64, u64)>,
    turns: Vec<(u64, u64)>,
    sent_late: Vec<(u64, u64)>,
    /// Pushes that did not arrive.
    pub(in super::super) missed: u64,
    /// Pushes that were not answered DONE.
    pub(in super::super) not_done: u64,
}

impl Heard {
    pub(super) fn of(recorder: &Recorder, missed: u64, not_done: u64) -> Self {
        Self {
            at_client: pairs(&recorder.paced),
            answers: pairs(&recorder.answers),
            turns: pairs(&recorder.turns),
            sent_late: pairs(&recorder.sent_late),
            missed,
            not_done,
        }
    }

    /// Adds it to what was recorded before.
    pub(in super::super) fn add_to(&self, recorder: &mut Recorder) {
        add(&mut recorder.paced, &self.at_client);
        add(&mut recorder.answers, &self.answers);
        add(&mut recorder.turns, &self.turns);
        add(&mut recorder.sent_late, &self.sent_late);
    }
}

/// As they go through a pipe: nanoseconds, and how often.
pub(super) fn pairs(latencies: &Latencies) -> Vec<(u64, u64)> {
    let recorded = latencies.iter_recorded();
    recorded
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect()
}

/// Adds what came through one.
pub(super) fn add(latencies: &mut Latencies, pairs: &[(u64, u64)]) {
    for (value, count) in pairs {
        latencies.saturating_record_n(*value, *count);
    }
}

/// Where a key is; it goes through the pipe and into no list of arguments.
#[derive(Clone, Deserialize, Serialize)]
pub(in super::super) enum Secret {
    /// In a file.
    File(PathBuf),
    /// Its hexadecimal digits.
    Hex(String),
}

impl Secret {
    pub(super) fn key(&self) -> anyhow::Result<Key> {
        match self {
            Self::File(path) => args::read_key(path),
            Self::Hex(digits) => Key::from_hex(digits).context("the key"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_comes_through_the_pipe_whole() {
        let mut recorder = Recorder::default();
        recorder.paced.saturating_record_n(1_000_000, 3);
        recorder.paced.saturating_record(40_000_000);
        recorder.answers.saturating_record(7);
        let heard = Answer::Heard(Heard::of(&recorder, 2, 1));
        let line = serde_json::to_string(&heard).unwrap();
        let Answer::Heard(heard) = serde_json::from_str(&line).unwrap() else {
            panic!("{line}");
        };
        assert_eq!((heard.missed, heard.not_done), (2, 1));
        let mut merged = Recorder::default();
        heard.add_to(&mut merged);
        heard.add_to(&mut merged);
        assert_eq!(merged.paced.len(), 8);
        let quantile = |recorder: &Recorder, of: f64| recorder.paced.value_at_quantile(of);
        for of in [0.5, 0.99, 1.0] {
            assert_eq!(quantile(&merged, of), quantile(&recorder, of));
        }
        assert_eq!((merged.answers.len(), merged.sent_late.len()), (2, 0));
    }

    #[test]
    fn a_secret_shows_nothing() {
        let order = Order::Client {
            native: ([127, 0, 0, 1], 1).into(),
            udp: ([127, 0, 0, 1], 1).into(),
            key: Some((1, Secret::Hex("abcd".to_owned()))),
            number: 0,
        };
        assert!(!format!("{order:?}").contains("abcd"));
    }
}

//! What the admin door shows of single sessions, jobs and connections.

use super::Parts;
use crate::clock::monotonic;
use crate::hub::Target;
use crate::hub::inspect::{Rank, Seen};
use crate::hub::job::Running;
use crate::transport::admin::inspect::{Inspect, Limits, Pulse};
use crate::transport::closed::Closed;

impl Inspect for Parts {
    fn pulse(&self) -> Pulse {
        let (_, log_bytes) = self.hub.held();
        Pulse {
            connections: self.doors.connections() as u64,
            sessions: self.hub.sessions() as u64,
            sessions_behind: self.hub.sessions_behind() as u64,
            log_bytes,
            jobs: self.jobs.len() as u64,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.doors.max_connections() as u64,
            jobs: self.jobs.max() as u64,
            memory_budget: self.hub.options().memory_budget,
        }
    }

    fn sessions(&self, user: &str) -> Vec<Seen> {
        self.hub.look_up(user, monotonic())
    }

    fn kept(&self, user: &str) -> (u64, u64) {
        let row = self.hub.kept_of(Target::User(user));
        let row = row.and_then(|kept| kept.row(monotonic()));
        row.map_or((0, 0), |row| (row.messages, row.bytes))
    }

    fn behind(&self, rank: Rank, max: usize) -> Vec<Seen> {
        self.hub.furthest_behind(rank, max, monotonic())
    }

    fn jobs(&self) -> Vec<Running> {
        self.jobs.running()
    }

    fn closed(&self, max: usize, wanted: &dyn Fn(&Closed) -> bool) -> (Vec<Closed>, u64) {
        let closed = &self.clients.closed;
        (closed.last(max, wanted), closed.noted())
    }
}

//! The metrics that are read at a scrape instead of counted.

use super::Parts;
use crate::metrics::Live;
use crate::transport::kernel::Kernel;

impl Parts {
    /// All of them, now.
    pub(super) fn live(&self, kernel: &Kernel) -> Live {
        let metrics = self.hub.metrics();
        metrics
            .jobs
            .set(i64::try_from(self.jobs.len()).unwrap_or(i64::MAX));
        let usage = kernel.process.usage();
        metrics.set_process(usage.cpu_seconds, usage.resident_bytes);
        let budget = self.hub.options().memory_budget;
        let bounds = [
            (
                &metrics.connections_max,
                self.doors.max_connections() as u64,
            ),
            (&metrics.log_bytes_max, budget),
        ];
        for (gauge, bound) in bounds {
            gauge.set(i64::try_from(bound).unwrap_or(i64::MAX));
        }
        let remembered = i64::try_from(self.remembered.len()).unwrap_or(i64::MAX);
        metrics.remembered_requests.set(remembered);
        let uses = self.intake.key_uses();
        let datagrams = uses.iter().map(|key| (key.id, key.datagrams as f64));
        metrics.key_datagrams.set(datagrams);
        let last_used = uses
            .iter()
            .map(|key| (key.id, key.last_used_ms as f64 / 1e3));
        metrics.key_last_used.set(last_used);
        let listen = kernel.listening.counts();
        Live {
            connections: self.doors.connections() as u64,
            mqtt_sessions_gone: self.clients.sessions.gone() as u64,
            unauthenticated: self.clients.strangers.len() as u64,
            accept_queue: kernel.listening.longest_queue(),
            listen_overflows: listen.overflows,
            listen_drops: listen.drops,
            kernel_drops: kernel.drops.count(),
            ..self.hub.live()
        }
    }
}

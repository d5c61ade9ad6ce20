//! Every counter, gauge and histogram, in one struct. The doc sentence of a field is its help.
//!
//! No label holds a user, a group or an address: the values of each label are a closed list (or the
//! key ids of the configuration), and the handle of each value is fetched once, so that nothing is
//! looked up on the hot path.

mod by_key;
mod family;
mod labels;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use prometheus::{Encoder, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::clock::Clock;
use crate::ledger::Kind;
use crate::version;
use crate::wire::datagram::Op;
use crate::wire::encoding::Protocol;
use crate::wire::reason::{CloseReason, RejectCause, Status};
use family::{Declare, Labels};

pub use by_key::ByKey;
pub use family::{CounterFamily, Family, GaugeFamily, SecondsFamily};
pub use labels::{
    AcceptError, Credential, Gone, HttpReject, OpLabel, Outcome, ProxyReject, ReloadResult,
};
pub use token::TokenFault;

/// What is read at a scrape instead of counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Authenticated, attached clients.
    pub sessions: u64,
    /// The same by what is spoken at their doors, in the order of [`Protocol::ALL`].
    pub sessions_by_door: [u64; Protocol::ALL.len()],
    /// Connections held, those in their handshake too.
    pub connections: u64,
    /// Connections whose client has not been let in and has to be waited for.
    pub unauthenticated: u64,
    /// Connections in the longest of the accept queues.
    pub accept_queue: u64,
    /// Connections dropped at full accept queues since the network namespace exists.
    pub listen_overflows: u64,
    /// The same for every connection dropped at a listening socket.
    pub listen_drops: u64,
    /// Deliveries that sessions have ahead of them.
    pub deliveries_waiting: u64,
    /// Messages held in the log.
    pub log_messages: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Messages that are kept.
    pub history_messages: u64,
    /// What they cost, in bytes.
    pub history_bytes: u64,
    /// Devices that are gone and of which something is remembered.
    pub devices_gone: u64,
    /// Sessions of MQTT whose clients are gone.
    pub mqtt_sessions_gone: u64,
    /// Sessions whose socket would not take more.
    pub sessions_behind: u64,
    /// Users and groups with a session or kept messages.
    pub lanes: u64,
    /// Datagrams that the kernel dropped since the sockets were opened.
    pub kernel_drops: u64,
    /// Log lines dropped since the start.
    pub log_lines_dropped: u64,
}

/// Declares the struct, and the constructor that registers each field under its name with its doc
/// comment as help.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal ($($spec:tt)*);)*) => {
        /// All metrics of a process.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind,)*
            registry: Registry,
            /// The kernel's drops at the last scrape. A lock, because two scrapes may be at it.
            kernel_drops_seen: Mutex<u64>,
        }

        impl Metrics {
            fn register() -> Self {
                let registry = Registry::new();
                $(let $field = <$kind>::declare(
                    &registry, $name, concat!($($help),+).trim(), ($($spec)*),
                );)*
                Self { $($field,)* registry, kernel_drops_seen: Mutex::new(0) }
            }
        }
    };
}

metrics! {
    /// Always 1; the labels say which build this is.
    build_info: GaugeFamily = "pushgate_build_info" (build());
    /// Start of the process, in seconds since 1970.
    process_start_time: prometheus::Gauge = "process_start_time_seconds" (());
    /// CPU time of the process, user and system.
    process_cpu: prometheus::Counter = "process_cpu_seconds_total" (());
    /// Resident memory of the process.
    process_resident: IntGauge = "process_resident_memory_bytes" (());
    /// Whether the gateway serves: 1, and 0 while it starts or drains.
    ready: IntGauge = "pushgate_ready" (());
    /// Authenticated clients that are attached now.
    sessions: IntGauge = "pushgate_sessions" (());
    /// The same by what is spoken at their doors.
    sessions_by_door: GaugeFamily = "pushgate_sessions_by_door" (doors());
    /// Client connections held now, those in their handshake too.
    connections: IntGauge = "pushgate_connections" (());
    /// Client connections that there may be, by the configuration and the descriptor limit.
    connections_max: IntGauge = "pushgate_connections_max" (());
    /// Client connections accepted.
    connections_opened: IntCounter = "pushgate_connections_opened_total" (());
    /// Client connections that ended, by the first cause.
    connections_closed: CounterFamily = "pushgate_connections_closed_total"
        (Labels::one("reason", CloseReason::ALL.iter().map(|reason| reason.word())));
    /// Client connections whose client has not been let in and is waited for now.
    unauthenticated: IntGauge = "pushgate_unauthenticated" (());
    /// Connections of those that were cut in favour of others.
    unauthenticated_cut: IntCounter = "pushgate_unauthenticated_cut_total" (());
    /// Storms: many clients that came or went, or datagrams that were rejected, in a second.
    storms: IntCounter = "pushgate_storms_total" (());
    /// Whether there is a storm now: 1, else 0.
    storm: IntGauge = "pushgate_storm" (());
    /// Connections that wait to be accepted now, at the client listener where most do.
    accept_queue: IntGauge = "pushgate_accept_queue" (());
    /// How many may wait to be accepted at a client listener; what comes over it is dropped.
    accept_backlog: IntGauge = "pushgate_accept_backlog" (());
    /// Connections that the kernel dropped because an accept queue was full, of every program in
    /// this network namespace, since it exists.
    listen_overflows: IntCounter = "pushgate_listen_overflows_total" (());
    /// Connections that the kernel dropped at a listening socket for any reason, of every program
    /// in this network namespace, since it exists.
    listen_drops: IntCounter = "pushgate_listen_drops_total" (());
    /// Tokens of clients that were not believed, in a HELLO or a TOKEN, by cause.
    tokens_refused: CounterFamily = "pushgate_tokens_refused_total"
        (Labels::one("cause", TokenFault::ALL.map(TokenFault::word)));
    /// TLS handshakes that did not come to their end.
    tls_handshakes_failed: IntCounter = "pushgate_tls_handshakes_failed_total" (());
    /// Connections closed unheard at a door behind a load balancer, by cause.
    proxy_rejected: CounterFamily = "pushgate_proxy_rejected_total"
        (Labels::one("cause", ProxyReject::ALL.map(ProxyReject::word)));
    /// Errors of accept, by kind.
    accept_errors: CounterFamily = "pushgate_accept_errors_total"
        (Labels::one("kind", AcceptError::ALL.map(AcceptError::word)));
    /// Datagrams received.
    datagrams_received: IntCounter = "pushgate_datagrams_received_total" (());
    /// Datagrams dropped without an answer, by cause.
    datagrams_rejected: CounterFamily = "pushgate_datagrams_rejected_total"
        (Labels::one("cause", RejectCause::ALL.iter().map(|cause| cause.word())));
    /// Datagrams that the kernel dropped because the receive buffer was full.
    kernel_drops: IntCounter = "pushgate_kernel_drops_total" (());
    /// Authentic HTTP requests of services, repeats too, by how their senders have shown who they
    /// are.
    http_requests: CounterFamily = "pushgate_http_requests_total"
        (Labels::one("credential", Credential::ALL.map(Credential::word)));
    /// HTTP requests to the routes of services that are no authentic requests, by cause; in no
    /// other count.
    http_rejected: CounterFamily = "pushgate_http_rejected_total"
        (Labels::one("cause", HttpReject::ALL.map(HttpReject::word)));
    /// Authentic requests by datagram or HTTP, each once, by how they ended.
    requests: CounterFamily = "pushgate_requests_total" (requests());
    /// Repeats of remembered requests; in no other count.
    repeats: IntCounter = "pushgate_repeats_total" (());
    /// Authentic datagrams and HTTP requests by key id, repeats and refused ones too; key 0 is
    /// unsigned.
    key_datagrams: ByKey = "pushgate_key_datagrams_total" (by_key::Kind::Counter);
    /// When the last authentic datagram or HTTP request came under each key, in seconds since 1970;
    /// 0 for a key not used since the start.
    key_last_used: ByKey = "pushgate_key_last_used_timestamp_seconds" (by_key::Kind::Gauge);
    /// How far the gateway's clock is ahead of the machine's, which was set back.
    clock_ahead: prometheus::Gauge = "pushgate_clock_ahead_seconds" (());
    /// Steps of the machine's clock of a second or more, by direction.
    clock_steps: CounterFamily = "pushgate_clock_steps_total"
        (Labels::one("direction", ["back", "forward"]));
    /// Replies that the socket did not take.
    replies_unsent: IntCounter = "pushgate_replies_unsent_total" (());
    /// Requests whose results are remembered now.
    remembered_requests: IntGauge = "pushgate_remembered_requests" (());
    /// How old authentic requests are when they arrive; below zero where the sender's clock is
    /// ahead.
    sender_skew: Histogram = "pushgate_sender_skew_seconds" (SKEW_BUCKETS);
    /// Pushes answered with TIMEOUT, whose jobs went on.
    push_timeouts: IntCounter = "pushgate_push_timeouts_total" (());
    /// Time from a push's acceptance to the end of its job.
    push_duration: Histogram = "pushgate_push_duration_seconds" (DURATION_BUCKETS);
    /// Push jobs in flight.
    jobs: IntGauge = "pushgate_jobs" (());
    /// Deliveries, by what became of them.
    deliveries: CounterFamily = "pushgate_deliveries_total"
        (Labels::one("outcome", Outcome::ALL.map(Outcome::word)));
    /// Deliveries that sessions have ahead of them now.
    deliveries_waiting: IntGauge = "pushgate_deliveries_waiting" (());
    /// Kept messages sent to sessions that came after them; in no count of deliveries.
    replayed: IntCounter = "pushgate_replayed_total" (());
    /// Messages kept now for those who are not connected.
    history_messages: IntGauge = "pushgate_history_messages" (());
    /// What they cost, in bytes of memory.
    history_bytes: IntGauge = "pushgate_history_bytes" (());
    /// Messages that are kept no longer, by why they went.
    history_removed: CounterFamily = "pushgate_history_removed_total"
        (Labels::one("cause", Gone::ALL.map(Gone::word)));
    /// Bytes of the history on disk.
    store_bytes: IntGauge = "pushgate_store_bytes" (());
    /// Whether the history cannot be written to disk now: 1, else 0.
    store_failing: IntGauge = "pushgate_store_failing" (());
    /// Writes and syncs of the history that failed.
    store_failures: IntCounter = "pushgate_store_failures_total" (());
    /// Time of a sync of the history to disk.
    store_sync: Histogram = "pushgate_store_sync_seconds" (DURATION_BUCKETS);
    /// Devices forgotten before their time, because more were gone than are remembered.
    devices_forgotten: IntCounter = "pushgate_devices_forgotten_total" (());
    /// Devices that are gone and of which something is remembered now.
    devices_gone: IntGauge = "pushgate_devices_remembered" (());
    /// Sessions of MQTT that are remembered now while their clients are gone.
    mqtt_sessions_gone: IntGauge = "pushgate_mqtt_sessions_remembered" (());
    /// Sessions of MQTT forgotten before their expiry, because more were gone than are remembered.
    mqtt_sessions_dropped: IntCounter = "pushgate_mqtt_sessions_forgotten_total" (());
    /// Messages that clients of MQTT tried to publish.
    mqtt_publishes_refused: IntCounter = "pushgate_mqtt_publishes_refused_total" (());
    /// Kept messages that clients have confirmed, each once a device.
    confirmed: IntCounter = "pushgate_confirmed_total" (());
    /// Time from a kept message's acceptance to a client's ACK of it.
    ack_latency: Histogram = "pushgate_ack_latency_seconds" (DURATION_BUCKETS);
    /// Time from a message being due for a session to the kernel having taken all of it.
    delivery_latency: Histogram = "pushgate_delivery_latency_seconds" (DURATION_BUCKETS);
    /// Messages held in the log now.
    log_messages: IntGauge = "pushgate_log_messages" (());
    /// Bytes of the messages held in the log now.
    log_bytes: IntGauge = "pushgate_log_bytes" (());
    /// Bytes that the messages in the log may take (clients.memory_budget).
    log_bytes_max: IntGauge = "pushgate_log_bytes_max" (());
    /// Sessions whose socket would not take more and that have messages ahead of them now.
    sessions_behind: IntGauge = "pushgate_sessions_behind" (());
    /// Users and groups that have a session or kept messages now.
    lanes: IntGauge = "pushgate_lanes" (());
    /// Tasks that are live now, by kind.
    tasks: GaugeFamily = "pushgate_tasks" (kinds());
    /// Tasks started, by kind.
    tasks_started: CounterFamily = "pushgate_tasks_started_total" (kinds());
    /// Tasks ended, by kind.
    tasks_ended: CounterFamily = "pushgate_tasks_ended_total" (kinds());
    /// Tasks that ended in a panic, by kind.
    tasks_panicked: CounterFamily = "pushgate_tasks_panicked_total" (kinds());
    /// Age of the oldest live task, by kind; 0 without one.
    task_oldest: SecondsFamily = "pushgate_task_oldest_seconds" (kinds());
    /// How long a task that was ready waited for its turn: a look each quarter of a second.
    loop_lag: Histogram = "pushgate_loop_lag_seconds" (LAG_BUCKETS);
    /// Whether the runtime is so late that new handshakes wait: 1, else 0.
    overloaded: IntGauge = "pushgate_overloaded" (());
    /// Whether tasks of a kind outgrow what explains them, or are too old, at several looks in a
    /// row: 1, else 0.
    leak_suspected: GaugeFamily = "pushgate_leak_suspected" (kinds());
    /// Reloads of the configuration, by result.
    reloads: CounterFamily = "pushgate_reloads_total"
        (Labels::one("result", ReloadResult::ALL.map(ReloadResult::word)));
    /// Whether the last reload was good, or there was none: 1, else 0.
    config_good: IntGauge = "pushgate_config_last_reload_successful" (());
    /// When the configuration was last read and found good, in seconds since 1970.
    config_good_time: prometheus::Gauge =
        "pushgate_config_last_reload_success_timestamp_seconds" (());
    /// Streams of events open now: dashboards that watch.
    event_streams: IntGauge = "pushgate_event_streams" (());
    /// Streams of events refused because as many as may were open.
    event_streams_refused: IntCounter = "pushgate_event_streams_refused_total" (());
    /// Connections of the admin door cut because their peer took nothing of an answer.
    admin_stalled: IntCounter = "pushgate_admin_stalled_total" (());
    /// Log lines held back because many alike came in one period.
    log_lines_suppressed: IntCounter = "pushgate_log_lines_suppressed_total" (());
    /// Log lines dropped because nobody read them in time.
    log_lines_dropped: IntCounter = "pushgate_log_lines_dropped_total" (());
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let metrics = Self::register();
        metrics.build_info.at(0).set(1);
        metrics.process_start_time.set(unix_seconds());
        metrics.config_read(true);
        metrics
    }

    /// Counts a reload of the configuration.
    pub fn reload(&self, result: ReloadResult) {
        self.reloads.at(result as usize).inc();
        self.config_read(result != ReloadResult::Refused);
    }

    fn config_read(&self, good: bool) {
        self.config_good.set(good.into());
        if good {
            self.config_good_time.set(unix_seconds());
        }
    }

    /// Counts a connection that ended.
    pub fn connection_closed(&self, reason: CloseReason) {
        self.connections_closed.at(reason.index()).inc();
    }

    /// Counts a token that was not believed.
    pub fn token_refused(&self, fault: TokenFault) {
        self.tokens_refused.at(fault as usize).inc();
    }

    /// Counts a datagram that was dropped without an answer.
    pub fn datagram_rejected(&self, cause: RejectCause) {
        self.datagrams_rejected.at(cause.index()).inc();
    }

    /// Counts an authentic HTTP request.
    pub fn http_request(&self, credential: Credential) {
        self.http_requests.at(credential as usize).inc();
    }

    /// Counts an HTTP request that did not become a request.
    pub fn http_rejected(&self, cause: HttpReject) {
        self.http_rejected.at(cause as usize).inc();
    }

    /// Counts an authentic request by how it ended.
    pub fn request(&self, op: impl Into<OpLabel>, status: Status) {
        self.requests_that(op, status).inc();
    }

    /// Authentic requests of this op that ended so.
    pub fn requests_that(&self, op: impl Into<OpLabel>, status: Status) -> &IntCounter {
        let row = op.into().index();
        let column = usize::from(status.code());
        self.requests.at(row * Status::ALL.len() + column)
    }

    /// Authentic requests to push so far, however they ended.
    pub fn pushes(&self) -> u64 {
        let row = usize::from(Op::Push.code() - 1) * Status::ALL.len();
        let statuses = row..row + Status::ALL.len();
        statuses.map(|index| self.requests.at(index).get()).sum()
    }

    /// Counts `n` deliveries.
    pub fn deliveries(&self, outcome: Outcome, n: u64) {
        self.deliveries_that(outcome).inc_by(n);
    }

    /// Deliveries that came to this.
    pub fn deliveries_that(&self, outcome: Outcome) -> &IntCounter {
        self.deliveries.at(outcome as usize)
    }

    /// Counts a message that is kept no longer.
    pub fn history_removed(&self, why: Gone) {
        self.history_removed.at(why as usize).inc();
    }

    /// Counts a connection that came past the load balancer.
    pub fn proxy_rejected(&self, cause: ProxyReject) {
        self.proxy_rejected.at(cause as usize).inc();
    }

    /// Counts an error of accept.
    pub fn accept_error(&self, kind: AcceptError) {
        self.accept_errors.at(kind as usize).inc();
    }

    /// Counts a step of the machine's clock, in milliseconds.
    pub fn clock_step(&self, step_ms: i64) {
        self.clock_steps.at(usize::from(step_ms > 0)).inc();
    }

    /// Takes the values that are read at a scrape.
    pub fn set_live(&self, live: &Live) {
        set(&self.sessions, live.sessions);
        for (door, sessions) in live.sessions_by_door.into_iter().enumerate() {
            set(self.sessions_by_door.at(door), sessions);
        }
        set(&self.connections, live.connections);
        set(&self.unauthenticated, live.unauthenticated);
        set(&self.accept_queue, live.accept_queue);
        set(&self.deliveries_waiting, live.deliveries_waiting);
        set(&self.log_messages, live.log_messages);
        set(&self.log_bytes, live.log_bytes);
        set(&self.history_messages, live.history_messages);
        set(&self.history_bytes, live.history_bytes);
        set(&self.devices_gone, live.devices_gone);
        set(&self.mqtt_sessions_gone, live.mqtt_sessions_gone);
        set(&self.sessions_behind, live.sessions_behind);
        set(&self.lanes, live.lanes);
        let mut seen = self
            .kernel_drops_seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // The kernel's number is absolute and begins again with a new socket; the counter only
        // rises.
        self.kernel_drops
            .inc_by(live.kernel_drops.saturating_sub(*seen));
        *seen = live.kernel_drops;
        // These are the kernel's own, and begin with what it had counted before.
        raise(&self.listen_overflows, live.listen_overflows);
        raise(&self.listen_drops, live.listen_drops);
        raise(&self.log_lines_dropped, live.log_lines_dropped);
        drop(seen);
    }

    /// Takes what the process has used so far, and what it holds.
    pub fn set_process(&self, cpu_seconds: f64, resident_bytes: u64) {
        // Two scrapes at a time may both find it behind; the next one is right again.
        let behind = cpu_seconds - self.process_cpu.get();
        self.process_cpu.inc_by(behind.max(0.0));
        set(&self.process_resident, resident_bytes);
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("every family has a name, and a vector takes every byte");
        String::from_utf8(text).expect("names, help and labels are text")
    }
}

fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn unix_seconds() -> f64 {
    Clock::system().now_ms() as f64 / 1e3
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn doors() -> Labels {
    Labels::one("door", Protocol::ALL.map(Protocol::word))
}

fn kinds() -> Labels {
    Labels::one("kind", Kind::ALL.map(Kind::word))
}

/// A row for each op and status; the index is that of the op x statuses + status code.
fn requests() -> Labels {
    let rows = OpLabel::all()
        .flat_map(|op| {
            Status::ALL
                .iter()
                .map(move |status| vec![op.word(), status.word()])
        })
        .collect();
    Labels {
        names: vec!["op", "status"],
        rows,
    }
}

fn build() -> Labels {
    Labels {
        names: vec!["version", "commit", "rustc", "target", "profile"],
        rows: vec![vec![
            version::VERSION,
            version::COMMIT,
            version::RUSTC,
            version::TARGET,
            version::PROFILE,
        ]],
    }
}

/// From a clock that is ahead by more than `udp.future` allows, to twice the default window.
const SKEW_BUCKETS: &[f64] = &[
    -10.0, -1.0, -0.1, 0.0, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0,
];

/// From a runtime at rest (timers tick in milliseconds) to one that stands; 0.25 is the bound.
const LAG_BUCKETS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// From one small push over loopback to the default deadline of a job.
const DURATION_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

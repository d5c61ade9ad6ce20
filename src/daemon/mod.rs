//! The process: its doors bound, served, and closed in order.

pub mod logging;
pub mod settings;

mod drain;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::{Clock, monotonic};
use crate::hub::access::{Grant, Keyring};
use crate::hub::holds::Holds;
use crate::hub::intake::{Intake, IntakeOptions};
use crate::hub::job::Jobs;
use crate::hub::pump::Pump;
use crate::hub::remembered::Remembered;
use crate::hub::{Hub, Options, Sweep};
use crate::ledger::{Kind, Ledger};
use crate::metrics::{Live, Metrics};
use crate::throttle::Throttle;
use crate::transport::admin::access::Token;
use crate::transport::admin::{self, AdminState};
use crate::transport::connection::Clients;
use crate::transport::door::Door;
use crate::transport::listener::{Doors, max_connections};
use crate::transport::phase::{Phase, PhaseCell};
use crate::transport::socket::{self, KernelDrops};
use crate::transport::udp::UdpDoor;
use settings::{Settings, Unsigned};

/// A loop that has not turned for this long is stuck: it turns once a second when nothing happens.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// What the largest frame to a client has besides its payload, as WELCOME tells it.
const PUSH_OVERHEAD_MAX: u32 = 512;
/// One log line on connections without a PROXY header in this time.
const PROXY_LOG_PERIOD: Duration = Duration::from_secs(10);
/// Sessions that the sweep looks at before it yields.
const SWEEP_STEP: usize = 512;

/// A gateway whose doors are bound.
pub struct Gateway {
    settings: Settings,
    addresses: Addresses,
    ledger: Ledger,
    clock: Clock,
    phase: PhaseCell,
    parts: Parts,
    listeners: Vec<(TcpListener, Arc<Door>)>,
    udp: Arc<UdpDoor>,
    admin: TcpListener,
    /// Unix milliseconds from which on requests are not stale.
    remembers_from_ms: u64,
}

/// What the tasks of a gateway share.
#[derive(Clone)]
struct Parts {
    hub: Arc<Hub>,
    clients: Arc<Clients>,
    doors: Arc<Doors>,
    intake: Arc<Intake>,
    jobs: Arc<Jobs>,
    remembered: Arc<Remembered>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was accepted before it was handed to the clients.
    Full,
    /// The grace was over before that, or clients did not take their CLOSE.
    CutShort,
}

/// Where a gateway listens, as bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients; the first listener.
    pub native: SocketAddr,
    /// Datagrams.
    pub udp: SocketAddr,
    /// HTTP for operators.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Binds every door. Nothing is served before [`run`](Self::run), but the kernel queues what
    /// comes.
    ///
    /// # Errors
    /// A door that cannot be bound, with its address and the key that names it.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(&metrics);
        let clock = Clock::system();
        let mut listeners = Vec::new();
        for (number, listener) in settings.listeners.iter().enumerate() {
            let key = format!("listeners[{number}].address");
            let socket = bound(socket::listen(listener.address), listener.address, &key)?;
            let tls = listener.tls.as_ref().map(settings::Tls::config);
            let door = Door::new(&*listener.name, tls, listener.trusted.clone());
            listeners.push((socket, Arc::new(door)));
        }
        let udp = &settings.udp;
        let udp_socket = socket::bind_udp(udp.listen, udp.receive_buffer);
        let udp_socket = bound(udp_socket, udp.listen, "udp.listen")?;
        let admin = socket::listen(settings.admin.listen);
        let admin = bound(admin, settings.admin.listen, "admin.listen")?;
        let addresses = Addresses {
            native: listeners
                .first()
                .context("no listener is configured")?
                .0
                .local_addr()?,
            udp: udp_socket.local_addr()?,
            admin: admin.local_addr()?,
        };
        let remembers_from_ms = clock.now_ms() + millis(udp.future);
        let parts = Parts::new(&settings, metrics, &ledger, remembers_from_ms);
        let Parts { hub, intake, .. } = &parts;
        let udp = UdpDoor::new(
            udp_socket,
            Arc::clone(hub),
            Arc::clone(intake),
            ledger.clone(),
            clock.clone(),
            settings.push.deadline,
        )?;
        let (phase, udp) = (PhaseCell::starting(), Arc::new(udp));
        Ok(Self {
            settings,
            addresses,
            ledger,
            clock,
            phase,
            parts,
            listeners,
            udp,
            admin,
            remembers_from_ms,
        })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its tasks, for whoever runs it inside a process of their own.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where clients connect, in the order of the configuration: what of them can be replaced while
    /// they are served, TLS and the networks of load balancers.
    pub fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.listeners.iter().map(|(_, door)| door)
    }

    /// Who is connected.
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.parts.hub
    }

    /// Serves until `shutdown`, then drains. When it returns, no task of the gateway is left.
    ///
    /// # Errors
    /// What keeps a door from being served at all.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<Drained> {
        let drops = KernelDrops::of(self.udp.socket()).context("the datagram socket")?;
        let stop = self.ledger.stop_token().clone();
        let ledger = &self.ledger;
        for (listener, door) in self.listeners {
            let serve = Arc::clone(&self.parts.doors).serve(listener, door, stop.clone());
            ledger.spawn(Kind::Listener, report(serve, "accept loop"));
        }
        ledger.spawn(Kind::Udp, Arc::clone(&self.udp).serve(stop.clone()));
        let state = admin_state(
            &self.settings,
            &self.parts,
            ledger,
            &self.phase,
            &self.udp,
            drops,
        );
        // The admin door outlives the others: a drain is watched through it.
        ledger.spawn(
            Kind::Admin,
            report(admin::serve(self.admin, state, stop.clone()), "admin"),
        );
        ledger.spawn(Kind::Heartbeat, heartbeat(self.parts.clone(), stop));
        let Addresses { native, udp, admin } = self.addresses;
        let early = self.remembers_from_ms.saturating_sub(self.clock.now_ms());
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            // Until then a request cannot be told from one that an earlier process carried out.
            () = tokio::time::sleep(Duration::from_millis(early)) => {
                self.phase.advance(Phase::Ready);
                info!(target: "pushgate", %native, %udp, %admin, "ready");
                shutdown.await;
            }
        }
        self.phase.advance(Phase::Draining);
        let drained = drain::drain(&self.parts, &self.settings).await;
        drain::stop(&self.ledger).await;
        Ok(drained)
    }
}

impl Parts {
    fn new(
        settings: &Settings,
        metrics: Arc<Metrics>,
        ledger: &Ledger,
        remembers_from_ms: u64,
    ) -> Self {
        let Settings {
            clients, udp, push, ..
        } = settings;
        let overhead = u32::try_from(push.max_payload).unwrap_or(u32::MAX);
        let options = Options {
            max_devices: clients.max_devices,
            max_groups: clients.max_groups,
            queue_messages: clients.queue_messages,
            queue_bytes: clients.queue_bytes,
            queue_age: clients.queue_age,
            memory_budget: clients.memory_budget,
            retry_spread: settings.drain.spread,
            max_frame: overhead.saturating_add(PUSH_OVERHEAD_MAX),
        };
        let epoch = rand::random_range(1..=u64::MAX);
        let hub = Arc::new(Hub::new(options, metrics, epoch, monotonic()));
        let keys = settings.keys.iter().map(|key| {
            let grant = Grant {
                key: Some(key.key.clone()),
                ops: key.ops.clone(),
                scopes: key.scopes.clone(),
                groups: key.groups.clone(),
            };
            (key.id, grant)
        });
        let keyring = Keyring::new(keys, udp.unsigned == Unsigned::Loopback);
        // window + future + 10 s, rounded up.
        let lifetime = udp.window + udp.future + Duration::from_secs(11);
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX / 2);
        let remembered = Remembered::new(udp.max_remembered, keyring.ids(), lifetime);
        let remembered = Arc::new(remembered);
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = Arc::new(Jobs::new(push.max_jobs, workers));
        let holds = Arc::new(Holds::default());
        let intake_options = IntakeOptions {
            window_ms: millis(udp.window),
            future_ms: millis(udp.future),
            max_payload: push.max_payload,
            remembers_from_ms,
        };
        let intake = Arc::new(Intake::new(
            Arc::clone(&hub),
            keyring,
            Arc::clone(&remembered),
            Arc::clone(&jobs),
            Arc::clone(&holds),
            intake_options,
        ));
        let shared = Arc::new(Clients {
            hub: Arc::clone(&hub),
            holds,
            handshake_timeout: clients.handshake_timeout,
            heartbeat_s: u16::try_from(clients.heartbeat.as_secs()).unwrap_or(u16::MAX),
            max_hello: clients.max_hello,
            max_frame: clients.max_frame,
            proxy_log: Throttle::new(PROXY_LOG_PERIOD, hub.metrics()),
            turns: Semaphore::new((workers / 2).max(1)),
            draining: AtomicBool::new(false),
            leaving: CancellationToken::new(),
        });
        let most = max_connections(clients.max_connections, socket::raise_descriptor_limit());
        let bounds = (most, clients.max_per_address, clients.accept_rate);
        let doors = Arc::new(Doors::new(bounds, Arc::clone(&shared), ledger.clone()));
        Self {
            hub,
            clients: shared,
            doors,
            intake,
            jobs,
            remembered,
        }
    }

    fn live(&self, kernel_drops: u64) -> Live {
        let metrics = self.hub.metrics();
        metrics
            .jobs
            .set(i64::try_from(self.jobs.len()).unwrap_or(i64::MAX));
        let remembered = i64::try_from(self.remembered.len()).unwrap_or(i64::MAX);
        metrics.remembered_requests.set(remembered);
        let (log_messages, log_bytes) = self.hub.held();
        Live {
            sessions: self.hub.sessions() as u64,
            connections: self.doors.connections() as u64,
            deliveries_waiting: self.hub.deliveries_waiting(),
            log_messages,
            log_bytes,
            sessions_behind: self.hub.sessions_behind() as u64,
            lanes: self.hub.lanes() as u64,
            kernel_drops,
        }
    }
}

fn bound<T>(result: std::io::Result<T>, address: SocketAddr, key: &str) -> anyhow::Result<T> {
    result.with_context(|| {
        format!(
            "cannot bind {address} ({key}): is another process there? stop it, or configure \
             another address"
        )
    })
}

fn admin_state(
    settings: &Settings,
    parts: &Parts,
    ledger: &Ledger,
    phase: &PhaseCell,
    udp: &Arc<UdpDoor>,
    drops: KernelDrops,
) -> AdminState {
    let (shown, doors, udp) = (parts.clone(), Arc::clone(&parts.doors), Arc::clone(udp));
    AdminState {
        metrics: Arc::clone(parts.hub.metrics()),
        ledger: ledger.clone(),
        live: Arc::new(move || shown.live(drops.count())),
        phase: phase.clone(),
        health: Arc::new(move || {
            for (name, idle) in [("accept", doors.idle_for()), ("datagram", udp.idle_for())] {
                if idle > STUCK_AFTER {
                    return Err(format!("the {name} loop has not turned for {idle:?}"));
                }
            }
            Ok(())
        }),
        token: settings
            .admin
            .token
            .as_ref()
            .map(|token| Token::new(token.expose())),
        hosts: settings
            .admin
            .hosts
            .iter()
            .map(|host| host.to_lowercase())
            .collect(),
        address: settings.admin.listen,
    }
}

async fn report(task: impl Future<Output = std::io::Result<()>>, name: &str) {
    if let Err(error) = task.await {
        tracing::error!(target: "pushgate", %error, "the {name} ended");
    }
}

/// What time alone brings about, once a second.
async fn heartbeat(parts: Parts, stop: CancellationToken) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sweep, hub) = (Sweep::default(), &parts.hub);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let mut cx = Pump::new(monotonic());
        while !sweep.step(hub, SWEEP_STEP, &mut cx) {
            tokio::task::yield_now().await;
        }
        cx.merge(hub.metrics());
        parts.remembered.sweep(hub.tick(cx.now));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The process: its doors bound, served, and closed in order.

pub mod logging;
pub mod settings;

mod admin;
mod doors;
mod drain;
mod heartbeat;
mod history;
mod inspect;
mod leaks;
mod live;
mod options;
mod overload;
mod reload;
pub mod systemd;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::{Clock, Watch, monotonic};
use crate::hub::Hub;
use crate::hub::freshness::Freshness;
use crate::hub::holds::Holds;
use crate::hub::intake::{Intake, IntakeOptions};
use crate::hub::job::Jobs;
use crate::hub::remembered::Remembered;
use crate::ledger::{Kind, Leaks, Ledger};
use crate::metrics::Metrics;
use crate::redaction::Redaction;
use crate::store::Store;
use crate::throttle::Throttle;
use crate::transport;
use crate::transport::admin::access::Gate;
use crate::transport::admin::reload::{Asked, Reloads};
use crate::transport::closed::ClosedRing;
use crate::transport::connection::Clients;
use crate::transport::door::Door;
use crate::transport::kernel::{self, Kernel};
use crate::transport::listener::{Doors, Listening};
use crate::transport::mqtt::Sessions;
use crate::transport::phase::{Phase, PhaseCell};
use crate::transport::strangers::Strangers;
use crate::transport::udp::UdpDoor;
pub use doors::Addresses;
use logging::Log;
use reload::{Reloader, Source};
use settings::Settings;
use systemd::{Notify, Places, Sockets, Supervision};

/// One log line on connections without a PROXY header in this time.
const PROXY_LOG_PERIOD: Duration = Duration::from_secs(10);

/// A gateway whose doors are bound.
pub struct Gateway {
    /// What runs: those of the start, with what reloads have changed.
    settings: Arc<ArcSwap<Settings>>,
    addresses: Addresses,
    ledger: Ledger,
    clock: Clock,
    phase: PhaseCell,
    parts: Parts,
    store: Option<Store>,
    listeners: Vec<Listening>,
    admin: transport::admin::Listening,
    /// Where doors stand that were passed.
    places: Places,
    notify: Arc<Notify>,
    source: Source,
    reloads: (Reloads, Asked),
    /// Unix milliseconds from which on requests are not stale.
    remembers_from_ms: u64,
}

/// What the tasks of a gateway share.
#[derive(Clone)]
struct Parts {
    hub: Arc<Hub>,
    clients: Arc<Clients>,
    doors: Arc<Doors>,
    /// What stands before HELLO at each listener, in their order.
    entrances: Arc<[Arc<Door>]>,
    intake: Arc<Intake>,
    jobs: Arc<Jobs>,
    remembered: Arc<Remembered>,
    udp: Arc<UdpDoor>,
    gate: Arc<ArcSwap<Gate>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was accepted before it was handed to the clients.
    Full,
    /// The grace was over before that, or clients did not take their CLOSE.
    CutShort,
}

impl Gateway {
    /// Binds every door. Nothing is served before [`run`](Self::run), but the kernel queues what
    /// comes.
    ///
    /// # Errors
    /// A door that cannot be bound, with its address and the key that names it.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        Self::bind_or_adopt(settings, Sockets::default()).await
    }

    /// The same where some of the doors are bound already, by the service manager: the settings
    /// have their addresses.
    ///
    /// # Errors
    /// As above, and a socket that was passed and cannot be set up.
    pub async fn bind_or_adopt(settings: Settings, sockets: Sockets) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(&metrics);
        let clock = Clock::system();
        let open = doors::open(&settings, sockets)?;
        let remembers_from_ms = clock.now_ms() + millis(settings.udp.future);
        let own = (metrics, &ledger, &clock);
        let parts = Parts::new(&settings, own, open.udp, remembers_from_ms)?;
        let store = history::open(&settings.history, &parts.hub, &clock)?;
        Ok(Self {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            addresses: open.addresses,
            ledger,
            clock,
            phase: PhaseCell::starting(),
            parts,
            store,
            listeners: open.listeners,
            admin: open.admin,
            places: open.places,
            notify: Arc::default(),
            source: Source::default(),
            reloads: Reloads::channel(),
            remembers_from_ms,
        })
    }

    /// Lets it be reloaded from the file that its settings came from; `log` is the process's log,
    /// which it writes while it runs. Without this a reload is refused.
    #[must_use]
    pub fn reloading(mut self, file: Option<&Path>, log: Log) -> Self {
        self.source.file = file.map(Path::to_owned);
        self.source.log = Some(log);
        self
    }

    /// Lets the service manager know how it is.
    #[must_use]
    pub fn notifying(mut self, notify: Notify) -> Self {
        self.notify = Arc::new(notify);
        self
    }

    /// Where a reload can be asked for while it runs.
    pub const fn reloads(&self) -> &Reloads {
        &self.reloads.0
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
        self.parts.entrances.iter()
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
        let udp = &self.parts.udp;
        let sockets: Vec<_> = self.listeners.iter().map(|of| &of.socket).collect();
        let kernel = Kernel::of(udp.socket(), &sockets).context("the sockets")?;
        let stop = self.ledger.stop_token().clone();
        let ledger = &self.ledger;
        let settings = self.settings.load_full();
        let own = (ledger, &self.clock);
        let keeper = self
            .store
            .map(|store| history::serve(store, &settings.history, &self.parts, own));
        for (listener, entrance) in self.listeners.into_iter().zip(&*self.parts.entrances) {
            let address = listener.socket.local_addr().context("a listener")?;
            let (door, protocol) = (entrance.name(), entrance.protocol());
            info!(target: "pushgate", door, %protocol, %address, "listening");
            let doors = Arc::clone(&self.parts.doors);
            let serve = doors.serve(listener, Arc::clone(entrance), stop.clone());
            ledger.spawn(Kind::Listener, serve);
        }
        let receiving = udp.receiving().context("the loop of the datagrams")?;
        let (main, ended) = (Handle::current(), stop.clone());
        ledger.spawn_blocking(Kind::Udp, move || receiving.serve(&main, ended));
        let (reloads, asked) = self.reloads;
        let log = self.source.log.clone();
        if let Some(log) = log.clone() {
            ledger.spawn_blocking(Kind::Log, move || log.write());
        }
        let (parts, clock) = (self.parts.clone(), self.clock.clone());
        let watch = watch::watch(parts, clock, log.clone(), stop.clone());
        ledger.spawn(Kind::Log, watch);
        let of_this = (self.clock.clone(), self.phase.clone(), ledger.clone());
        let source = Source {
            places: self.places,
            notify: Arc::clone(&self.notify),
            ..self.source
        };
        let reloader = Reloader::new(source, &self.settings, self.parts.clone(), of_this);
        ledger.spawn(Kind::Signal, reloader.serve(asked, stop.clone()));
        let address = self.addresses.admin;
        let leaks = Leaks::default();
        let tasks = leaks::Tasks::new(self.parts.clone(), ledger.clone(), leaks.clone());
        let door = (reloads, leaks, log.clone());
        let state = admin::state(&self.parts, ledger, &self.phase, kernel, door, address);
        // The admin door outlives the others: a drain is watched through it.
        let serve = transport::admin::serve(self.admin, state.clone(), stop.clone());
        ledger.spawn(Kind::Admin, serve);
        let supervision = Supervision::from_env(Arc::clone(&self.notify));
        let told = (state, supervision);
        let watches = (Watch::new(self.clock.clone()), tasks);
        let (doors, metrics) = (Arc::clone(&self.parts.doors), self.parts.hub.metrics());
        let overload = overload::watch(doors, Arc::clone(metrics), stop.clone());
        ledger.spawn(Kind::Heartbeat, overload);
        let heartbeat = heartbeat::heartbeat(self.parts.clone(), told, watches, stop);
        ledger.spawn(Kind::Heartbeat, heartbeat);
        let addresses = self.addresses;
        let early = self.remembers_from_ms.saturating_sub(self.clock.now_ms());
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            // Until then a request cannot be told from one that an earlier process carried out.
            () = sleep(Duration::from_millis(early)) => {
                self.phase.advance(Phase::Ready);
                addresses.log_ready();
                let Addresses { clients, udp, .. } = addresses;
                self.notify.ready(&format!("serves: clients {clients}, services {udp}"));
                shutdown.await;
            }
        }
        self.phase.advance(Phase::Draining);
        let settings = self.settings.load_full();
        let drained = drain::drain(&self.parts, &settings, &self.notify).await;
        if let Some(keeper) = keeper {
            history::close(keeper).await;
        }
        // What is logged from here on is written at the end of the process.
        if let Some(log) = &log {
            log.release();
        }
        drain::stop(&self.ledger).await;
        Ok(drained)
    }
}

impl Parts {
    fn new(
        settings: &Settings,
        (metrics, ledger, clock): (Arc<Metrics>, &Ledger, &Clock),
        udp_socket: std::net::UdpSocket,
        remembers_from_ms: u64,
    ) -> std::io::Result<Self> {
        let Settings { udp, push, .. } = settings;
        let options = options::hub(settings, push.max_payload);
        let epoch = rand::random_range(1..=u64::MAX);
        let hub = Arc::new(Hub::new(options, metrics, epoch, monotonic()));
        let keyring = options::keyring(settings);
        let lifetime = options::lifetime(settings);
        let remembered = Remembered::new(udp.max_remembered, keyring.ids(), lifetime);
        let remembered = Arc::new(remembered);
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = Arc::new(Jobs::new(push.max_jobs, workers));
        let holds = Arc::new(Holds::default());
        let intake_options = IntakeOptions {
            freshness: Freshness::new(millis(udp.window), millis(udp.future), remembers_from_ms),
            max_payload: push.max_payload,
            max_ttl: settings.history.max_ttl,
            max_spread: push.max_spread,
        };
        let intake = Arc::new(Intake::new(
            Arc::clone(&hub),
            keyring,
            Arc::clone(&remembered),
            Arc::clone(&jobs),
            Arc::clone(&holds),
            intake_options,
        ));
        let bounds = options::door_bounds(settings);
        let backlog = kernel::note_backlog();
        hub.metrics().accept_backlog.set(i64::from(backlog));
        let shared = Arc::new(Clients {
            hub: Arc::clone(&hub),
            holds,
            strangers: Strangers::new(bounds.max_connections, hub.metrics()),
            sessions: Sessions::default(),
            auth: ArcSwap::from_pointee(options::auth(settings)),
            clock: clock.clone(),
            closed: ClosedRing::default(),
            limits: ArcSwap::from_pointee(options::client_limits(settings)),
            storms: Arc::default(),
            names: Redaction::new(settings.log.users),
            proxy_log: Throttle::new(PROXY_LOG_PERIOD, hub.metrics()),
            turns: Semaphore::new((workers / 2).max(1)),
            draining: AtomicBool::new(false),
            leaving: CancellationToken::new(),
        });
        let doors = Arc::new(Doors::new(bounds, Arc::clone(&shared), ledger.clone()));
        let udp = UdpDoor::new(
            udp_socket,
            Arc::clone(&hub),
            Arc::clone(&intake),
            ledger.clone(),
            clock.clone(),
            Arc::clone(&shared.storms),
            push.deadline,
        )?;
        Ok(Self {
            hub,
            clients: shared,
            doors,
            entrances: settings.listeners.iter().map(options::entrance).collect(),
            intake,
            jobs,
            remembered,
            udp: Arc::new(udp),
            gate: Arc::new(ArcSwap::from_pointee(options::gate(settings))),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

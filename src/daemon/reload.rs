//! A reload: the file is read and checked as a whole, compared with what runs, and what can change
//! without a restart changes. A file with a problem changes nothing.
//!
//! What runs is one [`Settings`], kept beside the parts: a key that needs a restart keeps its value
//! there, so that every reload until the restart names it again. What a file brings is checked once
//! more together with these: a file that moves a door to loopback and drops what strangers needed
//! there would open the door that still stands where it was.
//!
//! Each part takes its new values in one step, for its next request, client or message: nothing
//! that is under way sees half of them. Nobody who is connected is cut.

mod changes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::logging::Log;
use super::settings::{Problems, Settings, Unsigned};
use super::systemd::{Notify, Places};
use super::{Parts, millis, options};
use crate::clock::Clock;
use crate::hub::intake::IntakeOptions;
use crate::ledger::{Kind, Ledger};
use crate::metrics::ReloadResult;
use crate::throttle::Throttle;
use crate::transport::admin::reload::{Asked, Cause, Report};
use crate::transport::door::Door;
use crate::transport::phase::{Phase, PhaseCell};
use changes::Changes;

/// A few small files are read in milliseconds; a disk that hangs, or a pipe in place of a file,
/// must not hold up whoever asks next.
const READ_MAX: Duration = Duration::from_secs(5);
/// One log line of a result in this time.
const LOG_PERIOD: Duration = Duration::from_secs(1);
/// Problems that are told of one file; a person mends the first few and asks again.
const PROBLEMS_MAX: usize = 50;

/// Where the settings came from, and what of the process they change.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) file: Option<PathBuf>,
    pub(super) log: Option<Log>,
    /// Doors that stand elsewhere, whatever the file says.
    pub(super) places: Places,
    pub(super) notify: Arc<Notify>,
}

/// Carries reloads out, one at a time.
pub(super) struct Reloader {
    source: Source,
    running: Arc<ArcSwap<Settings>>,
    parts: Parts,
    clock: Clock,
    phase: PhaseCell,
    ledger: Ledger,
    /// The largest payload that clients were told of.
    max_payload: usize,
    /// A read that took too long. Until it has ended there is no other: one thread hangs, not many.
    hanging: Option<JoinHandle<Result<Settings, Problems>>>,
    /// By result.
    lines: [Throttle; ReloadResult::ALL.len()],
}

impl Reloader {
    pub(super) fn new(
        source: Source,
        running: &Arc<ArcSwap<Settings>>,
        parts: Parts,
        (clock, phase, ledger): (Clock, PhaseCell, Ledger),
    ) -> Self {
        let line = |_| Throttle::new(LOG_PERIOD, parts.hub.metrics());
        let (lines, max_payload) = (ReloadResult::ALL.map(line), running.load().push.max_payload);
        Self {
            source,
            running: Arc::clone(running),
            parts,
            clock,
            phase,
            ledger,
            max_payload,
            hanging: None,
            lines,
        }
    }

    /// Serves those who ask, until `stop`.
    pub(super) async fn serve(mut self, mut asked: Asked, stop: CancellationToken) {
        loop {
            let round = async {
                let waiting = asked.next().await?;
                self.source.notify.reloading();
                let report = Arc::new(self.reload().await);
                self.source.notify.reloaded(match report.result {
                    ReloadResult::Refused => "serves; a reload was refused, see the log",
                    ReloadResult::Applied | ReloadResult::Unchanged => "serves",
                });
                self.tell(&report);
                for answer in waiting {
                    // Who gave up has dropped its end.
                    let _ = answer.send(Arc::clone(&report));
                }
                Some(())
            };
            tokio::select! {
                () = stop.cancelled() => return,
                round = round => if round.is_none() { return },
            }
        }
    }

    async fn reload(&mut self) -> Report {
        let refused = |cause, why: &str| Report::refused(cause, vec![why.to_owned()]);
        let Some(file) = self.source.file.clone() else {
            let why = "there is no file to read: the gateway was started without --config";
            return refused(Cause::NoFile, why);
        };
        if self.phase.now() == Phase::Draining {
            return refused(Cause::Unavailable, "the gateway is draining");
        }
        let Some(settings) = self.read(&file).await else {
            let why = format!("{} cannot be read: it takes too long", file.display());
            return refused(Cause::Unavailable, &why);
        };
        let settings = settings.and_then(|mut settings| {
            self.source.places.apply(&mut settings, &file)?;
            Ok(settings)
        });
        match settings {
            Ok(settings) => self.change(&settings, &file),
            Err(problems) => bad(&problems),
        }
    }

    /// Reads and checks the file beside the runtime's threads; `None` where that hangs.
    async fn read(&mut self, file: &Path) -> Option<Result<Settings, Problems>> {
        if self
            .hanging
            .as_ref()
            .is_some_and(|read| !read.is_finished())
        {
            return None;
        }
        let file = file.to_owned();
        let read = move || Settings::load(&file);
        let mut reading = self.ledger.spawn_blocking(Kind::Signal, read);
        match timeout(READ_MAX, &mut reading).await {
            Ok(read) => read.ok(),
            Err(_) => {
                self.hanging = Some(reading);
                None
            }
        }
    }

    fn change(&self, file: &Settings, path: &Path) -> Report {
        let running = self.running.load_full();
        let mut changes = Changes::between(&running, file, self.max_payload);
        self.forget_what_was_asked(&mut changes);
        if !changes.needs_restart.is_empty()
            && let Err(mut problems) = changes.settings.check(path)
        {
            for problem in &mut problems.list {
                let kept = changes.needs_restart.join(", ");
                problem.what += &format!(" (until a restart {kept} stays as it was)");
            }
            return bad(&problems);
        }
        let mut warnings: Vec<_> = file.warnings.iter().map(ToString::to_string).collect();
        if silences_unsigned(&running, &changes.settings) {
            let why = "udp.unsigned: unsigned datagrams, carried out until now, are not heard any \
                       more: with a key configured the default is \"never\"";
            warnings.push(why.to_owned());
        }
        if !changes.applied.is_empty() {
            self.apply(&running, &changes.settings, &mut warnings);
            self.running.store(Arc::new(changes.settings));
        }
        let result = match changes.applied.is_empty() {
            true => ReloadResult::Unchanged,
            false => ReloadResult::Applied,
        };
        Report {
            result,
            applied: changes.applied,
            needs_restart: changes.needs_restart,
            warnings,
            problems: Vec::new(),
            cause: None,
        }
    }

    /// Hands the new settings to every part. Nothing here can fail half-way: what could be wrong
    /// was found before.
    fn apply(&self, running: &Settings, new: &Settings, warnings: &mut Vec<String>) {
        let Parts {
            hub,
            clients,
            doors,
            entrances,
            intake,
            jobs,
            remembered,
            udp,
            gate,
        } = &self.parts;
        hub.set_options(&options::hub(new, self.max_payload));
        clients.set_limits(options::client_limits(new));
        if new.auth != running.auth {
            clients.set_auth(options::auth(new));
        }
        if new.clients != running.clients {
            doors.set_bounds(options::door_bounds(new));
        }
        for listener in &new.listeners {
            let is_its = |entrance: &&Arc<Door>| entrance.name() == listener.name;
            let Some(entrance) = entrances.iter().find(is_its) else {
                continue;
            };
            if let Some(tls) = &listener.tls {
                entrance.set_tls(tls.config());
            }
            entrance.set_origins(listener.origins.clone());
            if let Some(trusted) = &listener.trusted {
                entrance.set_trusted(trusted.clone());
            }
        }
        jobs.set_max(new.push.max_jobs);
        udp.set_deadline(new.push.deadline);
        // Whichever rule a datagram meets meanwhile, its id is remembered for long enough.
        let (old_life, life) = (options::lifetime(running), options::lifetime(new));
        remembered.set_bounds(new.udp.max_remembered, life.max(old_life));
        let was = intake.options();
        let (window, future) = (millis(new.udp.window), millis(new.udp.future));
        let freshness = match (new.udp.window, new.udp.future) {
            same if same == (running.udp.window, running.udp.future) => was.freshness,
            _ => was.freshness.changed(window, future, self.clock.now_ms()),
        };
        intake.set_options(IntakeOptions {
            freshness,
            max_payload: new.push.max_payload,
            max_ttl: new.history.max_ttl,
            max_spread: new.push.max_spread,
        });
        remembered.set_bounds(new.udp.max_remembered, life);
        intake.set_keyring(options::keyring(new));
        gate.store(Arc::new(options::gate(new)));
        clients.names.set(new.log.users);
        let Some(level) = self.source.log.as_ref().map(Log::level) else {
            return;
        };
        if new.log.level != running.log.level || level.is_asked() {
            if level.is_overruled() {
                warnings.push("log.level: RUST_LOG is set, and decides".to_owned());
            }
            if let Err(error) = level.configure(new.log.level) {
                warnings.push(format!("log.level: {error:#}"));
            }
        }
    }

    /// A level that somebody asked for at the admin door ends with a reload, also where the file
    /// is the one that runs.
    fn forget_what_was_asked(&self, changes: &mut Changes) {
        let key = "log.level";
        let is_asked = |log: &Log| log.level().is_asked();
        if self.source.log.as_ref().is_some_and(is_asked)
            && !changes.applied.iter().any(|applied| applied == key)
        {
            changes.applied.push(key.to_owned());
        }
    }

    /// Counts a reload, and tells the log, which holds no secret: keys by their path and id alone.
    fn tell(&self, report: &Report) {
        self.parts.hub.metrics().reload(report.result);
        let throttle = &self.lines[report.result as usize];
        let Some(suppressed) = throttle.admit(Instant::now()) else {
            return;
        };
        let Report {
            applied,
            needs_restart,
            ..
        } = report;
        let (applied, needs_restart) = (applied.join(", "), needs_restart.join(", "));
        let (warnings, problems) = (report.warnings.join("\n"), report.problems.join("\n"));
        let done = match report.result {
            ReloadResult::Unchanged => "configuration read again: unchanged",
            _ => "reloaded",
        };
        match report.result {
            ReloadResult::Refused => {
                let what = "reload refused: nothing was changed";
                warn!(target: "pushgate", problems, suppressed, "{what}");
            }
            _ if !warnings.is_empty() => {
                warn!(target: "pushgate", applied, needs_restart, warnings, suppressed, "{done}");
            }
            _ => info!(target: "pushgate", applied, needs_restart, suppressed, "{done}"),
        }
    }
}

/// Whether unsigned datagrams end because the first key came, and not because somebody said so.
fn silences_unsigned(running: &Settings, new: &Settings) -> bool {
    let of = |settings: &Settings| (settings.udp.unsigned, settings.keys.is_empty());
    of(running) == (Unsigned::Loopback, true) && of(new) == (Unsigned::Never, false)
}

fn bad(problems: &Problems) -> Report {
    let mut texts: Vec<_> = problems.texts().take(PROBLEMS_MAX).collect();
    let left = problems.list.len() - texts.len();
    if left > 0 {
        texts.push(format!("and {left} more"));
    }
    Report::refused(Cause::File, texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Gateway;
    use crate::transport::admin::reload::Reloads;

    /// A gateway inside this process, on free ports, reloaded from this file.
    async fn gateway(file: Option<PathBuf>) -> (Gateway, Reloads) {
        let mut settings = Settings::default();
        settings.listeners[0].address.set_port(0);
        settings.udp.listen.set_port(0);
        settings.admin.listen.set_port(0);
        settings.drain.linger = Duration::ZERO;
        let mut gateway = Gateway::bind(settings).await.unwrap();
        gateway.source.file = file;
        let reloads = gateway.reloads().clone();
        (gateway, reloads)
    }

    async fn reloaded(file: Option<PathBuf>) -> Arc<Report> {
        let (gateway, reloads) = gateway(file).await;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = Box::pin(gateway.run(async { drop(stopped.await) }));
        let asked = async {
            let report = reloads.ask().await;
            drop(stop);
            report
        };
        let (ended, report) = tokio::join!(run, asked);
        ended.unwrap();
        report
    }

    #[tokio::test]
    async fn without_a_file_a_reload_says_so() {
        let report = reloaded(None).await;
        assert_eq!(report.cause, Some(Cause::NoFile));
        assert!(
            report.problems[0].contains("without --config"),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn a_file_without_an_end_is_given_up() {
        // It is read up to its bound, and no further.
        let report = reloaded(Some("/dev/zero".into())).await;
        assert_eq!(report.cause, Some(Cause::File));
        assert!(
            report.problems[0].contains("more than 1048576 bytes"),
            "{report:?}"
        );
    }
}

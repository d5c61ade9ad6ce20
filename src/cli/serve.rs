//! `pushgate serve`: the daemon.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{Level, enabled, error, info};

use super::check::load;
use super::exit::{CommandResult, Exit, Failure};
use super::signals::{Signals, hangups};
use crate::daemon::logging::Log;
use crate::daemon::settings::Settings;
use crate::daemon::systemd::{Notify, Passed, Sockets};
use crate::daemon::{Drained, Gateway, logging};
use crate::ledger::Kind;
use crate::transport::admin::reload::Reloads;
use crate::version;

/// Run the gateway until SIGTERM or SIGINT
///
/// The first signal drains: senders are told DRAINING, clients get what they have ahead of them and
/// are told when to come back. A second signal stops at once. SIGHUP reads the configuration again:
/// a file with a problem changes nothing, and the log says why. The log goes to standard error; the
/// line "ready" names the addresses.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pushgate serve
  pushgate serve --config /etc/pushgate/pushgate.toml

Exit codes: 0 drained, 1 failed or cut short, 2 usage, 64 the configuration has problems.")]
pub(super) struct Serve {
    /// The configuration file [default: none, every key has its default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> CommandResult {
        // Before other descriptors are opened.
        let passed = Passed::take()?;
        let mut settings = load(self.config.as_deref())?;
        let sockets = passed.sort(&mut settings, self.config.as_deref());
        let sockets = sockets.map_err(Failure::configuration)?;
        // Dropped at the end, behind everything that logs.
        let (log, _flush) = logging::start(&settings.log)?;
        info!(
            target: "pushgate",
            version = version::VERSION,
            commit = version::COMMIT,
            date = version::DATE,
            rustc = version::RUSTC,
            build_target = version::TARGET,
            profile = version::PROFILE,
            pid = std::process::id(),
            config = self.config.as_deref().map_or("none".into(), Path::to_string_lossy).as_ref(),
            "starting"
        );
        for warning in &settings.warnings {
            tracing::warn!(target: "pushgate", line = warning.line, "{warning}");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("cannot start the runtime")?;
        let exit = runtime.block_on(serve(settings, sockets, self.config.as_deref(), log));
        // After a full drain nothing is left; when it was cut short nobody waits for the rest.
        runtime.shutdown_background();
        match exit {
            // In the log, and not beside it: it has one format, and its reader may have stalled.
            Err(Failure::Failed { exit, error }) if enabled!(Level::ERROR) => {
                error!(target: "pushgate", "{error:#}");
                Ok(exit)
            }
            exit => exit,
        }
    }
}

async fn serve(
    settings: Settings,
    sockets: Sockets,
    config: Option<&Path>,
    log: Log,
) -> CommandResult {
    // Before the doors open, so that no signal meets a gateway that does not know it.
    let (mut signals, hangups) = (Signals::listen()?, hangups()?);
    let gateway = Gateway::bind_or_adopt(settings, sockets).await?;
    let notify = Notify::from_env();
    let gateway = gateway.reloading(config, log).notifying(notify);
    let ledger = gateway.ledger();
    let reload = reload_at(
        hangups,
        gateway.reloads().clone(),
        ledger.stop_token().clone(),
    );
    ledger.spawn(Kind::Signal, reload);
    let (drain, drained) = oneshot::channel();
    let run = Box::pin(gateway.run(async {
        // The sender lives as long as this future is polled.
        let _ = drained.await;
    }));
    let cut_short = async {
        signals.next().await;
        let _ = drain.send(());
        signals.next().await;
    };
    tokio::select! {
        ended = run => {
            match ended? {
                Drained::Full => Ok(Exit::Ok),
                Drained::CutShort => Ok(Exit::Failed),
            }
        }
        () = cut_short => {
            tracing::warn!(target: "pushgate", "a second signal: the drain was cut short");
            Ok(Exit::Failed)
        }
    }
}

/// Asks for a reload at each SIGHUP. Signals that come while one is asked for are one.
async fn reload_at(mut hangups: Signal, reloads: Reloads, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            hangup = hangups.recv() => match hangup {
                Some(()) => reloads.poke(),
                None => return,
            },
        }
    }
}

//! The history on disk: opened before the first client, and closed after the last push.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Parts;
use super::settings::History;
use crate::clock::{Clock, monotonic};
use crate::hub::Hub;
use crate::hub::keeper::Keeper;
use crate::ledger::{Kind, Ledger};
use crate::store::{Opened, Options, Start, Store};

/// What the disk has to take what is left; after it the next start finds the store as after a kill.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Opens the store, if there is to be one, and puts what it holds into the hub.
///
/// # Errors
/// The directory cannot be used, or another process has it.
pub(super) fn open(settings: &History, hub: &Hub, clock: &Clock) -> anyhow::Result<Option<Store>> {
    let Some(path) = &settings.path else {
        return Ok(None);
    };
    let (now, now_ms) = (monotonic(), clock.now_ms());
    let options = Options {
        ttl_max_ms: super::millis(settings.max_ttl),
        ..Options::default()
    };
    let opened = Store::open(path, options, now_ms, |record| {
        hub.restore(&record, now, now_ms);
    });
    let opened = opened.with_context(|| format!("history.path = {}", path.display()))?;
    let Opened {
        store,
        epoch,
        next_number,
        floor,
        start,
        counts,
    } = opened;
    hub.set_epoch(epoch);
    hub.begin_history(next_number, floor, now, now_ms);
    let (messages, _) = hub.kept();
    let took = now.elapsed();
    match start {
        Start::New | Start::Clean => {
            info!(target: "pushgate", messages, ?start, ?took, "the history is open");
        }
        Start::Unclean => {
            info!(target: "pushgate", messages, cut_bytes = counts.cut_bytes, ?took,
                "the history was not closed, and is whole");
        }
        Start::Lost => {
            warn!(target: "pushgate", messages, damaged = counts.damaged, ?took,
                "the history may have lost messages: a new epoch, and clients fetch their state");
        }
    }
    Ok(Some(store))
}

/// Starts the thread that writes to it.
pub(super) fn serve(
    store: Store,
    settings: &History,
    parts: &Parts,
    (ledger, clock): (&Ledger, &Clock),
) -> (Arc<Keeper>, JoinHandle<()>) {
    let of_this = (Arc::clone(&parts.hub), ledger.clone(), clock.clone());
    let (keeper, work) = Keeper::new(store, settings.sync, of_this);
    parts.intake.set_keeper(Arc::clone(&keeper));
    (keeper, ledger.spawn_blocking(Kind::Store, work))
}

/// Has everything written that was accepted, and the store closed.
pub(super) async fn close((keeper, thread): (Arc<Keeper>, JoinHandle<()>)) {
    keeper.stop();
    if timeout(CLOSE_MAX, thread).await.is_err() {
        warn!(target: "pushgate", "the disk did not take the history in time");
    }
}

//! How a connection ends: detached, counted under its reason, noted among the last ones, and a line
//! of the log at debug, on every path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Level, debug, enabled};

use super::closed::{Closed, Peer, Who};
use super::connection::Clients;
use super::link::Link;
use super::listener::ConnectionPermit;
use super::source::Source;
use crate::clock::monotonic;
use crate::hub::Closing;
use crate::hub::session::Session;
use crate::wire::reason::{CloseCode, CloseReason};

/// What is to be done when a connection ends: dropping it is the end, also where it is dropped
/// unheard, as at a panic. A session holds it for days, so it is packed: see its test.
pub(super) struct Ending<P: Place> {
    /// Given back behind the count of what ended.
    pub(super) place: P,
    /// Who is to be detached before that.
    pub(super) attached: Option<Attached>,
    /// When it came, in tenths of a second of the hub's age: in four bytes, 13 years of them.
    opened: u32,
    peer: Peer,
    /// There is a line of the log on it.
    is_told: AtomicBool,
    /// Why it ends, once that is known.
    pub(super) reason: Option<CloseReason>,
}

/// A session, and whose it is: once it is detached, it does not know that any more.
pub(super) struct Attached {
    pub(super) session: Arc<Session<Link>>,
    pub(super) user: Arc<str>,
}

/// What a connection has while it is there.
pub(super) trait Place {
    /// Whose it is one of.
    fn clients(&self) -> &Clients;
}

impl Place for ConnectionPermit {
    fn clients(&self) -> &Clients {
        Self::clients(self)
    }
}

/// That of one who is turned away at the door.
impl Place for Arc<Clients> {
    fn clients(&self) -> &Clients {
        self
    }
}

impl<P: Place> Ending<P> {
    /// A connection that comes now.
    pub(super) fn new(place: P, peer: SocketAddr) -> Self {
        let opened = tenths(place.clients());
        Self {
            place,
            attached: None,
            opened,
            peer: peer.into(),
            is_told: AtomicBool::new(false),
            reason: None,
        }
    }

    /// The connection comes from elsewhere: a load balancer has said so.
    pub(super) fn comes_from(&mut self, peer: SocketAddr) {
        self.peer = peer.into();
    }

    /// Leaves a line in the log, once its reason is known and before its client notices that it
    /// has ended.
    pub(super) fn tell(&self) {
        let Some(reason) = self.reason else { return };
        if self.is_told.swap(true, Ordering::Relaxed) || !enabled!(Level::DEBUG) {
            return;
        }
        let peer = self.peer.address();
        let Some(Attached { session, user }) = &self.attached else {
            debug!(%peer, reason = reason.word(), "ended without a session");
            return;
        };
        let (clients, now) = (self.place.clients(), monotonic());
        let ahead = session.ahead_at_end();
        let oldest = ahead.oldest.unwrap_or(now);
        let oldest_ms = now.saturating_duration_since(oldest).as_millis();
        debug!(
            session = session.id(),
            user = &*clients.names.show(user),
            device = &*clients.names.show(session.device()),
            %peer,
            reason = reason.word(),
            age_ms = u64::from(tenths(clients).saturating_sub(self.opened)) * 100,
            behind = ahead.messages,
            behind_bytes = ahead.bytes,
            behind_ms = u64::try_from(oldest_ms).unwrap_or(u64::MAX),
            "session ended"
        );
    }

    /// Why it ends.
    pub(super) fn because(mut self, reason: CloseReason) -> Self {
        self.reason = Some(reason);
        self
    }
}

impl<P: Place> Drop for Ending<P> {
    fn drop(&mut self) {
        // At shutdown a task may be dropped where it waits; then the process draining is the cause.
        let cut = match std::thread::panicking() {
            true => CloseReason::Panic,
            false => CloseReason::Code(CloseCode::Draining),
        };
        let reason = *self.reason.get_or_insert(cut);
        self.tell();
        let clients = self.place.clients();
        // Its socket is closed here, unless somebody looks at it at this very moment.
        let who = self.attached.take().map(|Attached { session, user }| {
            let silent = Closing::silent(CloseReason::Panic);
            clients.hub.close(&*session, silent);
            if let Link::Mqtt(mqtt) = session.sink() {
                mqtt.ended(clients, (&user, session.device()), session.id());
            }
            Who {
                session: session.id(),
                user,
                device: session.device().into(),
            }
        });
        clients.hub.metrics().connection_closed(reason);
        clients.storms.note(Source::of(self.peer.address().ip()), 1);
        clients.closed.note(Closed {
            at_ms: clients.clock.now_ms(),
            age_ds: tenths(clients).saturating_sub(self.opened),
            reason,
            peer: self.peer,
            who,
        });
    }
}

fn tenths(clients: &Clients) -> u32 {
    let age = clients.hub.age(monotonic());
    u32::try_from(age.as_millis() / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_holds_few_bytes_for_its_end() {
        let bytes = size_of::<Ending<ConnectionPermit>>();
        assert!(bytes <= 64, "the end of a connection takes {bytes} bytes");
    }
}

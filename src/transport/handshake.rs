//! The first exchange: HELLO, who is it, may it, and into the registry.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::connection::Clients;
use super::door::Door;
use super::ending::{Attached, Ending};
use super::link::{FAREWELL, Link, end_of, farewell, turn_away, turn_away_at_once};
use super::listener::ConnectionPermit;
use super::mqtt;
use super::opening::{Opened, Opening};
use super::proxy::{self, Fault};
use super::renewal::refusal;
use super::source::Source;
use super::strangers::{Cut, Stranger};
use super::tls::Tls;
use crate::clock::monotonic;
use crate::hub::grant::Grant;
use crate::hub::pump::Pump;
use crate::hub::{Attach, Closing, Hub, Resume, Sink};
use crate::metrics::ProxyReject;
use crate::wire::encoding::Protocol;
use crate::wire::frame::{self, Hello};
use crate::wire::reason::{CloseCode, CloseReason, RETRY_NEVER};

/// Heartbeats that a client may ask for, in seconds.
const HEARTBEAT_S: RangeInclusive<u16> = 5..=3600;

/// A cause to end before there is a session.
pub(super) enum Turned {
    Away(CloseCode, u32, &'static str),
    Gone(CloseReason),
    /// Others of those who have not been let in have its place.
    Cut,
}

impl From<Cut> for Turned {
    fn from(_: Cut) -> Self {
        Self::Cut
    }
}

impl Turned {
    pub(super) fn away(hub: &Hub, code: CloseCode, why: &'static str) -> Self {
        let retry = match code {
            CloseCode::Protocol | CloseCode::Auth | CloseCode::Expired | CloseCode::Replaced => {
                RETRY_NEVER
            }
            _ => hub.retry_after_ms(),
        };
        Self::Away(code, retry, why)
    }
}

/// A session, and what its client sent behind HELLO.
type Entered = (Attached, Vec<u8>);

/// Lets a client in, or tells it why not and closes: `ending` has its session then, or the reason.
/// With it comes what the client sent behind its HELLO.
pub(super) async fn come_in(
    (stream, mut peer): (TcpStream, SocketAddr),
    door: Arc<Door>,
    mut ending: Ending<ConnectionPermit>,
) -> (Ending<ConnectionPermit>, Vec<u8>) {
    let entered = let_in((stream, &mut peer), &door, &ending.place).await;
    ending.comes_from(peer);
    match entered {
        Ok((attached, rest)) => {
            ending.attached = Some(attached);
            (ending, rest)
        }
        Err(reason) => (ending.because(reason), Vec::new()),
    }
}

async fn let_in(
    (stream, peer): (TcpStream, &mut SocketAddr),
    door: &Door,
    permit: &ConnectionPermit,
) -> Result<Entered, CloseReason> {
    let clients = permit.clients();
    let deadline = Instant::now() + clients.limits().handshake_timeout;
    let mut stranger = clients.strangers.stranger(Source::of(peer.ip()));
    let mut link = match door.tls() {
        None => Link::Tcp(stream),
        Some(config) => {
            let tls = Tls::new(stream, config).map_err(|_| CloseReason::Io)?;
            Link::Tls(Box::new(tls))
        }
    };
    let introduced = match door.is_behind_proxy() {
        true => {
            let waited = introduce(link.stream(), peer, door, permit, (&mut stranger, deadline));
            let introduced = Box::pin(waited).await;
            clients.storms.note(Source::of(peer.ip()), 1);
            link = link.coming_from(*peer);
            introduced
        }
        false => Ok(()),
    };
    link = link.speaking(door.protocol());
    let entered = match introduced {
        Ok(()) => enter((link, door), clients, (&mut stranger, deadline)).await,
        Err(turned) => Err((link, turned)),
    };
    match entered {
        Ok(entered) => Ok(entered),
        // Boxed, as is what waits above: who waits for HELLO, and there may be many, holds neither.
        Err((link, turned)) => {
            Err(Box::pin(send_away((link, *peer), turned, clients, &mut stranger)).await)
        }
    }
}

/// Tells one who is not let in why, where that is of use, and closes; how it ended.
async fn send_away(
    (link, peer): (Link, SocketAddr),
    turned: Turned,
    clients: &Clients,
    stranger: &mut Stranger<'_>,
) -> CloseReason {
    let (code, retry, text) = match turned {
        // The alert, if there is one, has been written. Whose seat is gone is not waited for.
        Turned::Gone(reason @ CloseReason::Code(_)) => {
            let farewell = farewell(&link, Instant::now() + FAREWELL);
            let _ = stranger.wait(farewell).await;
            return reason;
        }
        Turned::Gone(reason) => return reason,
        Turned::Away(code, retry, text) => (code, retry, text),
        Turned::Cut => {
            let (code, why) = (CloseCode::TooMany, "too many are waiting to be let in");
            turn_away_at_once(&link, code, clients.hub.retry_after_ms(), why);
            return CloseReason::Code(code);
        }
    };
    debug!(%peer, reason = code.word(), text, "turned away");
    match delay(clients, stranger, code).await {
        // Who loses its seat in its farewell has been told already.
        Ok(()) => drop(stranger.wait(turn_away(&link, code, retry, text)).await),
        Err(Cut) => turn_away_at_once(&link, code, retry, text),
    }
    CloseReason::Code(code)
}

/// Holds back the answer to a HELLO that was no good, the longer the more of them came from there
/// lately: a program that tries again at once is slowed down. A gateway that leaves does not wait.
async fn delay(clients: &Clients, stranger: &mut Stranger<'_>, code: CloseCode) -> Result<(), Cut> {
    let is_failure = matches!(code, CloseCode::Auth | CloseCode::Protocol);
    let wait = match is_failure {
        true => stranger.failed(),
        false => Duration::ZERO,
    };
    let delayed = async {
        if !wait.is_zero() {
            tokio::select! {
                () = sleep(wait) => {}
                () = clients.leaving.cancelled() => {}
            }
        }
    };
    stranger.wait(delayed).await
}

/// Learns from the load balancer whose connection it is. Whoever comes otherwise is closed without
/// a word: nothing is known to be a client of ours, and one behind a load balancer that is missing
/// in the configuration shall come back, not read in a CLOSE that it may not.
///
/// `peer` is the load balancer, and then its client.
async fn introduce(
    stream: &TcpStream,
    peer: &mut SocketAddr,
    door: &Door,
    permit: &ConnectionPermit,
    (stranger, deadline): (&mut Stranger<'_>, Instant),
) -> Result<(), Turned> {
    let clients = permit.clients();
    let protocol = Turned::Gone(CloseReason::Code(CloseCode::Protocol));
    if !door.trusts(peer.ip()) {
        clients.proxy_rejected(ProxyReject::Untrusted, *peer, "not among the trusted");
        return Err(protocol);
    }
    let read = async {
        tokio::select! {
            read = timeout_at(deadline, proxy::read(stream)) => {
                read.map_err(|_| Turned::Gone(CloseReason::Code(CloseCode::HandshakeTimeout)))
            }
            () = clients.leaving.cancelled() => {
                Err(Turned::Gone(CloseReason::Code(CloseCode::Draining)))
            }
        }
    };
    // The seat is the load balancer's until it has said for whom it connects.
    let address = match stranger.wait(read).await.map_err(Turned::from)?? {
        Ok(address) => address.unwrap_or(*peer),
        Err(Fault::Ended(reason)) => return Err(Turned::Gone(reason)),
        Err(Fault::Malformed(error)) => {
            clients.proxy_rejected(ProxyReject::Malformed, *peer, &error.to_string());
            return Err(protocol);
        }
    };
    *peer = address;
    stranger.set_source(Source::of(address.ip()));
    permit
        .set_address(address.ip())
        .map_err(|why| Turned::away(&clients.hub, CloseCode::TooMany, why))
}

/// Reads HELLO, all of it within the handshake's time, and attaches. Returns what the client sent
/// behind its HELLO.
async fn enter(
    (link, door): (Link, &Door),
    clients: &Clients,
    (stranger, deadline): (&mut Stranger<'_>, Instant),
) -> Result<Entered, (Link, Turned)> {
    let hub = &clients.hub;
    let away = |link, code, why| Err((link, Turned::away(hub, code, why)));
    let mut opening = Opening::default();
    // HELLO most often comes right behind the connection: after a turn of the others it is there,
    // and neither a timer nor a seat is needed, nor a read that finds nothing.
    tokio::task::yield_now().await;
    let read = match link.is_handshaking() {
        false => opening.try_read(&link, clients, door),
        true => Ok(None),
    };
    let read = match read {
        Ok(None) => {
            let waited = stranger.wait(wait_for_hello(
                (&link, door),
                clients,
                deadline,
                &mut opening,
            ));
            waited.await.unwrap_or_else(|cut| Err(cut.into()))
        }
        Ok(Some(opened)) => Ok(opened),
        Err(turned) => Err(turned),
    };
    if link.is_handshaking() {
        hub.metrics().tls_handshakes_failed.inc();
    }
    let opened = match read {
        Ok(opened) => opened,
        Err(turned) => return Err((link, turned)),
    };
    if clients.draining.load(Ordering::Relaxed) {
        return away(link, CloseCode::Draining, "draining");
    }
    if link.protocol() == Protocol::Mqtt {
        let attached = mqtt::attach(link, clients, opened.body())?;
        return Ok((attached, opened.rest));
    }
    match opened.hello() {
        Ok(hello) => {
            let attached = attach(link, clients, &hello)?;
            Ok((attached, opened.rest))
        }
        Err(why) => away(link, CloseCode::Protocol, why),
    }
}

/// Reads until HELLO is whole, within the handshake's time.
async fn wait_for_hello(
    (link, door): (&Link, &Door),
    clients: &Clients,
    deadline: Instant,
    opening: &mut Opening,
) -> Result<Opened, Turned> {
    let read = async {
        loop {
            let readable = link.readable().await;
            readable.map_err(|error| Turned::Gone(end_of(&error)))?;
            let _turn = match link.is_handshaking() {
                true => clients.turns.acquire().await.ok(),
                false => None,
            };
            if let Some(opened) = opening.try_read(link, clients, door)? {
                return Ok(opened);
            }
        }
    };
    let away = |code, why| Err(Turned::away(&clients.hub, code, why));
    tokio::select! {
        read = timeout_at(deadline, read) => read.unwrap_or_else(|_| {
            away(CloseCode::HandshakeTimeout, "no whole HELLO in time")
        }),
        () = clients.leaving.cancelled() => away(CloseCode::Draining, "draining"),
    }
}

/// Says who the client is and which of its groups it may have, and puts it into the registry.
fn attach(link: Link, clients: &Clients, hello: &Hello<'_>) -> Result<Attached, (Link, Turned)> {
    let hub = &clients.hub;
    let identity = match clients.identify(hello.token) {
        Ok(identity) => identity,
        Err(error) => return Err((link, Turned::away(hub, error.code(), error.why))),
    };
    let user = &*identity.user;
    let (mut groups, mut refused) = (Vec::new(), Vec::new());
    let given = identity.groups.iter().map(|group| (&**group, true));
    let asked = hello.groups.iter().map(|group| {
        let grant = identity.grant.as_ref();
        (group, grant.is_none_or(|grant| grant.allows(group)))
    });
    for (group, is_allowed) in given.chain(asked) {
        if groups.contains(&group) {
            continue;
        }
        let code = match is_allowed {
            true if groups.len() < hub.options().max_groups => {
                groups.push(group);
                continue;
            }
            true => CloseCode::TooMany,
            false => CloseCode::Auth,
        };
        refused.push(refusal(frame::HELLO, code, group));
    }
    let heartbeat_s = match hello.heartbeat_s {
        0 => clients.limits().heartbeat_s,
        asked => asked.clamp(*HEARTBEAT_S.start(), *HEARTBEAT_S.end()),
    };
    let attach = Attach {
        user,
        device: hello.device,
        groups: &groups,
        refused: &refused,
        heartbeat_s,
        resume: hello.resume.then_some(Resume {
            epoch: hello.epoch,
            cursor: hello.cursor,
        }),
        ..Attach::default()
    };
    admit(link, clients, identity.grant, &attach)
}

/// Puts a client into the registry, unless it is kept out.
pub(super) fn admit(
    link: Link,
    clients: &Clients,
    grant: Option<Grant>,
    attach: &Attach<'_>,
) -> Result<Attached, (Link, Turned)> {
    let (hub, now) = (&clients.hub, monotonic());
    let (user, device) = (attach.user, attach.device);
    let held = || {
        let rest = clients.holds.rest(user, device, now)?;
        Some(u32::try_from(rest.as_millis()).unwrap_or(RETRY_NEVER - 1))
    };
    if let Some(retry) = held() {
        return Err((link, Turned::Away(CloseCode::Kicked, retry, "kicked")));
    }
    let mut cx = Pump::new(now);
    match hub.attach(attach, link, &cx) {
        Ok(session) => {
            // A takeover may have been as fast as this: then its lane is not at hand any more.
            let name = session.user().unwrap_or_else(|| user.into());
            if let Some(grant) = grant {
                hub.set_grant(&*session, grant);
            }
            // A KICK that looked for sessions just before this one was there counts all the same.
            if let Some(retry) = held() {
                hub.close(&*session, Closing::code(CloseCode::Kicked, retry, "kicked"));
            }
            hub.nudge(&*session, &mut cx);
            cx.merge(hub.metrics());
            Ok(Attached {
                session,
                user: name,
            })
        }
        Err((error, sink)) => Err((sink, Turned::away(hub, error.code(), error.why()))),
    }
}

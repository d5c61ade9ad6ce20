//! A new token on a live connection.

use std::sync::Arc;

use super::connection::Clients;
use crate::hub::session::Session;
use crate::metrics::TokenFault;
use crate::wire::frame::{self, GatewayFrame};
use crate::wire::reason::CloseCode;

/// The answer to a frame, or to a group of it, that is not carried out.
pub(super) const fn refusal(frame_type: u8, code: CloseCode, group: &str) -> GatewayFrame<'_> {
    GatewayFrame::Refused {
        frame_type,
        code,
        group,
    }
}

/// Puts a new token in place of the session's old one: its end, what it lets the session join, and
/// the groups that are new in it. A token that is not good changes nothing.
pub(super) fn renew(clients: &Clients, session: &Arc<Session>, token: &[u8]) {
    let hub = &clients.hub;
    let refused = refusal(frame::TOKEN, CloseCode::Auth, "");
    let Ok(identity) = clients.identify(token) else {
        return hub.answer(&**session, &refused);
    };
    // With mode "none" there is nothing that a new token could change.
    let Some(grant) = identity.grant else {
        hub.metrics().token_refused(TokenFault::Mode);
        return hub.answer(&**session, &refused);
    };
    if !hub.is_of(&**session, &identity.user) {
        hub.metrics().token_refused(TokenFault::User);
        return hub.answer(&**session, &refused);
    }
    hub.set_grant(&**session, grant);
    for group in &identity.groups {
        if !hub.is_in(&**session, group) && hub.join(session, group).is_err() {
            let over = refusal(frame::TOKEN, CloseCode::TooMany, group);
            hub.answer(&**session, &over);
        }
    }
    hub.answer_current(&**session);
}

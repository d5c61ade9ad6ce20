//! Every request to a route of services is counted once: as an authentic one, or by the cause for
//! which it is none.

use crate::metrics::{Credential, HttpReject, Metrics};

/// A request that has come, until it is counted. One that is dropped before is of a client that has
/// gone.
pub(super) struct Arrival<'a> {
    metrics: &'a Metrics,
    is_counted: bool,
}

impl<'a> Arrival<'a> {
    pub(super) const fn new(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            is_counted: false,
        }
    }

    /// It is authentic: what becomes of it is counted by op and status.
    pub(super) fn taken(&mut self, credential: Credential) {
        self.is_counted = true;
        self.metrics.http_request(credential);
    }

    /// It is not answered as a request.
    pub(super) fn rejected(&mut self, cause: HttpReject) {
        self.is_counted = true;
        self.metrics.http_rejected(cause);
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if !self.is_counted {
            self.metrics.http_rejected(HttpReject::Gone);
        }
    }
}

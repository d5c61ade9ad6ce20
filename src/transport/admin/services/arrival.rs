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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each counted once, in one place: dropped before that is dropped by a client that has gone.
    #[test]
    fn whatever_ends_a_request_counts_it_once() {
        let metrics = Metrics::new();
        let counts = || {
            let gone = metrics.http_rejected.at(HttpReject::Gone as usize).get();
            let mac = metrics.http_rejected.at(HttpReject::Mac as usize).get();
            let taken = metrics.http_requests.at(Credential::Secret as usize).get();
            (gone, mac, taken)
        };
        drop(Arrival::new(&metrics));
        assert_eq!(counts(), (1, 0, 0));
        let mut arrival = Arrival::new(&metrics);
        arrival.rejected(HttpReject::Mac);
        drop(arrival);
        assert_eq!(counts(), (1, 1, 0));
        let mut arrival = Arrival::new(&metrics);
        arrival.taken(Credential::Secret);
        drop(arrival);
        assert_eq!(counts(), (1, 1, 1));
    }
}

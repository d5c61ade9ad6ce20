//! Whose connection it is. Services come in crowds and stay; they must not take the places of the
//! operators who look why.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that have carried a service's request, at once. Each may hold a body of 256 KiB.
pub(in crate::transport::admin) const SERVICES_MAX: usize = 64;

/// The place of one connection: among those of operators, until it carries the first request of a
/// service.
pub(in crate::transport::admin) struct Place {
    held: Mutex<Held>,
    services: Arc<Semaphore>,
}

enum Held {
    Operator(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
    Service(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
}

impl Place {
    /// A place among those of operators; `services` are the others.
    pub(in crate::transport::admin) const fn new(
        permit: OwnedSemaphorePermit,
        services: Arc<Semaphore>,
    ) -> Self {
        Self {
            held: Mutex::new(Held::Operator(permit)),
            services,
        }
    }

    /// Moves among those of services, if there is room, and gives the other place back; false where
    /// there is none. It stays there.
    pub(super) fn become_a_services(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*held, Held::Service(_)) {
            return true;
        }
        let permit = Arc::clone(&self.services).try_acquire_owned();
        permit.is_ok_and(|permit| {
            *held = Held::Service(permit);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gives_an_operators_place_back_and_keeps_its_own() {
        let (operators, services) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(1)));
        let place = || {
            let permit = Arc::clone(&operators).try_acquire_owned();
            Place::new(permit.expect("there is room"), Arc::clone(&services))
        };
        let (first, second) = (place(), place());
        assert_eq!(operators.available_permits(), 0);
        assert!(first.become_a_services() && first.become_a_services());
        assert_eq!(operators.available_permits(), 1);
        assert!(!second.become_a_services(), "one is all");
        assert_eq!(operators.available_permits(), 1, "it stays where it was");
        drop(first);
        assert_eq!(services.available_permits(), 1);
        assert!(second.become_a_services());
        assert_eq!(operators.available_permits(), 2);
    }
}

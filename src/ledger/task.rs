//! What a spawned future is wrapped in: 16 bytes, so that a million sessions cost 16 MB.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Kind, Ledger};

pin_project_lite::pin_project! {
    /// A future that is in the books as long as it exists.
    pub(super) struct Counted<F> {
        // First, so that it is dropped first: a task has ended when all that it held is given back.
        #[pin]
        pub(super) future: F,
        pub(super) guard: Guard,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// One entry of the books; dropping it is the end of the task, on every path.
#[derive(Debug)]
pub(super) struct Guard {
    ledger: Ledger,
    slot: u32,
    kind: Kind,
}

impl Guard {
    pub(super) fn new(ledger: Ledger, kind: Kind, slot: u32) -> Self {
        Self { ledger, slot, kind }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.ledger.ended(self.kind, self.slot);
    }
}

//! Where the process is in its life, for whoever asks whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A phase of the process. It only moves forward.
///
/// ```text
/// starting --> ready --> draining
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Leaving: new clients and pushes are turned away.
    Draining,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    /// The word in logs and in the answer of `/readyz`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The phase of this process. Clones are the same cell.
#[derive(Clone, Debug)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// A process that starts.
    pub fn starting() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Moves on to this phase; a phase that lies behind is left behind.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_only_moves_forward() {
        let cell = PhaseCell::starting();
        assert_eq!(cell.now(), Phase::Starting);
        cell.clone().advance(Phase::Ready);
        assert_eq!(cell.now(), Phase::Ready);
        cell.advance(Phase::Draining);
        cell.advance(Phase::Ready);
        assert_eq!(cell.now(), Phase::Draining);
    }
}

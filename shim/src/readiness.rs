//! Whether this process should get new connections, and if not, why.
//!
//! Readiness has both edges: it can be lost and regained. Liveness is something else: a process that answers is alive.

use std::sync::atomic::{AtomicU8, Ordering};

/// What stands between this process and new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not all parts have started.
    Starting = 0,
    /// Nothing.
    Ready = 1,
    /// It is being shut down.
    Draining = 2,
}

/// The present state, shared by everyone who asks or changes it.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// The state now.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            1 => State::Ready,
            2 => State::Draining,
            _ => State::Starting,
        }
    }

    /// Changes the state. A drain is final: nothing makes a draining process ready again.
    pub fn set(&self, state: State) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
            (current != State::Draining as u8).then_some(state as u8)
        });
    }
}

impl State {
    /// The word that `/ready` answers with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_final() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Ready);
        readiness.set(State::Draining);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Draining);
    }
}

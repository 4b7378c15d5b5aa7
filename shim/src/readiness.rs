//! Whether this process should get new connections, and if not, why.
//!
//! Readiness has both edges: it can be lost and regained. Liveness is something else: a process that answers is alive.

use std::sync::atomic::{AtomicU8, Ordering};

/// What stands between this process and new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReadinessState {
    /// Not all parts have started.
    Starting = 0,
    /// Nothing.
    Ready = 1,
    /// It is being shut down.
    Draining = 2,
}

/// Something outside of this process that it needs for new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExternalDependency {
    /// Redis answers.
    Redis = 1,
    /// This pod holds a lease on a node number.
    Lease = 2,
    /// PostgreSQL answers.
    Postgres = 4,
}

/// The present state, shared by everyone who asks or changes it.
#[derive(Debug, Default)]
pub struct Readiness {
    state: AtomicU8,
    unavailable_bits: AtomicU8,
}

impl Readiness {
    /// The state now.
    pub fn state(&self) -> ReadinessState {
        match self.state.load(Ordering::Acquire) {
            1 => ReadinessState::Ready,
            2 => ReadinessState::Draining,
            _ => ReadinessState::Starting,
        }
    }

    /// Changes the state. A drain is final: nothing makes a draining process ready again.
    pub fn set_state(&self, state: ReadinessState) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
            (current != ReadinessState::Draining as u8).then_some(state as u8)
        });
    }

    /// Takes note that a part is there or away. Open connections go on either way.
    pub fn set_available(&self, part: ExternalDependency, there: bool) {
        if there {
            self.unavailable_bits.fetch_and(!(part as u8), Ordering::AcqRel);
        } else {
            self.unavailable_bits.fetch_or(part as u8, Ordering::AcqRel);
        }
    }

    /// What is away, by name.
    pub fn unavailable_dependencies(&self) -> Vec<&'static str> {
        let away = self.unavailable_bits.load(Ordering::Acquire);
        let parts = [ExternalDependency::Redis, ExternalDependency::Lease, ExternalDependency::Postgres];
        parts.iter().filter(|part| away & **part as u8 != 0).map(|part| part.as_str()).collect()
    }
}

impl ReadinessState {
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

impl ExternalDependency {
    /// The word that `/ready` has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Lease => "lease",
            Self::Postgres => "postgres",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_final() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), ReadinessState::Starting);
        readiness.set_state(ReadinessState::Ready);
        assert_eq!(readiness.state(), ReadinessState::Ready);
        readiness.set_state(ReadinessState::Draining);
        readiness.set_state(ReadinessState::Ready);
        assert_eq!(readiness.state(), ReadinessState::Draining);
    }

    #[test]
    fn what_is_away_comes_back_by_itself() {
        let readiness = Readiness::default();
        readiness.set_available(ExternalDependency::Lease, false);
        readiness.set_available(ExternalDependency::Redis, false);
        readiness.set_available(ExternalDependency::Redis, false);
        assert_eq!(readiness.unavailable_dependencies(), ["redis", "lease"]);
        readiness.set_available(ExternalDependency::Redis, true);
        assert_eq!(readiness.unavailable_dependencies(), ["lease"]);
        readiness.set_available(ExternalDependency::Lease, true);
        assert!(readiness.unavailable_dependencies().is_empty());
    }
}

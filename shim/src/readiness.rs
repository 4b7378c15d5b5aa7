//! Readiness of this process for new connections, with the unavailable dependencies.
//!
//! Readiness can be lost and regained. It is independent of liveness: a process that answers `/health` is alive.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

/// Phase of the process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReadinessState {
    /// The process does not accept connections yet: it assembles the server, or waits for a dependency.
    Starting = 0,
    /// The process accepts connections.
    Ready = 1,
    /// The process is shutting down.
    Draining = 2,
}

/// An external dependency that new connections need; each value is one bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExternalDependency {
    /// Redis.
    Redis = 1,
    /// This pod's lease on a node id.
    Lease = 2,
    /// PostgreSQL.
    Postgres = 4,
}

/// State shared by `/ready` and the components that change it.
#[derive(Debug, Default)]
pub struct Readiness {
    state: AtomicU8,
    unavailable_bits: AtomicU8,
    wait_reason: Mutex<Option<String>>,
}

impl Readiness {
    /// Returns the current state.
    pub fn state(&self) -> ReadinessState {
        match self.state.load(Ordering::Acquire) {
            1 => ReadinessState::Ready,
            2 => ReadinessState::Draining,
            _ => ReadinessState::Starting,
        }
    }

    /// Changes the state. `Draining` is final: later changes are ignored.
    pub fn set_state(&self, state: ReadinessState) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
            (current != ReadinessState::Draining as u8).then_some(state as u8)
        });
    }

    /// Marks a dependency as available or unavailable. Open connections are not affected.
    pub fn set_available(&self, dependency: ExternalDependency, is_available: bool) {
        if is_available {
            self.unavailable_bits.fetch_and(!(dependency as u8), Ordering::AcqRel);
        } else {
            self.unavailable_bits.fetch_or(dependency as u8, Ordering::AcqRel);
        }
    }

    /// Records that the start waits for `dependency` only, and why.
    pub fn wait_for(&self, dependency: ExternalDependency, reason: String) {
        self.unavailable_bits.store(dependency as u8, Ordering::Release);
        *self.wait_reason.lock() = Some(reason);
    }

    /// Records that the start no longer waits.
    pub fn end_wait(&self) {
        self.unavailable_bits.store(0, Ordering::Release);
        *self.wait_reason.lock() = None;
    }

    /// Returns why the start waits, in words for the operator.
    pub fn wait_reason(&self) -> Option<String> {
        self.wait_reason.lock().clone()
    }

    /// Returns the names of the unavailable dependencies.
    pub fn unavailable_dependencies(&self) -> Vec<&'static str> {
        let bits = self.unavailable_bits.load(Ordering::Acquire);
        let dependencies = [ExternalDependency::Redis, ExternalDependency::Lease, ExternalDependency::Postgres];
        dependencies.iter().filter(|dependency| bits & **dependency as u8 != 0).map(|found| found.as_str()).collect()
    }
}

impl ReadinessState {
    /// Returns the `status` that `/ready` reports.
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
    /// Returns the name in `/ready`'s list `unavailable`.
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
    fn a_dependency_can_become_unavailable_and_recover() {
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
    #[test]
    fn a_start_waits_for_one_dependency_at_a_time() {
        let readiness = Readiness::default();
        readiness.wait_for(ExternalDependency::Redis, "redis is unreachable".to_owned());
        readiness.wait_for(ExternalDependency::Postgres, "postgresql is unreachable".to_owned());
        assert_eq!(readiness.unavailable_dependencies(), ["postgres"]);
        assert_eq!(readiness.wait_reason().as_deref(), Some("postgresql is unreachable"));
        readiness.end_wait();
        assert!(readiness.unavailable_dependencies().is_empty() && readiness.wait_reason().is_none());
    }
}

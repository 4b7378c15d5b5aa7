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

/// Something outside of this process that it needs for new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
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
    away: AtomicU8,
}

impl Readiness {
    /// The state now.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Ready,
            2 => State::Draining,
            _ => State::Starting,
        }
    }

    /// Changes the state. A drain is final: nothing makes a draining process ready again.
    pub fn set(&self, state: State) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
            (current != State::Draining as u8).then_some(state as u8)
        });
    }

    /// Takes note that a part is there or away. Open connections go on either way.
    pub fn note(&self, part: Part, there: bool) {
        if there {
            self.away.fetch_and(!(part as u8), Ordering::AcqRel);
        } else {
            self.away.fetch_or(part as u8, Ordering::AcqRel);
        }
    }

    /// What is away, by name.
    pub fn away(&self) -> Vec<&'static str> {
        let away = self.away.load(Ordering::Acquire);
        let parts = [Part::Redis, Part::Lease, Part::Postgres];
        parts.iter().filter(|part| away & **part as u8 != 0).map(|part| part.as_str()).collect()
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

impl Part {
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
        assert_eq!(readiness.state(), State::Starting);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Ready);
        readiness.set(State::Draining);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Draining);
    }

    #[test]
    fn what_is_away_comes_back_by_itself() {
        let readiness = Readiness::default();
        readiness.note(Part::Lease, false);
        readiness.note(Part::Redis, false);
        readiness.note(Part::Redis, false);
        assert_eq!(readiness.away(), ["redis", "lease"]);
        readiness.note(Part::Redis, true);
        assert_eq!(readiness.away(), ["lease"]);
        readiness.note(Part::Lease, true);
        assert!(readiness.away().is_empty());
    }
}

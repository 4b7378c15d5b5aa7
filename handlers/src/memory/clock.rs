//! A clock that tests advance explicitly.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::ports::{Clock, Timestamp};

/// A clock for tests. Time changes only by [`advance`](Self::advance), and ids are numbered.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    ids: AtomicU64,
}

impl ManualClock {
    /// Creates a clock with the time `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.0), ids: AtomicU64::new(1) }
    }

    /// Advances the time.
    pub fn advance(&self, duration: Duration) {
        self.now.fetch_add(Timestamp(0).plus(duration).0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn fresh_id(&self) -> String {
        format!("fresh-{}", self.ids.fetch_add(1, Ordering::SeqCst))
    }
}

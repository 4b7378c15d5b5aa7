//! A clock that moves when it is told to.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::ports::{Clock, Timestamp};

/// A clock for tests: it stands still until it is moved, and numbers its ids.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    ids: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.0), ids: AtomicU64::new(1) }
    }

    /// Moves it forward.
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

//! The clock port: time and fresh ids, so that tests own both.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same moment in whole seconds, as tokens count.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The moment `duration` later.
    #[must_use]
    pub const fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0 + duration.as_millis() as i64)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Time and fresh ids.
pub trait Clock: Send + Sync {
    /// The present moment. It may step back when the system's clock is set; nobody may rely on it for order, which is
    /// what offsets are for.
    fn now(&self) -> Timestamp;

    /// A fresh id of printable ASCII, at most [`MAX_MESSAGE_ID_BYTES`](crate::limits::MAX_MESSAGE_ID_BYTES) long, that no other
    /// call in the deployment returns.
    fn fresh_id(&self) -> String;
}

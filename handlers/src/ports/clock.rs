//! The clock port: current time and unique ids, both controlled by tests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the time in whole seconds since 1970, the unit of `exp` in tokens.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns the time `duration` later.
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

/// Current time and unique ids.
///
/// ```
/// use std::time::Duration;
///
/// use handlers::memory::ManualClock;
/// use handlers::ports::{Clock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp(1_800_000_000_000));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp(1_800_000_005_000));
/// assert_ne!(clock.fresh_id(), clock.fresh_id());
/// ```
pub trait Clock: Send + Sync {
    /// Returns the current time. It may step back when the system clock is adjusted, so order comes from offsets, never
    /// from times.
    fn now(&self) -> Timestamp;

    /// Returns an id of printable ASCII, at most [`MAX_MESSAGE_ID_BYTES`](crate::limits::MAX_MESSAGE_ID_BYTES) long,
    /// that is unique in the deployment.
    fn fresh_id(&self) -> String;
}

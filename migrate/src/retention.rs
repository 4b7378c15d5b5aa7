//! Retention of a migration's target: the messages that a verified copy may lack.

use std::time::Duration;

use handlers::ports::Timestamp;

/// Retention of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRetention {
    /// The target keeps every message.
    Unlimited,
    /// The target drops messages sent longer than this before the given time; its readers would not see them.
    MaxAge(Timestamp, Duration),
}

impl TargetRetention {
    /// Returns whether the target keeps a message sent at this time.
    #[must_use]
    pub fn retains_sent_at(self, sent_at: Timestamp) -> bool {
        match self {
            Self::Unlimited => true,
            Self::MaxAge(now, age) => sent_at.plus(age) > now,
        }
    }
}

//! Which messages a target keeps.

use std::time::Duration;

use handlers::ports::Timestamp;

/// What a target leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetRetention {
    /// Nothing.
    Unlimited,
    /// What was sent longer ago than this before that moment: readers of the target would not see it.
    MaxAge(Timestamp, Duration),
}

impl TargetRetention {
    /// Whether a message that was sent then is part of the target.
    #[must_use]
    pub fn retains_sent_at(self, sent_at: Timestamp) -> bool {
        match self {
            Self::Unlimited => true,
            Self::MaxAge(now, age) => sent_at.plus(age) > now,
        }
    }
}

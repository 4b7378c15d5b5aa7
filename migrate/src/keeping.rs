//! Which messages a target keeps.

use std::time::Duration;

use handlers::ports::Timestamp;

/// What a target leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing.
    Everything,
    /// What was sent longer ago than this before that moment: readers of the target would not see it.
    Since(Timestamp, Duration),
}

impl Keeping {
    /// Whether a message that was sent then is part of the target.
    #[must_use]
    pub fn keeps(self, sent_at: Timestamp) -> bool {
        match self {
            Self::Everything => true,
            Self::Since(now, age) => sent_at.plus(age) > now,
        }
    }
}

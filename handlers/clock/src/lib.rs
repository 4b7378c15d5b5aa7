//! The system clock: the [`Clock`] of every process outside of tests, on AWS and elsewhere.
//!
//! ```
//! use handlers::ports::Clock;
//! use system_clock::SystemClock;
//!
//! assert!(SystemClock.now().unix_seconds() > 1_700_000_000);
//! assert_ne!(SystemClock.fresh_id(), SystemClock.fresh_id());
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use handlers::ports::{Clock, Timestamp};
use uuid::Uuid;

/// System time, and ids that are unique across processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        current_time()
    }

    /// Returns a UUID of version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits. The id is unique, but not secret.
    fn fresh_id(&self) -> String {
        Uuid::now_v7().simple().to_string()
    }
}

/// Returns the current time, for commands that need no [`Clock`].
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
pub fn current_time() -> Timestamp {
    // A system time before 1970 is returned as 0.
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use handlers::id::MessageId;

    use super::*;

    #[test]
    fn ids_are_valid_message_ids_and_never_repeat() {
        let ids: HashSet<_> = (0..20_000).map(|_| SystemClock.fresh_id()).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(ids.iter().all(|id| id.len() == 32 && MessageId::parse(id).is_ok()));
    }

    #[test]
    fn the_current_time_is_plausible() {
        assert!(SystemClock.now().unix_seconds() > 1_795_000_000);
    }
}

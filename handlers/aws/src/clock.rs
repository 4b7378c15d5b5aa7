//! The system's clock and ids that no other process makes.
//!
//! Ids are unique, not secret: who sees some of them may guess others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use handlers::ports::{Clock, Timestamp};

/// The clock of a function's process.
#[derive(Debug)]
pub struct SystemClock {
    process: u64,
    drawn: AtomicU64,
}

impl SystemClock {
    /// A clock whose ids begin with 64 bits of the operating system's randomness and go on from another 64.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { process: getrandom::u64()?, drawn: AtomicU64::new(getrandom::u64()?) })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
    fn now(&self) -> Timestamp {
        // A clock set before 1970 is as good as none.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// 32 hexadecimal digits.
    fn fresh_id(&self) -> String {
        format!("{:016x}{:016x}", self.process, self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use handlers::id::MessageId;

    use super::*;

    #[test]
    fn ids_are_message_ids_and_never_the_same() {
        let clocks = [SystemClock::new().unwrap(), SystemClock::new().unwrap()];
        let ids: HashSet<_> = (0..1_000).map(|round| clocks[round % 2].fresh_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| MessageId::parse(id).is_ok()));
        assert!(clocks[0].now().seconds() > 1_795_000_000);
    }
}

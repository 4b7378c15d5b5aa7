//! The system's clock and ids without a system call: the one place where the shim asks what time it is.
//!
//! Ids are unique, not secret: who sees some of them may guess others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handlers::ports::{Clock, Timestamp};

/// The clock of a real process.
#[derive(Debug)]
pub struct SystemClock {
    seed: [u64; 2],
    drawn: AtomicU64,
}

impl SystemClock {
    /// A clock whose ids start from 128 bits of the operating system's randomness.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        let seed = [getrandom::u64()?, getrandom::u64()?];
        Ok(Self { seed, drawn: AtomicU64::new(0) })
    }
}

/// The present moment, for commands that need nothing else of a clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
pub fn now() -> Timestamp {
    // A clock set before 1970 is as good as none.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }

    /// 22 characters of base64url. Both halves are bijections of the count, so one process never repeats itself; two
    /// processes meet only if their random 128-bit seeds do.
    fn fresh_id(&self) -> String {
        let count = self.drawn.fetch_add(1, Ordering::Relaxed);
        let halves = self.seed.map(|seed| scatter(seed.wrapping_add(count)));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&halves[0].to_be_bytes());
        bytes[8..].copy_from_slice(&halves[1].to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// A bijection of 64 bits that makes neighbours look unrelated (the finaliser of `SplitMix64`, Steele et al. 2014).
const fn scatter(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use handlers::id::MessageId;

    use super::*;

    #[test]
    fn ids_are_message_ids_and_never_the_same() {
        let clocks = [SystemClock::new().unwrap(), SystemClock::new().unwrap()];
        let ids: HashSet<_> = (0..20_000).map(|round| clocks[round % 2].fresh_id()).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(ids.iter().all(|id| id.len() == 22 && MessageId::parse(id).is_ok()));
    }

    #[test]
    fn the_present_lies_behind_the_day_this_was_written() {
        assert!(SystemClock::new().unwrap().now().seconds() > 1_795_000_000);
    }
}

//! Seeded random delays, reproducible from run to run, so that clients do not all reconnect at the same moment.

use std::time::Duration;

/// SplitMix64 random number generator.
#[derive(Debug)]
pub(super) struct SeededRng(u64);

impl SeededRng {
    /// Returns the generator of one client.
    pub(super) fn for_client(number: usize) -> Self {
        Self(number as u64)
    }

    /// Returns a random duration below `limit`.
    pub(super) fn duration_below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The upper bits as a fraction of one.
        limit.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_cover_the_whole_range() {
        let mut rng = SeededRng::for_client(7);
        let times: Vec<_> = (0..1_000).map(|_| rng.duration_below(Duration::from_secs(1)).as_millis() / 100).collect();
        for tenth in 0..10 {
            let hits = times.iter().filter(|time| **time == tenth).count();
            assert!((60..140).contains(&hits), "{hits} of 1,000 in tenth {tenth}");
        }
    }
}

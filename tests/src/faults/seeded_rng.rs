//! Chance for clients that must not all come back at the same moment: repeatable from run to run.

use std::time::Duration;

/// Numbers that look random (SplitMix64).
#[derive(Debug)]
pub(super) struct SeededRng(u64);

impl SeededRng {
    /// The numbers of one client.
    pub(super) fn for_client(number: usize) -> Self {
        Self(number as u64)
    }

    /// A time below `most`.
    pub(super) fn duration_below(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The upper bits as a fraction of one.
        most.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_the_whole_range() {
        let mut dice = SeededRng::for_client(7);
        let times: Vec<_> = (0..1_000).map(|_| dice.duration_below(Duration::from_secs(1)).as_millis() / 100).collect();
        for tenth in 0..10 {
            let hits = times.iter().filter(|time| **time == tenth).count();
            assert!((60..140).contains(&hits), "{hits} of 1,000 in tenth {tenth}");
        }
    }
}

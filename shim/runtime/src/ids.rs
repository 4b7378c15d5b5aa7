//! Request ids, nonces and trace ids.
//!
//! They tell invocations apart and are no secrets: UUIDs of version 4 in form (RFC 9562, section 5.4), drawn from a
//! generator that the operating system seeds once.

use std::sync::atomic::{AtomicU64, Ordering};

/// A source of ids.
pub(crate) struct Ids {
    state: AtomicU64,
}

impl Ids {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// The system's random source does not answer.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self { state: AtomicU64::new(getrandom::u64()?) })
    }

    /// A UUID.
    pub fn uuid(&self) -> String {
        let (high, low) = (self.draw(), self.draw());
        let (version, variant) = ((high & 0x0fff) | 0x4000, ((low >> 48) & 0x3fff) | 0x8000);
        let (first, second) = (high >> 32, (high >> 16) & 0xffff);
        format!("{first:08x}-{second:04x}-{version:04x}-{variant:04x}-{:012x}", low & 0xffff_ffff_ffff)
    }

    /// An X-Ray trace id of a trace that is not sampled (X-Ray developer guide, `xray-concepts`).
    pub fn trace(&self, epoch_ms: u64) -> String {
        let (root, unique, parent) = (epoch_ms / 1000, self.draw(), self.draw());
        let rest = self.draw() >> 32;
        format!("Root=1-{root:08x}-{unique:016x}{rest:08x};Parent={parent:016x};Sampled=0")
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&self) -> u64 {
        let mut mixed = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_do_not_repeat() {
        let ids = Ids::random().unwrap();
        let (one, two) = (ids.uuid(), ids.uuid());
        assert_ne!(one, two);
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&one[14..15], "4");
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
        let trace = ids.trace(1_732_000_000_000);
        assert!(trace.starts_with("Root=1-673c3900-") && trace.len() == 35 + 4 + 25 + 10, "{trace}");
    }
}

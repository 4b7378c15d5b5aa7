//! Revocations that this server wrote or read, in memory.

use std::collections::HashMap;

use handlers::id::TenantId;
use handlers::ports::{RevokedSubject, Timestamp};
use parking_lot::Mutex;

/// Maximum number of revocations that are kept: about 30 MiB.
const MAX_KEPT: usize = 100_000;

/// The tokens of one tenant that a revocation rejects.
pub(super) type SubjectKey = (TenantId, RevokedSubject);

/// The value of a key: a revocation, or a withdrawal, whose `expires_at` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredRevocation {
    pub(super) issued_before: i64,
    pub(super) expires_at: Timestamp,
    /// Rises with each write of a subject; about the time of the write, in ms.
    pub(super) version: i64,
}

/// A value, and the time until which it is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeptRevocation {
    pub(super) stored: StoredRevocation,
    pub(super) kept_until: Timestamp,
}

/// The values that a server knows, at most [`MAX_KEPT`].
#[derive(Default)]
pub(super) struct KeptRevocations {
    entries: Mutex<HashMap<SubjectKey, KeptRevocation>>,
}

impl StoredRevocation {
    /// Parses a value. One without a version is older than every other.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (issued_before, expires_at) = (words.next()?.parse().ok()?, Timestamp(words.next()?.parse().ok()?));
        let version = words.next().map_or(Ok(0), str::parse).ok()?;
        Some(Self { issued_before, expires_at, version })
    }

    pub(super) const fn withdrawal(version: i64) -> Self {
        Self { issued_before: 0, expires_at: Timestamp(0), version }
    }

    pub(super) const fn is_withdrawn(self) -> bool {
        self.expires_at.0 == 0
    }
}

impl KeptRevocations {
    /// Returns the value of a subject that has not expired.
    pub(super) fn find(&self, subject: &SubjectKey, now: Timestamp) -> Option<KeptRevocation> {
        self.entries.lock().get(subject).copied().filter(|kept| kept.kept_until > now)
    }

    /// Returns all values that have not expired.
    pub(super) fn live_entries(&self, now: Timestamp) -> Vec<(SubjectKey, KeptRevocation)> {
        let entries = self.entries.lock();
        let live = entries.iter().filter(|(_, kept)| kept.kept_until > now);
        live.map(|(subject, kept)| (subject.clone(), *kept)).collect()
    }

    /// Keeps a value unless a later one is known. At the limit, expired ones make room; then it is not kept.
    pub(super) fn keep(&self, subject: SubjectKey, kept: KeptRevocation, now: Timestamp) {
        let mut entries = self.entries.lock();
        if let Some(known) = entries.get_mut(&subject) {
            if known.stored.version < kept.stored.version {
                *known = kept;
            }
            return;
        }
        if entries.len() >= MAX_KEPT {
            entries.retain(|_, kept| kept.kept_until > now);
        }
        if entries.len() < MAX_KEPT {
            entries.insert(subject, kept);
        }
    }

    /// Keeps a value that was read. A withdrawal only replaces the revocation that it withdraws.
    pub(super) fn learn(&self, subject: &SubjectKey, stored: StoredRevocation, now: Timestamp) {
        let known = self.find(subject, now);
        if known.is_some_and(|known| known.stored.version >= stored.version) {
            return;
        }
        let kept_until =
            if stored.is_withdrawn() { known.map(|known| known.kept_until) } else { Some(stored.expires_at) };
        if let Some(kept_until) = kept_until {
            self.keep(subject.clone(), KeptRevocation { stored, kept_until }, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use handlers::id::UserId;

    use super::*;

    fn subject(number: usize) -> SubjectKey {
        (TenantId::default_tenant(), RevokedSubject::User(UserId::parse(&format!("user{number}")).unwrap()))
    }

    fn kept(version: i64, until: i64) -> KeptRevocation {
        let stored = StoredRevocation { issued_before: 1, expires_at: Timestamp(until), version };
        KeptRevocation { stored, kept_until: Timestamp(until) }
    }

    #[test]
    fn values_parse_with_and_without_a_version() {
        let stored = |version| Some(StoredRevocation { issued_before: 10, expires_at: Timestamp(20), version });
        assert_eq!((StoredRevocation::parse("10 20 7"), StoredRevocation::parse("10 20")), (stored(7), stored(0)));
        assert_eq!(StoredRevocation::parse("0 0 7"), Some(StoredRevocation::withdrawal(7)));
        assert_eq!((StoredRevocation::parse("10"), StoredRevocation::parse("10 20 x")), (None, None));
    }

    #[test]
    fn the_latest_value_of_a_subject_is_kept_until_it_expires() {
        let (entries, now) = (KeptRevocations::default(), Timestamp(0));
        for version in [5, 7, 6] {
            entries.keep(subject(0), kept(version, 100), now);
        }
        assert_eq!(entries.find(&subject(0), now), Some(kept(7, 100)));
        assert_eq!(entries.find(&subject(0), Timestamp(100)), None);
        entries.learn(&subject(0), StoredRevocation::withdrawal(8), now);
        assert!(entries.find(&subject(0), now).unwrap().stored.is_withdrawn());
        entries.learn(&subject(1), StoredRevocation::withdrawal(8), now);
        assert_eq!(entries.find(&subject(1), now), None, "there is nothing to withdraw");
    }

    #[test]
    fn at_the_limit_only_expired_values_make_room() {
        let (entries, now) = (KeptRevocations::default(), Timestamp(0));
        for number in 0..MAX_KEPT {
            entries.keep(subject(number), kept(1, if number == 0 { 10 } else { 100 }), now);
        }
        entries.keep(subject(MAX_KEPT), kept(1, 100), now);
        assert_eq!(entries.find(&subject(MAX_KEPT), now), None);
        entries.keep(subject(MAX_KEPT), kept(1, 100), Timestamp(10));
        assert_eq!(entries.find(&subject(MAX_KEPT), now), Some(kept(1, 100)));
    }
}

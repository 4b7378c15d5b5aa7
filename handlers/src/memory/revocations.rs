//! Revocations in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::id::TenantId;
use crate::ports::{Revocation, RevocationStore, RevokedSubject, StoreError};

/// Maximum number of revocations: about 30 MiB. Only admins and services write them.
const MAX_REVOCATIONS: usize = 100_000;

/// Revocations of one process, which end with it. Callers check their expiry, so it needs no clock; an expired one is
/// deleted when another takes its place.
#[derive(Debug, Default)]
pub struct MemoryRevocations {
    revocations: Mutex<HashMap<(TenantId, RevokedSubject), Revocation>>,
}

impl MemoryRevocations {
    /// Creates a store with these revocations.
    #[must_use]
    pub fn with_revocations(revocations: Vec<Revocation>) -> Self {
        let key = |revocation: Revocation| ((revocation.tenant.clone(), revocation.subject.clone()), revocation);
        Self { revocations: Mutex::new(revocations.into_iter().map(key).collect()) }
    }

    /// Returns all revocations.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        self.revocations.lock().values().cloned().collect()
    }

    fn insert(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let mut revocations = self.revocations.lock();
        let key = (revocation.tenant.clone(), revocation.subject.clone());
        if revocations.len() >= MAX_REVOCATIONS && !revocations.contains_key(&key) {
            // The one that ends first may already have ended.
            let first = revocations.values().min_by_key(|one| one.expires_at).map(|one| one.expires_at);
            if first.is_none_or(|first| first >= revocation.expires_at) {
                let source = format!("more than {MAX_REVOCATIONS} revocations").into();
                return Err(StoreError::Backend { adapter: "memory", source });
            }
            revocations.retain(|_, one| Some(one.expires_at) != first);
        }
        revocations.insert(key, revocation.clone());
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for MemoryRevocations {
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        self.insert(revocation)
    }

    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError> {
        Ok(self.revocations.lock().get(&(tenant.clone(), subject.clone())).cloned())
    }

    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError> {
        Ok(self.revocations.lock().remove(&(tenant.clone(), subject.clone())).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn memory_fulfils_the_contract() {
        crate::conformance::revocations::run_suite(async || Arc::new(MemoryRevocations::default()) as _).await;
    }
}

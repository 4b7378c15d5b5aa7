//! Revocations in Redis: one string per subject, which expires with the revocation.

use std::sync::Arc;

use async_trait::async_trait;
use handlers::id::TenantId;
use handlers::ports::{Clock, Revocation, RevocationStore, RevokedSubject, StoreError, Timestamp};
use redis::cmd;

use super::{RedisClient, RedisClientError};

/// Revocations shared by all pods.
pub struct RedisRevocations {
    redis: RedisClient,
    clock: Arc<dyn Clock>,
}

impl RedisRevocations {
    /// Creates a store whose revocations expire by `clock`.
    #[must_use]
    pub const fn new(redis: RedisClient, clock: Arc<dyn Clock>) -> Self {
        Self { redis, clock }
    }

    fn key(&self, tenant: &TenantId, subject: &RevokedSubject) -> String {
        self.redis.prefixed_key(&format!("revoked:{tenant}/{}", subject.key()))
    }
}

#[async_trait]
impl RevocationStore for RedisRevocations {
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let lifetime = revocation.expires_at.0.saturating_sub(self.clock.now().0).max(1);
        let value = format!("{} {}", revocation.issued_before, revocation.expires_at);
        let key = self.key(&revocation.tenant, &revocation.subject);
        Ok(self.redis.query(cmd("SET").arg(key).arg(value).arg("PX").arg(lifetime)).await?)
    }

    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError> {
        let key = self.key(tenant, subject);
        let Some(value) = self.redis.query::<Option<String>>(cmd("GET").arg(&key)).await? else { return Ok(None) };
        let parsed =
            value.split_once(' ').and_then(|(before, expires)| Some((before.parse().ok()?, expires.parse().ok()?)));
        let (issued_before, expires_at) = parsed.ok_or_else(|| StoreError::from(RedisClientError::UnexpectedReply))?;
        let (tenant, subject) = (tenant.clone(), subject.clone());
        Ok(Some(Revocation { tenant, subject, issued_before, expires_at: Timestamp(expires_at) }))
    }

    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError> {
        let deleted: u64 = self.redis.query(cmd("DEL").arg(self.key(tenant, subject))).await?;
        Ok(deleted > 0)
    }
}

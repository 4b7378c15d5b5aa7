//! Revocations in Redis: one string per subject, which expires with the revocation.
//!
//! ```text
//! {issued before} {expires at} {version}     a revocation
//! 0 0 {version}                              a withdrawal, until the revocation would have ended
//! ```
//! A write returns after replicas have it (`redis.wait_replicas`). Redis may still lose data, so each server keeps the
//! revocations that it wrote or read, and writes them again: when it reads one that is missing or older, and after every
//! interruption of the heartbeats. The version decides between the copies of several servers.

mod kept;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use handlers::id::TenantId;
use handlers::ports::{Clock, Revocation, RevocationStore, RevokedSubject, StoreError, Timestamp};
use redis::{Script, cmd};

use self::kept::{KeptRevocation, KeptRevocations, StoredRevocation, SubjectKey};
use super::{RedisClient, RedisClientError};

/// Maximum number of revocations that are restored concurrently.
const MAX_CONCURRENT_RESTORES: usize = 16;

/// Revocations shared by all pods.
pub struct RedisRevocations {
    redis: RedisClient,
    clock: Arc<dyn Clock>,
    kept: KeptRevocations,
    put_script: Script,
    withdraw_script: Script,
    restore_script: Script,
}

impl RedisRevocations {
    /// Creates a store whose revocations expire by `clock`.
    #[must_use]
    pub fn new(redis: RedisClient, clock: Arc<dyn Clock>) -> Self {
        Self {
            redis,
            clock,
            kept: KeptRevocations::default(),
            put_script: Script::new(include_str!("revocations/put.lua")),
            withdraw_script: Script::new(include_str!("revocations/withdraw.lua")),
            restore_script: Script::new(include_str!("revocations/restore.lua")),
        }
    }

    /// Writes the revocations that this server knows and Redis has lost. Returns their number.
    ///
    /// # Errors
    /// The first [`RedisClientError`]; some may have been written.
    pub async fn restore_lost(&self) -> Result<usize, RedisClientError> {
        let mut restores = Vec::new();
        for (subject, kept) in self.kept.live_entries(self.clock.now()) {
            restores.push(async move { self.restore_one(&subject, &kept).await });
        }
        let written: Vec<bool> = stream::iter(restores).buffer_unordered(MAX_CONCURRENT_RESTORES).try_collect().await?;
        Ok(written.into_iter().filter(|written| *written).count())
    }

    async fn restore_one(&self, subject: &SubjectKey, kept: &KeptRevocation) -> Result<bool, RedisClientError> {
        let StoredRevocation { issued_before, expires_at, version } = kept.stored;
        let lifetime = kept.kept_until.0.saturating_sub(self.clock.now().0).max(1);
        let arguments = [issued_before, expires_at.0, version, lifetime];
        self.redis.write_script(&self.restore_script, &[self.key(subject)], &arguments).await
    }

    /// Returns what is known of a subject, by Redis or by this server, and restores what Redis has lost.
    async fn read_newest(&self, subject: &SubjectKey) -> Result<Option<StoredRevocation>, StoreError> {
        let text: Option<String> = self.redis.query(cmd("GET").arg(self.key(subject))).await?;
        let parse = |text: &str| StoredRevocation::parse(text).ok_or(RedisClientError::UnexpectedReply);
        let found = text.as_deref().map(parse).transpose()?;
        match (found, self.kept.find(subject, self.clock.now())) {
            (found, Some(kept)) if found.is_none_or(|found| found.version < kept.stored.version) => {
                self.restore_one(subject, &kept).await?;
                Ok(Some(kept.stored))
            }
            (Some(found), _) => {
                self.kept.learn(subject, found, self.clock.now());
                Ok(Some(found))
            }
            (None, _) => Ok(None),
        }
    }

    fn key(&self, (tenant, subject): &SubjectKey) -> String {
        self.redis.prefixed_key(&format!("revoked:{tenant}/{}", subject.key()))
    }
}

#[async_trait]
impl RevocationStore for RedisRevocations {
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let Revocation { tenant, subject, issued_before, expires_at } = revocation.clone();
        let (subject, now) = ((tenant, subject), self.clock.now());
        let lifetime = expires_at.0.saturating_sub(now.0).max(1);
        let arguments = [issued_before, expires_at.0, now.0, lifetime];
        let version = self.redis.invoke_script_durably(&self.put_script, &[self.key(&subject)], &arguments).await?;
        let stored = StoredRevocation { issued_before, expires_at, version };
        self.kept.keep(subject, KeptRevocation { stored, kept_until: expires_at }, now);
        Ok(())
    }

    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError> {
        let found = self.read_newest(&(tenant.clone(), subject.clone())).await?.filter(|found| !found.is_withdrawn());
        let (tenant, subject) = (tenant.clone(), subject.clone());
        Ok(found.map(|StoredRevocation { issued_before, expires_at, .. }| Revocation {
            tenant,
            subject,
            issued_before,
            expires_at,
        }))
    }

    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError> {
        let (subject, now) = ((tenant.clone(), subject.clone()), self.clock.now());
        self.read_newest(&subject).await?;
        let (keys, arguments) = ([self.key(&subject)], [now.0]);
        let (existed, version, lifetime): (bool, i64, i64) =
            self.redis.invoke_script_durably(&self.withdraw_script, &keys, &arguments).await?;
        if version > 0 {
            let kept_until = Timestamp(now.0.saturating_add(lifetime));
            self.kept.keep(subject, KeptRevocation { stored: StoredRevocation::withdrawal(version), kept_until }, now);
        }
        Ok(existed)
    }
}

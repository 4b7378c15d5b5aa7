//! Leases and connection records of all pods in Redis, and the only commands that change them.
//!
//! ```text
//! {cluster}:leases          sorted set  lease id → expiry of the lease in ms, by Redis's clock
//! {cluster}:nodes           hash        node id → lease id of its holder; with a leading "-" once fenced
//! {cluster}:fenced          sorted set  lease id → time of the fencing, until all its connections are completed
//! {cluster}:reaped          sorted set  lease id → time of the completion, for 24 h
//! {cluster}:pending         hash        lease id → connections that reaping pods have claimed and not completed
//! {cluster}:data_epoch      string      set with the first lease; another value means that Redis lost its data
//! {cluster}:connections:ID  hash        connection id → record: the connections of a pod
//! {cluster}:reaping:ID      hash        lease id/connection id → record: claimed connections of dead pods
//! ```
//! `ID` is a lease id, `NODE.INCARNATION`. Every script is idempotent, because the client retries. A fenced lease id
//! never holds a lease again. Times come from Redis, so the pods' clocks do not matter. All keys share one slot of a
//! Redis Cluster, because a connection moves between pods atomically. The callers decide when to run which command.

mod heartbeat_reply;
mod lease_id;

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use gateway::id::GatewayId;
use redis::Script;

pub use self::heartbeat_reply::{HeartbeatReply, LeaseStatus};
pub use self::lease_id::LeaseId;
use crate::redis::{RedisClient, RedisClientError};

/// Retention of a pod's records after its last heartbeat: far longer than any outage of all pods, and equal to the
/// lifetime of the application's own connection records.
const RECORD_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of expired and of fenced pods in one heartbeat reply. The next reply contains the rest.
const MAX_PODS_PER_HEARTBEAT: usize = 16;

static CLAIM_LEASE_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lease_store/claim_lease.lua")));
static HEARTBEAT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/heartbeat.lua")));
static REGISTER_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/register.lua")));
static FENCE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/fence.lua")));
static CLAIM_CONNECTIONS_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lease_store/claim_connections.lua")));
static COMPLETE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/complete.lua")));
static COUNT_PEER_CONNECTIONS_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lease_store/count_peer_connections.lua")));
static RESTORE_LOST_POD_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lease_store/restore_lost_pod.lua")));
static RELEASE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/release.lua")));

/// A hash as a script returns it.
type HashFields = Vec<(String, Vec<u8>)>;

/// Result of a successful [`LeaseStore::claim_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedLease {
    pub lease_id: LeaseId,
    /// Epoch of Redis's data.
    pub data_epoch: String,
}

/// A reaping pod's batch of fenced pods' connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReapBatch {
    /// Connections of the fenced pod that no pod has claimed.
    pub unclaimed: u64,
    /// Connections whose `$disconnect` the reaping pod has to run.
    pub claimed: Vec<ClaimedConnection>,
}

/// One connection of a fenced pod.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedConnection {
    /// Pod that held the connection.
    pub owner: LeaseId,
    /// Field in the reaping pod's `reaping` hash.
    pub field: String,
    /// Encoded `ConnectionFacts`.
    pub record: Vec<u8>,
}

/// Outcome of [`LeaseStore::release_lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// The lease, the node id and all records are gone.
    Freed,
    /// The pod has registered connections. The lease expired at once, so that other pods reap them.
    Expired,
    /// The pod did not hold the lease.
    NotHeld,
}

/// Access to the leases and connection records; clones share the Redis client.
#[derive(Clone)]
pub struct LeaseStore {
    redis: RedisClient,
    lease_ms: String,
}

impl LeaseStore {
    /// Creates a store whose leases expire `lease_duration` after the last heartbeat.
    #[must_use]
    pub fn new(redis: RedisClient, lease_duration: Duration) -> Self {
        Self { redis, lease_ms: millis_text(lease_duration) }
    }

    /// Returns the number of changes of the Redis master.
    pub(super) fn master_generation(&self) -> u64 {
        self.redis.master_generation()
    }

    /// Claims the first free one of `node_ids`. Returns `None` when none of them is free. A node id stays in use until
    /// all connections of its pod are completed.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The lease may have been claimed; then it expires.
    pub async fn claim_lease(
        &self,
        incarnation: &str,
        fresh_epoch: &str,
        node_ids: &[u16],
    ) -> Result<Option<ClaimedLease>, RedisClientError> {
        let mut arguments = vec![incarnation.to_owned(), self.lease_ms.clone(), fresh_epoch.to_owned()];
        arguments.extend(node_ids.iter().map(u16::to_string));
        let keys = ["leases", "nodes", "data_epoch", "fenced", "reaped"].map(|suffix| self.cluster_key(suffix));
        let (node_id, data_epoch): (u16, String) =
            self.redis.invoke_script(&CLAIM_LEASE_SCRIPT, &keys, &arguments).await?;
        Ok((node_id != 0).then(|| ClaimedLease { lease_id: LeaseId::new(node_id, incarnation), data_epoch }))
    }

    /// Extends the lease if this pod still holds it, and returns the state of all leases.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The lease may have been extended.
    pub async fn send_heartbeat(&self, lease_id: &LeaseId) -> Result<HeartbeatReply, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("fenced"),
            self.cluster_key("data_epoch"),
            self.connections_key(lease_id),
            self.reaping_key(lease_id),
            self.cluster_key("reaped"),
        ];
        let arguments = [
            lease_id.to_string(),
            self.lease_ms.clone(),
            millis_text(RECORD_RETENTION),
            MAX_PODS_PER_HEARTBEAT.to_string(),
        ];
        let reply = self.redis.invoke_script(&HEARTBEAT_SCRIPT, &keys, &arguments).await?;
        Ok(HeartbeatReply::from_script(reply))
    }

    /// Registers connections of this pod. Returns `false`, and registers nothing, when the lease is not held.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The connections may have been registered.
    pub async fn register_connections(
        &self,
        lease_id: &LeaseId,
        records: &[(GatewayId, Vec<u8>)],
    ) -> Result<bool, RedisClientError> {
        let mut arguments = vec![lease_id.as_str().as_bytes()];
        for (id, record) in records {
            arguments.extend([id.as_bytes(), record]);
        }
        self.redis
            .invoke_script(&REGISTER_SCRIPT, &[self.cluster_key("leases"), self.connections_key(lease_id)], &arguments)
            .await
    }

    /// Deletes connections of this pod with one command.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The connections may have been deleted.
    pub async fn delete_connections(&self, lease_id: &LeaseId, ids: &[GatewayId]) -> Result<(), RedisClientError> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.connections_key(lease_id));
        for id in ids {
            command.arg(id.as_str());
        }
        self.redis.query(&command).await
    }

    /// Returns the connections in `ids` that are not registered.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails.
    pub async fn find_unregistered(
        &self,
        lease_id: &LeaseId,
        ids: &[GatewayId],
    ) -> Result<Vec<GatewayId>, RedisClientError> {
        let mut pipeline = redis::Pipeline::with_capacity(ids.len());
        let key = self.connections_key(lease_id);
        for id in ids {
            pipeline.cmd("HEXISTS").arg(&key).arg(id.as_str());
        }
        let exists: Vec<bool> = self.redis.run_pipeline(&pipeline).await?;
        Ok(ids.iter().zip(exists).filter_map(|(id, exists)| (!exists).then_some(*id)).collect())
    }

    /// Returns the number of registered connections of this pod.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails.
    pub async fn count_registered(&self, lease_id: &LeaseId) -> Result<u64, RedisClientError> {
        self.redis.query(redis::cmd("HLEN").arg(self.connections_key(lease_id))).await
    }

    /// Returns the number of connections that all other pods with a lease have registered, or `None` when there is no
    /// other pod.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails.
    pub async fn count_peer_connections(&self, own: &LeaseId) -> Result<Option<u64>, RedisClientError> {
        let arguments = [own.to_string(), self.cluster_key("connections:")];
        self.redis.invoke_script(&COUNT_PEER_CONNECTIONS_SCRIPT, &[self.cluster_key("leases")], &arguments).await
    }

    /// Returns some registered connections of this pod with their records, and the next cursor. A scan starts with
    /// cursor 0 and ends when 0 is returned.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails.
    pub async fn scan_registered(
        &self,
        lease_id: &LeaseId,
        cursor: u64,
    ) -> Result<(u64, Vec<(GatewayId, Vec<u8>)>), RedisClientError> {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.connections_key(lease_id)).arg(cursor).arg("COUNT").arg(256);
        let (next, found): (u64, HashFields) = self.redis.query(&command).await?;
        let parse = |(id, record): (String, Vec<u8>)| Some((gateway::id::parse_gateway_id(&id).ok()?, record));
        Ok((next, found.into_iter().filter_map(parse).collect()))
    }

    /// Fences a pod whose lease has expired. Returns `false` when there is no such expired lease.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The pod may have been fenced.
    pub async fn fence_lease(&self, lease_id: &LeaseId) -> Result<bool, RedisClientError> {
        let keys = [self.cluster_key("leases"), self.cluster_key("fenced"), self.cluster_key("nodes")];
        self.redis.invoke_script(&FENCE_SCRIPT, &keys, &[lease_id.to_string(), lease_id.node_id().to_string()]).await
    }

    /// Claims connections of `dead` until this pod's batch has `batch_size` of them, and returns the whole batch.
    /// Returns `None` when this pod does not hold its own lease.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. Connections may have been claimed; a repeated call returns them.
    pub async fn claim_connections(
        &self,
        own: &LeaseId,
        dead: &LeaseId,
        batch_size: usize,
    ) -> Result<Option<ReapBatch>, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("fenced"),
            self.cluster_key("pending"),
            self.reaping_key(own),
            self.connections_key(dead),
            self.reaping_key(dead),
        ];
        let arguments = [own.to_string(), dead.to_string(), batch_size.to_string()];
        let reply: Option<(u64, HashFields)> =
            self.redis.invoke_script(&CLAIM_CONNECTIONS_SCRIPT, &keys, &arguments).await?;
        let Some((unclaimed, batch)) = reply else { return Ok(None) };
        let claimed = batch.into_iter().filter_map(|(field, record)| {
            let owner = LeaseId::parse(field.split_once('/')?.0)?;
            Some(ClaimedConnection { owner, field, record })
        });
        Ok(Some(ReapBatch { unclaimed, claimed: claimed.collect() }))
    }

    /// Removes completed connections of `dead` from this pod's batch. Returns `true` when `dead` is fully reaped and
    /// its node id is free.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The connections may have been removed.
    pub async fn complete_connections(
        &self,
        own: &LeaseId,
        dead: &LeaseId,
        fields: &[String],
    ) -> Result<bool, RedisClientError> {
        let keys = [
            self.reaping_key(own),
            self.cluster_key("pending"),
            self.cluster_key("fenced"),
            self.cluster_key("nodes"),
            self.connections_key(dead),
            self.reaping_key(dead),
            self.cluster_key("reaped"),
        ];
        let mut arguments = vec![dead.to_string(), dead.node_id().to_string(), millis_text(RECORD_RETENTION)];
        arguments.extend(fields.iter().cloned());
        self.redis.invoke_script(&COMPLETE_SCRIPT, &keys, &arguments).await
    }

    /// Registers connections of a dead pod again, unless Redis still has the data of `data_epoch`, which had them.
    /// Other pods reap them then. Returns whether they were registered.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The connections may have been registered.
    pub async fn restore_lost_pod(
        &self,
        dead: &LeaseId,
        data_epoch: &str,
        records: &[(GatewayId, Vec<u8>)],
    ) -> Result<bool, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("nodes"),
            self.cluster_key("fenced"),
            self.cluster_key("data_epoch"),
            self.connections_key(dead),
        ];
        let (node, retention) = (dead.node_id().to_string(), millis_text(RECORD_RETENTION));
        let mut arguments =
            vec![dead.as_str().as_bytes(), node.as_bytes(), data_epoch.as_bytes(), retention.as_bytes()];
        for (id, record) in records {
            arguments.extend([id.as_bytes(), record]);
        }
        self.redis.invoke_script(&RESTORE_LOST_POD_SCRIPT, &keys, &arguments).await
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The lease may have been released; otherwise it expires.
    pub async fn release_lease(&self, lease_id: &LeaseId) -> Result<ReleaseOutcome, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("nodes"),
            self.connections_key(lease_id),
            self.reaping_key(lease_id),
        ];
        let outcome: u8 = self
            .redis
            .invoke_script(&RELEASE_SCRIPT, &keys, &[lease_id.to_string(), lease_id.node_id().to_string()])
            .await?;
        Ok(match outcome {
            0 => ReleaseOutcome::NotHeld,
            1 => ReleaseOutcome::Freed,
            _ => ReleaseOutcome::Expired,
        })
    }

    /// Returns whether a pod that has not been fenced holds this node id. Sends one command.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails.
    pub async fn is_node_leased(&self, node_id: u16) -> Result<bool, RedisClientError> {
        let holder: Option<String> =
            self.redis.query(redis::cmd("HGET").arg(self.cluster_key("nodes")).arg(node_id)).await?;
        Ok(holder.is_some_and(|holder| !holder.starts_with('-')))
    }

    fn cluster_key(&self, suffix: &str) -> String {
        self.redis.prefixed_key(&format!("{{cluster}}:{suffix}"))
    }

    fn connections_key(&self, lease_id: &LeaseId) -> String {
        self.cluster_key(&format!("connections:{lease_id}"))
    }

    fn reaping_key(&self, lease_id: &LeaseId) -> String {
        self.cluster_key(&format!("reaping:{lease_id}"))
    }
}

fn millis_text(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl fmt::Debug for ClaimedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedConnection").field("field", &self.field).finish_non_exhaustive()
    }
}

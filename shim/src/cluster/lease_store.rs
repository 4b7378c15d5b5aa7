//! What the pods know of each other, in Redis, and the only commands that change it.
//!
//! ```text
//! {cluster}:leases    sorted set   name → when its lease lapses, by Redis's clock
//! {cluster}:nodes     hash         node number → name of its holder, "-" before it once that is fenced
//! {cluster}:fenced    sorted set   name → when its lease was taken away; until its connections are finished
//! {cluster}:owed      hash         name → how many of its connections survivors have taken and not finished
//! {cluster}:epoch     string       made with the first lease; another one means that Redis lost its data
//! {cluster}:sessions:NAME   hash   connection id → record: the connections of a pod
//! {cluster}:reaping:NAME    hash   name/id → record: what a survivor is finishing of others' connections
//! ```
//! A name is `number.boot`. Invariants: every script may run twice with the effect of once, because the link repeats; a name
//! that was fenced never holds a lease again; time is Redis's own, so pods' clocks do not matter. All keys share one slot of
//! a Cluster: a pod's connections move between pods in one step. When to do what is decided elsewhere.

mod lease_id;

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use gateway::id::GatewayId;
use redis::Script;

pub use self::lease_id::LeaseId;
use crate::redis::{RedisClient, RedisClientError};

/// How long a pod's records outlive its last heartbeat: far longer than any outage of all pods, and as long as the
/// application's own records of connections live.
const RECORD_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Most lapsed and fenced pods that one heartbeat tells; the next one tells the rest.
const MAX_PODS_PER_HEARTBEAT: usize = 16;

static CLAIM_LEASE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/claim.lua")));
static HEARTBEAT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/beat.lua")));
static REGISTER_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/enrol.lua")));
static FENCE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/fence.lua")));
static CLAIM_CONNECTIONS_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/take.lua")));
static COMPLETE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/settle.lua")));
static RELEASE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease_store/release.lua")));

/// A hash as a script returns it.
type HashFields = Vec<(String, Vec<u8>)>;

/// A claimed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedLease {
    /// Under which name.
    pub lease_id: LeaseId,
    /// The epoch of Redis's data.
    pub data_epoch: String,
}

/// What a heartbeat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether the lease is held; it is extended then.
    pub held: bool,
    /// The epoch of Redis's data; empty when there is none.
    pub data_epoch: String,
    /// Pods whose lease has lapsed.
    pub lapsed: Vec<LeaseId>,
    /// Pods that were fenced and have connections to be finished.
    pub fenced: Vec<LeaseId>,
    /// Pods whose lease has not lapsed.
    pub live_pods: u64,
}

/// A survivor's share of fenced pods' connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReapBatch {
    /// How many nobody has taken yet.
    pub unclaimed: u64,
    /// Those to be finished now.
    pub claimed: Vec<ClaimedConnection>,
}

/// One connection of a fenced pod.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedConnection {
    /// Whose it was.
    pub owner: LeaseId,
    /// What it is called in the share.
    pub field: String,
    /// Its record.
    pub record: Vec<u8>,
}

/// How a lease was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// Nothing is left of the pod.
    Freed,
    /// It has connections; others finish them.
    Lapsed,
    /// It was not held.
    NotHeld,
}

/// The pods' common knowledge; clones share the link.
#[derive(Clone)]
pub struct LeaseStore {
    redis: RedisClient,
    lease_ms: String,
}

impl LeaseStore {
    /// The ledger in `redis`, with leases that lapse after `lease` without a heartbeat.
    #[must_use]
    pub fn new(redis: RedisClient, lease: Duration) -> Self {
        Self { redis, lease_ms: millis_text(lease) }
    }

    /// Takes the first free number of `nodes`; `None` when all of them are taken. The number of a pod whose connections are
    /// not finished is taken.
    ///
    /// # Errors
    /// [`RedisClientError`]; the lease may have been claimed, then it lapses.
    pub async fn claim_lease(
        &self,
        boot: &str,
        fresh_epoch: &str,
        nodes: &[u16],
    ) -> Result<Option<ClaimedLease>, RedisClientError> {
        let mut arguments = vec![boot.to_owned(), self.lease_ms.clone(), fresh_epoch.to_owned()];
        arguments.extend(nodes.iter().map(u16::to_string));
        let keys = [self.cluster_key("leases"), self.cluster_key("nodes"), self.cluster_key("epoch")];
        let (node, epoch): (u16, String) = self.redis.invoke_script(&CLAIM_LEASE_SCRIPT, &keys, &arguments).await?;
        Ok((node != 0).then(|| ClaimedLease { lease_id: LeaseId::new(node, boot), data_epoch: epoch }))
    }

    /// Extends the lease, if it is still held.
    ///
    /// # Errors
    /// [`RedisClientError`].
    pub async fn send_heartbeat(&self, name: &LeaseId) -> Result<HeartbeatReply, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("fenced"),
            self.cluster_key("epoch"),
            self.connections_key(name),
            self.reaping_key(name),
        ];
        let arguments = [
            name.to_string(),
            self.lease_ms.clone(),
            millis_text(RECORD_RETENTION),
            MAX_PODS_PER_HEARTBEAT.to_string(),
        ];
        let (held, epoch, lapsed, fenced, living): (bool, String, Vec<String>, Vec<String>, u64) =
            self.redis.invoke_script(&HEARTBEAT_SCRIPT, &keys, &arguments).await?;
        Ok(HeartbeatReply {
            held,
            data_epoch: epoch,
            lapsed: parse_lease_ids(lapsed),
            fenced: parse_lease_ids(fenced),
            live_pods: living,
        })
    }

    /// Writes connections down; `false`, and nothing is written, when the lease is not held.
    ///
    /// # Errors
    /// [`RedisClientError`]; they may have been written.
    pub async fn register_connections(
        &self,
        name: &LeaseId,
        records: &[(GatewayId, Vec<u8>)],
    ) -> Result<bool, RedisClientError> {
        let mut arguments = vec![name.as_str().as_bytes()];
        for (id, record) in records {
            arguments.extend([id.as_bytes(), record]);
        }
        self.redis
            .invoke_script(&REGISTER_SCRIPT, &[self.cluster_key("leases"), self.connections_key(name)], &arguments)
            .await
    }

    /// Strikes connections of this pod off. One command.
    ///
    /// # Errors
    /// [`RedisClientError`]; they may have been struck off.
    pub async fn delete_connections(&self, name: &LeaseId, ids: &[GatewayId]) -> Result<(), RedisClientError> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.connections_key(name));
        for id in ids {
            command.arg(id.as_str());
        }
        self.redis.query(&command).await
    }

    /// Which of these connections are not written down.
    ///
    /// # Errors
    /// [`RedisClientError`].
    pub async fn find_unregistered(
        &self,
        name: &LeaseId,
        ids: &[GatewayId],
    ) -> Result<Vec<GatewayId>, RedisClientError> {
        let mut pipeline = redis::Pipeline::with_capacity(ids.len());
        let key = self.connections_key(name);
        for id in ids {
            pipeline.cmd("HEXISTS").arg(&key).arg(id.as_str());
        }
        let there: Vec<bool> = self.redis.run_pipeline(&pipeline).await?;
        Ok(ids.iter().zip(there).filter_map(|(id, there)| (!there).then_some(*id)).collect())
    }

    /// How many connections of this pod are written down.
    ///
    /// # Errors
    /// [`RedisClientError`].
    pub async fn count_registered(&self, name: &LeaseId) -> Result<u64, RedisClientError> {
        self.redis.query(redis::cmd("HLEN").arg(self.connections_key(name))).await
    }

    /// Some of the connections of this pod that are written down, and where to go on; 0 is both begin and end.
    ///
    /// # Errors
    /// [`RedisClientError`].
    pub async fn scan_registered(
        &self,
        name: &LeaseId,
        cursor: u64,
    ) -> Result<(u64, Vec<GatewayId>), RedisClientError> {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.connections_key(name)).arg(cursor).arg("COUNT").arg(256);
        let (next, found): (u64, Vec<(String, redis::Value)>) = self.redis.query(&command).await?;
        Ok((next, found.iter().filter_map(|(id, _)| gateway::id::parse_gateway_id(id).ok()).collect()))
    }

    /// Takes a lapsed lease away; `false` when there is none (any more).
    ///
    /// # Errors
    /// [`RedisClientError`]; the lease may have been taken away.
    pub async fn fence_lease(&self, name: &LeaseId) -> Result<bool, RedisClientError> {
        let keys = [self.cluster_key("leases"), self.cluster_key("fenced"), self.cluster_key("nodes")];
        self.redis.invoke_script(&FENCE_SCRIPT, &keys, &[name.to_string(), name.node_id().to_string()]).await
    }

    /// Fills this pod's share up to `most` from what `dead` left, and returns all of it. `None` when this pod does not hold
    /// its own lease.
    ///
    /// # Errors
    /// [`RedisClientError`]; the share may have been filled.
    pub async fn claim_connections(
        &self,
        own: &LeaseId,
        dead: &LeaseId,
        most: usize,
    ) -> Result<Option<ReapBatch>, RedisClientError> {
        let keys = [
            self.cluster_key("leases"),
            self.cluster_key("fenced"),
            self.cluster_key("owed"),
            self.reaping_key(own),
            self.connections_key(dead),
            self.reaping_key(dead),
        ];
        let arguments = [own.to_string(), dead.to_string(), most.to_string()];
        let answer: Option<(u64, HashFields)> =
            self.redis.invoke_script(&CLAIM_CONNECTIONS_SCRIPT, &keys, &arguments).await?;
        let Some((left, share)) = answer else { return Ok(None) };
        let taken = share.into_iter().filter_map(|(field, record)| {
            let origin = LeaseId::parse(field.split_once('/')?.0)?;
            Some(ClaimedConnection { owner: origin, field, record })
        });
        Ok(Some(ReapBatch { unclaimed: left, claimed: taken.collect() }))
    }

    /// Strikes finished connections of `dead` off this pod's share; `true` when nothing is left of `dead`.
    ///
    /// # Errors
    /// [`RedisClientError`]; they may have been struck off.
    pub async fn complete_connections(
        &self,
        own: &LeaseId,
        dead: &LeaseId,
        fields: &[String],
    ) -> Result<bool, RedisClientError> {
        let keys = [
            self.reaping_key(own),
            self.cluster_key("owed"),
            self.cluster_key("fenced"),
            self.cluster_key("nodes"),
            self.connections_key(dead),
            self.reaping_key(dead),
        ];
        let mut arguments = vec![dead.to_string(), dead.node_id().to_string(), millis_text(RECORD_RETENTION)];
        arguments.extend(fields.iter().cloned());
        self.redis.invoke_script(&COMPLETE_SCRIPT, &keys, &arguments).await
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// [`RedisClientError`]; it may have been given back, otherwise it lapses.
    pub async fn release_lease(&self, name: &LeaseId) -> Result<ReleaseOutcome, RedisClientError> {
        let keys =
            [self.cluster_key("leases"), self.cluster_key("nodes"), self.connections_key(name), self.reaping_key(name)];
        let outcome: u8 =
            self.redis.invoke_script(&RELEASE_SCRIPT, &keys, &[name.to_string(), name.node_id().to_string()]).await?;
        Ok(match outcome {
            0 => ReleaseOutcome::NotHeld,
            1 => ReleaseOutcome::Freed,
            _ => ReleaseOutcome::Lapsed,
        })
    }

    /// Whether somebody holds this number who has not been fenced. One command.
    ///
    /// # Errors
    /// [`RedisClientError`].
    pub async fn is_node_leased(&self, node: u16) -> Result<bool, RedisClientError> {
        let holder: Option<String> =
            self.redis.query(redis::cmd("HGET").arg(self.cluster_key("nodes")).arg(node)).await?;
        Ok(holder.is_some_and(|holder| !holder.starts_with('-')))
    }

    fn cluster_key(&self, rest: &str) -> String {
        self.redis.prefixed_key(&format!("{{cluster}}:{rest}"))
    }

    fn connections_key(&self, name: &LeaseId) -> String {
        self.cluster_key(&format!("sessions:{name}"))
    }

    fn reaping_key(&self, name: &LeaseId) -> String {
        self.cluster_key(&format!("reaping:{name}"))
    }
}

fn parse_lease_ids(texts: Vec<String>) -> Vec<LeaseId> {
    texts.iter().filter_map(|text| LeaseId::parse(text)).collect()
}

fn millis_text(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl fmt::Debug for ClaimedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").field("field", &self.field).finish_non_exhaustive()
    }
}

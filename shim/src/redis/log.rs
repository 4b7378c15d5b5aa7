//! Message logs in Redis: one stream per channel, whose entry ids are the offsets.
//!
//! Guarantees: the entries of a channel are contiguous up to its head, and the set of message ids matches the entries,
//! because each append is one script that does everything or nothing. An epoch identifies a log from its first append
//! until its keys are lost; reading a log creates none (`store_epoch`). Where a master can be replaced by one that
//! lacks the latest writes, the epoch also contains the replication id of the master, so that offsets assigned twice
//! have different epochs. The durability of an append is determined by the configuration of the server
//! (`docs/OPERATIONS.md`).

mod archive;
mod entry;
mod store_epoch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, LogRange, LogSlice, MessageLog, Timestamp};
use redis::{Script, cmd};

use self::entry::RawLogSlice;
use self::store_epoch::{StoreEpochKeys, current_period};
use super::{RedisClient, RedisClientError, RedisTopology};

/// Maximum number of concurrent reads of heads.
const MAX_CONCURRENT_HEAD_READS: usize = 64;

/// Retention of the messages of a channel. The newest message is always retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisRetention {
    /// Maximum number of messages per channel.
    pub max_messages: u64,
    /// Maximum age of a message. The log of a channel without an append for this long is deleted.
    pub max_age: Duration,
}

/// Message logs in one Redis.
pub struct RedisLog {
    redis: RedisClient,
    clock: Arc<dyn Clock>,
    retention: RedisRetention,
    /// Whether epochs depend on the master.
    epoch_per_master: bool,
    store_epoch_keys: StoreEpochKeys,
    append_script: Script,
    read_script: Script,
}

/// Keys of one channel, all in one slot.
struct LogKeys([String; 3]);

impl RedisLog {
    /// Opens the logs, whose retention is measured by `clock`. Reads the persistence settings of the server once.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when the settings cannot be read.
    pub async fn open_log(
        redis: RedisClient,
        clock: Arc<dyn Clock>,
        retention: RedisRetention,
    ) -> Result<Self, RedisClientError> {
        // A single server with an append-only file recovers all writes after a restart. A server without one, and a
        // promoted replica, may lack the latest writes and would assign their offsets again.
        let epoch_per_master = redis.topology() != RedisTopology::Single || !is_aof_enabled(&redis).await?;
        warn_if_eviction_enabled(&redis).await?;
        let (append_script, read_script) =
            (Script::new(include_str!("log/append.lua")), Script::new(include_str!("log/read.lua")));
        let store_epoch_keys = StoreEpochKeys::for_topology(redis.topology());
        Ok(Self { redis, clock, retention, epoch_per_master, store_epoch_keys, append_script, read_script })
    }

    fn log_keys(&self, channel: &Channel) -> LogKeys {
        LogKeys(["entries", "bounds", "ids"].map(|part| self.redis.prefixed_key(&format!("log:{{{channel}}}:{part}"))))
    }

    /// Returns the key of the store's epoch in the slot of a channel's `key`.
    fn store_epoch_key(&self, key: &str) -> String {
        self.redis.prefixed_key(&self.store_epoch_keys.name_for(key))
    }

    fn period_arg(&self) -> String {
        format!("{:x}", current_period(self.clock.now().0, saturating_millis(self.retention.max_age)))
    }

    fn epoch_per_master_arg(&self) -> &'static str {
        if self.epoch_per_master { "1" } else { "0" }
    }

    async fn read_slice(
        &self,
        channel: &Channel,
        start: &str,
        ascending: bool,
        limit: usize,
        max_bytes: usize,
    ) -> Result<RawLogSlice, LogError> {
        let LogKeys([entries, bounds, _]) = self.log_keys(channel);
        let direction = if ascending { "asc" } else { "desc" };
        let (limit, max_bytes, period) = (limit.to_string(), max_bytes.to_string(), self.period_arg());
        let (epoch, store_epoch) = (self.clock.fresh_id(), self.store_epoch_key(&bounds));
        let arguments = [&*epoch, self.epoch_per_master_arg(), direction, start, &*limit, &*max_bytes, &*period];
        Ok(self.redis.invoke_script(&self.read_script, &[entries, bounds, store_epoch], &arguments).await?)
    }
}

impl RedisLog {
    async fn read_head(&self, channel: &Channel) -> Result<Position, LogError> {
        Ok(self.read_slice(channel, "+", false, 0, 0).await?.head_position())
    }
}

async fn is_aof_enabled(redis: &RedisClient) -> Result<bool, RedisClientError> {
    let persistence: String = redis.query(cmd("INFO").arg("persistence")).await?;
    Ok(persistence.lines().any(|line| line.trim() == "aof_enabled:1"))
}

/// Warns about a server that evicts keys: eviction deletes messages and records that clients rely on.
async fn warn_if_eviction_enabled(redis: &RedisClient) -> Result<(), RedisClientError> {
    if redis.topology() != RedisTopology::Single {
        return Ok(());
    }
    let memory: String = redis.query(cmd("INFO").arg("memory")).await?;
    let policy = memory.lines().find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            policy,
            "redis evicts keys when its memory is full, which loses messages; set maxmemory-policy to noeviction"
        );
    }
    Ok(())
}

#[async_trait]
impl MessageLog for RedisLog {
    async fn append(&self, request: AppendRequest) -> Result<AppendOutcome, LogError> {
        let AppendRequest { channel, sender, id, sent_at, body } = request;
        let LogKeys([entries_key, bounds, ids]) = self.log_keys(&channel);
        let store_epoch = self.store_epoch_key(&bounds);
        let keys = [entries_key, bounds, ids, store_epoch];
        let min_sent_at = self.clock.now().0.saturating_sub(saturating_millis(self.retention.max_age));
        let (epoch, period) = (self.clock.fresh_id(), self.period_arg());
        let (sent_at, entries) = (sent_at.to_string(), self.retention.max_messages.to_string());
        let (min_sent_at, ttl) =
            (min_sent_at.to_string(), saturating_millis(self.retention.max_age).max(1).to_string());
        let arguments = [
            &*epoch,
            self.epoch_per_master_arg(),
            &*sent_at,
            sender.user.as_str(),
            sender.role.as_str(),
            id.as_str(),
            body.get(),
            &*entries,
            &*min_sent_at,
            &*ttl,
            &*period,
        ];
        let (epoch, offset, sent_at, duplicate): (String, u64, i64, u8) =
            self.redis.invoke_script_durably(&self.append_script, &keys, &arguments).await?;
        let position = Position { epoch: Epoch(epoch.into()), offset: Offset(offset) };
        Ok(AppendOutcome { position, sent_at: Timestamp(sent_at), duplicate: duplicate == 1 })
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        let limit = limit.max(1);
        let (start, ascending) = match range {
            LogRange::After(offset) => (format!("{}-0", offset.0.saturating_add(1)), true),
            LogRange::Before(None) => ("+".to_owned(), false),
            // There is nothing before the first offset, and 0-0 is not a valid entry id.
            LogRange::Before(Some(Offset(0 | 1))) => ("0-1".to_owned(), false),
            LogRange::Before(Some(offset)) => (format!("({}-0", offset.0), false),
        };
        let slice = self.read_slice(channel, &start, ascending, limit, max_bytes).await?;
        Ok(slice.into_slice(ascending)?)
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        // All reads share one connection, which pipelines them: one round trip.
        let reads = channels.iter().map(|channel| self.read_head(channel)).collect::<Vec<_>>();
        stream::iter(reads).buffered(MAX_CONCURRENT_HEAD_READS).try_collect().await
    }
}

fn saturating_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<RedisClientError> for LogError {
    fn from(error: RedisClientError) -> Self {
        match error {
            RedisClientError::OutOfMemory(_) => Self::Full(Box::new(error)),
            _ if error.is_transient() => Self::Unavailable(Box::new(error)),
            _ => Self::Backend { adapter: "redis", source: Box::new(error) },
        }
    }
}

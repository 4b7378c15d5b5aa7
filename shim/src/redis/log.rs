//! Message logs in Redis: a stream per channel, whose entry ids are the offsets.
//!
//! Invariant: a channel's entries are dense up to its head, and the remembered ids are exactly the entries', because each
//! append is one script that does all or nothing. An epoch names a log from its first use until its keys are lost; where a
//! master can be replaced by one that has not everything, the epoch also names the master's history, so that offsets that
//! were given out twice are never mistaken for the same. When an append counts as durable is the server's configuration
//! (`docs/OPERATIONS.md`).

mod archive;
mod entry;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::limits;
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, LogRange, LogSlice, MessageLog, Timestamp};
use redis::{Script, cmd};

use self::entry::RawLogSlice;
use super::{RedisClient, RedisClientError, RedisTopology};

/// How many ends are asked for at a time.
const MAX_CONCURRENT_HEAD_READS: usize = 64;
/// How long a log without messages remembers its epoch after it was last asked for: as long as a connection may.
const EMPTY_LOG_TTL: Duration = limits::CONNECTION_RECORD_TTL;

/// How much of a channel is kept. The newest message always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisRetention {
    /// Most messages.
    pub max_messages: u64,
    /// How long a message is kept. A channel that nobody wrote to for that long is forgotten whole.
    pub max_age: Duration,
}

/// The message logs of one Redis.
pub struct RedisLog {
    redis: RedisClient,
    clock: Arc<dyn Clock>,
    retention: RedisRetention,
    /// Whether another master means another epoch.
    epoch_per_master: bool,
    append_script: Script,
    read_script: Script,
}

/// The keys of one channel, all in one slot.
struct LogKeys([String; 3]);

impl RedisLog {
    /// Logs that are kept by `retention`, measured by `clock`. Asks the server once how it keeps what is written.
    ///
    /// # Errors
    /// [`RedisClientError`] when it does not say.
    pub async fn open_log(
        redis: RedisClient,
        clock: Arc<dyn Clock>,
        retention: RedisRetention,
    ) -> Result<Self, RedisClientError> {
        // A lone server that logs its writes comes back with all of them. One that does not, and a replica that takes over,
        // may lack the last ones, and would give their offsets out again.
        let by_master = redis.topology() != RedisTopology::Single || !is_aof_enabled(&redis).await?;
        warn_if_eviction_enabled(&redis).await?;
        let (append, read) = (Script::new(include_str!("log/append.lua")), Script::new(include_str!("log/read.lua")));
        Ok(Self { redis, clock, retention, epoch_per_master: by_master, append_script: append, read_script: read })
    }

    fn log_keys(&self, channel: &Channel) -> LogKeys {
        LogKeys(["entries", "ends", "ids"].map(|part| self.redis.prefixed_key(&format!("log:{{{channel}}}:{part}"))))
    }

    fn epoch_per_master_arg(&self) -> &'static str {
        if self.epoch_per_master { "1" } else { "0" }
    }

    async fn read_slice(
        &self,
        channel: &Channel,
        start: &str,
        upwards: bool,
        limit: usize,
        bytes: usize,
    ) -> Result<RawLogSlice, LogError> {
        let LogKeys([entries, ends, _]) = self.log_keys(channel);
        let direction = if upwards { "up" } else { "down" };
        let (limit, bytes, life) = (limit.to_string(), bytes.to_string(), EMPTY_LOG_TTL.as_millis().to_string());
        let epoch = self.clock.fresh_id();
        let arguments = [&*epoch, self.epoch_per_master_arg(), direction, start, &*limit, &*bytes, &*life];
        Ok(self.redis.invoke_script(&self.read_script, &[entries, ends], &arguments).await?)
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

/// A server that makes room by itself drops messages and records that clients were told of.
async fn warn_if_eviction_enabled(redis: &RedisClient) -> Result<(), RedisClientError> {
    if redis.topology() != RedisTopology::Single {
        return Ok(());
    }
    let memory: String = redis.query(cmd("INFO").arg("memory")).await?;
    let policy = memory.lines().find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(policy, "redis drops keys when its memory is full; set maxmemory-policy noeviction");
    }
    Ok(())
}

#[async_trait]
impl MessageLog for RedisLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        let AppendRequest { channel, sender, id, sent_at, body } = append;
        let LogKeys(keys) = self.log_keys(&channel);
        let too_old = self.clock.now().0.saturating_sub(saturating_millis(self.retention.max_age));
        let epoch = self.clock.fresh_id();
        let (sent_at, entries) = (sent_at.to_string(), self.retention.max_messages.to_string());
        let (too_old, life) = (too_old.to_string(), saturating_millis(self.retention.max_age).max(1).to_string());
        let arguments = [
            &*epoch,
            self.epoch_per_master_arg(),
            &*sent_at,
            sender.user.as_str(),
            sender.role.as_str(),
            id.as_str(),
            body.get(),
            &*entries,
            &*too_old,
            &*life,
        ];
        let (epoch, offset, sent_at, before): (String, u64, i64, u8) =
            self.redis.invoke_script_durably(&self.append_script, &keys, &arguments).await?;
        let position = Position { epoch: Epoch(epoch.into()), offset: Offset(offset) };
        Ok(AppendOutcome { position, sent_at: Timestamp(sent_at), duplicate: before == 1 })
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        let limit = limit.max(1);
        let (start, upwards) = match range {
            LogRange::After(offset) => (format!("{}-0", offset.0.saturating_add(1)), true),
            LogRange::Before(None) => ("+".to_owned(), false),
            // Nothing stands before the first; an id of 0-0 is none.
            LogRange::Before(Some(Offset(0 | 1))) => ("0-1".to_owned(), false),
            LogRange::Before(Some(offset)) => (format!("({}-0", offset.0), false),
        };
        let slice = self.read_slice(channel, &start, upwards, limit, max_bytes).await?;
        Ok(slice.into_slice(upwards)?)
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        // All on one connection, which sends them together: one round trip.
        let asked = channels.iter().map(|channel| self.read_head(channel)).collect::<Vec<_>>();
        stream::iter(asked).buffered(MAX_CONCURRENT_HEAD_READS).try_collect().await
    }
}

fn saturating_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<RedisClientError> for LogError {
    fn from(trouble: RedisClientError) -> Self {
        match trouble {
            RedisClientError::OutOfMemory(_) => Self::Full(Box::new(trouble)),
            _ if trouble.is_transient() => Self::Unavailable(Box::new(trouble)),
            _ => Self::Backend { adapter: "redis", source: Box::new(trouble) },
        }
    }
}

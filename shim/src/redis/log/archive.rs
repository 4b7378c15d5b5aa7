//! Listing, export and import of the logs in Redis.
//!
//! On a single server, listing uses `SCAN`. In a Cluster it sends `KEYS` to all masters at once, which blocks each of
//! them briefly. The ACL user needs `+@keyspace` for it.

use async_trait::async_trait;
use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogError, LogRange, LogSlice, MessageLog};
use redis::{Pipeline, Script, cmd};

use super::{LogKeys, RedisLog, saturating_millis};
use crate::redis::{RedisClientError, RedisTopology};

/// Keys per `SCAN` call.
const KEYS_PER_SCAN: usize = 1_000;
/// Heads per pipeline.
const HEADS_PER_PIPELINE: usize = 256;

impl RedisLog {
    /// Returns the keys of the bounds of all channels, unordered and possibly with duplicates.
    async fn scan_bounds_keys(&self) -> Result<Vec<String>, RedisClientError> {
        // A prefix contains no glob characters.
        let pattern = self.redis.prefixed_key("log:{*}:bounds");
        if self.redis.topology() == RedisTopology::Cluster {
            return self.redis.query(cmd("KEYS").arg(&pattern)).await;
        }
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let scan = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PER_SCAN).take();
            let (next, keys): (u64, Vec<String>) = self.redis.query(&scan).await?;
            found.extend(keys);
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    }

    /// Returns the channels of those keys that have, or had, messages.
    async fn channels_with_messages(&self, keys: &[String]) -> Result<Vec<Channel>, RedisClientError> {
        let (prefix, suffix) = (self.redis.prefixed_key("log:{"), "}:bounds");
        let mut found = Vec::new();
        for keys in keys.chunks(HEADS_PER_PIPELINE) {
            let mut pipeline = Pipeline::with_capacity(keys.len());
            for key in keys {
                pipeline.cmd("HGET").arg(key).arg("head");
            }
            let heads: Vec<Option<u64>> = self.redis.run_pipeline(&pipeline).await?;
            let names = keys.iter().map(|key| key.strip_prefix(&prefix)?.strip_suffix(suffix));
            let with_heads = names.zip(heads).filter(|(_, head)| head.is_some_and(|head| head > 0));
            // Other keys do not belong to this version of the application.
            found.extend(with_heads.filter_map(|(name, _)| Channel::from_key(name?).ok()));
        }
        Ok(found)
    }
}

#[async_trait]
impl LogArchive for RedisLog {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        let mut keys = self.scan_bounds_keys().await?;
        keys.sort_unstable();
        keys.dedup();
        let mut found = self.channels_with_messages(&keys).await?;
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        self.read(channel, LogRange::After(after), limits.max_entries, limits.max_bytes).await
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        // Rejects segments that no log can start with. The script checks the rest.
        segment.remaining_entries(&segment.epoch, Offset::START)?;
        let LogKeys(keys) = self.log_keys(&segment.channel);
        let mut arguments = vec![
            segment.epoch.0.to_string(),
            self.epoch_per_master_arg().to_owned(),
            segment.after.to_string(),
            saturating_millis(self.retention.max_age).max(1).to_string(),
        ];
        for entry in &segment.entries {
            let (user, role) = (entry.sender.user.to_string(), entry.sender.role.as_str().to_owned());
            let (offset, sent_at) = (entry.offset.to_string(), entry.sent_at.to_string());
            arguments.extend([offset, sent_at, user, role, entry.id.to_string(), entry.body.get().to_owned()]);
        }
        let script = Script::new(include_str!("import.lua"));
        let result: String =
            self.redis.invoke_script_durably(&script, &keys, &arguments).await.map_err(LogError::from)?;
        match result.as_str() {
            "epoch" => Err(ImportError::EpochMismatch),
            "missing_range" => Err(ImportError::MissingRange),
            _ => Ok(()),
        }
    }
}

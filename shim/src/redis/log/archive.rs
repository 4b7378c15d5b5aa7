//! Logs in Redis as whoever moves them sees them.
//!
//! Listing asks a server step by step (`SCAN`); in a Cluster it asks every master at once (`KEYS`), which holds each up for a
//! moment. The ACL user needs `+@keyspace` for it.

use async_trait::async_trait;
use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogError, LogRange, LogSlice, MessageLog};
use redis::{Pipeline, Script, cmd};

use super::{LogKeys, RedisLog, saturating_millis};
use crate::redis::{RedisClientError, RedisTopology};

/// How many keys one step of a listing looks at.
const KEYS_PER_SCAN: usize = 1_000;
/// How many ends are asked for at a time.
const HEADS_PER_PIPELINE: usize = 256;

impl RedisLog {
    /// The keys of channels' ends, in no order, perhaps some of them twice.
    async fn scan_bounds_keys(&self) -> Result<Vec<String>, RedisClientError> {
        // A prefix has no character that a pattern knows.
        let pattern = self.redis.prefixed_key("log:{*}:ends");
        if self.redis.topology() == RedisTopology::Cluster {
            return self.redis.query(cmd("KEYS").arg(&pattern)).await;
        }
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let step = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PER_SCAN).take();
            let (next, keys): (u64, Vec<String>) = self.redis.query(&step).await?;
            found.extend(keys);
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    }

    /// Those of the keys whose channel has, or had, messages.
    async fn channels_with_messages(&self, keys: &[String]) -> Result<Vec<Channel>, RedisClientError> {
        let (before, behind) = (self.redis.prefixed_key("log:{"), "}:ends");
        let mut found = Vec::new();
        for keys in keys.chunks(HEADS_PER_PIPELINE) {
            let mut asked = Pipeline::with_capacity(keys.len());
            for key in keys {
                asked.cmd("HGET").arg(key).arg("head");
            }
            let heads: Vec<Option<u64>> = self.redis.run_pipeline(&asked).await?;
            let names = keys.iter().map(|key| key.strip_prefix(&before)?.strip_suffix(behind));
            let named = names.zip(heads).filter(|(_, head)| head.is_some_and(|head| head > 0));
            // What is no channel's was written by somebody else, or for a later version.
            found.extend(named.filter_map(|(name, _)| Channel::from_key(name?).ok()));
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

    async fn export(&self, channel: &Channel, after: Offset, most: ExportLimits) -> Result<LogSlice, LogError> {
        self.read(channel, LogRange::After(after), most.max_entries, most.max_bytes).await
    }

    async fn import(&self, stretch: &LogSegment) -> Result<(), ImportError> {
        // The script sees to the rest; this is for what no log could begin with.
        stretch.remaining_entries(&stretch.epoch, Offset::START)?;
        let LogKeys(keys) = self.log_keys(&stretch.channel);
        let mut arguments = vec![
            stretch.epoch.0.to_string(),
            self.epoch_per_master_arg().to_owned(),
            stretch.after.to_string(),
            saturating_millis(self.retention.max_age).max(1).to_string(),
        ];
        for entry in &stretch.entries {
            let (user, role) = (entry.sender.user.to_string(), entry.sender.role.as_str().to_owned());
            let (offset, sent_at) = (entry.offset.to_string(), entry.sent_at.to_string());
            arguments.extend([offset, sent_at, user, role, entry.id.to_string(), entry.body.get().to_owned()]);
        }
        let script = Script::new(include_str!("import.lua"));
        let done: String =
            self.redis.invoke_script_durably(&script, &keys, &arguments).await.map_err(LogError::from)?;
        match done.as_str() {
            "epoch" => Err(ImportError::EpochMismatch),
            "hole" => Err(ImportError::MissingRange),
            _ => Ok(()),
        }
    }
}

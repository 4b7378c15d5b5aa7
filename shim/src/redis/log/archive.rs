//! Logs in Redis as whoever moves them sees them.
//!
//! Listing asks a server step by step (`SCAN`); in a Cluster it asks every master at once (`KEYS`), which holds each up for a
//! moment. The ACL user needs `+@keyspace` for it.

use async_trait::async_trait;
use handlers::archive::{ImportError, LogArchive, Most, Stretch};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogError, MessageLog, Range, Slice};
use redis::{Pipeline, Script, cmd};

use super::{Keys, RedisLog, millis};
use crate::redis::{RedisTrouble, Topology};

/// How many keys one step of a listing looks at.
const STEP: usize = 1_000;
/// How many ends are asked for at a time.
const ENDS: usize = 256;

impl RedisLog {
    /// The keys of channels' ends, in no order, perhaps some of them twice.
    async fn end_keys(&self) -> Result<Vec<String>, RedisTrouble> {
        // A prefix has no character that a pattern knows.
        let pattern = self.redis.key("log:{*}:ends");
        if self.redis.topology() == Topology::Cluster {
            return self.redis.query(cmd("KEYS").arg(&pattern)).await;
        }
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let step = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP).take();
            let (next, keys): (u64, Vec<String>) = self.redis.query(&step).await?;
            found.extend(keys);
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    }

    /// Those of the keys whose channel has, or had, messages.
    async fn written(&self, keys: &[String]) -> Result<Vec<Channel>, RedisTrouble> {
        let (before, behind) = (self.redis.key("log:{"), "}:ends");
        let mut found = Vec::new();
        for keys in keys.chunks(ENDS) {
            let mut asked = Pipeline::with_capacity(keys.len());
            for key in keys {
                asked.cmd("HGET").arg(key).arg("head");
            }
            let heads: Vec<Option<u64>> = self.redis.pipeline(&asked).await?;
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
    async fn channels(&self) -> Result<Vec<Channel>, LogError> {
        let mut keys = self.end_keys().await?;
        keys.sort_unstable();
        keys.dedup();
        let mut found = self.written(&keys).await?;
        found.sort_by_key(ToString::to_string);
        Ok(found)
    }

    async fn export(&self, channel: &Channel, after: Offset, most: Most) -> Result<Slice, LogError> {
        self.read(channel, Range::After(after), most.entries, most.bytes).await
    }

    async fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        // The script sees to the rest; this is for what no log could begin with.
        stretch.rest(&stretch.epoch, Offset::START)?;
        let Keys(keys) = self.keys(&stretch.channel);
        let mut arguments = vec![
            stretch.epoch.0.to_string(),
            self.by_master().to_owned(),
            stretch.from.to_string(),
            millis(self.retention.age).max(1).to_string(),
        ];
        for entry in &stretch.entries {
            let (user, role) = (entry.sender.user.to_string(), entry.sender.role.as_str().to_owned());
            let (offset, sent_at) = (entry.offset.to_string(), entry.sent_at.to_string());
            arguments.extend([offset, sent_at, user, role, entry.id.to_string(), entry.body.get().to_owned()]);
        }
        let script = Script::new(include_str!("import.lua"));
        let done: String = self.redis.invoke_durably(&script, &keys, &arguments).await.map_err(LogError::from)?;
        match done.as_str() {
            "epoch" => Err(ImportError::Epoch),
            "hole" => Err(ImportError::Hole),
            _ => Ok(()),
        }
    }
}

//! Repair of keys of the wrong type: the key is renamed, and an index is rebuilt from the records.
//!
//! The records are authoritative, so nothing is lost: an index that another program has overwritten has no entries
//! anyway. A record cannot be rebuilt; without it the connection counts as closed, and its client reconnects.

use handlers::audience::Group;
use handlers::ports::{ClientConnection, StoreError};
use redis::{Cmd, FromRedisValue, Pipeline, Script, ToRedisArgs, Value, cmd};

use super::{RedisConnections, index, record};
use crate::redis::{RedisClientError, RedisTopology};

/// Maximum number of keys that are repaired for one operation.
const MAX_REPAIRS: usize = 8;
/// Keys per `SCAN` call, and records per pipeline.
const RECORDS_PER_ROUND: usize = 1_000;

impl RedisConnections {
    /// Sends a command like [`RedisClient::query`](crate::redis::RedisClient::query), and repairs its key if that has
    /// the wrong type.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        for _ in 0..MAX_REPAIRS {
            match self.redis.write_command(command).await {
                Err(RedisClientError::WrongKeyType { key, found, .. }) => self.repair_key(&key, &found).await?,
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.redis.write_command(command).await?)
    }

    /// Runs a script like [`Self::query`].
    pub(super) async fn invoke_script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, StoreError> {
        for _ in 0..MAX_REPAIRS {
            match self.redis.write_script(script, keys, arguments).await {
                Err(RedisClientError::WrongKeyType { key, found, .. }) => self.repair_key(&key, &found).await?,
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.redis.write_script(script, keys, arguments).await?)
    }

    /// Runs a pipeline like [`Self::query`].
    pub(super) async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        for _ in 0..MAX_REPAIRS {
            match self.redis.write_pipeline(pipeline).await {
                Err(RedisClientError::WrongKeyType { key, found, .. }) => self.repair_key(&key, &found).await?,
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.redis.write_pipeline(pipeline).await?)
    }

    /// Renames a key of the wrong type, so that an operator can look at it, and rebuilds the index that had its name.
    async fn repair_key(&self, key: &str, found: &str) -> Result<(), RedisClientError> {
        // A hash tag in the key keeps both names in one slot.
        let quarantine = format!("{key}:quarantine:{}", self.clock.fresh_id());
        match self.redis.query::<Value>(cmd("RENAMENX").arg(key).arg(&quarantine)).await {
            Ok(_) => {
                tracing::error!(key, found, quarantine, "redis key of the wrong type renamed; another program wrote it")
            }
            // Another operation has renamed it.
            Err(RedisClientError::Rejected(error)) if error.to_string().contains("no such key") => {}
            Err(error) => return Err(error),
        }
        if key.contains(":index:{") || key.contains(":occupied:{") { self.rebuild_index(key).await } else { Ok(()) }
    }

    /// Adds to the index `key` what belongs to it, from all records. In a Cluster `KEYS` is sent to all masters, as for
    /// the listing of logs.
    async fn rebuild_index(&self, key: &str) -> Result<(), RedisClientError> {
        // A prefix contains no glob characters.
        let pattern = self.redis.prefixed_key("connection:{*}");
        if self.redis.topology() == RedisTopology::Cluster {
            let keys: Vec<String> = self.redis.query(cmd("KEYS").arg(&pattern)).await?;
            return self.index_records(key, &keys).await;
        }
        let mut cursor = 0_u64;
        loop {
            let scan = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(RECORDS_PER_ROUND).take();
            let (next, keys): (u64, Vec<String>) = self.redis.query(&scan).await?;
            self.index_records(key, &keys).await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Adds the entries of these records to the index `key`.
    async fn index_records(&self, key: &str, record_keys: &[String]) -> Result<(), RedisClientError> {
        for record_keys in record_keys.chunks(RECORDS_PER_ROUND) {
            let mut reads = Pipeline::new();
            for record_key in record_keys {
                reads.cmd("GET").arg(record_key);
            }
            let texts: Vec<Option<String>> = self.redis.run_pipeline(&reads).await?;
            let mut additions = Pipeline::new();
            for connection in texts.into_iter().flatten().filter_map(|text| record::decode_record(&text).ok()) {
                self.add_to_index(&mut additions, key, &connection);
            }
            self.redis.run_pipeline::<Value>(&additions).await?;
        }
        Ok(())
    }

    fn add_to_index(&self, pipeline: &mut Pipeline, key: &str, connection: &ClientConnection) {
        let joined = connection.channels.iter().cloned().map(Group::Joined);
        for group in connection.identity.groups().into_iter().chain(joined) {
            if index::group_key(&self.redis, &group) == key {
                index::add_connection(pipeline, key, &connection.id, record::expires_at(connection));
            }
        }
        if index::occupied_key(&self.redis, &connection.identity.tenant) == key {
            for channel in &connection.channels {
                index::add_occupied_channel(pipeline, key, &channel.name);
            }
        }
    }
}

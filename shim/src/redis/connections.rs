//! Connection store in Redis: one record per connection, and one index per group.
//!
//! The record is authoritative. It is written first and is alone in its slot, so an operation on one connection is
//! atomic in every topology. The indices follow, each in its own slot. A listing returns only connections confirmed by
//! their records, and removes entries that are not. A process that dies between the two steps leaves an index entry
//! without a record, which the next listing removes, or a record without entries, whose connection ended with the
//! process. A key of the wrong type is renamed, and an index is rebuilt (`repair`).

mod index;
mod listing;
mod occupied;
mod record;
mod repair;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use handlers::audience::{Audience, Group, ResolvedAudience};
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::{ChannelChange, ClientConnection, Clock, ConnectionStore, OccupiedChannel, Page, StoreError};
use redis::{FromRedisValue, Pipeline, Script, Value, cmd};

use super::{RedisClient, RedisClientError};

/// Retention of a deleted record for a caller that lost the reply, in ms: longer than any operation may take.
const REMOVED_RECORD_TTL_MS: &str = "60000";
/// Maximum number of index corrections after concurrent changes of one record. The last change completes the
/// correction.
const MAX_INDEX_CORRECTIONS: usize = 4;

/// Connection store shared by all pods.
pub struct RedisConnections {
    redis: RedisClient,
    clock: Arc<dyn Clock>,
    change_script: Script,
    remove_script: Script,
}

impl RedisConnections {
    /// Creates a store whose records expire by `clock`.
    #[must_use]
    pub fn new(redis: RedisClient, clock: Arc<dyn Clock>) -> Self {
        let change_script = Script::new(include_str!("connections/change.lua"));
        let remove_script = Script::new(include_str!("connections/remove.lua"));
        Self { redis, clock, change_script, remove_script }
    }

    fn record_key(&self, id: &ConnectionId) -> String {
        // Connection ids of other gateways may contain a brace, which would end the hash tag.
        let id = id.as_str().replace('%', "%25").replace('}', "%7D");
        self.redis.prefixed_key(&format!("connection:{{{id}}}"))
    }

    /// Decodes a record. Returns `None` when there is none or it has expired.
    fn parse_live_record(&self, text: Option<String>) -> Result<Option<ClientConnection>, StoreError> {
        let Some(text) = text else { return Ok(None) };
        let connection = record::decode_record(&text)?;
        Ok((record::expires_at(&connection) > self.clock.now()).then_some(connection))
    }

    /// Writes the record of an open connection, and its index entries, unless there is one. Returns whether it was
    /// written. For records that Redis has lost; a concurrent change of an existing record is not overwritten.
    ///
    /// # Errors
    /// [`StoreError`]; the record may have been written.
    pub async fn restore_connection(&self, connection: &ClientConnection) -> Result<bool, StoreError> {
        let ttl_ms = record::expires_at(connection).0 - self.clock.now().0;
        if ttl_ms <= 0 {
            return Ok(false);
        }
        let (key, text) = (self.record_key(&connection.id), record::encode_record(connection));
        let written: Option<String> =
            self.redis.write_command(cmd("SET").arg(&key).arg(text).arg("PX").arg(ttl_ms).arg("NX")).await?;
        if written.is_some() {
            self.add_to_indices(connection).await?;
        }
        Ok(written.is_some())
    }

    /// Adds a connection to the indices of all its groups.
    async fn add_to_indices(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::new();
        for group in connection.identity.groups() {
            let key = index::group_key(&self.redis, &group);
            index::add_connection(&mut pipeline, &key, &connection.id, record::expires_at(connection));
        }
        self.add_to_channels(&mut pipeline, connection, &connection.channels.iter().collect::<Vec<_>>());
        self.run_pipeline::<Value>(&pipeline).await?;
        Ok(())
    }

    /// Removes a connection from the indices of all its groups.
    async fn remove_from_indices(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::new();
        for group in connection.identity.groups() {
            index::remove_connection(
                &mut pipeline,
                &index::group_key(&self.redis, &group),
                &connection.id,
                record::expires_at(connection),
            );
        }
        let channels: Vec<&Channel> = connection.channels.iter().collect();
        self.remove_from_channels(&mut pipeline, connection, &channels);
        self.run_pipeline::<Value>(&pipeline).await?;
        self.unlist_empty_channels(&channels).await
    }

    /// Adds a connection to the indices of channels: four commands each.
    fn add_to_channels(&self, pipeline: &mut Pipeline, connection: &ClientConnection, channels: &[&Channel]) {
        for channel in channels {
            let key = index::group_key(&self.redis, &Group::Joined((*channel).clone()));
            index::add_connection(pipeline, &key, &connection.id, record::expires_at(connection));
            index::add_occupied_channel(pipeline, &index::occupied_key(&self.redis, &channel.tenant), &channel.name);
        }
    }

    /// Removes a connection from the indices of channels: one command each.
    fn remove_from_channels(&self, pipeline: &mut Pipeline, connection: &ClientConnection, channels: &[&Channel]) {
        for channel in channels {
            let key = index::group_key(&self.redis, &Group::Joined((*channel).clone()));
            index::remove_connection(pipeline, &key, &connection.id, record::expires_at(connection));
        }
    }

    /// Updates the indices of `touched` channels to match the record. Concurrent changes of one record may reach the
    /// indices in another order than the record, so the record is read again afterwards.
    async fn update_channel_indices(
        &self,
        mut connection: ClientConnection,
        touched: &BTreeSet<&Channel>,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_INDEX_CORRECTIONS {
            let (joined, left): (Vec<&Channel>, Vec<&Channel>) =
                touched.iter().partition(|channel| connection.channels.contains(**channel));
            let mut pipeline = Pipeline::new();
            self.add_to_channels(&mut pipeline, &connection, &joined);
            self.remove_from_channels(&mut pipeline, &connection, &left);
            self.run_pipeline::<Value>(&pipeline).await?;
            self.unlist_empty_channels(&left).await?;
            let Some(current) = self.find_connection(&connection.id).await? else {
                return self.remove_from_indices(&connection).await;
            };
            if touched.iter().all(|channel| current.channels.contains(*channel) == joined.contains(channel)) {
                return Ok(());
            }
            connection = current;
        }
        Ok(())
    }
}

#[async_trait]
impl ConnectionStore for RedisConnections {
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        let ttl_ms = record::expires_at(connection).0 - self.clock.now().0;
        if ttl_ms <= 0 {
            return self.delete_connection(&connection.id).await.map(drop);
        }
        let key = self.record_key(&connection.id);
        let set = cmd("SET").arg(&key).arg(record::encode_record(connection)).arg("PX").arg(ttl_ms).arg("GET").take();
        let before: Option<String> = self.query(&set).await?;
        if let Some(before) =
            before.and_then(|text| record::decode_record(&text).ok()).filter(|before| before != connection)
        {
            self.remove_from_indices(&before).await?;
        }
        self.add_to_indices(connection).await
    }

    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        let text = self.query(cmd("GET").arg(self.record_key(id))).await?;
        self.parse_live_record(text)
    }

    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        let key = self.record_key(id);
        let removed_key = format!("{key}:removed");
        let token = self.clock.fresh_id();
        let text: Option<String> =
            self.invoke_script(&self.remove_script, &[key, removed_key], &[&*token, REMOVED_RECORD_TTL_MS]).await?;
        let Some(text) = text else { return Ok(None) };
        let connection = record::decode_record(&text)?;
        // The deletion succeeded even if updating the indices fails: the next listing corrects them.
        if let Err(error) = self.remove_from_indices(&connection).await {
            tracing::warn!(
                error = %errors::chain(&error),
                "removing a deleted connection from its indices failed; the next listing removes it"
            );
        }
        self.parse_live_record(Some(text))
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError> {
        let expired_at = self.clock.now().0.saturating_sub(record::RECORD_TTL_MS).to_string();
        let mut arguments = vec![expired_at, limits::MAX_CHANNELS_PER_CONNECTION.to_string(), join.len().to_string()];
        arguments.extend(join.iter().chain(leave).map(Channel::to_string));
        let reply: Option<Vec<String>> =
            self.invoke_script(&self.change_script, &[self.record_key(id)], &arguments).await?;
        let (before, after) = match reply.as_deref() {
            Some([before, after]) => (record::decode_record(before)?.channels, after.clone()),
            Some(_) => return Ok(ChannelChange::LimitReached),
            None => return Ok(ChannelChange::NotFound),
        };
        let Some(connection) = self.parse_live_record(Some(after))? else { return Ok(ChannelChange::NotFound) };
        let touched: BTreeSet<&Channel> = join.iter().chain(leave).collect();
        if !touched.is_empty() {
            self.update_channel_indices(connection.clone(), &touched).await?;
        }
        Ok(ChannelChange::Applied { connection, before })
    }

    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        match audience.resolve() {
            ResolvedAudience::Connection(id) => {
                let found = self.find_connection(&id).await?;
                let total = u64::from(found.is_some());
                let matching = found.filter(|found| after.as_ref().is_none_or(|after| found.id > *after));
                Ok(Page { items: matching.into_iter().collect(), next: None, total })
            }
            ResolvedAudience::Groups(groups) => self.union_page(&groups, after, limit.max(1)).await,
        }
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        self.occupied_page(tenant, after, limit.max(1)).await
    }
}

/// Parses the next reply of a pipeline.
fn next_reply<T: FromRedisValue>(value: Option<Value>) -> Result<T, StoreError> {
    let parsed = value.and_then(|value| T::from_redis_value(value).ok());
    Ok(parsed.ok_or(RedisClientError::UnexpectedReply)?)
}

impl From<RedisClientError> for StoreError {
    fn from(error: RedisClientError) -> Self {
        // A server that is out of memory accepts records again after others have expired.
        if error.is_transient() || matches!(error, RedisClientError::OutOfMemory(_)) {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Backend { adapter: "redis", source: Box::new(error) }
        }
    }
}

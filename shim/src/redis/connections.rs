//! The connection store in Redis: a record per connection, and an index per group.
//!
//! Invariant: the record decides. It is written first and alone in its slot, so that an operation on one connection is
//! atomic in every topology; the indices follow, each in a slot of its own, and a listing shows only what the records
//! confirm and takes out what they do not. A process that dies between the two steps leaves an index entry without a record,
//! which the next listing removes, or a record without entries, whose connection died with that process.

mod index;
mod listing;
mod occupied;
mod record;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use handlers::audience::{Audience, Group, Members};
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::{Changed, Clock, Connection, ConnectionStore, OccupiedChannel, Page, StoreError};
use redis::{FromRedisValue, Pipeline, Script, Value, cmd};

use super::{Redis, RedisTrouble};

/// How long a removed record is remembered for the caller whose answer was lost: longer than any operation may take.
const TAKEN_MS: &str = "60000";
/// How often an index is corrected after changes of the same record at the same time; the last change corrects it finally.
const CORRECTIONS: usize = 4;

/// The connections of all pods.
pub struct RedisConnections {
    redis: Redis,
    clock: Arc<dyn Clock>,
    change: Script,
    remove: Script,
}

impl RedisConnections {
    /// A store whose records end by `clock`.
    #[must_use]
    pub fn new(redis: Redis, clock: Arc<dyn Clock>) -> Self {
        let change = Script::new(include_str!("connections/change.lua"));
        let remove = Script::new(include_str!("connections/remove.lua"));
        Self { redis, clock, change, remove }
    }

    fn record_key(&self, id: &ConnectionId) -> String {
        // Ids of other gateways may have a brace, which would end the part that decides the slot.
        let id = id.as_str().replace('%', "%25").replace('}', "%7D");
        self.redis.key(&format!("connection:{{{id}}}"))
    }

    /// The record, unless it has ended.
    fn living(&self, text: Option<String>) -> Result<Option<Connection>, StoreError> {
        let Some(text) = text else { return Ok(None) };
        let connection = record::read(&text)?;
        Ok((record::end(&connection) > self.clock.now()).then_some(connection))
    }

    /// Takes a connection out of the indices of all its groups.
    async fn unlist(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::new();
        for group in connection.identity.groups() {
            index::remove(&mut pipeline, &index::key(&self.redis, &group), &connection.id, record::end(connection));
        }
        let channels: Vec<&Channel> = connection.channels.iter().collect();
        self.leave(&mut pipeline, connection, &channels);
        self.redis.pipeline::<Value>(&pipeline).await?;
        self.vacate(&channels).await
    }

    /// Puts a connection into the indices of channels: four commands each.
    fn join(&self, pipeline: &mut Pipeline, connection: &Connection, channels: &[&Channel]) {
        for channel in channels {
            let key = index::key(&self.redis, &Group::Joined((*channel).clone()));
            index::add(pipeline, &key, &connection.id, record::end(connection));
            index::occupy(pipeline, &index::occupied_key(&self.redis, &channel.tenant), &channel.name);
        }
    }

    /// Takes a connection out of the indices of channels: one command each.
    fn leave(&self, pipeline: &mut Pipeline, connection: &Connection, channels: &[&Channel]) {
        for channel in channels {
            let key = index::key(&self.redis, &Group::Joined((*channel).clone()));
            index::remove(pipeline, &key, &connection.id, record::end(connection));
        }
    }

    /// Makes the indices of `touched` channels say what the record says. Changes of one record at the same time may reach
    /// the indices in another order than the record, so the record is looked at again afterwards.
    async fn follow(&self, mut connection: Connection, touched: &BTreeSet<&Channel>) -> Result<(), StoreError> {
        for _ in 0..CORRECTIONS {
            let (joined, left): (Vec<&Channel>, Vec<&Channel>) =
                touched.iter().partition(|channel| connection.channels.contains(**channel));
            let mut pipeline = Pipeline::new();
            self.join(&mut pipeline, &connection, &joined);
            self.leave(&mut pipeline, &connection, &left);
            self.redis.pipeline::<Value>(&pipeline).await?;
            self.vacate(&left).await?;
            let Some(now) = self.find(&connection.id).await? else {
                return self.unlist(&connection).await;
            };
            if touched.iter().all(|channel| now.channels.contains(*channel) == joined.contains(channel)) {
                return Ok(());
            }
            connection = now;
        }
        Ok(())
    }
}

#[async_trait]
impl ConnectionStore for RedisConnections {
    async fn put(&self, connection: &Connection) -> Result<(), StoreError> {
        let left = record::end(connection).0 - self.clock.now().0;
        if left <= 0 {
            return self.remove(&connection.id).await.map(drop);
        }
        let key = self.record_key(&connection.id);
        let set = cmd("SET").arg(&key).arg(record::write(connection)).arg("PX").arg(left).arg("GET").take();
        let before: Option<String> = self.redis.query(&set).await?;
        if let Some(before) = before.and_then(|text| record::read(&text).ok()).filter(|before| before != connection) {
            self.unlist(&before).await?;
        }
        let mut pipeline = Pipeline::new();
        for group in connection.identity.groups() {
            index::add(&mut pipeline, &index::key(&self.redis, &group), &connection.id, record::end(connection));
        }
        self.join(&mut pipeline, connection, &connection.channels.iter().collect::<Vec<_>>());
        self.redis.pipeline::<Value>(&pipeline).await?;
        Ok(())
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let text = self.redis.query(cmd("GET").arg(self.record_key(id))).await?;
        self.living(text)
    }

    async fn remove(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let key = self.record_key(id);
        let taken = format!("{key}:taken");
        let token = self.clock.fresh_id();
        let text: Option<String> = self.redis.invoke(&self.remove, &[key, taken], &[&*token, TAKEN_MS]).await?;
        let Some(text) = text else { return Ok(None) };
        let connection = record::read(&text)?;
        // The record is this caller's, whatever becomes of the indices: they are put right by the next listing.
        if let Err(error) = self.unlist(&connection).await {
            tracing::warn!(error = %errors::chain(&error), "a removed connection is still listed");
        }
        self.living(Some(text))
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<Changed, StoreError> {
        let ended = self.clock.now().0.saturating_sub(record::LIFE_MS).to_string();
        let mut arguments = vec![ended, limits::CHANNELS_PER_CONNECTION.to_string(), join.len().to_string()];
        arguments.extend(join.iter().chain(leave).map(Channel::to_string));
        let answer: Option<Vec<String>> = self.redis.invoke(&self.change, &[self.record_key(id)], &arguments).await?;
        let (before, after) = match answer.as_deref() {
            Some([before, after]) => (record::read(before)?.channels, after.clone()),
            Some(_) => return Ok(Changed::Full),
            None => return Ok(Changed::Absent),
        };
        let Some(connection) = self.living(Some(after))? else { return Ok(Changed::Absent) };
        let touched: BTreeSet<&Channel> = join.iter().chain(leave).collect();
        if !touched.is_empty() {
            self.follow(connection.clone(), &touched).await?;
        }
        Ok(Changed::To { connection, before })
    }

    async fn members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Connection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::BadPage)?;
        match audience.members() {
            Members::One(id) => {
                let found = self.find(&id).await?;
                let total = u64::from(found.is_some());
                let shown = found.filter(|found| after.as_ref().is_none_or(|after| found.id > *after));
                Ok(Page { items: shown.into_iter().collect(), next: None, total })
            }
            Members::Union(groups) => self.union(&groups, after, limit.max(1)).await,
        }
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::BadPage)?;
        self.occupied(tenant, after, limit.max(1)).await
    }
}

/// The next answer of a pipeline.
fn answer<T: FromRedisValue>(value: Option<Value>) -> Result<T, StoreError> {
    let read = value.and_then(|value| T::from_redis_value(value).ok());
    Ok(read.ok_or(RedisTrouble::Unexpected)?)
}

impl From<RedisTrouble> for StoreError {
    fn from(trouble: RedisTrouble) -> Self {
        // A full server takes records again once others have ended.
        if trouble.is_transient() || matches!(trouble, RedisTrouble::Full(_)) {
            Self::Unavailable(Box::new(trouble))
        } else {
            Self::Backend { adapter: "redis", source: Box::new(trouble) }
        }
    }
}

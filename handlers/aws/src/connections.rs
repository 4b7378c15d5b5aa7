//! Connections in DynamoDB: a record for each, and an item for each room or topic that it joined.
//!
//! Invariant: record and memberships change in one transaction, so that what a connection's record says and what its
//! channels list never differ while it lives. Exactly one `remove` gets the record: deleting it returns what it was, also
//! after the connection was found gone and taken out of every listing. An expired item is absent although TTL has not deleted it. Listings of users, roles and tenants come from indexes, which lag
//! behind by DynamoDB's replication; records and memberships are read consistently.
//! The access patterns are in `docs/adr/0010-dynamodb-tables.md`.

mod change;
mod members;
mod occupied;
mod purge;
mod record;
mod selection;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use handlers::audience::Audience;
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::{Changed, Clock, Connection, ConnectionStore, OccupiedChannel, Page, StoreError, Timestamp};

pub(crate) use self::purge::Purged;
use self::record::Stored;
pub(crate) use self::selection::{Selection, selections};
use crate::dynamo::{DynamoError, failed, in_time};

/// The connection store of a deployment on AWS.
pub struct DynamoConnections {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
}

impl DynamoConnections {
    /// The store in `table`, which has the keys and indexes of [`tables::connections`](crate::tables::connections).
    #[must_use]
    pub fn new(client: Client, table: &str, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), clock }
    }

    /// Connections that began at this moment or before have expired.
    fn expired_since(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(limits::CONNECTION_TTL.as_millis()).unwrap_or(i64::MAX))
    }

    fn has_expired(&self, stored: &Stored) -> bool {
        stored.connection.connected_at <= self.expired_since()
    }

    /// What is there for everybody but its own end.
    fn living(&self, stored: Stored) -> Option<Stored> {
        (stored.listed && !self.has_expired(&stored)).then_some(stored)
    }

    async fn record(&self, id: &ConnectionId) -> Result<Option<Stored>, DynamoError> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(record::key(id))).consistent_read(true);
        let answer = read.send().await.map_err(|error| failed("GetItem", &self.table, error))?;
        let stored = answer.item.map(|item| record::read(&self.table, &item)).transpose()?;
        Ok(stored.and_then(|stored| self.living(stored)))
    }

    async fn write(&self, connection: &Connection) -> Result<(), DynamoError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(record::item(connection, 0)));
        let answer = put.return_values(ReturnValue::AllOld).send().await;
        let before = answer.map_err(|error| failed("PutItem", &self.table, error))?.attributes;
        let before = before.map(|item| record::read(&self.table, &item)).transpose()?;
        let before = before.map(|stored| stored.connection.channels).unwrap_or_default();
        let left = before.difference(&connection.channels).map(|channel| record::unlist(channel, &connection.id));
        let joined = connection.channels.iter().map(|channel| record::list(channel, connection));
        self.write_memberships(left.chain(joined).collect::<Result<_, _>>()?).await
    }

    async fn delete(&self, id: &ConnectionId) -> Result<Option<Connection>, DynamoError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(record::key(id)));
        let answer = delete.return_values(ReturnValue::AllOld).send().await;
        let item = answer.map_err(|error| failed("DeleteItem", &self.table, error))?.attributes;
        let Some(item) = item else { return Ok(None) };
        let stored = record::read(&self.table, &item)?;
        self.unlist(id, stored.connection.channels.iter()).await;
        Ok((!self.has_expired(&stored)).then_some(stored.connection))
    }

    /// Takes a connection that is not there any more out of channels. When that fails the caller still owns the
    /// connection's end; what is left is found by the next delivery to the channel, or by TTL.
    async fn unlist(&self, id: &ConnectionId, channels: impl Iterator<Item = &Channel>) {
        let deletions = channels.map(|channel| record::unlist(channel, id)).collect::<Result<Vec<_>, _>>();
        let deleted = match deletions {
            Ok(deletions) => self.write_memberships(deletions).await,
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::warn!(connection.id = %id, error = %errors::chain(&error), "a connection that ended is still listed in its channels");
        }
    }
}

#[async_trait]
impl ConnectionStore for DynamoConnections {
    async fn put(&self, connection: &Connection) -> Result<(), StoreError> {
        Ok(in_time("PutItem", &self.table, self.write(connection)).await?)
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        let stored = in_time("GetItem", &self.table, self.record(id)).await?;
        Ok(stored.map(|stored| stored.connection))
    }

    async fn remove(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        Ok(in_time("DeleteItem", &self.table, self.delete(id)).await?)
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<Changed, StoreError> {
        Ok(in_time("TransactWriteItems", &self.table, self.change(id, join, leave)).await?)
    }

    async fn members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Connection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::BadPage)?;
        Ok(in_time("Query", &self.table, self.page(audience, after.as_ref(), limit.max(1))).await?)
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::BadPage)?;
        Ok(in_time("Query", &self.table, self.occupied(tenant, after.as_ref(), limit.max(1))).await?)
    }
}

//! Connections in DynamoDB: a record for each, and an item for each room or topic that it joined.
//!
//! Invariant: record and memberships change in one transaction, so that what a connection's record says and what its
//! channels list never differ while it lives. Exactly one `remove` gets the record: deleting it returns what it was, also
//! after the connection was found gone and taken out of every listing. An expired item is absent although TTL has not deleted it. Listings of users, roles and tenants come from indexes, which lag
//! behind by DynamoDB's replication; records and memberships are read consistently.
//! The access patterns are in `docs/adr/0010-dynamodb-tables.md`.

mod change;
mod key_range;
mod members;
mod occupied;
mod purge;
mod record;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use handlers::audience::Audience;
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::{
    ChannelChange, ClientConnection, Clock, ConnectionStore, OccupiedChannel, Page, StoreError, Timestamp,
};

pub(crate) use self::key_range::{KeyRange, key_ranges};
pub(crate) use self::purge::PurgeOutcome;
use self::record::ConnectionRecord;
use crate::dynamo::{DynamoError, classify_sdk_error, with_timeout};

/// The connection store of a deployment on AWS.
pub struct DynamoConnections {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
}

impl DynamoConnections {
    /// The store in `table`, which has the keys and indexes of [`tables::connections_table`](crate::tables::connections).
    #[must_use]
    pub fn new(client: Client, table: &str, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), clock }
    }

    /// Connections that began at this moment or before have expired.
    fn expiry_cutoff(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(limits::CONNECTION_RECORD_TTL.as_millis()).unwrap_or(i64::MAX))
    }

    fn is_expired(&self, stored: &ConnectionRecord) -> bool {
        stored.connection.connected_at <= self.expiry_cutoff()
    }

    /// What is there for everybody but its own end.
    fn filter_live(&self, stored: ConnectionRecord) -> Option<ConnectionRecord> {
        (stored.listed && !self.is_expired(&stored)).then_some(stored)
    }

    async fn load_record(&self, id: &ConnectionId) -> Result<Option<ConnectionRecord>, DynamoError> {
        let read =
            self.client.get_item().table_name(&self.table).set_key(Some(record::record_key(id))).consistent_read(true);
        let answer = read.send().await.map_err(|error| classify_sdk_error("GetItem", &self.table, error))?;
        let stored = answer.item.map(|item| record::parse_record(&self.table, &item)).transpose()?;
        Ok(stored.and_then(|stored| self.filter_live(stored)))
    }

    async fn write_record(&self, connection: &ClientConnection) -> Result<(), DynamoError> {
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(record::record_attributes(connection, 0)));
        let answer = put.return_values(ReturnValue::AllOld).send().await;
        let before = answer.map_err(|error| classify_sdk_error("PutItem", &self.table, error))?.attributes;
        let before = before.map(|item| record::parse_record(&self.table, &item)).transpose()?;
        let before = before.map(|stored| stored.connection.channels).unwrap_or_default();
        let left =
            before.difference(&connection.channels).map(|channel| record::membership_delete(channel, &connection.id));
        let joined = connection.channels.iter().map(|channel| record::membership_put(channel, connection));
        self.write_memberships(left.chain(joined).collect::<Result<_, _>>()?).await
    }

    async fn delete_record(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, DynamoError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(record::record_key(id)));
        let answer = delete.return_values(ReturnValue::AllOld).send().await;
        let item = answer.map_err(|error| classify_sdk_error("DeleteItem", &self.table, error))?.attributes;
        let Some(item) = item else { return Ok(None) };
        let stored = record::parse_record(&self.table, &item)?;
        self.delete_memberships(id, stored.connection.channels.iter()).await;
        Ok((!self.is_expired(&stored)).then_some(stored.connection))
    }

    /// Takes a connection that is not there any more out of channels. When that fails the caller still owns the
    /// connection's end; what is left is found by the next delivery to the channel, or by TTL.
    async fn delete_memberships(&self, id: &ConnectionId, channels: impl Iterator<Item = &Channel>) {
        let deletions = channels.map(|channel| record::membership_delete(channel, id)).collect::<Result<Vec<_>, _>>();
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
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError> {
        Ok(with_timeout("PutItem", &self.table, self.write_record(connection)).await?)
    }

    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        let stored = with_timeout("GetItem", &self.table, self.load_record(id)).await?;
        Ok(stored.map(|stored| stored.connection))
    }

    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError> {
        Ok(with_timeout("DeleteItem", &self.table, self.delete_record(id)).await?)
    }

    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError> {
        Ok(with_timeout("TransactWriteItems", &self.table, self.change_with_retry(id, join, leave)).await?)
    }

    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError> {
        let after = after.map(ConnectionId::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        Ok(with_timeout("Query", &self.table, self.members_page(audience, after.as_ref(), limit.max(1))).await?)
    }

    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let after = after.map(ChannelName::parse).transpose().map_err(|_| StoreError::InvalidPageToken)?;
        Ok(with_timeout("Query", &self.table, self.list_occupied(tenant, after.as_ref(), limit.max(1))).await?)
    }
}

//! Connection store in DynamoDB: one record per connection, and one membership item per joined room or topic.
//!
//! - Record and memberships change in one transaction, so a live connection's record and the member lists of its
//!   channels always agree.
//! - `delete_connection` returns the record to exactly one caller (`DeleteItem` with `ALL_OLD`), also after a delivery
//!   found the connection gone and removed it from all listings.
//! - An expired item counts as absent before TTL deletes it.
//! - Listings of users, roles and tenants read indexes, which are eventually consistent; records and memberships are
//!   read consistently.
//!
//! `docs/adr/0010-dynamodb-tables.md` lists the access patterns.

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
pub(crate) use self::members::ListedId;
pub(crate) use self::purge::PurgeOutcome;
use self::record::ConnectionRecord;
use crate::dynamo::{DynamoError, classify_sdk_error, with_timeout};

/// Connection store of a deployment on AWS.
pub struct DynamoConnections {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
}

impl DynamoConnections {
    /// Creates a store over `table`, which has the keys and indexes of
    /// [`tables::connections_table`](crate::tables::connections_table).
    #[must_use]
    pub fn new(client: Client, table: &str, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), clock }
    }

    /// Returns the latest `connected_at` of expired connections.
    fn expiry_cutoff(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(limits::CONNECTION_RECORD_TTL.as_millis()).unwrap_or(i64::MAX))
    }

    fn is_expired(&self, stored: &ConnectionRecord) -> bool {
        stored.connection.connected_at <= self.expiry_cutoff()
    }

    /// Returns the record if it is listed and has not expired.
    fn filter_live(&self, stored: ConnectionRecord) -> Option<ConnectionRecord> {
        (stored.listed && !self.is_expired(&stored)).then_some(stored)
    }

    async fn load_record(&self, id: &ConnectionId) -> Result<Option<ConnectionRecord>, DynamoError> {
        let read =
            self.client.get_item().table_name(&self.table).set_key(Some(record::record_key(id))).consistent_read(true);
        let output = read.send().await.map_err(|error| classify_sdk_error("GetItem", &self.table, error))?;
        let stored = output.item.map(|item| record::parse_record(&self.table, &item)).transpose()?;
        Ok(stored.and_then(|stored| self.filter_live(stored)))
    }

    async fn write_record(&self, connection: &ClientConnection) -> Result<(), DynamoError> {
        let put =
            self.client.put_item().table_name(&self.table).set_item(Some(record::record_attributes(connection, 0)));
        let output = put.return_values(ReturnValue::AllOld).send().await;
        let previous = output.map_err(|error| classify_sdk_error("PutItem", &self.table, error))?.attributes;
        let previous = previous.map(|item| record::parse_record(&self.table, &item)).transpose()?;
        let previous = previous.map(|stored| stored.connection.channels).unwrap_or_default();
        let joined = connection.channels.iter().map(|channel| record::membership_put(channel, connection));
        let writes = previous
            .difference(&connection.channels)
            .map(|channel| record::membership_delete(channel, &connection.id))
            .chain(joined);
        self.write_memberships(writes.collect::<Result<_, _>>()?).await
    }

    async fn delete_record(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, DynamoError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(record::record_key(id)));
        let output = delete.return_values(ReturnValue::AllOld).send().await;
        let item = output.map_err(|error| classify_sdk_error("DeleteItem", &self.table, error))?.attributes;
        let Some(item) = item else { return Ok(None) };
        let stored = record::parse_record(&self.table, &item)?;
        self.delete_memberships(id, stored.connection.channels.iter()).await;
        Ok((!self.is_expired(&stored)).then_some(stored.connection))
    }

    /// Deletes the memberships of a closed connection. A failure is only logged: the caller still handles the
    /// disconnect, and the next delivery to the channel, or TTL, deletes the remaining memberships.
    async fn delete_memberships(&self, id: &ConnectionId, channels: impl Iterator<Item = &Channel>) {
        let deletions = channels.map(|channel| record::membership_delete(channel, id)).collect::<Result<Vec<_>, _>>();
        let deleted = match deletions {
            Ok(deletions) => self.write_memberships(deletions).await,
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::warn!(
                connection.id = %id,
                error = %errors::chain(&error),
                "deleting channel memberships of a closed connection failed"
            );
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

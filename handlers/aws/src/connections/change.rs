//! Joins and leaves: record and memberships change in one transaction.
//!
//! The transaction is conditional on the record's `version`, so concurrent changes are applied one after the other and
//! the returned record is exact. A deleted record is never created again.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update, WriteRequest};
use handlers::channel::Channel;
use handlers::id::ConnectionId;
use handlers::limits;
use handlers::ports::ChannelChange;

use super::DynamoConnections;
use super::record::{self, CHANNELS, ConnectionRecord, VERSION};
use crate::dynamo::{DynamoError, classify_sdk_error, number_value, retry_delays};
use crate::tables::PARTITION_KEY;

/// Maximum items of one transaction, including the record (DynamoDB API reference, TransactWriteItems).
const MAX_TRANSACTION_ITEMS: usize = 100;
/// Maximum writes of one `BatchWriteItem` (DynamoDB API reference).
const MAX_BATCH_WRITES: usize = 25;

// A change within the port's limit fits into one transaction.
const _: () = assert!(limits::MAX_CHANNELS_PER_FRAME < MAX_TRANSACTION_ITEMS);

/// Result of one attempt.
#[derive(PartialEq, Eq)]
enum ChangeAttempt {
    Committed,
    Conflict,
}

impl DynamoConnections {
    pub(super) async fn change_with_retry(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, DynamoError> {
        for delay in retry_delays() {
            let Some(mut stored) = self.load_record(id).await? else {
                // A channel may still list a connection whose record is deleted.
                self.delete_memberships(id, leave.iter()).await;
                return Ok(ChannelChange::NotFound);
            };
            let before = std::mem::take(&mut stored.connection.channels);
            let mut after: BTreeSet<Channel> = before.iter().chain(join).cloned().collect();
            after.retain(|channel| !leave.contains(channel));
            if after.len() > limits::MAX_CHANNELS_PER_CONNECTION.max(before.len()) {
                return Ok(ChannelChange::LimitReached);
            }
            stored.connection.channels = after;
            let unchanged = stored.connection.channels == before;
            if unchanged || self.try_change(&stored, &before).await? == ChangeAttempt::Committed {
                return Ok(ChannelChange::Applied { connection: stored.connection, before });
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "TransactWriteItems", table: self.table.clone() })
    }

    async fn try_change(
        &self,
        stored: &ConnectionRecord,
        before: &BTreeSet<Channel>,
    ) -> Result<ChangeAttempt, DynamoError> {
        let after = &stored.connection.channels;
        let mut items = vec![self.record_update(stored)?];
        for channel in after.difference(before) {
            let put = Put::builder()
                .table_name(&self.table)
                .set_item(Some(record::membership_item(channel, &stored.connection)));
            items.push(TransactWriteItem::builder().put(put.build().map_err(|_| self.incomplete_request())?).build());
        }
        for channel in before.difference(after) {
            let key = record::membership_key(channel, &stored.connection.id);
            let delete = Delete::builder().table_name(&self.table).set_key(Some(key));
            items.push(
                TransactWriteItem::builder().delete(delete.build().map_err(|_| self.incomplete_request())?).build(),
            );
        }
        if items.len() > MAX_TRANSACTION_ITEMS {
            return Err(DynamoError::TooManyChannels(items.len() - 1));
        }
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(ChangeAttempt::Committed),
            Err(error) if is_conflict(&error) => Ok(ChangeAttempt::Conflict),
            Err(error) => Err(classify_sdk_error("TransactWriteItems", &self.table, error)),
        }
    }

    fn record_update(&self, stored: &ConnectionRecord) -> Result<TransactWriteItem, DynamoError> {
        let update = Update::builder().table_name(&self.table).set_key(Some(record::record_key(&stored.connection.id)));
        let update = update.condition_expression("#version = :version");
        let update = update.expression_attribute_names("#version", VERSION);
        let update = update.expression_attribute_names("#channels", CHANNELS);
        let update = update.expression_attribute_values(":version", number_value(stored.version));
        let update = update.expression_attribute_values(":next", number_value(stored.version + 1));
        let update = match record::channel_set(&stored.connection.channels) {
            Some(channels) => update
                .update_expression("SET #version = :next, #channels = :channels")
                .expression_attribute_values(":channels", channels),
            None => update.update_expression("SET #version = :next REMOVE #channels"),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(|_| self.incomplete_request())?).build())
    }

    fn incomplete_request(&self) -> DynamoError {
        DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY }
    }

    /// Writes and deletes memberships without a transaction, and retries those that DynamoDB left unprocessed.
    pub(super) async fn write_memberships(&self, mut writes: Vec<WriteRequest>) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            if writes.is_empty() {
                return Ok(());
            }
            let rest = writes.split_off(writes.len().min(MAX_BATCH_WRITES));
            let batch = self.client.batch_write_item().request_items(&self.table, writes).send().await;
            let mut output = batch.map_err(|error| classify_sdk_error("BatchWriteItem", &self.table, error))?;
            let unprocessed = output.unprocessed_items.as_mut().and_then(|items| items.remove(&self.table));
            writes = unprocessed.unwrap_or_default();
            if !writes.is_empty() {
                tokio::time::sleep(delay).await;
            }
            writes.extend(rest);
        }
        Err(DynamoError::Contended { operation: "BatchWriteItem", table: self.table.clone() })
    }
}

/// Returns whether the transaction failed because of a concurrent change or deletion, or because of throttling.
fn is_conflict(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> bool {
    const RETRYABLE_CODES: [&str; 4] =
        ["ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return false;
    };
    let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    codes().any(|code| RETRYABLE_CODES.contains(&code))
        && codes().all(|code| code == "None" || RETRYABLE_CODES.contains(&code))
}

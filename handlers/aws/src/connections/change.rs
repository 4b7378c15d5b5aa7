//! Joining and leaving: the record and the memberships in one transaction, or neither.
//!
//! Invariant: a change is conditional on the record being as it was read (`changes`), so that two changes at once both take
//! effect, one after the other, and the record that is returned is exact. A record that is gone is never made again.

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

/// Most items in one transaction, the record's own among them (DynamoDB API reference, TransactWriteItems).
const MAX_TRANSACTION_ITEMS: usize = 100;
/// Most writes in one `BatchWriteItem`.
const MAX_BATCH_WRITES: usize = 25;

// The port's bound fits a transaction, so that a change is never in parts.
const _: () = assert!(limits::MAX_CHANNELS_PER_FRAME < MAX_TRANSACTION_ITEMS);

/// What came of one attempt.
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
                // Whoever leaves for a connection that is gone has met one that its end left listed.
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
        let update = update.condition_expression("#changes = :changes");
        let update = update.expression_attribute_names("#changes", VERSION);
        let update = update.expression_attribute_names("#channels", CHANNELS);
        let update = update.expression_attribute_values(":changes", number_value(stored.version));
        let update = update.expression_attribute_values(":next", number_value(stored.version + 1));
        let update = match record::channel_set(&stored.connection.channels) {
            Some(channels) => update
                .update_expression("SET #changes = :next, #channels = :channels")
                .expression_attribute_values(":channels", channels),
            None => update.update_expression("SET #changes = :next REMOVE #channels"),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(|_| self.incomplete_request())?).build())
    }

    fn incomplete_request(&self) -> DynamoError {
        DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY }
    }

    /// Writes and deletes memberships without a transaction, until DynamoDB has taken them all.
    pub(super) async fn write_memberships(&self, mut writes: Vec<WriteRequest>) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            if writes.is_empty() {
                return Ok(());
            }
            let rest = writes.split_off(writes.len().min(MAX_BATCH_WRITES));
            let batch = self.client.batch_write_item().request_items(&self.table, writes).send().await;
            let mut answer = batch.map_err(|error| classify_sdk_error("BatchWriteItem", &self.table, error))?;
            writes = answer.unprocessed_items.as_mut().and_then(|left| left.remove(&self.table)).unwrap_or_default();
            if !writes.is_empty() {
                tokio::time::sleep(delay).await;
            }
            writes.extend(rest);
        }
        Err(DynamoError::Contended { operation: "BatchWriteItem", table: self.table.clone() })
    }
}

/// Whether another change of the same record, or its end, came first, or DynamoDB asks for another attempt.
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

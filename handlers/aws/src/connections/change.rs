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
use handlers::ports::Changed;

use super::DynamoConnections;
use super::record::{self, CHANGES, CHANNELS, Stored};
use crate::dynamo::{DynamoError, failed, number, retry_delays};
use crate::tables::PARTITION;

/// Most items in one transaction, the record's own among them (DynamoDB API reference, TransactWriteItems).
const TRANSACTION: usize = 100;
/// Most writes in one `BatchWriteItem`.
const BATCH: usize = 25;

// The port's bound fits a transaction, so that a change is never in parts.
const _: () = assert!(limits::CHANNELS_PER_FRAME < TRANSACTION);

/// What came of one attempt.
#[derive(PartialEq, Eq)]
enum Attempt {
    Done,
    Overtaken,
}

impl DynamoConnections {
    pub(super) async fn change(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<Changed, DynamoError> {
        for delay in retry_delays() {
            let Some(mut stored) = self.record(id).await? else {
                // Whoever leaves for a connection that is gone has met one that its end left listed.
                self.unlist(id, leave.iter()).await;
                return Ok(Changed::Absent);
            };
            let before = std::mem::take(&mut stored.connection.channels);
            let mut after: BTreeSet<Channel> = before.iter().chain(join).cloned().collect();
            after.retain(|channel| !leave.contains(channel));
            if after.len() > limits::CHANNELS_PER_CONNECTION.max(before.len()) {
                return Ok(Changed::Full);
            }
            stored.connection.channels = after;
            let unchanged = stored.connection.channels == before;
            if unchanged || self.try_change(&stored, &before).await? == Attempt::Done {
                return Ok(Changed::To { connection: stored.connection, before });
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "TransactWriteItems", table: self.table.clone() })
    }

    async fn try_change(&self, stored: &Stored, before: &BTreeSet<Channel>) -> Result<Attempt, DynamoError> {
        let after = &stored.connection.channels;
        let mut items = vec![self.update(stored)?];
        for channel in after.difference(before) {
            let put =
                Put::builder().table_name(&self.table).set_item(Some(record::membership(channel, &stored.connection)));
            items.push(TransactWriteItem::builder().put(put.build().map_err(|_| self.incomplete())?).build());
        }
        for channel in before.difference(after) {
            let key = record::membership_key(channel, &stored.connection.id);
            let delete = Delete::builder().table_name(&self.table).set_key(Some(key));
            items.push(TransactWriteItem::builder().delete(delete.build().map_err(|_| self.incomplete())?).build());
        }
        if items.len() > TRANSACTION {
            return Err(DynamoError::TooManyChannels(items.len() - 1));
        }
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(Attempt::Done),
            Err(error) if was_overtaken(&error) => Ok(Attempt::Overtaken),
            Err(error) => Err(failed("TransactWriteItems", &self.table, error)),
        }
    }

    fn update(&self, stored: &Stored) -> Result<TransactWriteItem, DynamoError> {
        let update = Update::builder().table_name(&self.table).set_key(Some(record::key(&stored.connection.id)));
        let update = update.condition_expression("#changes = :changes");
        let update = update.expression_attribute_names("#changes", CHANGES);
        let update = update.expression_attribute_names("#channels", CHANNELS);
        let update = update.expression_attribute_values(":changes", number(stored.changes));
        let update = update.expression_attribute_values(":next", number(stored.changes + 1));
        let update = match record::channel_set(&stored.connection.channels) {
            Some(channels) => update
                .update_expression("SET #changes = :next, #channels = :channels")
                .expression_attribute_values(":channels", channels),
            None => update.update_expression("SET #changes = :next REMOVE #channels"),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(|_| self.incomplete())?).build())
    }

    fn incomplete(&self) -> DynamoError {
        DynamoError::Item { table: self.table.clone(), attribute: PARTITION }
    }

    /// Writes and deletes memberships without a transaction, until DynamoDB has taken them all.
    pub(super) async fn write_memberships(&self, mut writes: Vec<WriteRequest>) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            if writes.is_empty() {
                return Ok(());
            }
            let rest = writes.split_off(writes.len().min(BATCH));
            let batch = self.client.batch_write_item().request_items(&self.table, writes).send().await;
            let mut answer = batch.map_err(|error| failed("BatchWriteItem", &self.table, error))?;
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
fn was_overtaken(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> bool {
    const AGAIN: [&str; 4] =
        ["ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return false;
    };
    let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    codes().any(|code| AGAIN.contains(&code)) && codes().all(|code| code == "None" || AGAIN.contains(&code))
}

//! Export and import of the message log, for migrations.
//!
//! Listing channels scans the table, which no client request does. Listing needs the permission `dynamodb:Scan`,
//! importing `dynamodb:BatchWriteItem`. Expired entries are not imported, because readers would not see them.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogEntry, LogError, LogRange, LogSlice, MessageLog};

use super::DynamoLog;
use super::entry::{self, EPOCH, FIRST, FIRST_AT, HEAD, LogHead};
use crate::dynamo::{
    AttributeMap, AttributeReader, DynamoError, classify_sdk_error, number_value, retry_delays, text_value,
    with_timeout,
};
use crate::tables::{PARTITION_KEY, SORT_KEY};

/// Maximum writes of one `BatchWriteItem` (DynamoDB API reference).
const MAX_BATCH_WRITES: usize = 25;

impl DynamoLog {
    async fn scan_channels(&self) -> Result<Vec<Channel>, DynamoError> {
        let (mut found, mut start) = (Vec::new(), None);
        loop {
            let scan = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(start);
            let scan = scan.filter_expression("#sk = :zero AND attribute_exists(#head)").projection_expression("#pk");
            let scan = scan.expression_attribute_names("#sk", SORT_KEY).expression_attribute_names("#head", HEAD);
            let scan = scan
                .expression_attribute_names("#pk", PARTITION_KEY)
                .expression_attribute_values(":zero", number_value(0));
            let output = scan.send().await.map_err(|error| classify_sdk_error("Scan", &self.table, error))?;
            for item in output.items() {
                found.push(AttributeReader { table: &self.table, item }.parse_text(PARTITION_KEY, Channel::from_key)?);
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                found.sort_by_key(ToString::to_string);
                return Ok(found);
            }
        }
    }

    async fn write_imported(&self, segment: &LogSegment, head: &LogHead, rest: &[LogEntry]) -> Result<(), DynamoError> {
        let cutoff = self.expiry_cutoff();
        let mut items = Vec::new();
        for entry in rest.iter().filter(|entry| entry.sent_at > cutoff) {
            let append = entry.clone().into_append_request(segment.channel.clone());
            items.push(entry::entry_attributes(&append, entry.offset, getrandom::u64()?, self.retention));
            items.push(entry::claim_attributes(&append, entry.offset, self.retention));
        }
        self.put_items(items).await?;
        with_timeout("UpdateItem", &self.table, self.advance_head(segment, head, rest)).await
    }

    async fn put_items(&self, items: Vec<AttributeMap>) -> Result<(), DynamoError> {
        let incomplete = |_| DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY };
        let put = |item| PutRequest::builder().set_item(Some(item)).build().map_err(incomplete);
        let writes = items.into_iter().map(|item| Ok(WriteRequest::builder().put_request(put(item)?).build()));
        let writes = writes.collect::<Result<Vec<_>, DynamoError>>()?;
        for batch in writes.chunks(MAX_BATCH_WRITES) {
            with_timeout("BatchWriteItem", &self.table, self.put_item_batch(batch.to_vec())).await?;
        }
        Ok(())
    }

    async fn put_item_batch(&self, mut writes: Vec<WriteRequest>) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            let batch = self.client.batch_write_item().request_items(&self.table, writes).send().await;
            let mut output = batch.map_err(|error| classify_sdk_error("BatchWriteItem", &self.table, error))?;
            writes = output.unprocessed_items.as_mut().and_then(|items| items.remove(&self.table)).unwrap_or_default();
            if writes.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "BatchWriteItem", table: self.table.clone() })
    }

    /// Adds the written entries to the log by raising the head, unless another append raised it first; then readers
    /// never see the written entries.
    async fn advance_head(&self, segment: &LogSegment, head: &LogHead, rest: &[LogEntry]) -> Result<(), DynamoError> {
        let last = rest.last().map_or(segment.after.max(head.offset), |entry| entry.offset);
        let first_at = rest.first().map_or(self.clock.now(), |entry| entry.sent_at);
        let update = self.client.update_item().table_name(&self.table);
        let update = update
            .set_key(Some(entry::log_key(&segment.channel.to_string(), 0)))
            .update_expression(
                "SET #head = :last, #first = if_not_exists(#first, :first), \
                 #first_at = if_not_exists(#first_at, :first_at), #epoch = if_not_exists(#epoch, :epoch)",
            )
            .expression_attribute_names("#head", HEAD)
            .expression_attribute_names("#first", FIRST)
            .expression_attribute_names("#first_at", FIRST_AT)
            .expression_attribute_names("#epoch", EPOCH)
            .expression_attribute_values(":last", number_value(last))
            .expression_attribute_values(":first", number_value(segment.after.next()))
            .expression_attribute_values(":first_at", number_value(first_at))
            .expression_attribute_values(":epoch", text_value(&*segment.epoch.0));
        let update = match head.offset {
            Offset::START => update.condition_expression("attribute_not_exists(#head)"),
            before => update
                .condition_expression("#head = :before")
                .expression_attribute_values(":before", number_value(before)),
        };
        update.send().await.map(drop).map_err(|error| match error.as_service_error() {
            Some(failure) if failure.is_conditional_check_failed_exception() => {
                DynamoError::Contended { operation: "UpdateItem", table: self.table.clone() }
            }
            _ => classify_sdk_error("UpdateItem", &self.table, error),
        })
    }
}

#[async_trait]
impl LogArchive for DynamoLog {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        Ok(Box::pin(self.scan_channels()).await?)
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        self.read(channel, LogRange::After(after), limits.max_entries, limits.max_bytes).await
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        let found = with_timeout("GetItem", &self.table, async {
            tokio::try_join!(self.table_epoch(), self.load_head(&segment.channel))
        });
        let (epoch, head) = found.await.map_err(LogError::from)?;
        let rest = segment.remaining_entries(&head.position(&epoch).epoch, head.offset)?;
        Ok(Box::pin(self.write_imported(segment, &head, rest)).await.map_err(LogError::from)?)
    }
}

//! The log as whoever moves logs sees it.
//!
//! Listing scans the table, which nothing that serves a client does; it needs `dynamodb:Scan`, and importing
//! `dynamodb:BatchWriteItem`. Entries that have expired are not written: readers would not see them.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use handlers::archive::{ImportError, LogArchive, Most, Stretch};
use handlers::channel::{Channel, Offset};
use handlers::ports::{Entry, LogError, MessageLog, Range, Slice};

use super::DynamoLog;
use super::entry::{self, EPOCH, FIRST, FIRST_AT, HEAD, Head};
use crate::dynamo::{DynamoError, Item, Reader, failed, in_time, number, retry_delays, text};
use crate::tables::{PARTITION, SORT};

/// Most items in one `BatchWriteItem` (DynamoDB API reference).
const BATCH: usize = 25;

impl DynamoLog {
    async fn list(&self) -> Result<Vec<Channel>, DynamoError> {
        let (mut found, mut start) = (Vec::new(), None);
        loop {
            let scan = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(start);
            let scan = scan.filter_expression("#sk = :zero AND attribute_exists(#head)").projection_expression("#pk");
            let scan = scan.expression_attribute_names("#sk", SORT).expression_attribute_names("#head", HEAD);
            let scan =
                scan.expression_attribute_names("#pk", PARTITION).expression_attribute_values(":zero", number(0));
            let answer = scan.send().await.map_err(|error| failed("Scan", &self.table, error))?;
            for item in answer.items() {
                found.push(Reader { table: &self.table, item }.parsed(PARTITION, Channel::from_key)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                found.sort_by_key(ToString::to_string);
                return Ok(found);
            }
        }
    }

    async fn write(&self, stretch: &Stretch, head: &Head, rest: &[Entry]) -> Result<(), DynamoError> {
        let expired = self.expired_since();
        let mut items = Vec::new();
        for entry in rest.iter().filter(|entry| entry.sent_at > expired) {
            let append = entry.clone().into_append(stretch.channel.clone());
            items.push(entry::entry(&append, entry.offset, getrandom::u64()?, self.retention));
            items.push(entry::claim(&append, entry.offset, self.retention));
        }
        self.put_all(items).await?;
        in_time("UpdateItem", &self.table, self.move_head(stretch, head, rest)).await
    }

    async fn put_all(&self, items: Vec<Item>) -> Result<(), DynamoError> {
        let incomplete = |_| DynamoError::Item { table: self.table.clone(), attribute: PARTITION };
        let put = |item| PutRequest::builder().set_item(Some(item)).build().map_err(incomplete);
        let writes = items.into_iter().map(|item| Ok(WriteRequest::builder().put_request(put(item)?).build()));
        let writes = writes.collect::<Result<Vec<_>, DynamoError>>()?;
        for batch in writes.chunks(BATCH) {
            in_time("BatchWriteItem", &self.table, self.put_batch(batch.to_vec())).await?;
        }
        Ok(())
    }

    async fn put_batch(&self, mut writes: Vec<WriteRequest>) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            let batch = self.client.batch_write_item().request_items(&self.table, writes).send().await;
            let mut answer = batch.map_err(|error| failed("BatchWriteItem", &self.table, error))?;
            writes = answer.unprocessed_items.as_mut().and_then(|left| left.remove(&self.table)).unwrap_or_default();
            if writes.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "BatchWriteItem", table: self.table.clone() })
    }

    /// Makes what was written part of the log, unless the log has moved meanwhile: then nobody believes what was written.
    async fn move_head(&self, stretch: &Stretch, head: &Head, rest: &[Entry]) -> Result<(), DynamoError> {
        let last = rest.last().map_or(stretch.from.max(head.offset), |entry| entry.offset);
        let first_at = rest.first().map_or(self.clock.now(), |entry| entry.sent_at);
        let update = self.client.update_item().table_name(&self.table);
        let update = update
            .set_key(Some(entry::key(&stretch.channel.to_string(), 0)))
            .update_expression(
                "SET #head = :last, #first = if_not_exists(#first, :first), \
                 #first_at = if_not_exists(#first_at, :first_at), #epoch = if_not_exists(#epoch, :epoch)",
            )
            .expression_attribute_names("#head", HEAD)
            .expression_attribute_names("#first", FIRST)
            .expression_attribute_names("#first_at", FIRST_AT)
            .expression_attribute_names("#epoch", EPOCH)
            .expression_attribute_values(":last", number(last))
            .expression_attribute_values(":first", number(stretch.from.next()))
            .expression_attribute_values(":first_at", number(first_at))
            .expression_attribute_values(":epoch", text(&*stretch.epoch.0));
        let update = match head.offset {
            Offset::START => update.condition_expression("attribute_not_exists(#head)"),
            before => {
                update.condition_expression("#head = :before").expression_attribute_values(":before", number(before))
            }
        };
        update.send().await.map(drop).map_err(|error| match error.as_service_error() {
            Some(refused) if refused.is_conditional_check_failed_exception() => {
                DynamoError::Contended { operation: "UpdateItem", table: self.table.clone() }
            }
            _ => failed("UpdateItem", &self.table, error),
        })
    }
}

#[async_trait]
impl LogArchive for DynamoLog {
    async fn channels(&self) -> Result<Vec<Channel>, LogError> {
        Ok(Box::pin(self.list()).await?)
    }

    async fn export(&self, channel: &Channel, after: Offset, most: Most) -> Result<Slice, LogError> {
        self.read(channel, Range::After(after), most.entries, most.bytes).await
    }

    async fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        let found =
            in_time("GetItem", &self.table, async { tokio::try_join!(self.epoch(), self.head(&stretch.channel)) });
        let (epoch, head) = found.await.map_err(LogError::from)?;
        let rest = stretch.rest(&head.position(&epoch).epoch, head.offset)?;
        Ok(Box::pin(self.write(stretch, &head, rest)).await.map_err(LogError::from)?)
    }
}

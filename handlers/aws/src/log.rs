//! Message log in DynamoDB: one item per entry, one head per channel, and one claim per message id.
//!
//! ```text
//! epoch   pk epoch                                sk 0        epoch
//! head    pk {tenant}/{channel}                   sk 0        head first first_at, epoch of an imported channel
//! entry   pk {tenant}/{channel}                   sk {offset} user role id at body attempt expires
//! claim   pk {tenant}/{channel} {role} {user} {id} sk 0       from expires
//! ```
//!
//! An entry is written at the offset after the last one, conditional on that offset being free, and never changes; this
//! defines the order of appends. The head is raised before an append returns; readers see entries up to the head only.
//! The head never expires, so offsets continue after all entries have expired. `log/append.rs` describes how a repeated
//! append stays one message.

mod append;
mod archive;
mod entry;
mod read;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValue};
use handlers::channel::{Channel, Epoch, Position};
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, LogRange, LogSlice, MessageLog, Timestamp};
use tokio::sync::OnceCell;

use self::entry::{EPOCH, LogHead};
use crate::dynamo::{
    AttributeMap, AttributeReader, DynamoError, classify_sdk_error, retry_delays, text_value, with_timeout,
};
use crate::tables::PARTITION_KEY;

/// Maximum items of one `BatchGetItem` (DynamoDB API reference).
const MAX_BATCH_READS: usize = 100;

/// Message log of a deployment on AWS.
pub struct DynamoLog {
    client: Client,
    table: String,
    retention: Duration,
    clock: Arc<dyn Clock>,
    epoch: OnceCell<Epoch>,
}

impl DynamoLog {
    /// Creates a log over `table`, which has the keys of [`tables::messages_table`](crate::tables::messages_table).
    /// Entries expire `retention` after they were sent.
    #[must_use]
    pub fn new(client: Client, table: &str, retention: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.to_owned(), retention, clock, epoch: OnceCell::new() }
    }

    /// Returns the latest `sent_at` of expired entries.
    fn expiry_cutoff(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_sub(i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns the table's epoch, read once per process: an operator who empties a table also replaces the functions.
    async fn table_epoch(&self) -> Result<Epoch, DynamoError> {
        self.epoch.get_or_try_init(|| self.load_epoch()).await.cloned()
    }

    async fn load_epoch(&self) -> Result<Epoch, DynamoError> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(entry::log_key(EPOCH, 0)));
        let output = read.consistent_read(true).send().await;
        let found = output.map_err(|error| classify_sdk_error("GetItem", &self.table, error))?.item;
        let item = match found {
            Some(item) => item,
            None => self.create_epoch().await?,
        };
        Ok(Epoch(AttributeReader { table: &self.table, item: &item }.read_text(EPOCH)?.into()))
    }

    /// Creates the table's epoch; concurrent processes get the same one.
    async fn create_epoch(&self) -> Result<AttributeMap, DynamoError> {
        let update = self.client.update_item().table_name(&self.table).set_key(Some(entry::log_key(EPOCH, 0)));
        let update = update.update_expression("SET #epoch = if_not_exists(#epoch, :fresh)");
        let update = update.expression_attribute_names("#epoch", EPOCH);
        let update = update.expression_attribute_values(":fresh", text_value(format!("{:016x}", getrandom::u64()?)));
        let output = update.return_values(ReturnValue::AllNew).send().await;
        Ok(output.map_err(|error| classify_sdk_error("UpdateItem", &self.table, error))?.attributes.unwrap_or_default())
    }

    async fn load_head(&self, channel: &Channel) -> Result<LogHead, DynamoError> {
        let key = entry::log_key(&channel.to_string(), 0);
        let read = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        let output = read.send().await.map_err(|error| classify_sdk_error("GetItem", &self.table, error))?;
        output.item.map_or(Ok(LogHead::EMPTY), |item| LogHead::from_attributes(&self.table, &item))
    }

    /// Returns the heads of those channels that have messages.
    async fn load_heads(&self, channels: &[Channel]) -> Result<HashMap<String, LogHead>, DynamoError> {
        // DynamoDB rejects a batch that contains a key twice.
        let keys: Vec<String> = channels.iter().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect();
        let mut found = HashMap::new();
        for batch in keys.chunks(MAX_BATCH_READS) {
            self.load_head_batch(batch.iter().map(|key| entry::log_key(key, 0)).collect(), &mut found).await?;
        }
        Ok(found)
    }

    async fn load_head_batch(
        &self,
        mut keys: Vec<AttributeMap>,
        found: &mut HashMap<String, LogHead>,
    ) -> Result<(), DynamoError> {
        for delay in retry_delays() {
            let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let request = request
                .map_err(|_| DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY })?;
            let output = self.client.batch_get_item().request_items(&self.table, request).send().await;
            let mut output = output.map_err(|error| classify_sdk_error("BatchGetItem", &self.table, error))?;
            let items = output.responses.as_mut().and_then(|responses| responses.remove(&self.table));
            for item in items.unwrap_or_default() {
                let channel = AttributeReader { table: &self.table, item: &item }.read_text(PARTITION_KEY)?.to_owned();
                found.insert(channel, LogHead::from_attributes(&self.table, &item)?);
            }
            let unprocessed = output.unprocessed_keys.as_mut().and_then(|keys| keys.remove(&self.table));
            keys = unprocessed.map(|keys| keys.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "BatchGetItem", table: self.table.clone() })
    }

    async fn head_positions(&self, channels: &[Channel]) -> Result<Vec<Position>, DynamoError> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let (epoch, heads) = tokio::try_join!(self.table_epoch(), self.load_heads(channels))?;
        let position = |channel: &Channel| heads.get(&channel.to_string()).unwrap_or(&LogHead::EMPTY).position(&epoch);
        Ok(channels.iter().map(position).collect())
    }
}

#[async_trait]
impl MessageLog for DynamoLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        Ok(with_timeout("PutItem", &self.table, self.append_once(&append)).await?)
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        Ok(with_timeout("Query", &self.table, self.query_slice(channel, range, limit.max(1), max_bytes)).await?)
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        Ok(with_timeout("BatchGetItem", &self.table, self.head_positions(channels)).await?)
    }
}

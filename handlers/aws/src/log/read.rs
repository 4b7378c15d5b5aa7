//! Reading: a stretch of entries between the oldest that has not expired and the head.
//!
//! Invariant: what is returned has no holes; were one there (an operator deleted items), the stretch ends before it. The
//! oldest offset is remembered in the head together with its time, so that knowing it is free until it expires.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogEntry, LogRange, LogSlice, Timestamp};

use super::DynamoLog;
use super::entry::{self, FIRST, FIRST_AT, LogHead, SENT_AT};
use crate::dynamo::{AttributeReader, DynamoError, classify_sdk_error, number_value};
use crate::tables::SORT_KEY;

/// How many entries are read at a time before their size is known: the most that one page of the protocol's largest
/// bodies costs is then about what it delivers.
const PROBE_ENTRIES: usize = 32;
/// How far the oldest offset moves before it is worth a write.
const MIN_FIRST_OFFSET_ADVANCE: u64 = 64;

/// What is still wanted of a stretch.
struct ReadRequest {
    from: Offset,
    to: Offset,
    ascending: bool,
    max_entries: usize,
    max_bytes: usize,
}

impl DynamoLog {
    pub(super) async fn query_slice(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, DynamoError> {
        let (epoch, head) = tokio::try_join!(self.table_epoch(), self.load_head(channel))?;
        let first = self.first_offset(channel, &head).await?;
        let (from, to, ascending) = match range {
            LogRange::After(offset) => (offset.next().max(first), head.offset, true),
            LogRange::Before(None) => (first, head.offset, false),
            LogRange::Before(Some(before)) => (first, Offset(before.0.saturating_sub(1)).min(head.offset), false),
        };
        let wanted = ReadRequest { from, to, ascending, max_entries: limit, max_bytes };
        let mut entries = self.query_entries(channel, wanted).await?;
        // With a retention that was shorter once, the oldest may be deleted although it would not have expired now.
        let deleted = ascending && from <= to && entries.first().is_none_or(|entry| entry.offset > from);
        let first = match entries.first() {
            Some(entry) if deleted => entry.offset,
            None if deleted => head.offset.next(),
            _ => first,
        };
        if !ascending {
            entries.reverse();
        }
        Ok(LogSlice { head: head.position(&epoch), first, entries })
    }

    /// Reads entries in the wanted direction until enough are there.
    async fn query_entries(&self, channel: &Channel, mut wanted: ReadRequest) -> Result<Vec<LogEntry>, DynamoError> {
        let mut found: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        while wanted.from <= wanted.to && found.len() < wanted.max_entries {
            let page = page_size(&wanted, found.len(), bytes);
            let query = self.entries_query(channel, wanted.from, wanted.to).scan_index_forward(wanted.ascending);
            let answer =
                query.limit(page).send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in answer.items() {
                let entry = entry::parse_entry(&self.table, item)?;
                let follows = found.last().is_none_or(|last| last.offset.0.abs_diff(entry.offset.0) == 1);
                bytes += entry.body.get().len();
                if !follows || (!found.is_empty() && bytes > wanted.max_bytes) {
                    return Ok(found);
                }
                found.push(entry);
            }
            let (Some(last), Some(_)) = (found.last(), &answer.last_evaluated_key) else { break };
            match wanted.ascending {
                true => wanted.from = last.offset.next(),
                false => wanted.to = Offset(last.offset.0 - 1),
            }
        }
        Ok(found)
    }

    /// The oldest offset that has not expired, one past the head when all have.
    async fn first_offset(&self, channel: &Channel, head: &LogHead) -> Result<Offset, DynamoError> {
        if head.first > head.offset || head.first_at > self.expiry_cutoff() {
            return Ok(head.first);
        }
        let (first, sent_at) = self.find_oldest(channel, head).await?;
        if first.0 - head.first.0 >= MIN_FIRST_OFFSET_ADVANCE {
            self.store_first_offset(channel, first, sent_at).await?;
        }
        Ok(first)
    }

    async fn find_oldest(&self, channel: &Channel, head: &LogHead) -> Result<(Offset, Timestamp), DynamoError> {
        let mut start = None;
        loop {
            let query = self.entries_query(channel, head.first, head.offset).set_exclusive_start_key(start);
            let query = query.filter_expression("#at > :expired").projection_expression("#sk, #at");
            let query = query.expression_attribute_names("#at", SENT_AT);
            let query = query.expression_attribute_values(":expired", number_value(self.expiry_cutoff()));
            let answer = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            if let Some(item) = answer.items().first() {
                let reader = AttributeReader { table: &self.table, item };
                return Ok((Offset(reader.read_number(SORT_KEY)?), Timestamp(reader.read_number(SENT_AT)?)));
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                // When the next one comes it is the oldest; until it is looked at, any time that has passed will do.
                return Ok((head.offset.next(), head.first_at));
            }
        }
    }

    async fn store_first_offset(
        &self,
        channel: &Channel,
        first: Offset,
        sent_at: Timestamp,
    ) -> Result<(), DynamoError> {
        let key = entry::log_key(&channel.to_string(), 0);
        let update = self.client.update_item().table_name(&self.table).set_key(Some(key));
        let update = update
            .update_expression("SET #first = :first, #first_at = :sent_at")
            .condition_expression("#first < :first")
            .expression_attribute_names("#first", FIRST)
            .expression_attribute_names("#first_at", FIRST_AT)
            .expression_attribute_values(":first", number_value(first))
            .expression_attribute_values(":sent_at", number_value(sent_at));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(classify_sdk_error("UpdateItem", &self.table, error)),
            },
        }
    }
}

/// How many entries to ask for: few while their size is not known, then what the bytes that are left may hold.
fn page_size(wanted: &ReadRequest, found: usize, bytes: usize) -> i32 {
    let left = wanted.max_entries - found;
    let fitting = match bytes.checked_div(found) {
        None => PROBE_ENTRIES,
        Some(average) => wanted.max_bytes.saturating_sub(bytes) / average.max(1) + 1,
    };
    i32::try_from(left.min(fitting)).unwrap_or(i32::MAX)
}

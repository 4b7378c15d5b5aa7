//! Reads of contiguous entries between the oldest unexpired one and the head.
//!
//! A result has no missing offsets: if an operator deleted items, it ends before the first missing one. The head item
//! caches the oldest offset and its `sent_at`, so finding the oldest offset needs no query until that entry expires.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogEntry, LogRange, LogSlice, Timestamp};

use super::DynamoLog;
use super::entry::{self, FIRST, FIRST_AT, LogHead, SENT_AT};
use crate::dynamo::{AttributeReader, DynamoError, classify_sdk_error, number_value};
use crate::tables::SORT_KEY;

/// Entries of the first page, before the average size is known: at the protocol's largest body size it reads about as
/// much as one response may hold.
const PROBE_ENTRIES: usize = 32;
/// Minimum advance of the oldest offset that justifies a write.
const MIN_FIRST_OFFSET_ADVANCE: u64 = 64;

/// Remaining part of a read.
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
        let request = ReadRequest { from, to, ascending, max_entries: limit, max_bytes };
        let mut entries = self.query_entries(channel, request).await?;
        // With a shorter retention in the past, TTL may have deleted entries that the current retention would keep.
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

    /// Reads entries in the requested direction up to the request's limits.
    async fn query_entries(&self, channel: &Channel, mut request: ReadRequest) -> Result<Vec<LogEntry>, DynamoError> {
        let mut found: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        while request.from <= request.to && found.len() < request.max_entries {
            let page = page_size(&request, found.len(), bytes);
            let query = self.entries_query(channel, request.from, request.to).scan_index_forward(request.ascending);
            let output =
                query.limit(page).send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in output.items() {
                let entry = entry::parse_entry(&self.table, item)?;
                let follows = found.last().is_none_or(|last| last.offset.0.abs_diff(entry.offset.0) == 1);
                bytes += entry.body.get().len();
                if !follows || (!found.is_empty() && bytes > request.max_bytes) {
                    return Ok(found);
                }
                found.push(entry);
            }
            let (Some(last), Some(_)) = (found.last(), &output.last_evaluated_key) else { break };
            match request.ascending {
                true => request.from = last.offset.next(),
                false => request.to = Offset(last.offset.0 - 1),
            }
        }
        Ok(found)
    }

    /// Returns the oldest unexpired offset, or the one after the head if all entries have expired.
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
            let output = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            if let Some(item) = output.items().first() {
                let reader = AttributeReader { table: &self.table, item };
                return Ok((Offset(reader.read_number(SORT_KEY)?), Timestamp(reader.read_number(SENT_AT)?)));
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                // The next entry becomes the oldest; until it is read, any time in the past is correct.
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

/// Returns the size of the next page: [`PROBE_ENTRIES`] before the average size is known, then as many entries as fit.
fn page_size(request: &ReadRequest, found: usize, bytes: usize) -> i32 {
    let remaining = request.max_entries - found;
    let fitting = match bytes.checked_div(found) {
        None => PROBE_ENTRIES,
        Some(average) => request.max_bytes.saturating_sub(bytes) / average.max(1) + 1,
    };
    i32::try_from(remaining.min(fitting)).unwrap_or(i32::MAX)
}

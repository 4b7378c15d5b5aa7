//! Append: one entry per message id, at the offset after the last one, without a transaction.
//!
//! ```text
//! read head h ─► claim id, "search from h+1" ─► put entry at h+1 if free ─► raise head ─► done
//!                  │ already claimed               │ occupied: by this message → its offset
//!                  └─► search from there ◄─────────┘           by another → search on, put after the last
//! ```
//!
//! Every attempt at a message searches from the offset of its claim and checks each offset before it puts the entry
//! after the last one. Entries never change, so two attempts cannot both succeed: the later one finds the entry of the
//! earlier one. A process that dies leaves a claim, from which the next attempt continues, or an entry above the head,
//! which the next append to the channel counts as occupied and covers by raising the head.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure as OnFailure;
use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{AppendOutcome, AppendRequest};

use super::DynamoLog;
use super::entry::{self, EntryHeader, FIRST, FIRST_AT, HEAD, SEARCH_FROM};
use crate::dynamo::{AttributeReader, DynamoError, classify_sdk_error, number_value, retry_delays, text_value};
use crate::tables::{PARTITION_KEY, SORT_KEY};

/// Entries of the first search page: a repeated append usually finds its entry at or near its claim's offset.
const FIRST_SEARCH_LIMIT: i32 = 16;

/// Result of a search for a message.
enum SearchResult {
    Found(EntryHeader),
    /// No entry of the message up to this offset.
    NotFoundUpTo(Offset),
}

impl DynamoLog {
    pub(super) async fn append_once(&self, append: &AppendRequest) -> Result<AppendOutcome, DynamoError> {
        let (epoch, head) = tokio::try_join!(self.table_epoch(), self.load_head(&append.channel))?;
        let search_from = self.claim_message_id(append, head.offset.next()).await?;
        let attempt = getrandom::u64()?;
        let (entry, below_head) = self.find_or_put_entry(append, search_from, head.offset, attempt).await?;
        // Readers already see an entry at or below the head.
        if !below_head {
            self.raise_head(append, &entry).await?;
        }
        let position = Position { epoch: head.position(&epoch).epoch, offset: entry.offset };
        Ok(AppendOutcome { position, sent_at: entry.sent_at, duplicate: entry.attempt != attempt })
    }

    /// Claims the message's id. Returns the offset from which to search if an earlier attempt claimed it.
    async fn claim_message_id(&self, append: &AppendRequest, from: Offset) -> Result<Option<Offset>, DynamoError> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put.set_item(Some(entry::claim_attributes(append, from, self.retention)));
        let put =
            put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", PARTITION_KEY);
        match put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failure)) => {
                    let item = failure.item.as_ref().ok_or_else(|| self.invalid_attribute(SEARCH_FROM))?;
                    AttributeReader { table: &self.table, item }.read_number(SEARCH_FROM).map(|from| Some(Offset(from)))
                }
                _ => Err(classify_sdk_error("PutItem", &self.table, error)),
            },
        }
    }

    /// Finds or puts the entry. Also returns whether the entry is at or below `head`, so that readers already see it.
    async fn find_or_put_entry(
        &self,
        append: &AppendRequest,
        search_from: Option<Offset>,
        head: Offset,
        attempt: u64,
    ) -> Result<(EntryHeader, bool), DynamoError> {
        let mut next = search_from.unwrap_or_else(|| head.next());
        let mut search = search_from.is_some();
        for delay in retry_delays() {
            if search {
                match self.search_entry(append, next).await? {
                    SearchResult::Found(entry) => {
                        let below_head = entry.offset <= head;
                        return Ok((entry, below_head));
                    }
                    // A free offset at or below the head may be that of an expired entry.
                    SearchResult::NotFoundUpTo(last) => next = last.max(head).next(),
                }
            }
            let entry = self.put_entry(append, next, attempt).await?;
            if entry.is_message(append) {
                return Ok((entry, false));
            }
            (next, search) = (next.next(), true);
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "PutItem", table: self.table.clone() })
    }

    /// Puts the entry if the offset is free. Returns the entry that the offset then holds.
    async fn put_entry(
        &self,
        append: &AppendRequest,
        offset: Offset,
        attempt: u64,
    ) -> Result<EntryHeader, DynamoError> {
        let item = entry::entry_attributes(append, offset, attempt, self.retention);
        let own = EntryHeader::from_attributes(&self.table, &item)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put =
            put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", PARTITION_KEY);
        match put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await {
            Ok(_) => Ok(own),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failure)) => {
                    let item = failure.item.as_ref().ok_or_else(|| self.invalid_attribute(SORT_KEY))?;
                    EntryHeader::from_attributes(&self.table, item)
                }
                _ => Err(classify_sdk_error("PutItem", &self.table, error)),
            },
        }
    }

    /// Searches for the message at all offsets from `from`.
    async fn search_entry(&self, append: &AppendRequest, from: Offset) -> Result<SearchResult, DynamoError> {
        let mut last = Offset(from.0.saturating_sub(1));
        let mut limit = Some(FIRST_SEARCH_LIMIT);
        let mut start = None;
        loop {
            let query = self.entries_query(&append.channel, from, Offset(u64::MAX));
            let query = EntryHeader::ATTRIBUTES
                .iter()
                .enumerate()
                .fold(query, |query, (index, name)| query.expression_attribute_names(format!("#a{index}"), *name));
            let query = query.projection_expression("#a0, #a1, #a2, #a3, #a4, #a5");
            let output = query.set_limit(limit).set_exclusive_start_key(start).send().await;
            let output = output.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in output.items() {
                let header = EntryHeader::from_attributes(&self.table, item)?;
                last = header.offset;
                if header.is_message(append) {
                    return Ok(SearchResult::Found(header));
                }
            }
            (start, limit) = (output.last_evaluated_key, None);
            if start.is_none() {
                return Ok(SearchResult::NotFoundUpTo(last));
            }
        }
    }

    /// Raises the head to the entry's offset, unless another append has raised it further.
    async fn raise_head(&self, append: &AppendRequest, header: &EntryHeader) -> Result<(), DynamoError> {
        let key = entry::log_key(&append.channel.to_string(), 0);
        let update = self.client.update_item().table_name(&self.table).set_key(Some(key));
        let update = update
            .update_expression(
                "SET #head = :offset, #first = if_not_exists(#first, :one), \
                 #first_at = if_not_exists(#first_at, :sent_at)",
            )
            .condition_expression("attribute_not_exists(#head) OR #head < :offset")
            .expression_attribute_names("#head", HEAD)
            .expression_attribute_names("#first", FIRST)
            .expression_attribute_names("#first_at", FIRST_AT)
            .expression_attribute_values(":offset", number_value(header.offset))
            .expression_attribute_values(":one", number_value(1))
            .expression_attribute_values(":sent_at", number_value(header.sent_at));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(classify_sdk_error("UpdateItem", &self.table, error)),
            },
        }
    }

    /// Returns a consistent query of a channel's entries from `from` to `to`, both inclusive.
    pub(super) fn entries_query(
        &self,
        channel: &Channel,
        from: Offset,
        to: Offset,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PARTITION_KEY)
            .expression_attribute_names("#sk", SORT_KEY)
            .expression_attribute_values(":pk", text_value(channel.to_string()))
            .expression_attribute_values(":from", number_value(from))
            .expression_attribute_values(":to", number_value(to))
    }

    fn invalid_attribute(&self, attribute: &'static str) -> DynamoError {
        DynamoError::InvalidAttribute { table: self.table.clone(), attribute }
    }
}

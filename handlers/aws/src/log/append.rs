//! Appending: one entry a message id, at the offset behind the last one, without a transaction.
//!
//! ```text
//! read head h ─► claim id, "look from h+1" ─► put entry at h+1 if none is there ─► raise head ─► done
//!                  │ claimed before              │ taken: by this message → its place
//!                  └─► look from there ◄─────────┘        by another → look on, put behind the last
//! ```
//!
//! Invariant: every attempt at a message starts at the offset of its claim and looks at each offset from there before it
//! puts the entry behind them. Entries never change, so two attempts cannot both succeed: the one that comes second to an
//! offset finds the first there. A process that dies leaves a claim (the next attempt goes on from it), or an entry above the
//! head (the next append or attempt goes past it and raises the head).

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure as OnFailure;
use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{AppendOutcome, AppendRequest};

use super::DynamoLog;
use super::entry::{self, EntryHeader, FIRST, FIRST_AT, HEAD, SEARCH_FROM};
use crate::dynamo::{AttributeReader, DynamoError, classify_sdk_error, number_value, retry_delays, text_value};
use crate::tables::{PARTITION_KEY, SORT_KEY};

/// How many entries are looked at first: a repeated append finds its own right where its claim says.
const FIRST_SEARCH_LIMIT: i32 = 16;

/// What looking for a message found.
enum SearchResult {
    Found(EntryHeader),
    /// Nothing, up to this offset.
    NotFoundUpTo(Offset),
}

impl DynamoLog {
    pub(super) async fn append_once(&self, append: &AppendRequest) -> Result<AppendOutcome, DynamoError> {
        let (epoch, head) = tokio::try_join!(self.table_epoch(), self.load_head(&append.channel))?;
        let claimed = self.claim_message_id(append, head.offset.next()).await?;
        let attempt = getrandom::u64()?;
        let (occupant, known) = self.find_or_put_entry(append, claimed, head.offset, attempt).await?;
        // Below the head that was read nothing has to be told to readers.
        if !known {
            self.raise_head(append, &occupant).await?;
        }
        let position = Position { epoch: head.position(&epoch).epoch, offset: occupant.offset };
        Ok(AppendOutcome { position, sent_at: occupant.sent_at, duplicate: occupant.attempt != attempt })
    }

    /// Claims the message's id; returns where to look for the message when it was claimed before.
    async fn claim_message_id(&self, append: &AppendRequest, from: Offset) -> Result<Option<Offset>, DynamoError> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put.set_item(Some(entry::claim_attributes(append, from, self.retention)));
        let put =
            put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", PARTITION_KEY);
        match put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let item = refused.item.as_ref().ok_or_else(|| self.invalid_attribute(SEARCH_FROM))?;
                    AttributeReader { table: &self.table, item }.read_number(SEARCH_FROM).map(|from| Some(Offset(from)))
                }
                _ => Err(classify_sdk_error("PutItem", &self.table, error)),
            },
        }
    }

    /// Finds or puts the entry. Also says whether it is below `head` and so known to readers.
    async fn find_or_put_entry(
        &self,
        append: &AppendRequest,
        claimed: Option<Offset>,
        head: Offset,
        attempt: u64,
    ) -> Result<(EntryHeader, bool), DynamoError> {
        let mut next = claimed.unwrap_or_else(|| head.next());
        let mut look = claimed.is_some();
        for delay in retry_delays() {
            if look {
                match self.search_entry(append, next).await? {
                    SearchResult::Found(occupant) => {
                        let known = occupant.offset <= head;
                        return Ok((occupant, known));
                    }
                    // Nothing is put below a head: what was there may have expired.
                    SearchResult::NotFoundUpTo(last) => next = last.max(head).next(),
                }
            }
            let occupant = self.put_entry(append, next, attempt).await?;
            if occupant.is_message(append) {
                return Ok((occupant, false));
            }
            (next, look) = (next.next(), true);
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "PutItem", table: self.table.clone() })
    }

    /// Puts the entry where none is; returns what is there then.
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
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let item = refused.item.as_ref().ok_or_else(|| self.invalid_attribute(SORT_KEY))?;
                    EntryHeader::from_attributes(&self.table, item)
                }
                _ => Err(classify_sdk_error("PutItem", &self.table, error)),
            },
        }
    }

    /// Looks for the message at every offset from `from` on.
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
            let answer = query.set_limit(limit).set_exclusive_start_key(start).send().await;
            let answer = answer.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in answer.items() {
                let occupant = EntryHeader::from_attributes(&self.table, item)?;
                last = occupant.offset;
                if occupant.is_message(append) {
                    return Ok(SearchResult::Found(occupant));
                }
            }
            (start, limit) = (answer.last_evaluated_key, None);
            if start.is_none() {
                return Ok(SearchResult::NotFoundUpTo(last));
            }
        }
    }

    /// Makes the entry part of the log that readers see. Whoever is further has done it.
    async fn raise_head(&self, append: &AppendRequest, occupant: &EntryHeader) -> Result<(), DynamoError> {
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
            .expression_attribute_values(":offset", number_value(occupant.offset))
            .expression_attribute_values(":one", number_value(1))
            .expression_attribute_values(":sent_at", number_value(occupant.sent_at));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(classify_sdk_error("UpdateItem", &self.table, error)),
            },
        }
    }

    /// A consistent query of a channel's entries, both ends included.
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

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
use handlers::ports::{Append, Appended};

use super::DynamoLog;
use super::entry::{self, FIRST, FIRST_AT, FROM, HEAD, Occupant};
use crate::dynamo::{DynamoError, Reader, failed, number, retry_delays, text};
use crate::tables::{PARTITION, SORT};

/// How many entries are looked at first: a repeated append finds its own right where its claim says.
const NEAR: i32 = 16;

/// What looking for a message found.
enum Search {
    Found(Occupant),
    /// Nothing, up to this offset.
    Last(Offset),
}

impl DynamoLog {
    pub(super) async fn place(&self, append: &Append) -> Result<Appended, DynamoError> {
        let (epoch, head) = tokio::try_join!(self.epoch(), self.head(&append.channel))?;
        let claimed = self.claim(append, head.offset.next()).await?;
        let attempt = getrandom::u64()?;
        let (occupant, known) = self.settle(append, claimed, head.offset, attempt).await?;
        // Below the head that was read nothing has to be told to readers.
        if !known {
            self.raise(append, &occupant).await?;
        }
        let position = Position { epoch: head.position(&epoch).epoch, offset: occupant.offset };
        Ok(Appended { position, sent_at: occupant.sent_at, duplicate: occupant.attempt != attempt })
    }

    /// Claims the message's id; returns where to look for the message when it was claimed before.
    async fn claim(&self, append: &Append, from: Offset) -> Result<Option<Offset>, DynamoError> {
        let put = self.client.put_item().table_name(&self.table);
        let put = put.set_item(Some(entry::claim(append, from, self.retention)));
        let put = put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", PARTITION);
        match put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await {
            Ok(_) => Ok(None),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let item = refused.item.as_ref().ok_or_else(|| self.unusable(FROM))?;
                    Reader { table: &self.table, item }.number(FROM).map(|from| Some(Offset(from)))
                }
                _ => Err(failed("PutItem", &self.table, error)),
            },
        }
    }

    /// Finds or puts the entry. Also says whether it is below `head` and so known to readers.
    async fn settle(
        &self,
        append: &Append,
        claimed: Option<Offset>,
        head: Offset,
        attempt: u64,
    ) -> Result<(Occupant, bool), DynamoError> {
        let mut next = claimed.unwrap_or_else(|| head.next());
        let mut look = claimed.is_some();
        for delay in retry_delays() {
            if look {
                match self.search(append, next).await? {
                    Search::Found(occupant) => {
                        let known = occupant.offset <= head;
                        return Ok((occupant, known));
                    }
                    // Nothing is put below a head: what was there may have expired.
                    Search::Last(last) => next = last.max(head).next(),
                }
            }
            let occupant = self.put(append, next, attempt).await?;
            if occupant.is(append) {
                return Ok((occupant, false));
            }
            (next, look) = (next.next(), true);
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "PutItem", table: self.table.clone() })
    }

    /// Puts the entry where none is; returns what is there then.
    async fn put(&self, append: &Append, offset: Offset, attempt: u64) -> Result<Occupant, DynamoError> {
        let item = entry::entry(append, offset, attempt, self.retention);
        let own = Occupant::read(&self.table, &item)?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", PARTITION);
        match put.return_values_on_condition_check_failure(OnFailure::AllOld).send().await {
            Ok(_) => Ok(own),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let item = refused.item.as_ref().ok_or_else(|| self.unusable(SORT))?;
                    Occupant::read(&self.table, item)
                }
                _ => Err(failed("PutItem", &self.table, error)),
            },
        }
    }

    /// Looks for the message at every offset from `from` on.
    async fn search(&self, append: &Append, from: Offset) -> Result<Search, DynamoError> {
        let mut last = Offset(from.0.saturating_sub(1));
        let mut limit = Some(NEAR);
        let mut start = None;
        loop {
            let query = self.entries(&append.channel, from, Offset(u64::MAX));
            let query = Occupant::NEEDED
                .iter()
                .enumerate()
                .fold(query, |query, (index, name)| query.expression_attribute_names(format!("#a{index}"), *name));
            let query = query.projection_expression("#a0, #a1, #a2, #a3, #a4, #a5");
            let answer = query.set_limit(limit).set_exclusive_start_key(start).send().await;
            let answer = answer.map_err(|error| failed("Query", &self.table, error))?;
            for item in answer.items() {
                let occupant = Occupant::read(&self.table, item)?;
                last = occupant.offset;
                if occupant.is(append) {
                    return Ok(Search::Found(occupant));
                }
            }
            (start, limit) = (answer.last_evaluated_key, None);
            if start.is_none() {
                return Ok(Search::Last(last));
            }
        }
    }

    /// Makes the entry part of the log that readers see. Whoever is further has done it.
    async fn raise(&self, append: &Append, occupant: &Occupant) -> Result<(), DynamoError> {
        let key = entry::key(&append.channel.to_string(), 0);
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
            .expression_attribute_values(":offset", number(occupant.offset))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":sent_at", number(occupant.sent_at));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(failed("UpdateItem", &self.table, error)),
            },
        }
    }

    /// A consistent query of a channel's entries, both ends included.
    pub(super) fn entries(
        &self,
        channel: &Channel,
        from: Offset,
        to: Offset,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PARTITION)
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_values(":pk", text(channel.to_string()))
            .expression_attribute_values(":from", number(from))
            .expression_attribute_values(":to", number(to))
    }

    fn unusable(&self, attribute: &'static str) -> DynamoError {
        DynamoError::Item { table: self.table.clone(), attribute }
    }
}

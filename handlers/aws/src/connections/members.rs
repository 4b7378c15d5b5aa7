//! Who belongs to an audience: pages in the order of ids, exact totals, and the bare ids that a delivery needs.
//!
//! Invariant: counting is paid for only when a page is not the whole audience. A membership carries no record; the records
//! of a page of a room are read by key, a hundred at a time.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{KeysAndAttributes, Select};
use futures_util::future::try_join_all;
use handlers::audience::Audience;
use handlers::id::ConnectionId;
use handlers::ports::{Connection, Page, StoreError};

use super::record;
use super::{DynamoConnections, Selection, selections};
use crate::dynamo::{DynamoError, Item, failed, in_time, retry_delays};
use crate::tables::{ID, PARTITION, SORT};

/// Most items in one `BatchGetItem` (DynamoDB API reference).
const BATCH: usize = 100;

/// Some ids of a range, and where the next ones start.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) ids: Vec<ConnectionId>,
    pub(crate) next: Option<Item>,
}

impl DynamoConnections {
    /// One page of a range's ids, as many as DynamoDB reads at a time (1 MiB).
    pub(crate) async fn ids(&self, selection: &Selection, start: Option<Item>) -> Result<Ids, StoreError> {
        Ok(in_time("Query", &self.table, self.read_ids(selection, start)).await?)
    }

    async fn read_ids(&self, selection: &Selection, start: Option<Item>) -> Result<Ids, DynamoError> {
        let attribute = if selection.has_records() { ID } else { SORT };
        let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
        let query = selection.apply(query, None, self.expired_since());
        let query = query.projection_expression("#wanted, #at").expression_attribute_names("#wanted", attribute);
        let answer = query.send().await.map_err(|error| failed("Query", &self.table, error))?;
        let ids = answer.items().iter().map(|item| selection.id(&self.table, item)).collect::<Result<_, _>>()?;
        Ok(Ids { ids, next: answer.last_evaluated_key })
    }

    pub(super) async fn page(
        &self,
        audience: &Audience,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Page<Connection>, DynamoError> {
        if let Audience::Connection(id) = audience {
            return self.one(id, after).await;
        }
        let selections = selections(audience);
        // The first of the union are among the first of each range; one more tells whether there is a next page.
        let ranges = selections.iter().map(|selection| self.first(selection, after, limit + 1));
        let mut found: BTreeMap<ConnectionId, Option<Connection>> =
            try_join_all(ranges).await?.into_iter().flatten().collect();
        let shown: Vec<ConnectionId> = found.keys().take(limit).cloned().collect();
        let next = (found.len() > limit).then(|| shown.last().map(|id| id.as_str().to_owned())).flatten();
        let total = match (after, &next) {
            (None, None) => found.len() as u64,
            _ => try_join_all(selections.iter().map(|selection| self.count(selection))).await?.into_iter().sum(),
        };
        let unknown: Vec<_> = shown.iter().filter(|id| matches!(found.get(*id), Some(None))).cloned().collect();
        found.extend(self.records(&unknown).await?.into_iter().map(|(id, record)| (id, Some(record))));
        let items = shown.iter().filter_map(|id| found.remove(id).flatten()).collect();
        Ok(Page { items, next, total })
    }

    async fn one(&self, id: &ConnectionId, after: Option<&ConnectionId>) -> Result<Page<Connection>, DynamoError> {
        let found = self.record(id).await?;
        let total = u64::from(found.is_some());
        let items = found.map(|stored| stored.connection).filter(|_| after.is_none_or(|after| id > after));
        Ok(Page { items: items.into_iter().collect(), next: None, total })
    }

    /// The first `limit` of a range, with their records where the range has them.
    async fn first(
        &self,
        selection: &Selection,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, Option<Connection>)>, DynamoError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let page = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let query = selection.apply(query, after, self.expired_since()).limit(page);
            let answer = query.send().await.map_err(|error| failed("Query", &self.table, error))?;
            for item in answer.items() {
                let record = selection.has_records().then(|| record::read(&self.table, item)).transpose()?;
                found.push((selection.id(&self.table, item)?, record.map(|stored| stored.connection)));
            }
            start = answer.last_evaluated_key;
            // What the filter drops counts against the query's limit, so a page may be short and not the last.
            if start.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    async fn count(&self, selection: &Selection) -> Result<u64, DynamoError> {
        let (mut count, mut start) = (0, None);
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let query = selection.apply(query, None, self.expired_since()).select(Select::Count);
            let answer = query.send().await.map_err(|error| failed("Query", &self.table, error))?;
            count += u64::try_from(answer.count).unwrap_or(0);
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(count);
            }
        }
    }

    /// The living records among `ids`.
    async fn records(&self, ids: &[ConnectionId]) -> Result<HashMap<ConnectionId, Connection>, DynamoError> {
        let batches = ids.chunks(BATCH).map(|batch| self.batch(batch));
        Ok(try_join_all(batches).await?.into_iter().flatten().collect())
    }

    async fn batch(&self, ids: &[ConnectionId]) -> Result<Vec<(ConnectionId, Connection)>, DynamoError> {
        let mut found = Vec::new();
        let mut keys: Vec<Item> = ids.iter().map(record::key).collect();
        for delay in retry_delays() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted.map_err(|_| DynamoError::Item { table: self.table.clone(), attribute: PARTITION })?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let mut answer = answer.map_err(|error| failed("BatchGetItem", &self.table, error))?;
            let items = answer.responses.as_mut().and_then(|responses| responses.remove(&self.table));
            for item in items.unwrap_or_default() {
                let stored = self.living(record::read(&self.table, &item)?);
                found.extend(stored.map(|stored| (stored.connection.id.clone(), stored.connection)));
            }
            let left = answer.unprocessed_keys.as_mut().and_then(|left| left.remove(&self.table));
            keys = left.map(|left| left.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(found);
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "BatchGetItem", table: self.table.clone() })
    }
}

//! Who belongs to an audience: pages in the order of ids, exact totals, and the bare ids that a delivery needs.
//!
//! Invariant: counting is paid for only when a page is not the whole audience. A membership carries no record; the records
//! of a page of a room are read by key, a hundred at a time.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{KeysAndAttributes, Select};
use futures_util::future::try_join_all;
use handlers::audience::Audience;
use handlers::id::ConnectionId;
use handlers::ports::{ClientConnection, Page, StoreError};

use super::record;
use super::{DynamoConnections, KeyRange, key_ranges};
use crate::dynamo::{AttributeMap, DynamoError, classify_sdk_error, retry_delays, with_timeout};
use crate::tables::{ID, PARTITION_KEY, SORT_KEY};

/// Most items in one `BatchGetItem` (DynamoDB API reference).
const MAX_BATCH_READS: usize = 100;

/// Some ids of a range, and where the next ones start.
#[derive(Debug)]
pub(crate) struct ConnectionIdPage {
    pub(crate) ids: Vec<ConnectionId>,
    pub(crate) next: Option<AttributeMap>,
}

impl DynamoConnections {
    /// One page of a range's ids, as many as DynamoDB reads at a time (1 MiB).
    pub(crate) async fn list_ids(
        &self,
        selection: &KeyRange,
        start: Option<AttributeMap>,
    ) -> Result<ConnectionIdPage, StoreError> {
        Ok(with_timeout("Query", &self.table, self.query_ids(selection, start)).await?)
    }

    async fn query_ids(
        &self,
        selection: &KeyRange,
        start: Option<AttributeMap>,
    ) -> Result<ConnectionIdPage, DynamoError> {
        let attribute = if selection.has_records() { ID } else { SORT_KEY };
        let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
        let query = selection.apply_to_query(query, None, self.expiry_cutoff());
        let query = query.projection_expression("#wanted, #at").expression_attribute_names("#wanted", attribute);
        let answer = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
        let ids =
            answer.items().iter().map(|item| selection.connection_id(&self.table, item)).collect::<Result<_, _>>()?;
        Ok(ConnectionIdPage { ids, next: answer.last_evaluated_key })
    }

    pub(super) async fn members_page(
        &self,
        audience: &Audience,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, DynamoError> {
        if let Audience::Connection(id) = audience {
            return self.single_member_page(id, after).await;
        }
        let selections = key_ranges(audience);
        // The first of the union are among the first of each range; one more tells whether there is a next page.
        let ranges = selections.iter().map(|selection| self.first_members(selection, after, limit + 1));
        let mut found: BTreeMap<ConnectionId, Option<ClientConnection>> =
            try_join_all(ranges).await?.into_iter().flatten().collect();
        let shown: Vec<ConnectionId> = found.keys().take(limit).cloned().collect();
        let next = (found.len() > limit).then(|| shown.last().map(|id| id.as_str().to_owned())).flatten();
        let total = match (after, &next) {
            (None, None) => found.len() as u64,
            _ => {
                try_join_all(selections.iter().map(|selection| self.count_members(selection))).await?.into_iter().sum()
            }
        };
        let unknown: Vec<_> = shown.iter().filter(|id| matches!(found.get(*id), Some(None))).cloned().collect();
        found.extend(self.load_records(&unknown).await?.into_iter().map(|(id, record)| (id, Some(record))));
        let items = shown.iter().filter_map(|id| found.remove(id).flatten()).collect();
        Ok(Page { items, next, total })
    }

    async fn single_member_page(
        &self,
        id: &ConnectionId,
        after: Option<&ConnectionId>,
    ) -> Result<Page<ClientConnection>, DynamoError> {
        let found = self.load_record(id).await?;
        let total = u64::from(found.is_some());
        let items = found.map(|stored| stored.connection).filter(|_| after.is_none_or(|after| id > after));
        Ok(Page { items: items.into_iter().collect(), next: None, total })
    }

    /// The first `limit` of a range, with their records where the range has them.
    async fn first_members(
        &self,
        selection: &KeyRange,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, Option<ClientConnection>)>, DynamoError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let page = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let query = selection.apply_to_query(query, after, self.expiry_cutoff()).limit(page);
            let answer = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in answer.items() {
                let record = selection.has_records().then(|| record::parse_record(&self.table, item)).transpose()?;
                found.push((selection.connection_id(&self.table, item)?, record.map(|stored| stored.connection)));
            }
            start = answer.last_evaluated_key;
            // What the filter drops counts against the query's limit, so a page may be short and not the last.
            if start.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    async fn count_members(&self, selection: &KeyRange) -> Result<u64, DynamoError> {
        let (mut count, mut start) = (0, None);
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let query = selection.apply_to_query(query, None, self.expiry_cutoff()).select(Select::Count);
            let answer = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            count += u64::try_from(answer.count).unwrap_or(0);
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(count);
            }
        }
    }

    /// The living records among `ids`.
    async fn load_records(&self, ids: &[ConnectionId]) -> Result<HashMap<ConnectionId, ClientConnection>, DynamoError> {
        let batches = ids.chunks(MAX_BATCH_READS).map(|batch| self.load_record_batch(batch));
        Ok(try_join_all(batches).await?.into_iter().flatten().collect())
    }

    async fn load_record_batch(
        &self,
        ids: &[ConnectionId],
    ) -> Result<Vec<(ConnectionId, ClientConnection)>, DynamoError> {
        let mut found = Vec::new();
        let mut keys: Vec<AttributeMap> = ids.iter().map(record::record_key).collect();
        for delay in retry_delays() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted
                .map_err(|_| DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY })?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let mut answer = answer.map_err(|error| classify_sdk_error("BatchGetItem", &self.table, error))?;
            let items = answer.responses.as_mut().and_then(|responses| responses.remove(&self.table));
            for item in items.unwrap_or_default() {
                let stored = self.filter_live(record::parse_record(&self.table, &item)?);
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

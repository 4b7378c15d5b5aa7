//! Members of an audience: pages ordered by id, exact totals, and the plain ids for a delivery.
//!
//! A separate count query runs only when a page does not hold the whole audience. Memberships hold no records, so the
//! records of a room's page are read by key, up to 100 per request.

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

/// Maximum items of one `BatchGetItem` (DynamoDB API reference).
const MAX_BATCH_READS: usize = 100;

/// Connection found in a range.
#[derive(Debug)]
pub(crate) struct ListedId {
    pub(crate) id: ConnectionId,
    /// The token of the connection has expired, so it must receive no more messages.
    pub(crate) token_expired: bool,
}

/// Page of connection ids of a range, and the key at which the next page starts.
#[derive(Debug)]
pub(crate) struct ConnectionIdPage {
    pub(crate) ids: Vec<ListedId>,
    pub(crate) next: Option<AttributeMap>,
}

impl DynamoConnections {
    /// Returns one page of a range's ids, as many as one DynamoDB query reads (1 MiB).
    pub(crate) async fn list_ids(
        &self,
        range: &KeyRange,
        start: Option<AttributeMap>,
    ) -> Result<ConnectionIdPage, StoreError> {
        Ok(with_timeout("Query", &self.table, self.query_ids(range, start)).await?)
    }

    async fn query_ids(&self, range: &KeyRange, start: Option<AttributeMap>) -> Result<ConnectionIdPage, DynamoError> {
        let attribute = if range.has_records() { ID } else { SORT_KEY };
        let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
        let query = range.apply_to_query(query, None, self.expiry_cutoff());
        let query = query.projection_expression("#attribute, #at, #token_exp");
        let query = query.expression_attribute_names("#attribute", attribute);
        let query = query.expression_attribute_names("#token_exp", record::TOKEN_EXPIRY);
        let output = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
        let now = self.clock.now().unix_seconds();
        let listed = |item| {
            let token_expired = record::token_expiry(&self.table, item)?.is_some_and(|expires_at| now >= expires_at);
            Ok(ListedId { id: range.connection_id(&self.table, item)?, token_expired })
        };
        let ids = output.items().iter().map(listed).collect::<Result<_, DynamoError>>()?;
        Ok(ConnectionIdPage { ids, next: output.last_evaluated_key })
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
        let key_ranges = key_ranges(audience);
        // The first members of the audience are among the first of each range; one more shows whether there is a next
        // page.
        let first = key_ranges.iter().map(|range| self.first_members(range, after, limit + 1));
        let mut found: BTreeMap<ConnectionId, Option<ClientConnection>> =
            try_join_all(first).await?.into_iter().flatten().collect();
        let shown: Vec<ConnectionId> = found.keys().take(limit).cloned().collect();
        let next = (found.len() > limit).then(|| shown.last().map(|id| id.as_str().to_owned())).flatten();
        let total = match (after, &next) {
            (None, None) => found.len() as u64,
            _ => try_join_all(key_ranges.iter().map(|range| self.count_members(range))).await?.into_iter().sum(),
        };
        let without_record: Vec<_> = shown.iter().filter(|id| matches!(found.get(*id), Some(None))).cloned().collect();
        found.extend(self.load_records(&without_record).await?.into_iter().map(|(id, record)| (id, Some(record))));
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

    /// Returns the first `limit` members of a range, with their records if the range holds records.
    async fn first_members(
        &self,
        range: &KeyRange,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, Option<ClientConnection>)>, DynamoError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let page = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let query = range.apply_to_query(query, after, self.expiry_cutoff()).limit(page);
            let output = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in output.items() {
                let record = range.has_records().then(|| record::parse_record(&self.table, item)).transpose()?;
                found.push((range.connection_id(&self.table, item)?, record.map(|stored| stored.connection)));
            }
            start = output.last_evaluated_key;
            // The query's limit counts items that the filter then drops, so a page may be short and not the last one.
            if start.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    async fn count_members(&self, range: &KeyRange) -> Result<u64, DynamoError> {
        let (mut count, mut start) = (0, None);
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let query = range.apply_to_query(query, None, self.expiry_cutoff()).select(Select::Count);
            let output = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            count += u64::try_from(output.count).unwrap_or(0);
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(count);
            }
        }
    }

    /// Returns the unexpired records of `ids`.
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
            let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let request = request
                .map_err(|_| DynamoError::InvalidAttribute { table: self.table.clone(), attribute: PARTITION_KEY })?;
            let output = self.client.batch_get_item().request_items(&self.table, request).send().await;
            let mut output = output.map_err(|error| classify_sdk_error("BatchGetItem", &self.table, error))?;
            let items = output.responses.as_mut().and_then(|responses| responses.remove(&self.table));
            for item in items.unwrap_or_default() {
                let stored = self.filter_live(record::parse_record(&self.table, &item)?);
                found.extend(stored.map(|stored| (stored.connection.id.clone(), stored.connection)));
            }
            let unprocessed = output.unprocessed_keys.as_mut().and_then(|keys| keys.remove(&self.table));
            keys = unprocessed.map(|keys| keys.keys).unwrap_or_default();
            if keys.is_empty() {
                return Ok(found);
            }
            tokio::time::sleep(delay).await;
        }
        Err(DynamoError::Contended { operation: "BatchGetItem", table: self.table.clone() })
    }
}

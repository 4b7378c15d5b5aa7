//! Pages of connections: read from the indices, confirmed by the records.

use std::collections::{BTreeMap, BTreeSet};

use handlers::audience::Group;
use handlers::id::ConnectionId;
use handlers::ports::{ClientConnection, Page, StoreError};
use redis::{Pipeline, Value};

use super::{RedisConnections, index, record};

/// Maximum number of restarts of a listing after it removed wrong entries. The last round returns the page as it is.
const MAX_LISTING_ROUNDS: usize = 32;
/// Ids per comparison when the intersection of two sets is counted.
const IDS_PER_COMPARISON: usize = 1_000;

/// Content of the set of one group.
struct GroupListing<'a> {
    group: &'a Group,
    key: String,
    expired: Vec<String>,
    ids: Vec<ConnectionId>,
    count: u64,
}

impl RedisConnections {
    /// Returns a page of the union of groups, ascending by id, starting after `after`.
    pub(super) async fn union_page(
        &self,
        groups: &[Group],
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError> {
        let mut round = 0;
        loop {
            round += 1;
            let listed = self.list_groups(groups, after.as_ref(), limit + 1).await?;
            if self.remove_expired_entries(&listed).await? && round < MAX_LISTING_ROUNDS {
                continue;
            }
            let ids: BTreeSet<&ConnectionId> = listed.iter().flat_map(|set| &set.ids).collect();
            let records = self.fetch_records(ids.into_iter().take(limit + 1)).await?;
            if self.remove_stale_entries(&listed, &records).await? && round < MAX_LISTING_ROUNDS {
                continue;
            }
            let total = self.count_union(&listed).await?;
            let mut items: Vec<ClientConnection> = records.into_values().flatten().collect();
            let more = items.len() > limit;
            items.truncate(limit);
            let next = if more { items.last().map(|last| last.id.to_string()) } else { None };
            return Ok(Page { items, next, total });
        }
    }

    /// Reads the expired entries, a page and the size of each set, in one round trip.
    async fn list_groups<'a>(
        &self,
        groups: &'a [Group],
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<GroupListing<'a>>, StoreError> {
        let keys: Vec<String> = groups.iter().map(|group| index::group_key(&self.redis, group)).collect();
        let mut pipeline = Pipeline::new();
        for key in &keys {
            index::query_expired(&mut pipeline, key, self.clock.now());
            index::query_page(&mut pipeline, key, after.map(ConnectionId::as_str), limit);
            index::query_count(&mut pipeline, key);
        }
        let replies: Vec<Value> = self.run_pipeline(&pipeline).await?;
        let mut replies = replies.into_iter();
        let mut listed = Vec::with_capacity(groups.len());
        for (group, key) in groups.iter().zip(keys) {
            let expired: Vec<String> = super::next_reply(replies.next())?;
            let texts: Vec<String> = super::next_reply(replies.next())?;
            let count = super::next_reply(replies.next())?;
            let ids = texts.iter().filter_map(|text| ConnectionId::parse(text.get(1..)?).ok()).collect();
            listed.push(GroupListing { group, key, expired, ids, count });
        }
        Ok(listed)
    }

    /// Removes expired entries. Returns whether there were any.
    async fn remove_expired_entries(&self, listed: &[GroupListing<'_>]) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::new();
        for set in listed {
            index::remove_expired(&mut pipeline, &set.key, &set.expired);
        }
        self.run_pipeline::<Value>(&pipeline).await?;
        Ok(!pipeline.is_empty())
    }

    /// Reads the records of ids, each `None` if there is none, in one round trip.
    async fn fetch_records<'a>(
        &self,
        ids: impl Iterator<Item = &'a ConnectionId>,
    ) -> Result<BTreeMap<ConnectionId, Option<ClientConnection>>, StoreError> {
        let ids: Vec<&ConnectionId> = ids.collect();
        let mut pipeline = Pipeline::new();
        for id in &ids {
            pipeline.cmd("GET").arg(self.record_key(id));
        }
        let texts: Vec<Option<String>> = self.run_pipeline(&pipeline).await?;
        let decode = |(id, text): (&ConnectionId, _)| Ok((id.clone(), self.parse_live_record(text)?));
        ids.into_iter().zip(texts).map(decode).collect()
    }

    /// Removes entries that the records do not confirm. Returns whether there were any.
    async fn remove_stale_entries(
        &self,
        listed: &[GroupListing<'_>],
        records: &BTreeMap<ConnectionId, Option<ClientConnection>>,
    ) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::new();
        for set in listed {
            for id in &set.ids {
                match records.get(id) {
                    Some(None) => index::remove_id_entry(&mut pipeline, &set.key, id),
                    Some(Some(connection)) if !is_group_member(connection, set.group) => {
                        index::remove_connection(&mut pipeline, &set.key, id, record::expires_at(connection));
                    }
                    _ => {}
                }
            }
        }
        self.run_pipeline::<Value>(&pipeline).await?;
        Ok(!pipeline.is_empty())
    }

    /// Returns the size of the union: the largest set, plus the connections of each other set that the largest lacks.
    /// Audiences are unions of at most two sets. The smaller one, a user's connections, is scanned.
    async fn count_union(&self, listed: &[GroupListing<'_>]) -> Result<u64, StoreError> {
        let mut sets: Vec<&GroupListing<'_>> = listed.iter().collect();
        sets.sort_by_key(|set| std::cmp::Reverse(set.count));
        let Some((largest, smaller)) = sets.split_first() else { return Ok(0) };
        let mut total = largest.count;
        for set in smaller {
            total += set.count - self.count_shared(&set.key, &largest.key).await?.min(set.count);
        }
        Ok(total)
    }

    /// Returns the size of the intersection of two sets.
    async fn count_shared(&self, smaller: &str, larger: &str) -> Result<u64, StoreError> {
        let (mut shared, mut after) = (0, None::<String>);
        loop {
            let mut pipeline = Pipeline::new();
            index::query_page(&mut pipeline, smaller, after.as_deref(), IDS_PER_COMPARISON);
            let (entries,): (Vec<String>,) = self.run_pipeline(&pipeline).await?;
            if entries.is_empty() {
                return Ok(shared);
            }
            let mut pipeline = Pipeline::new();
            pipeline.cmd("ZMSCORE").arg(larger).arg(&entries);
            let (scores,): (Vec<Option<f64>>,) = self.run_pipeline(&pipeline).await?;
            shared += scores.iter().flatten().count() as u64;
            if entries.len() < IDS_PER_COMPARISON {
                return Ok(shared);
            }
            after = entries.last().and_then(|entry| entry.get(1..)).map(str::to_owned);
        }
    }
}

fn is_group_member(connection: &ClientConnection, group: &Group) -> bool {
    match group {
        Group::Joined(channel) => connection.channels.contains(channel),
        _ => connection.identity.groups().contains(group),
    }
}

//! Pages of connections: what the indices say, confirmed by the records.

use std::collections::{BTreeMap, BTreeSet};

use handlers::audience::Group;
use handlers::id::ConnectionId;
use handlers::ports::{Connection, Page, StoreError};
use redis::{Pipeline, Value};

use super::{RedisConnections, index, record};

/// How often a listing begins anew because it found and removed untrue entries; then it shows what it has.
const ROUNDS: usize = 32;
/// How many ids are compared at a time to count what two sets share.
const COMPARED_AT_ONCE: usize = 1_000;

/// One group's set and what it says.
struct Listed<'a> {
    group: &'a Group,
    key: String,
    ended: Vec<String>,
    ids: Vec<ConnectionId>,
    count: u64,
}

impl RedisConnections {
    /// The union of groups, ascending by id, behind `after`.
    pub(super) async fn union(
        &self,
        groups: &[Group],
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Result<Page<Connection>, StoreError> {
        let mut round = 0;
        loop {
            round += 1;
            let listed = self.listed(groups, after.as_ref(), limit + 1).await?;
            if self.drop_ended(&listed).await? && round < ROUNDS {
                continue;
            }
            let ids: BTreeSet<&ConnectionId> = listed.iter().flat_map(|set| &set.ids).collect();
            let records = self.records(ids.into_iter().take(limit + 1)).await?;
            if self.drop_untrue(&listed, &records).await? && round < ROUNDS {
                continue;
            }
            let total = self.total(&listed).await?;
            let mut items: Vec<Connection> = records.into_values().flatten().collect();
            let more = items.len() > limit;
            items.truncate(limit);
            let next = if more { items.last().map(|last| last.id.to_string()) } else { None };
            return Ok(Page { items, next, total });
        }
    }

    /// What the sets of groups say: what has ended, a page, and how many there are. One round trip.
    async fn listed<'a>(
        &self,
        groups: &'a [Group],
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<Listed<'a>>, StoreError> {
        let keys: Vec<String> = groups.iter().map(|group| index::key(&self.redis, group)).collect();
        let mut pipeline = Pipeline::new();
        for key in &keys {
            index::ended(&mut pipeline, key, self.clock.now());
            index::page(&mut pipeline, key, after.map(ConnectionId::as_str), limit);
            index::count(&mut pipeline, key);
        }
        let answers: Vec<Value> = self.redis.pipeline(&pipeline).await?;
        let mut answers = answers.into_iter();
        let mut listed = Vec::with_capacity(groups.len());
        for (group, key) in groups.iter().zip(keys) {
            let ended: Vec<String> = super::answer(answers.next())?;
            let texts: Vec<String> = super::answer(answers.next())?;
            let count = super::answer(answers.next())?;
            let ids = texts.iter().filter_map(|text| ConnectionId::parse(text.get(1..)?).ok()).collect();
            listed.push(Listed { group, key, ended, ids, count });
        }
        Ok(listed)
    }

    /// Takes ended entries out; whether there were any.
    async fn drop_ended(&self, listed: &[Listed<'_>]) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::new();
        for set in listed {
            index::remove_ended(&mut pipeline, &set.key, &set.ended);
        }
        self.redis.pipeline::<Value>(&pipeline).await?;
        Ok(!pipeline.is_empty())
    }

    /// The records of ids, each `None` where there is none. One round trip.
    async fn records<'a>(
        &self,
        ids: impl Iterator<Item = &'a ConnectionId>,
    ) -> Result<BTreeMap<ConnectionId, Option<Connection>>, StoreError> {
        let ids: Vec<&ConnectionId> = ids.collect();
        let mut pipeline = Pipeline::new();
        for id in &ids {
            pipeline.cmd("GET").arg(self.record_key(id));
        }
        let texts: Vec<Option<String>> = self.redis.pipeline(&pipeline).await?;
        let read = |(id, text): (&ConnectionId, _)| Ok((id.clone(), self.living(text)?));
        ids.into_iter().zip(texts).map(read).collect()
    }

    /// Takes entries out that the records do not confirm; whether there were any.
    async fn drop_untrue(
        &self,
        listed: &[Listed<'_>],
        records: &BTreeMap<ConnectionId, Option<Connection>>,
    ) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::new();
        for set in listed {
            for id in &set.ids {
                match records.get(id) {
                    Some(None) => index::forget(&mut pipeline, &set.key, id),
                    Some(Some(connection)) if !is_in(connection, set.group) => {
                        index::remove(&mut pipeline, &set.key, id, record::end(connection));
                    }
                    _ => {}
                }
            }
        }
        self.redis.pipeline::<Value>(&pipeline).await?;
        Ok(!pipeline.is_empty())
    }

    /// How many connections the union has: those of the largest set, and of each other what that one lacks. Audiences are
    /// unions of two sets at most; the smaller one, a user's connections, is walked.
    async fn total(&self, listed: &[Listed<'_>]) -> Result<u64, StoreError> {
        let mut sets: Vec<&Listed<'_>> = listed.iter().collect();
        sets.sort_by_key(|set| std::cmp::Reverse(set.count));
        let Some((largest, smaller)) = sets.split_first() else { return Ok(0) };
        let mut total = largest.count;
        for set in smaller {
            total += set.count - self.shared(&set.key, &largest.key).await?.min(set.count);
        }
        Ok(total)
    }

    /// How many of the smaller set's connections the larger one has too.
    async fn shared(&self, smaller: &str, larger: &str) -> Result<u64, StoreError> {
        let (mut shared, mut after) = (0, None::<String>);
        loop {
            let mut pipeline = Pipeline::new();
            index::page(&mut pipeline, smaller, after.as_deref(), COMPARED_AT_ONCE);
            let (entries,): (Vec<String>,) = self.redis.pipeline(&pipeline).await?;
            if entries.is_empty() {
                return Ok(shared);
            }
            let mut pipeline = Pipeline::new();
            pipeline.cmd("ZMSCORE").arg(larger).arg(&entries);
            let (scores,): (Vec<Option<f64>>,) = self.redis.pipeline(&pipeline).await?;
            shared += scores.iter().flatten().count() as u64;
            if entries.len() < COMPARED_AT_ONCE {
                return Ok(shared);
            }
            after = entries.last().and_then(|entry| entry.get(1..)).map(str::to_owned);
        }
    }
}

fn is_in(connection: &Connection, group: &Group) -> bool {
    match group {
        Group::Joined(channel) => connection.channels.contains(channel),
        _ => connection.identity.groups().contains(group),
    }
}

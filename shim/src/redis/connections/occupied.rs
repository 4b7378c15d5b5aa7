//! A tenant's channels that have members, and how many each has.

use handlers::audience::Group;
use handlers::channel::{Channel, ChannelName};
use handlers::id::TenantId;
use handlers::ports::{OccupiedChannel, Page, StoreError};
use redis::{Pipeline, Value};

use super::{RedisConnections, index};

/// How often a listing begins anew because it found channels that are not occupied; then it shows what it has.
const ROUNDS: usize = 32;

impl RedisConnections {
    /// A page of channels, ascending by name, behind `after`.
    pub(super) async fn occupied(
        &self,
        tenant: &TenantId,
        after: Option<ChannelName>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let mut round = 0;
        loop {
            round += 1;
            let (names, total) = self.names(tenant, after.as_ref(), limit + 1).await?;
            let channels: Vec<Channel> = names.into_iter().map(|name| name.within(tenant.clone())).collect();
            let counts = self.members_of(&channels).await?;
            let empty: Vec<&Channel> =
                channels.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(channel, _)| channel).collect();
            if !empty.is_empty() && round < ROUNDS {
                self.vacate(&empty).await?;
                continue;
            }
            let occupied = channels.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            let mut items: Vec<OccupiedChannel> =
                occupied.map(|(channel, connections)| OccupiedChannel { name: channel.name, connections }).collect();
            let more = items.len() > limit;
            items.truncate(limit);
            let next = if more { items.last().map(|last| last.name.to_string()) } else { None };
            return Ok(Page { items, next, total });
        }
    }

    /// Takes channels without members out of the list, and puts those back that got one meanwhile.
    pub(super) async fn vacate(&self, channels: &[&Channel]) -> Result<(), StoreError> {
        let empty = self.empty_of(channels).await?;
        let mut pipeline = Pipeline::new();
        for channel in &empty {
            let list = index::occupied_key(&self.redis, &channel.tenant);
            pipeline.cmd("ZREM").arg(list).arg(channel.name.to_string());
        }
        self.redis.pipeline::<Value>(&pipeline).await?;
        let still_empty = self.empty_of(&empty).await?;
        let mut pipeline = Pipeline::new();
        for channel in empty.iter().filter(|channel| !still_empty.contains(channel)) {
            index::occupy(&mut pipeline, &index::occupied_key(&self.redis, &channel.tenant), &channel.name);
        }
        self.redis.pipeline::<Value>(&pipeline).await?;
        Ok(())
    }

    async fn empty_of<'a>(&self, channels: &[&'a Channel]) -> Result<Vec<&'a Channel>, StoreError> {
        let mut pipeline = Pipeline::new();
        for channel in channels {
            index::count(&mut pipeline, &index::key(&self.redis, &Group::Joined((*channel).clone())));
        }
        let counts: Vec<u64> = self.redis.pipeline(&pipeline).await?;
        Ok(channels.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(channel, _)| *channel).collect())
    }

    async fn names(
        &self,
        tenant: &TenantId,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<(Vec<ChannelName>, u64), StoreError> {
        let list = index::occupied_key(&self.redis, tenant);
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ZRANGEBYLEX").arg(&list).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        pipeline.cmd("ZCARD").arg(&list);
        let (names, total): (Vec<String>, u64) = self.redis.pipeline(&pipeline).await?;
        Ok((names.iter().filter_map(|name| ChannelName::parse(name).ok()).collect(), total))
    }

    /// How many connections each channel has, once what has ended is out.
    async fn members_of(&self, channels: &[Channel]) -> Result<Vec<u64>, StoreError> {
        let keys: Vec<String> =
            channels.iter().map(|channel| index::key(&self.redis, &Group::Joined(channel.clone()))).collect();
        let mut round = 0;
        loop {
            round += 1;
            let mut pipeline = Pipeline::new();
            for key in &keys {
                index::ended(&mut pipeline, key, self.clock.now());
                index::count(&mut pipeline, key);
            }
            let answers: Vec<Value> = self.redis.pipeline(&pipeline).await?;
            let mut answers = answers.into_iter();
            let (mut counts, mut removal) = (Vec::with_capacity(keys.len()), Pipeline::new());
            for key in &keys {
                let ended: Vec<String> = super::answer(answers.next())?;
                index::remove_ended(&mut removal, key, &ended);
                counts.push(super::answer(answers.next())?);
            }
            if removal.is_empty() || round == ROUNDS {
                return Ok(counts);
            }
            self.redis.pipeline::<Value>(&removal).await?;
        }
    }
}

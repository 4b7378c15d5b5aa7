//! Channels of a tenant that have members, with the number of members.

use handlers::audience::Group;
use handlers::channel::{Channel, ChannelName};
use handlers::id::TenantId;
use handlers::ports::{OccupiedChannel, Page, StoreError};
use redis::{Pipeline, Value};

use super::{RedisConnections, index};

/// Maximum number of restarts of a listing after it found empty channels. The last round returns the page as it is.
const MAX_RECOUNT_ROUNDS: usize = 32;

impl RedisConnections {
    /// Returns a page of occupied channels, ascending by name, starting after `after`.
    pub(super) async fn occupied_page(
        &self,
        tenant: &TenantId,
        after: Option<ChannelName>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError> {
        let mut round = 0;
        loop {
            round += 1;
            let (names, total) = self.list_occupied_names(tenant, after.as_ref(), limit + 1).await?;
            let channels: Vec<Channel> = names.into_iter().map(|name| name.in_tenant(tenant.clone())).collect();
            let counts = self.count_members(&channels).await?;
            let empty: Vec<&Channel> =
                channels.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(channel, _)| channel).collect();
            if !empty.is_empty() && round < MAX_RECOUNT_ROUNDS {
                self.unlist_empty_channels(&empty).await?;
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

    /// Removes channels without members from the list, and restores those that got a member meanwhile.
    pub(super) async fn unlist_empty_channels(&self, channels: &[&Channel]) -> Result<(), StoreError> {
        let empty = self.find_empty_channels(channels).await?;
        let mut pipeline = Pipeline::new();
        for channel in &empty {
            let list = index::occupied_key(&self.redis, &channel.tenant);
            pipeline.cmd("ZREM").arg(list).arg(channel.name.to_string());
        }
        self.run_pipeline::<Value>(&pipeline).await?;
        let still_empty = self.find_empty_channels(&empty).await?;
        let mut pipeline = Pipeline::new();
        for channel in empty.iter().filter(|channel| !still_empty.contains(channel)) {
            index::add_occupied_channel(
                &mut pipeline,
                &index::occupied_key(&self.redis, &channel.tenant),
                &channel.name,
            );
        }
        self.run_pipeline::<Value>(&pipeline).await?;
        Ok(())
    }

    async fn find_empty_channels<'a>(&self, channels: &[&'a Channel]) -> Result<Vec<&'a Channel>, StoreError> {
        let mut pipeline = Pipeline::new();
        for channel in channels {
            index::query_count(&mut pipeline, &index::group_key(&self.redis, &Group::Joined((*channel).clone())));
        }
        let counts: Vec<u64> = self.run_pipeline(&pipeline).await?;
        Ok(channels.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(channel, _)| *channel).collect())
    }

    async fn list_occupied_names(
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
        let (names, total): (Vec<String>, u64) = self.run_pipeline(&pipeline).await?;
        Ok((names.iter().filter_map(|name| ChannelName::parse(name).ok()).collect(), total))
    }

    /// Returns the number of connections of each channel, after removing expired ones.
    async fn count_members(&self, channels: &[Channel]) -> Result<Vec<u64>, StoreError> {
        let keys: Vec<String> =
            channels.iter().map(|channel| index::group_key(&self.redis, &Group::Joined(channel.clone()))).collect();
        let mut round = 0;
        loop {
            round += 1;
            let mut pipeline = Pipeline::new();
            for key in &keys {
                index::query_expired(&mut pipeline, key, self.clock.now());
                index::query_count(&mut pipeline, key);
            }
            let replies: Vec<Value> = self.run_pipeline(&pipeline).await?;
            let mut replies = replies.into_iter();
            let (mut counts, mut removal) = (Vec::with_capacity(keys.len()), Pipeline::new());
            for key in &keys {
                let expired: Vec<String> = super::next_reply(replies.next())?;
                index::remove_expired(&mut removal, key, &expired);
                counts.push(super::next_reply(replies.next())?);
            }
            if removal.is_empty() || round == MAX_RECOUNT_ROUNDS {
                return Ok(counts);
            }
            self.run_pipeline::<Value>(&removal).await?;
        }
    }
}

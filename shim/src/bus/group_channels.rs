//! Redis channels of the groups with members on this pod: the commands that keep the subscriptions up to date.

use std::sync::Arc;

use handlers::audience::Group;
use tokio::time::Instant;

use super::head_check::ResyncSignal;
use super::metrics::BusMetrics;
use super::redis_channel;
use super::subscriptions::GroupSubscriptions;
use crate::hub::ChannelDelivery;
use crate::redis::{RedisClient, RedisClientError, SubscriptionHandle};

/// Maximum Redis channels per command, so that each command completes well within the timeout of the connection.
const MAX_CHANNELS_PER_COMMAND: usize = 512;

/// Subscribes to the Redis channels of groups, according to their members in the hub.
pub(super) struct GroupChannels {
    /// Client of the shared Redis, for the key prefix.
    pub(super) redis: RedisClient,
    /// Members of the groups.
    pub(super) hub: ChannelDelivery,
    /// State of the subscriptions.
    pub(super) subscriptions: Arc<GroupSubscriptions>,
    /// Signal for a head check after all groups were subscribed again.
    pub(super) resync: Arc<ResyncSignal>,
    /// Gauge of the subscribed groups.
    pub(super) metrics: Arc<BusMetrics>,
}

impl GroupChannels {
    /// Resets all subscriptions to pending, so that new connections wait for the next subscription. Returns the groups
    /// to subscribe to.
    pub(super) fn reset_pending(&self) -> Vec<Group> {
        self.subscriptions.reset_pending(|group| self.hub.has_members(group))
    }

    /// Subscribes a new connection to all groups with members.
    pub(super) async fn subscribe_all(&self, subscription: &SubscriptionHandle) -> Result<(), RedisClientError> {
        self.subscribe_groups(subscription, &self.reset_pending()).await?;
        // Also for the first connection: messages may have been published since the first client connected.
        self.resync.request_check();
        Ok(())
    }

    /// Waits until [`Self::apply_changes`] may have commands to send.
    pub(super) async fn wait_changed(&self) {
        self.subscriptions.wait_changed().await;
    }

    /// Subscribes to the groups that got members and unsubscribes from those whose delay has expired.
    pub(super) async fn apply_changes(&self, subscription: &SubscriptionHandle) -> Result<(), RedisClientError> {
        let changes = self.subscriptions.take_changes(Instant::now(), |group| self.hub.has_members(group));
        self.subscribe_groups(subscription, &changes.subscribe).await?;
        for group in &changes.unsubscribe {
            self.hub.evict_unread_channels(group);
        }
        for groups in changes.unsubscribe.chunks(MAX_CHANNELS_PER_COMMAND) {
            subscription.unsubscribe(&self.redis_channels_of(groups)).await?;
        }
        self.metrics.subscriptions.set(i64::try_from(self.subscriptions.group_count()).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn subscribe_groups(
        &self,
        subscription: &SubscriptionHandle,
        groups: &[Group],
    ) -> Result<(), RedisClientError> {
        for groups in groups.chunks(MAX_CHANNELS_PER_COMMAND) {
            subscription.subscribe(&self.redis_channels_of(groups)).await?;
            self.subscriptions.confirm_active(groups);
        }
        Ok(())
    }

    fn redis_channels_of(&self, groups: &[Group]) -> Vec<String> {
        groups.iter().map(|group| self.redis.redis_channel(&redis_channel::channel_of_group(group))).collect()
    }
}

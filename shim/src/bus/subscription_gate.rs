//! Waiting for subscriptions: the group subscriptions as [`PeerRouter`] of the hub.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use handlers::audience::Group;
use handlers::channel::Channel;
use handlers::id::ConnectionId;
use handlers::ports::{Delivery as _, DeliveryError, DeliveryOutcome};

use super::subscriptions::GroupSubscriptions;
use crate::hub::{ChannelDelivery, PeerRouter};

/// Delays handshakes and resumes until this pod is subscribed to their groups. Does not own the hub, because the hub
/// owns it. Clones share the subscriptions.
#[derive(Clone)]
pub(super) struct SubscriptionGate {
    subscriptions: Arc<GroupSubscriptions>,
    subscribe_timeout: Duration,
}

impl SubscriptionGate {
    pub(super) const fn new(subscriptions: Arc<GroupSubscriptions>, subscribe_timeout: Duration) -> Self {
        Self { subscriptions, subscribe_timeout }
    }

    /// Implements [`Delivery::pause_channels`](handlers::ports::Delivery::pause_channels) for a connection of this pod.
    /// Waits until this pod is subscribed to the channels' groups, so that every later message either reaches this pod
    /// or is in the log that the caller reads next.
    pub(super) async fn pause_channels(
        &self,
        hub: &ChannelDelivery,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let outcome = hub.pause_channels(connection, channels).await?;
        let groups = channels.iter().flat_map(|channel| hub.local_groups(channel)).collect();
        if let Some(subscribed) = self.wait_subscribed(groups) {
            subscribed.await;
        }
        Ok(outcome)
    }
}

impl PeerRouter for SubscriptionGate {
    fn membership_changed(&self, group: &Group) {
        self.subscriptions.mark_changed(group);
    }

    fn wait_subscribed(&self, groups: Vec<Group>) -> Option<BoxFuture<'static, ()>> {
        if self.subscriptions.is_subscribed(&groups) {
            return None;
        }
        let (subscriptions, timeout) = (Arc::clone(&self.subscriptions), self.subscribe_timeout);
        Some(Box::pin(async move {
            // After the timeout the caller continues: a connection with a delayed backfill is better than none.
            let _ = tokio::time::timeout(timeout, subscriptions.wait_subscribed(&groups)).await;
        }))
    }
}

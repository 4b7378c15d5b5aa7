//! Delivery of the messaging application to the connections of this process.
//!
//! [`ChannelDelivery`] is the application's [`Delivery`] wherever this process owns the sockets: groups of connections
//! (`index`), fan-out to many (`wave`), the order of each channel (`order`), and the other pods (`neighbours`). It is
//! notified of connections that open and end ([`ConnectionObserver`]); APIs whose functions are not ours do without it.
//! Nothing here waits for a receiver, and no lock is held across an await.

mod connection_groups;
mod fan_out;
mod membership;
mod order;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use gateway::close::CloseCause;
use gateway::id::GatewayId;
use handlers::audience::{Audience, ResolvedAudience};
use handlers::channel::{Channel, ChannelName, Position};
use handlers::id::ConnectionId;
use handlers::ports::{
    CloseReason, Delivery, DeliveryError, DeliveryOutcome, MessageLog, OutgoingFrame, Priority, ResumeOutcome,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::connection_groups::ConnectionGroups;
use self::fan_out::{FanOut, OutboxWriters};
use self::membership::Membership;
use self::order::TrackedChannel;
pub use self::peers::PeerRouter;
use crate::connection::{Connection, ConnectionIndex, ConnectionObserver, OutboundFrame};
use crate::metrics::DeliveryMetrics;

/// Most holes that are filled from the log at a time, so that a lost bus does not become a storm on the log.
const MAX_CONCURRENT_BACKFILLS: usize = 32;

/// How long a delivery to one connection waits for room in its outbox.
const OUTBOX_CAPACITY_TIMEOUT: Duration = Duration::from_secs(10);

/// Ordered delivery to the connections of this process. Clones share it.
#[derive(Clone)]
pub struct ChannelDelivery {
    shared: Arc<HubState>,
}

struct HubState {
    connections: ConnectionIndex,
    connection_groups: ConnectionGroups,
    channels: DashMap<Channel, Arc<Mutex<TrackedChannel>>, RandomState>,
    log: Arc<dyn MessageLog>,
    backfill_permits: Semaphore,
    writers: OutboxWriters,
    tasks: TaskTracker,
    metrics: Arc<DeliveryMetrics>,
}

impl ChannelDelivery {
    /// Delivers to the connections of `connections`, filling holes from `log` on tasks of `tasks`.
    pub fn new(
        connections: ConnectionIndex,
        log: Arc<dyn MessageLog>,
        tasks: TaskTracker,
        metrics: Arc<DeliveryMetrics>,
    ) -> Self {
        let shared = HubState {
            connections,
            connection_groups: ConnectionGroups::default(),
            channels: DashMap::default(),
            log,
            backfill_permits: Semaphore::new(MAX_CONCURRENT_BACKFILLS),
            writers: OutboxWriters::new(),
            tasks,
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The open connections.
    #[must_use]
    pub fn connections(&self) -> &ConnectionIndex {
        &self.shared.connections
    }

    fn find_by_connection_id(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.shared.connections.find(gateway::id::parse_gateway_id(id.as_str()).ok()?)
    }

    /// Slows a handler down that sends one connection more than its outbox holds, as a resume may. A connection that
    /// does not read for so long is closed by the push that follows.
    async fn wait_for_capacity(&self, id: &ConnectionId, bytes: usize) {
        if let Some(handle) = self.find_by_connection_id(id) {
            let _ = tokio::time::timeout(OUTBOX_CAPACITY_TIMEOUT, handle.wait_for_capacity(bytes)).await;
        }
    }

    fn leave_channels(&self, id: GatewayId, channels: &[Channel]) {
        for channel in channels {
            self.shared.connection_groups.leave_channel(channel, id);
            self.remove_delivery_mark(id, channel);
        }
    }

    /// Passes a frame without a place on at once.
    fn fan_out(&self, audience: &Audience, priority: Priority, queued: &OutboundFrame) -> DeliveryOutcome {
        let mut wave = FanOut::new(self);
        match audience.resolve() {
            ResolvedAudience::Connection(id) => match self.find_by_connection_id(&id) {
                Some(handle) => wave.send_to(&handle, priority, queued.clone()),
                None => DeliveryOutcome::ConnectionGone,
            },
            ResolvedAudience::Groups(groups) => {
                let mut reached = 0;
                self.shared.connection_groups.for_each_member(&groups, |handle| {
                    wave.send_to(handle, priority, queued.clone());
                    reached += 1;
                });
                DeliveryOutcome::Delivered(Some(reached))
            }
        }
    }
}

impl ConnectionObserver for ChannelDelivery {
    fn opened(&self, connection: &Arc<Connection>) {
        let membership = connection.facts.authorizer.as_deref().and_then(Membership::from_context);
        let Some(membership) = membership else { return };
        let groups = membership.identity.groups();
        connection.set_membership(membership);
        self.shared.connection_groups.add_to_groups(groups, connection);
    }

    fn closed(&self, connection: &Connection) {
        let Some(membership) = Membership::of(connection) else { return };
        let identity = &membership.identity;
        self.shared.connection_groups.remove_from_groups(identity.groups(), connection.id);
        let joined = std::mem::take(&mut *membership.joined.lock());
        self.leave_channels(connection.id, &joined);
        for name in [ChannelName::Conversation(identity.user.clone()), ChannelName::Everyone] {
            self.remove_delivery_mark(connection.id, &name.in_tenant(identity.tenant.clone()));
        }
    }

    fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>> {
        let groups = Membership::of(connection)?.identity.groups();
        self.peer_router()?.wait_subscribed(groups.into())
    }
}

#[async_trait]
impl Delivery for ChannelDelivery {
    fn may_reach(&self, audience: &Audience) -> bool {
        match audience.resolve() {
            ResolvedAudience::Connection(id) => self.find_by_connection_id(&id).is_some(),
            ResolvedAudience::Groups(groups) => {
                groups.iter().any(|group| self.shared.connection_groups.has_members(group))
            }
        }
    }

    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        let text = outgoing.frame;
        Ok(match (outgoing.placement, audience) {
            (Some(placement), Audience::Channel(channel)) if *channel == placement.channel => {
                self.deliver_in_order(placement, outgoing.priority, text)
            }
            (placement, audience) => {
                if let Audience::Connection(id) = audience {
                    self.wait_for_capacity(id, text.len()).await;
                }
                let queued = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
                self.fan_out(audience, outgoing.priority, &queued)
            }
        })
    }

    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(handle) = self.find_by_connection_id(connection) else { return Ok(DeliveryOutcome::ConnectionGone) };
        let Some(membership) = Membership::of(&handle) else { return Ok(DeliveryOutcome::ConnectionGone) };
        for channel in channels {
            self.lock_channel(channel).sequence.pause_delivery(handle.id);
            if channel.name.requires_join() && self.shared.connection_groups.join_channel(channel, &handle) {
                membership.joined.lock().push(channel.clone());
            }
        }
        // The session may have ended between the look-up and the last join: its own cleaning came too early then.
        if self.shared.connections.find(handle.id).is_none() {
            self.leave_channels(handle.id, channels);
            return Ok(DeliveryOutcome::ConnectionGone);
        }
        Ok(DeliveryOutcome::Delivered(Some(1)))
    }

    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        let Some(handle) = self.find_by_connection_id(connection) else { return Ok(ResumeOutcome::Live) };
        Ok(self.resume_in_epoch(handle.id, channel, &mut self.lock_channel(channel), through))
    }

    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(handle) = self.find_by_connection_id(connection) else { return Ok(DeliveryOutcome::ConnectionGone) };
        if let Some(membership) = Membership::of(&handle) {
            membership.joined.lock().retain(|joined| !channels.contains(joined));
        }
        self.leave_channels(handle.id, channels);
        Ok(DeliveryOutcome::Delivered(Some(1)))
    }

    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(handle) = self.find_by_connection_id(connection) else { return Ok(DeliveryOutcome::ConnectionGone) };
        handle.close(match reason {
            CloseReason::Kicked => CloseCause::Kicked,
            CloseReason::TokenExpired => CloseCause::TokenExpired,
        });
        Ok(DeliveryOutcome::Delivered(Some(1)))
    }
}

#[cfg(test)]
pub(crate) mod tests;

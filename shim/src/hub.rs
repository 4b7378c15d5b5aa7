//! Ordered delivery of messages to the connections of this process.
//!
//! [`ChannelDelivery`] implements the application's [`Delivery`] port: groups of connections (`connection_groups`),
//! fan-out to many connections (`fan_out`), the order of each channel (`order`), and the other pods (`peers`). It
//! observes the connections that open and close ([`ConnectionObserver`]). APIs with external functions do not use it.
//!
//! Fan-out never waits for a receiver; only a delivery to a single connection waits, within a limit, for room in its
//! outbox. No lock is held across an await.

mod action_budgets;
mod connection_groups;
mod fan_out;
mod membership;
mod order;
mod peers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use handlers::audience::{Audience, ResolvedAudience};
use handlers::channel::{Channel, ChannelName, Position};
use handlers::id::ConnectionId;
use handlers::ports::{
    ClientConnection, CloseReason, Delivery, DeliveryError, DeliveryOutcome, MessageLog, OutgoingFrame, Priority,
    ResumeOutcome, Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::action_budgets::UserBudgets;
pub use self::action_budgets::{ActionBudgets, ActionLimits};
use self::connection_groups::ConnectionGroups;
use self::fan_out::{FanOut, OutboxWriters};
use self::membership::Membership;
use self::order::TrackedChannel;
pub use self::peers::PeerRouter;
use crate::connection::{Connection, ConnectionIndex, ConnectionObserver, OutboundFrame};
use crate::metrics::DeliveryMetrics;

/// Maximum number of concurrent backfills, so that an outage of the bus does not overload the log.
const MAX_CONCURRENT_BACKFILLS: usize = 32;

/// Maximum time that a delivery to one connection waits for room in its outbox.
const OUTBOX_CAPACITY_TIMEOUT: Duration = Duration::from_secs(10);

/// Ordered delivery to the connections of this process. Clones share the state.
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
    user_budgets: UserBudgets,
    writers: OutboxWriters,
    tasks: TaskTracker,
    metrics: Arc<DeliveryMetrics>,
}

impl ChannelDelivery {
    /// Creates the delivery to `connections`. Missing ranges are read from `log`, on tasks of `tasks`.
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
            user_budgets: UserBudgets::default(),
            writers: OutboxWriters::new(),
            tasks,
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the index of open connections.
    #[must_use]
    pub fn connections(&self) -> &ConnectionIndex {
        &self.shared.connections
    }

    /// Returns the record of an open connection as the application stores it, from the memory of this process.
    #[must_use]
    pub fn open_record(&self, id: GatewayId) -> Option<ClientConnection> {
        let connection = self.shared.connections.find(id)?;
        let mut record = client_record(&connection.facts)?;
        record.channels.extend(Membership::of(&connection)?.joined_channels.lock().iter().cloned());
        Some(record)
    }

    fn find_by_connection_id(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.shared.connections.find(gateway::id::parse_gateway_id(id.as_str()).ok()?)
    }

    /// Waits until the outbox of a connection has room for `bytes` bytes: backpressure for a handler that sends more
    /// than the outbox holds, such as a resume. After [`OUTBOX_CAPACITY_TIMEOUT`] the caller pushes anyway, which
    /// closes the connection as too slow.
    async fn wait_for_capacity(&self, id: &ConnectionId, bytes: usize) {
        if let Some(connection) = self.find_by_connection_id(id) {
            let _ = tokio::time::timeout(OUTBOX_CAPACITY_TIMEOUT, connection.wait_for_capacity(bytes)).await;
        }
    }

    fn leave_channels(&self, id: GatewayId, channels: &[Channel]) {
        for channel in channels {
            self.shared.connection_groups.leave_channel(channel, id);
            self.remove_reader(id, channel);
        }
    }

    /// Sends a frame to an audience at once, outside of the order of any channel.
    fn send_unordered(&self, audience: &Audience, priority: Priority, frame: &OutboundFrame) -> DeliveryOutcome {
        let mut fan_out = FanOut::new(self);
        match audience.resolve() {
            ResolvedAudience::Connection(id) => match self.find_by_connection_id(&id) {
                Some(connection) => fan_out.send_to(&connection, priority, frame.clone()),
                None => DeliveryOutcome::ConnectionGone,
            },
            ResolvedAudience::Groups(groups) => {
                let mut reached = 0;
                self.shared.connection_groups.for_each_member(&groups, |connection| {
                    fan_out.send_to(connection, priority, frame.clone());
                    reached += 1;
                });
                DeliveryOutcome::Delivered(Some(reached))
            }
        }
    }
}

/// Returns the record of a connection as `$connect` stores it, without joined channels.
#[must_use]
pub fn client_record(facts: &ConnectionFacts) -> Option<ClientConnection> {
    let Membership { identity, .. } = Membership::from_context(facts.authorizer.as_deref()?)?;
    let id = ConnectionId::parse(facts.connection_id.as_str()).ok()?;
    Some(ClientConnection { id, identity, connected_at: Timestamp(facts.connected_at), channels: BTreeSet::new() })
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
        let joined_channels = std::mem::take(&mut *membership.joined_channels.lock());
        self.leave_channels(connection.id, &joined_channels);
        for name in [ChannelName::Conversation(identity.user.clone()), ChannelName::Everyone] {
            self.remove_reader(connection.id, &name.in_tenant(identity.tenant.clone()));
        }
    }

    fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>> {
        let groups = Membership::of(connection)?.identity.groups();
        self.peer_router()?.wait_subscribed(groups.into())
    }

    fn expires_at(&self, connection: &Connection) -> Option<i64> {
        Membership::of(connection)?.identity.expires_at
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
                let frame = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
                self.send_unordered(audience, outgoing.priority, &frame)
            }
        })
    }

    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(connection) = self.find_by_connection_id(connection) else {
            return Ok(DeliveryOutcome::ConnectionGone);
        };
        let Some(membership) = Membership::of(&connection) else { return Ok(DeliveryOutcome::ConnectionGone) };
        for channel in channels {
            self.lock_channel(channel).order.pause_delivery(connection.id);
            if channel.name.requires_join() && self.shared.connection_groups.join_channel(channel, &connection) {
                membership.joined_channels.lock().push(channel.clone());
            }
        }
        // The connection may have closed between the look-up and the last join, after `closed` removed it from its
        // channels.
        if self.shared.connections.find(connection.id).is_none() {
            self.leave_channels(connection.id, channels);
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
        let Some(connection) = self.find_by_connection_id(connection) else { return Ok(ResumeOutcome::Live) };
        Ok(self.resume_in_epoch(connection.id, channel, &mut self.lock_channel(channel), through))
    }

    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(connection) = self.find_by_connection_id(connection) else {
            return Ok(DeliveryOutcome::ConnectionGone);
        };
        if let Some(membership) = Membership::of(&connection) {
            membership.joined_channels.lock().retain(|joined| !channels.contains(joined));
        }
        self.leave_channels(connection.id, channels);
        Ok(DeliveryOutcome::Delivered(Some(1)))
    }

    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let Some(connection) = self.find_by_connection_id(connection) else {
            return Ok(DeliveryOutcome::ConnectionGone);
        };
        connection.close(match reason {
            CloseReason::Kicked => CloseCause::Kicked,
            CloseReason::TokenExpired => CloseCause::TokenExpired,
        });
        Ok(DeliveryOutcome::Delivered(Some(1)))
    }
}

#[cfg(test)]
pub(crate) mod tests;

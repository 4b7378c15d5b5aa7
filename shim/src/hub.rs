//! Delivery of the messaging application to the connections of this process.
//!
//! [`ChannelDelivery`] is the application's [`Delivery`] wherever this process owns the sockets: groups of connections
//! (`index`), fan-out to many (`wave`), the order of each channel (`order`), and the other pods (`neighbours`). It is
//! notified of connections that open and end ([`ConnectionObserver`]); APIs whose functions are not ours do without it.
//! Nothing here waits for a receiver, and no lock is held across an await.

mod index;
mod membership;
mod neighbours;
mod order;
mod wave;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use gateway::close::CloseCause;
use gateway::id::GatewayId;
use handlers::audience::{Audience, Members};
use handlers::channel::{Channel, ChannelName, Position};
use handlers::id::ConnectionId;
use handlers::ports::{CloseReason, Delivered, Delivery, DeliveryError, MessageLog, Outgoing, Priority, Released};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use self::index::Index;
use self::membership::Membership;
pub use self::neighbours::Neighbours;
use self::order::Ordered;
use self::wave::{Wave, Writers};
use crate::connection::{Connection, ConnectionIndex, ConnectionObserver, Queued};
use crate::metrics::DeliveryMetrics;

/// Most holes that are filled from the log at a time, so that a lost bus does not become a storm on the log.
const FILLS: usize = 32;

/// How long a delivery to one connection waits for room in its outbox.
const ROOM_DEADLINE: Duration = Duration::from_secs(10);

/// Ordered delivery to the connections of this process. Clones share it.
#[derive(Clone)]
pub struct ChannelDelivery {
    shared: Arc<Shared>,
}

struct Shared {
    connections: ConnectionIndex,
    index: Index,
    channels: DashMap<Channel, Arc<Mutex<Ordered>>, RandomState>,
    log: Arc<dyn MessageLog>,
    fills: Semaphore,
    writers: Writers,
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
        let shared = Shared {
            connections,
            index: Index::default(),
            channels: DashMap::default(),
            log,
            fills: Semaphore::new(FILLS),
            writers: Writers::new(),
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

    fn named(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.shared.connections.find(gateway::id::check(id.as_str()).ok()?)
    }

    /// Slows a handler down that sends one connection more than its outbox holds, as a resume may. A connection that
    /// does not read for so long is closed by the push that follows.
    async fn wait_for_room(&self, id: &ConnectionId, bytes: usize) {
        if let Some(handle) = self.named(id) {
            let _ = tokio::time::timeout(ROOM_DEADLINE, handle.wait_for_room(bytes)).await;
        }
    }

    fn leave(&self, id: GatewayId, channels: &[Channel]) {
        for channel in channels {
            self.shared.index.leave(channel, id);
            self.forget(id, channel);
        }
    }

    /// Passes a frame without a place on at once.
    fn fan_out(&self, audience: &Audience, priority: Priority, queued: &Queued) -> Delivered {
        let mut wave = Wave::new(self);
        match audience.members() {
            Members::One(id) => match self.named(&id) {
                Some(handle) => wave.hand_over(&handle, priority, queued.clone()),
                None => Delivered::Gone,
            },
            Members::Union(groups) => {
                let mut reached = 0;
                self.shared.index.for_each(&groups, |handle| {
                    wave.hand_over(handle, priority, queued.clone());
                    reached += 1;
                });
                Delivered::To(Some(reached))
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
        self.shared.index.add(groups, connection);
    }

    fn closed(&self, connection: &Connection) {
        let Some(membership) = Membership::of(connection) else { return };
        let identity = &membership.identity;
        self.shared.index.remove(identity.groups(), connection.id);
        let joined = std::mem::take(&mut *membership.joined.lock());
        self.leave(connection.id, &joined);
        for name in [ChannelName::Conversation(identity.user.clone()), ChannelName::Everyone] {
            self.forget(connection.id, &name.within(identity.tenant.clone()));
        }
    }

    fn subscribed(&self, connection: &Connection) -> Option<BoxFuture<'static, ()>> {
        let groups = Membership::of(connection)?.identity.groups();
        self.neighbours()?.settle(groups.into())
    }
}

#[async_trait]
impl Delivery for ChannelDelivery {
    fn may_reach(&self, audience: &Audience) -> bool {
        match audience.members() {
            Members::One(id) => self.named(&id).is_some(),
            Members::Union(groups) => groups.iter().any(|group| self.shared.index.has_members(group)),
        }
    }

    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) -> Result<Delivered, DeliveryError> {
        let text = outgoing.frame;
        Ok(match (outgoing.placement, audience) {
            (Some(placement), Audience::Channel(channel)) if *channel == placement.channel => {
                self.in_order(placement, outgoing.priority, text)
            }
            (placement, audience) => {
                if let Audience::Connection(id) = audience {
                    self.wait_for_room(id, text.len()).await;
                }
                let queued = Queued { text: text.into(), placement: placement.map(Arc::new) };
                self.fan_out(audience, outgoing.priority, &queued)
            }
        })
    }

    async fn hold(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        let Some(handle) = self.named(connection) else { return Ok(Delivered::Gone) };
        let Some(membership) = Membership::of(&handle) else { return Ok(Delivered::Gone) };
        for channel in channels {
            self.order(channel).sequence.hold(handle.id);
            if channel.name.is_joined() && self.shared.index.join(channel, &handle) {
                membership.joined.lock().push(channel.clone());
            }
        }
        // The session may have ended between the look-up and the last join: its own cleaning came too early then.
        if self.shared.connections.find(handle.id).is_none() {
            self.leave(handle.id, channels);
            return Ok(Delivered::Gone);
        }
        Ok(Delivered::To(Some(1)))
    }

    async fn release(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<Released, DeliveryError> {
        let Some(handle) = self.named(connection) else { return Ok(Released::Live) };
        Ok(self.release_in_epoch(handle.id, channel, &mut self.order(channel), through))
    }

    async fn detach(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        let Some(handle) = self.named(connection) else { return Ok(Delivered::Gone) };
        if let Some(membership) = Membership::of(&handle) {
            membership.joined.lock().retain(|joined| !channels.contains(joined));
        }
        self.leave(handle.id, channels);
        Ok(Delivered::To(Some(1)))
    }

    async fn close(&self, connection: &ConnectionId, reason: CloseReason) -> Result<Delivered, DeliveryError> {
        let Some(handle) = self.named(connection) else { return Ok(Delivered::Gone) };
        handle.close(match reason {
            CloseReason::Kicked => CloseCause::Kicked,
            CloseReason::TokenExpired => CloseCause::TokenExpired,
        });
        Ok(Delivered::To(Some(1)))
    }
}

#[cfg(test)]
pub(crate) mod tests;

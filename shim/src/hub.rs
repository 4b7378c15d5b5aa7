//! The hub: every open connection of this process, and delivery to audiences of them.
//!
//! It is the messaging application's [`Delivery`] wherever this process owns the sockets, and the gateway's index for
//! `@connections`. Invariant: a connection is in here exactly while it can take frames, that is from the moment its `101` is
//! granted until its session has decided to end. Nothing here waits for a receiver, and no lock is held across an await.

mod ends;
mod epoch;
mod fill;
mod index;
mod neighbours;
mod sequence;
mod wave;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::close::CloseCause;
use gateway::id::GatewayId;
use handlers::audience::{Audience, Members};
use handlers::channel::{Channel, ChannelName, Position};
use handlers::id::ConnectionId;
use handlers::ports::{
    CloseReason, Delivered, Delivery, DeliveryError, MessageLog, Outgoing, Placement, Priority, Released,
};
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::index::Index;
pub use self::neighbours::{Neighbours, RemoteDescription};
use self::sequence::{Accepted, Item, Sequence};
use self::wave::{Wave, Writers};
use crate::connection::{Connection, Queued};
use crate::metrics::DeliveryMetrics;

/// How long a channel's order is remembered after its last message: longer than any handler runs, so that nothing that
/// belongs to it can still be on its way.
const SEQUENCE_SILENCE: Duration = Duration::from_secs(300);

/// Most holes that are filled from the log at a time, so that a lost bus does not become a storm on the log.
const FILLS: usize = 32;

/// How long a delivery to one connection waits for room in its outbox.
const ROOM_DEADLINE: Duration = Duration::from_secs(10);

/// Open connections and the way to them.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    connections: DashMap<GatewayId, Arc<Connection>, RandomState>,
    index: Index,
    channels: DashMap<Channel, Arc<Mutex<Ordered>>, RandomState>,
    log: Arc<dyn MessageLog>,
    fills: Semaphore,
    writers: Writers,
    tasks: TaskTracker,
    metrics: Arc<DeliveryMetrics>,
}

/// A channel's order and when it was last used.
struct Ordered {
    sequence: Sequence,
    used: Instant,
    /// A task looks for what is missing, and looks again before it ends.
    filling: bool,
    /// It is about to leave the map: who finds it like this takes its successor.
    forgotten: bool,
}

impl Ordered {
    fn fresh() -> Arc<Mutex<Self>> {
        let (sequence, used) = (Sequence::default(), Instant::now());
        Arc::new(Mutex::new(Self { sequence, used, filling: false, forgotten: false }))
    }

    /// Whether nothing would be lost without it; then it is marked as forgotten, and the caller takes it out of the map.
    fn forget_if_idle(&mut self) -> bool {
        self.forgotten = self.sequence.is_idle();
        self.forgotten
    }
}

impl Hub {
    /// A hub without connections, filling holes from `log` on tasks of `tasks`.
    pub fn new(log: Arc<dyn MessageLog>, tasks: TaskTracker, metrics: Arc<DeliveryMetrics>) -> Self {
        let shared = Shared {
            connections: DashMap::default(),
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

    /// Takes a connection in, when its handshake is granted; what is sent to it waits for its `101`.
    pub fn open(&self, handle: &Arc<Connection>) {
        self.shared.connections.insert(handle.id, handle.clone());
        if let Some(identity) = &handle.identity {
            self.shared.index.add(identity.groups(), handle);
        }
    }

    /// Forgets a connection. Posts to it are answered "gone" from here on.
    pub fn close_down(&self, handle: &Connection) {
        self.shared.connections.remove(&handle.id);
        let Some(identity) = &handle.identity else { return };
        self.shared.index.remove(identity.groups(), handle.id);
        let joined = std::mem::take(&mut *handle.joined.lock());
        self.leave(handle.id, &joined);
        for name in [ChannelName::Conversation(identity.user.clone()), ChannelName::Everyone] {
            self.forget(handle.id, &name.within(identity.tenant.clone()));
        }
    }

    /// The connection with this id, while it is open.
    pub fn find(&self, id: GatewayId) -> Option<Arc<Connection>> {
        self.shared.connections.get(&id).map(|handle| handle.value().clone())
    }

    /// Every open connection, as of now.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.shared.connections.iter().map(|handle| handle.value().clone()).collect()
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.shared.connections.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.shared.connections.is_empty()
    }

    /// Forgets the order of channels that have been silent for long; to be called now and then.
    pub fn sweep(&self) {
        let follows = self.follows();
        self.shared.channels.retain(|channel, ordered| {
            let mut ordered = ordered.lock();
            ordered.used.elapsed() < SEQUENCE_SILENCE || follows(channel) || !ordered.forget_if_idle()
        });
    }

    fn named(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.find(gateway::id::check(id.as_str()).ok()?)
    }

    /// Slows a handler down that sends one connection more than its outbox holds, as a resume may. A connection that
    /// does not read for so long is closed by the push that follows.
    async fn wait_for_room(&self, id: &ConnectionId, bytes: usize) {
        if let Some(handle) = self.named(id) {
            let _ = tokio::time::timeout(ROOM_DEADLINE, handle.wait_for_room(bytes)).await;
        }
    }

    /// A channel's order, locked; a fresh one where there was none.
    fn order(&self, channel: &Channel) -> ArcMutexGuard<RawMutex, Ordered> {
        loop {
            if let Some(order) = self.known_order(channel) {
                return order;
            }
            self.shared.channels.entry(channel.clone()).or_insert_with(Ordered::fresh);
        }
    }

    /// A channel's order, locked, where there is one. The map is let go before, so that no channel waits for another.
    fn known_order(&self, channel: &Channel) -> Option<ArcMutexGuard<RawMutex, Ordered>> {
        let ordered = self.shared.channels.get(channel).map(|ordered| ordered.value().clone());
        ordered.map(|ordered| ordered.lock_arc()).filter(|ordered| !ordered.forgotten)
    }

    fn leave(&self, id: GatewayId, channels: &[Channel]) {
        for channel in channels {
            self.shared.index.leave(channel, id);
            self.forget(id, channel);
        }
    }

    /// Drops what was withheld from a connection in a channel.
    fn forget(&self, id: GatewayId, channel: &Channel) {
        if let Some(mut state) = self.known_order(channel) {
            state.sequence.forget(id);
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

    /// Passes a placed frame on when its turn has come.
    fn in_order(&self, placement: Placement, priority: Priority, text: Bytes) -> Delivered {
        if self.concerns_nobody(&placement.channel) {
            return Delivered::To(Some(0));
        }
        let mut state = self.order(&placement.channel);
        state.used = Instant::now();
        let placement = Arc::new(placement);
        let item = Item { priority, queued: Queued { text: text.into(), placement: Some(placement.clone()) } };
        if self.neighbours().is_some() && state.sequence.is_first_heard(&placement.position) {
            self.begin(&placement, &mut state, item);
            return Delivered::To(None);
        }
        match state.sequence.accept(&placement.position, item) {
            Accepted::Pass(items) => Delivered::To(Some(self.pass(&placement.channel, &state.sequence, items))),
            Accepted::Duplicate => Delivered::To(Some(0)),
            Accepted::Waits { missing } | Accepted::Foreign { missing } => {
                self.fill(&placement.channel, &mut state, missing);
                Delivered::To(None)
            }
        }
    }

    /// Hands items that are in order to the channel's readers; the caller holds the channel's lock, which is what keeps
    /// two deliveries from interleaving.
    fn pass(&self, channel: &Channel, sequence: &Sequence, items: Vec<(u64, Item)>) -> u64 {
        let Members::Union(groups) = Audience::Channel(channel.clone()).members() else { return 0 };
        let mut wave = Wave::new(self);
        let mut reached = 0;
        for (offset, item) in items {
            self.shared.index.for_each(&groups, |handle| {
                if !sequence.withholds(handle.id, offset) {
                    wave.hand_over(handle, item.priority, item.queued.clone());
                    reached += 1;
                }
            });
        }
        reached
    }
}

#[async_trait]
impl Delivery for Hub {
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
        for channel in channels {
            self.order(channel).sequence.hold(handle.id);
            if channel.name.is_joined() && self.shared.index.join(channel, &handle) {
                handle.joined.lock().push(channel.clone());
            }
        }
        // The session may have ended between the look-up and the last join: its own cleaning came too early then.
        if self.find(handle.id).is_none() {
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
        handle.joined.lock().retain(|joined| !channels.contains(joined));
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

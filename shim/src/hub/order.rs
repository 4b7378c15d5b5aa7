//! In-order, exactly-once delivery of each channel's messages on this process.
//!
//! Messages of a channel have dense offsets within an epoch of its log. They arrive from local handlers and from other
//! pods, possibly early, late, twice or never. Readers receive each message once, in order of offset.
//!
//! ```text
//! placed frame ──▶ ChannelOrder::accept_frame ──┬─ next offset  ──▶ delivered, with the buffered frames that follow it
//!                                               ├─ later offset ──▶ buffered; a backfill starts          (backfill)
//!                                               ├─ other epoch  ──▶ dropped; the log decides the epoch   (epoch)
//!                                               └─ duplicate    ──▶ dropped
//! ```
//! - `channel_order` is the state machine: next offset, buffered frames, and connections whose delivery is paused while
//!   a resume reads the log for them.
//! - `backfill` reads missing ranges from the log, and finds the start offset of a channel that is new to this pod.
//! - `epoch` switches to another epoch: readers receive a `gap` first, then the messages that the `gap` does not cover.
//! - `heads` compares the delivered offsets with the head of the log, which detects a loss that no later message
//!   reveals, and decides which orders are retained when idle.
//!
//! One lock per channel guards its [`TrackedChannel`]. It is held while frames are enqueued, so that two deliveries
//! cannot interleave, and never across an await. The order of a channel is evicted when it is idle, with nothing
//! buffered or paused: after [`CHANNEL_ORDER_RETENTION`] ([`ChannelDelivery::evict_idle_channels`]), or with its last
//! local reader. An order without a message, of a channel that clients only read, is always evicted with its last
//! reader ([`ChannelDelivery::remove_reader`]): names that clients invent use no memory.

mod backfill;
mod channel_order;
mod epoch;
mod heads;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::id::GatewayId;
use handlers::audience::{Audience, ResolvedAudience};
use handlers::channel::Channel;
use handlers::ports::{DeliveryOutcome, Placement, Priority};
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use tokio::time::Instant;

use self::channel_order::{AcceptOutcome, ChannelOrder, OrderedFrame};
use super::ChannelDelivery;
use super::fan_out::FanOut;
use crate::connection::OutboundFrame;

/// Time that a channel's order is retained after its last message. Longer than any handler runs, so that no message of
/// the channel can still be in flight.
const CHANNEL_ORDER_RETENTION: Duration = Duration::from_secs(300);

/// The order of a channel, with the state of its backfill and eviction.
pub(super) struct TrackedChannel {
    pub(super) order: ChannelOrder,
    last_used_at: Instant,
    /// A message was delivered or buffered.
    has_messages: bool,
    /// A backfill task runs. It checks for missing offsets again before it ends.
    backfilling: bool,
    /// The entry is being removed from the map. A caller that finds it must use a new entry instead.
    pub(super) evicted: bool,
}

impl TrackedChannel {
    fn new_shared() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            order: ChannelOrder::default(),
            last_used_at: Instant::now(),
            has_messages: false,
            backfilling: false,
            evicted: false,
        }))
    }

    /// Marks an idle channel as evicted. Returns `true` if it did; the caller must then remove the entry from the map.
    pub(super) fn evict_if_idle(&mut self) -> bool {
        self.evicted = self.order.is_idle();
        self.evicted
    }
}

impl ChannelDelivery {
    /// Evicts the order of channels without recent messages, and the full budgets of users. To be called periodically.
    pub fn evict_idle_channels(&self) {
        self.shared.user_budgets.evict_full(Instant::now());
        let is_retained = self.retention_filter();
        self.shared.channels.retain(|channel, tracked| {
            let mut tracked = tracked.lock();
            tracked.last_used_at.elapsed() < CHANNEL_ORDER_RETENTION || is_retained(channel) || !tracked.evict_if_idle()
        });
    }

    /// Locks the order of a channel, creating it if absent.
    pub(super) fn lock_channel(&self, channel: &Channel) -> ArcMutexGuard<RawMutex, TrackedChannel> {
        loop {
            if let Some(tracked) = self.lock_known_channel(channel) {
                return tracked;
            }
            self.shared.channels.entry(channel.clone()).or_insert_with(TrackedChannel::new_shared);
        }
    }

    /// Locks the order of a channel, if there is one. Releases the map's shard first, so that channels do not block
    /// each other.
    pub(super) fn lock_known_channel(&self, channel: &Channel) -> Option<ArcMutexGuard<RawMutex, TrackedChannel>> {
        let tracked = self.shared.channels.get(channel).map(|entry| entry.value().clone());
        tracked.map(|tracked| tracked.lock_arc()).filter(|tracked| !tracked.evicted)
    }

    /// Removes the delivery mark of a connection that no longer reads a channel. If that was the last local reader, the
    /// order of a channel without a message is evicted.
    pub(super) fn remove_reader(&self, id: GatewayId, channel: &Channel) {
        let Some(mut state) = self.lock_known_channel(channel) else { return };
        state.order.remove_mark(id);
        let is_unused = !state.has_messages;
        drop(state);
        if is_unused {
            self.shared.channels.remove_if(channel, |channel, tracked| {
                let mut tracked = tracked.lock();
                !tracked.has_messages && self.local_groups(channel).is_empty() && tracked.evict_if_idle()
            });
        }
    }

    /// Delivers a placed frame in the order of its channel, or buffers it until the offsets before it have arrived.
    pub(super) fn deliver_in_order(&self, placement: Placement, priority: Priority, text: Bytes) -> DeliveryOutcome {
        if self.has_no_local_audience(&placement.channel) {
            return DeliveryOutcome::Delivered(Some(0));
        }
        let mut state = self.lock_channel(&placement.channel);
        (state.last_used_at, state.has_messages) = (Instant::now(), true);
        let placement = Arc::new(placement);
        let frame =
            OrderedFrame { priority, frame: OutboundFrame { text: text.into(), placement: Some(placement.clone()) } };
        if state.order.needs_start(&placement.position) {
            self.find_start(&placement, &mut state, frame);
            return DeliveryOutcome::Delivered(None);
        }
        match state.order.accept_frame(&placement.position, frame) {
            AcceptOutcome::Deliver(frames) => {
                DeliveryOutcome::Delivered(Some(self.send_to_audience(&placement.channel, &state.order, frames)))
            }
            AcceptOutcome::Duplicate => DeliveryOutcome::Delivered(Some(0)),
            AcceptOutcome::Buffered { missing } | AcceptOutcome::OtherEpoch { missing } => {
                self.start_backfill(&placement.channel, &mut state, missing);
                DeliveryOutcome::Delivered(None)
            }
        }
    }

    /// Enqueues frames, which are in order, for the channel's readers and returns the number of frames enqueued. The
    /// caller holds the channel's lock, so that two deliveries cannot interleave.
    fn send_to_audience(&self, channel: &Channel, order: &ChannelOrder, frames: Vec<(u64, OrderedFrame)>) -> u64 {
        let ResolvedAudience::Groups(groups) = Audience::Channel(channel.clone()).resolve() else { return 0 };
        let mut fan_out = FanOut::new(self);
        let mut reached = 0;
        for (offset, ordered) in frames {
            self.shared.connection_groups.for_each_member(&groups, |connection| {
                if !order.is_suppressed_for(connection.id, offset) {
                    fan_out.send_to(connection, ordered.priority, ordered.frame.clone());
                    reached += 1;
                }
            });
        }
        reached
    }
}

//! The order of each channel at this process.
//!
//! Messages of a channel have dense offsets within an epoch of its log. They reach this process from handlers that ran here
//! and from other pods, possibly early, late, twice or never; readers receive each once, in the order of the offsets.
//!
//! ```text
//! a placed message ──▶ Sequence::accept ──┬─ next offset ──▶ pass it, and what waited for it, to the readers
//!                                         ├─ early        ──▶ it waits; a backfill starts            (fill)
//!                                         ├─ other epoch  ──▶ dropped; the log is asked which it is  (epoch)
//!                                         └─ seen before  ──▶ dropped
//! ```
//! - `sequence` decides, as pure state: which offset is next, what waits, and which connections are paused because a resume
//!   reads the log for them.
//! - `fill` reads the log when an offset stays missing, and finds the start where another pod's message may have been
//!   overtaken.
//! - `epoch` goes on in another epoch: readers get a `gap` first, then what the `gap` does not leave out.
//! - `ends` compares with the head of the log, for a loss that no later message would reveal, and says which orders are kept.
//!
//! One lock per channel guards its [`TrackedChannel`]; it is held while items are passed on, so that two deliveries cannot
//! interleave, and never across an await. An order is forgotten when nothing would be lost by it: after a silence
//! ([`ChannelDelivery::sweep`]), or with its last reader here.

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

/// How long a channel's order is remembered after its last message: longer than any handler runs, so that nothing that
/// belongs to it can still be on its way.
const CHANNEL_ORDER_RETENTION: Duration = Duration::from_secs(300);

/// A channel's order and when it was last used.
pub(super) struct TrackedChannel {
    pub(super) sequence: ChannelOrder,
    last_used_at: Instant,
    /// A task looks for what is missing, and looks again before it ends.
    backfilling: bool,
    /// It is about to leave the map: who finds it like this takes its successor.
    pub(super) forgotten: bool,
}

impl TrackedChannel {
    fn new_shared() -> Arc<Mutex<Self>> {
        let (sequence, used) = (ChannelOrder::default(), Instant::now());
        Arc::new(Mutex::new(Self { sequence, last_used_at: used, backfilling: false, forgotten: false }))
    }

    /// Whether nothing would be lost without it; then it is marked as forgotten, and the caller takes it out of the map.
    pub(super) fn evict_if_idle(&mut self) -> bool {
        self.forgotten = self.sequence.is_idle();
        self.forgotten
    }
}

impl ChannelDelivery {
    /// Forgets the order of channels that have been silent for long; to be called now and then.
    pub fn evict_idle_channels(&self) {
        let follows = self.retention_filter();
        self.shared.channels.retain(|channel, ordered| {
            let mut ordered = ordered.lock();
            ordered.last_used_at.elapsed() < CHANNEL_ORDER_RETENTION || follows(channel) || !ordered.evict_if_idle()
        });
    }

    /// A channel's order, locked; a fresh one where there was none.
    pub(super) fn lock_channel(&self, channel: &Channel) -> ArcMutexGuard<RawMutex, TrackedChannel> {
        loop {
            if let Some(order) = self.lock_known_channel(channel) {
                return order;
            }
            self.shared.channels.entry(channel.clone()).or_insert_with(TrackedChannel::new_shared);
        }
    }

    /// A channel's order, locked, where there is one. The map is let go before, so that no channel waits for another.
    pub(super) fn lock_known_channel(&self, channel: &Channel) -> Option<ArcMutexGuard<RawMutex, TrackedChannel>> {
        let ordered = self.shared.channels.get(channel).map(|ordered| ordered.value().clone());
        ordered.map(|ordered| ordered.lock_arc()).filter(|ordered| !ordered.forgotten)
    }

    /// Drops what was withheld from a connection in a channel.
    pub(super) fn remove_delivery_mark(&self, id: GatewayId, channel: &Channel) {
        if let Some(mut state) = self.lock_known_channel(channel) {
            state.sequence.remove_mark(id);
        }
    }

    /// Passes a placed frame on when its turn has come.
    pub(super) fn deliver_in_order(&self, placement: Placement, priority: Priority, text: Bytes) -> DeliveryOutcome {
        if self.has_no_local_audience(&placement.channel) {
            return DeliveryOutcome::Delivered(Some(0));
        }
        let mut state = self.lock_channel(&placement.channel);
        state.last_used_at = Instant::now();
        let placement = Arc::new(placement);
        let item =
            OrderedFrame { priority, frame: OutboundFrame { text: text.into(), placement: Some(placement.clone()) } };
        if self.peer_router().is_some() && state.sequence.needs_start(&placement.position) {
            self.find_start(&placement, &mut state, item);
            return DeliveryOutcome::Delivered(None);
        }
        match state.sequence.accept_frame(&placement.position, item) {
            AcceptOutcome::Deliver(items) => {
                DeliveryOutcome::Delivered(Some(self.send_to_audience(&placement.channel, &state.sequence, items)))
            }
            AcceptOutcome::Duplicate => DeliveryOutcome::Delivered(Some(0)),
            AcceptOutcome::Buffered { missing } | AcceptOutcome::OtherEpoch { missing } => {
                self.start_backfill(&placement.channel, &mut state, missing);
                DeliveryOutcome::Delivered(None)
            }
        }
    }

    /// Hands items that are in order to the channel's readers; the caller holds the channel's lock, which is what keeps
    /// two deliveries from interleaving.
    fn send_to_audience(&self, channel: &Channel, sequence: &ChannelOrder, items: Vec<(u64, OrderedFrame)>) -> u64 {
        let ResolvedAudience::Groups(groups) = Audience::Channel(channel.clone()).resolve() else { return 0 };
        let mut wave = FanOut::new(self);
        let mut reached = 0;
        for (offset, item) in items {
            self.shared.connection_groups.for_each_member(&groups, |handle| {
                if !sequence.is_suppressed_for(handle.id, offset) {
                    wave.send_to(handle, item.priority, item.frame.clone());
                    reached += 1;
                }
            });
        }
        reached
    }
}

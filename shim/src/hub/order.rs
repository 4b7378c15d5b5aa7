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
//! One lock per channel guards its [`Ordered`]; it is held while items are passed on, so that two deliveries cannot
//! interleave, and never across an await. An order is forgotten when nothing would be lost by it: after a silence
//! ([`ChannelDelivery::sweep`]), or with its last reader here.

mod ends;
mod epoch;
mod fill;
mod sequence;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::id::GatewayId;
use handlers::audience::{Audience, Members};
use handlers::channel::Channel;
use handlers::ports::{Delivered, Placement, Priority};
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use tokio::time::Instant;

use self::sequence::{Accepted, Item, Sequence};
use super::ChannelDelivery;
use super::wave::Wave;
use crate::connection::Queued;

/// How long a channel's order is remembered after its last message: longer than any handler runs, so that nothing that
/// belongs to it can still be on its way.
const SEQUENCE_SILENCE: Duration = Duration::from_secs(300);

/// A channel's order and when it was last used.
pub(super) struct Ordered {
    pub(super) sequence: Sequence,
    used: Instant,
    /// A task looks for what is missing, and looks again before it ends.
    filling: bool,
    /// It is about to leave the map: who finds it like this takes its successor.
    pub(super) forgotten: bool,
}

impl Ordered {
    fn fresh() -> Arc<Mutex<Self>> {
        let (sequence, used) = (Sequence::default(), Instant::now());
        Arc::new(Mutex::new(Self { sequence, used, filling: false, forgotten: false }))
    }

    /// Whether nothing would be lost without it; then it is marked as forgotten, and the caller takes it out of the map.
    pub(super) fn forget_if_idle(&mut self) -> bool {
        self.forgotten = self.sequence.is_idle();
        self.forgotten
    }
}

impl ChannelDelivery {
    /// Forgets the order of channels that have been silent for long; to be called now and then.
    pub fn sweep(&self) {
        let follows = self.follows();
        self.shared.channels.retain(|channel, ordered| {
            let mut ordered = ordered.lock();
            ordered.used.elapsed() < SEQUENCE_SILENCE || follows(channel) || !ordered.forget_if_idle()
        });
    }

    /// A channel's order, locked; a fresh one where there was none.
    pub(super) fn order(&self, channel: &Channel) -> ArcMutexGuard<RawMutex, Ordered> {
        loop {
            if let Some(order) = self.known_order(channel) {
                return order;
            }
            self.shared.channels.entry(channel.clone()).or_insert_with(Ordered::fresh);
        }
    }

    /// A channel's order, locked, where there is one. The map is let go before, so that no channel waits for another.
    pub(super) fn known_order(&self, channel: &Channel) -> Option<ArcMutexGuard<RawMutex, Ordered>> {
        let ordered = self.shared.channels.get(channel).map(|ordered| ordered.value().clone());
        ordered.map(|ordered| ordered.lock_arc()).filter(|ordered| !ordered.forgotten)
    }

    /// Drops what was withheld from a connection in a channel.
    pub(super) fn forget(&self, id: GatewayId, channel: &Channel) {
        if let Some(mut state) = self.known_order(channel) {
            state.sequence.forget(id);
        }
    }

    /// Passes a placed frame on when its turn has come.
    pub(super) fn in_order(&self, placement: Placement, priority: Priority, text: Bytes) -> Delivered {
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

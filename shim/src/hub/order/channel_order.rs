//! State machine of one channel's order: the next offset, the frames buffered until a missing range is filled, and the
//! connections with paused delivery.
//!
//! Frames are delivered in order of offset, each once. A frame after a missing offset is buffered; a frame whose offset
//! was already delivered is dropped. The first resume or frame sets the start offset. A frame from before the start
//! that arrives later is delivered late rather than lost. The start of a channel whose first frame is not the first of its
//! log is searched for in the log (`backfill::run_find_start`), because that frame may have overtaken an earlier one.
//! Pure state: no I/O, no time, no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gateway::id::GatewayId;
use handlers::channel::{Epoch, Position};
use handlers::ports::{Priority, ResumeOutcome};

use crate::connection::OutboundFrame;

/// Maximum number of frames buffered after a missing range. Further frames are dropped and read from the log later.
pub(super) const MAX_BUFFERED_FRAMES: usize = 1_024;
/// Number of offsets after which a delivery mark or a late offset is discarded: no message so old is still in flight.
const MARK_RETENTION_OFFSETS: u64 = 256;
/// Messages before the last delivered one that are delivered again after a failover to another epoch. Larger than the
/// replication lag of a failed master, whose unreplicated offsets the new master has assigned again.
const REPLAY_AFTER_FAILOVER: u64 = 100;
/// Maximum number of messages delivered from a log that is shorter than the delivered offsets, after a loss of data.
/// Covers the whole new log if the loss is detected promptly.
const MAX_REPLAY_AFTER_LOSS: u64 = 1_000;

/// A frame with a position in the order of its channel.
#[derive(Debug, Clone)]
pub struct OrderedFrame {
    /// Priority in the outbox.
    pub priority: Priority,
    /// The frame to send.
    pub frame: OutboundFrame,
}

/// Offsets that are not delivered to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryMark {
    /// All offsets: the connection's resume is reading the log.
    Paused,
    /// Offsets up to this one: the resume has already sent them from the log.
    SentThrough(u64),
}

/// Result of [`ChannelOrder::accept_frame`].
#[derive(Debug)]
pub enum AcceptOutcome {
    /// Deliver these frames, in this order.
    Deliver(Vec<(u64, OrderedFrame)>),
    /// The frame was buffered, because the offsets from `missing` on have not arrived.
    Buffered {
        /// The first missing offset.
        missing: u64,
    },
    /// The frame belongs to another epoch than the delivered ones and was dropped. The caller must read the log from
    /// offset `missing` on, which decides the current epoch and still has the message if its epoch is the current one.
    OtherEpoch {
        /// The next offset in the delivered epoch.
        missing: u64,
    },
    /// The offset was already delivered; the frame was dropped.
    Duplicate,
}

/// The order of one channel.
#[derive(Debug, Default)]
pub struct ChannelOrder {
    epoch: Option<Epoch>,
    start_offset: u64,
    next_offset: Option<u64>,
    /// The highest offset that the log is known to have, delivered or not.
    known_head: u64,
    /// The highest position seen in another epoch, until the log has decided which epoch is current.
    other_epoch_head: Option<Position>,
    /// Offsets before `start_offset` that were delivered late; at most [`MARK_RETENTION_OFFSETS`].
    late_offsets: BTreeSet<u64>,
    buffered: BTreeMap<u64, OrderedFrame>,
    marks: HashMap<GatewayId, DeliveryMark>,
    /// Number of marks that are [`DeliveryMark::Paused`].
    paused_count: usize,
    /// Upper bound of all [`DeliveryMark::SentThrough`]: for later offsets only paused connections need a look-up.
    max_sent_through: u64,
}

impl ChannelOrder {
    /// Accepts a frame that arrived: decides whether to deliver, buffer or drop it.
    pub fn accept_frame(&mut self, position: &Position, frame: OrderedFrame) -> AcceptOutcome {
        let offset = position.offset.0;
        if self.epoch.as_ref() != Some(&position.epoch) {
            return self.accept_other_epoch(position, frame);
        }
        match self.next_offset {
            Some(next) if offset == next => AcceptOutcome::Deliver(self.deliver_from(offset, frame)),
            Some(next) if offset > next => self.buffer_frame(offset, next, frame),
            // A message this old is a duplicate of one that an earlier process delivered.
            Some(next) if offset >= self.start_offset || offset + MARK_RETENTION_OFFSETS < next => {
                AcceptOutcome::Duplicate
            }
            Some(_) if !self.late_offsets.insert(offset) => AcceptOutcome::Duplicate,
            Some(_) => AcceptOutcome::Deliver(vec![(offset, frame)]),
            None => {
                self.start_offset = offset;
                AcceptOutcome::Deliver(self.deliver_from(offset, frame))
            }
        }
    }

    /// Returns whether a message at `position` is the first to arrive here, in a channel that has earlier messages.
    pub fn needs_start(&self, position: &Position) -> bool {
        let same_epoch = self.epoch.as_ref().is_none_or(|epoch| *epoch == position.epoch);
        same_epoch && self.next_offset.is_none() && position.offset.0 > 1
    }

    /// Buffers a frame until [`Self::start_at`] is called. Returns `false` when the buffer is full.
    pub fn buffer_until_start(&mut self, position: &Position, frame: OrderedFrame) -> bool {
        self.epoch.get_or_insert_with(|| position.epoch.clone());
        self.buffered.entry(position.offset.0).or_insert(frame);
        self.buffered.len() < MAX_BUFFERED_FRAMES
    }

    /// Sets the start offset, unless a resume or the first message of the log has set it, and returns the frames to
    /// deliver.
    pub fn start_at(&mut self, offset: u64) -> Vec<(u64, OrderedFrame)> {
        let next = *self.next_offset.get_or_insert_with(|| {
            self.start_offset = offset;
            offset
        });
        let from_start = self.buffered.split_off(&next);
        let before_start = std::mem::replace(&mut self.buffered, from_start);
        let mut ready: Vec<_> =
            before_start.into_iter().filter(|(offset, _)| self.late_offsets.insert(*offset)).collect();
        ready.extend(self.take_contiguous());
        ready
    }

    /// Skips the offsets before `offset`, which the log does not have either, and returns the frames to deliver.
    pub fn skip_to(&mut self, offset: u64) -> Vec<(u64, OrderedFrame)> {
        if self.next_offset.is_some_and(|next| next < offset) {
            self.next_offset = Some(offset);
        }
        self.take_contiguous()
    }

    /// Returns the next offset if it is missing: later frames are buffered, the log is known to have it, or another
    /// epoch was seen.
    pub fn first_missing(&self) -> Option<u64> {
        self.next_offset
            .filter(|next| !self.buffered.is_empty() || *next <= self.known_head || self.other_epoch_head.is_some())
    }

    /// Records that the log is still in this epoch. Messages of another epoch are older.
    pub fn confirm_epoch(&mut self) {
        self.other_epoch_head = None;
    }

    /// Records the head of the log and returns the first missing offset, if any. A head in another epoch makes the next
    /// offset count as missing, because only a read of the log decides which epoch is current.
    pub fn observe_head(&mut self, head: &Position) -> Option<u64> {
        self.next_offset?;
        if self.epoch.as_ref() == Some(&head.epoch) {
            self.known_head = self.known_head.max(head.offset.0);
        } else {
            self.observe_other_epoch(head);
        }
        self.first_missing()
    }

    /// Returns the epoch of the log being delivered, if known.
    pub const fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Returns whether `epoch` differs from the epoch of the delivered messages.
    pub fn is_other_epoch(&self, epoch: &Epoch) -> bool {
        self.next_offset.is_some() && self.epoch.as_ref().is_some_and(|current| current != epoch)
    }

    /// Continues in another epoch, whose log has its head at `head`. Returns the offset up to which messages of the new
    /// epoch are not sent, and the buffered frames of the old epoch.
    ///
    /// A log shorter than the delivered offsets has lost data, and its messages are new to readers: up to
    /// [`MAX_REPLAY_AFTER_LOSS`] of them are delivered. Otherwise a replica has taken over, and delivery continues
    /// [`REPLAY_AFTER_FAILOVER`] messages before the last delivered one.
    pub fn switch_epoch(&mut self, head: &Position) -> (u64, Vec<(u64, OrderedFrame)>) {
        let (head_offset, delivered) = (head.offset.0, self.next_offset.map_or(0, |next| next - 1));
        let skipped_through = if head_offset < delivered {
            head_offset.saturating_sub(MAX_REPLAY_AFTER_LOSS)
        } else {
            delivered.saturating_sub(REPLAY_AFTER_FAILOVER)
        };
        let observed = self.other_epoch_head.take().filter(|observed| observed.epoch == head.epoch);
        let buffered = self.reset_to_epoch(&head.epoch, skipped_through + 1);
        self.next_offset = Some(skipped_through + 1);
        self.known_head = observed.map_or(head_offset, |observed| head_offset.max(observed.offset.0));
        (skipped_through, buffered)
    }

    /// Returns the lowest buffered offset.
    pub fn first_buffered(&self) -> Option<u64> {
        self.buffered.keys().next().copied()
    }

    /// Pauses delivery to a connection until [`Self::resume_delivery`].
    pub fn pause_delivery(&mut self, connection: GatewayId) {
        self.remove_mark(connection);
        self.marks.insert(connection, DeliveryMark::Paused);
        self.paused_count += 1;
    }

    /// Resumes delivery to a connection that has been sent the log up to `through`. Fails with the new head if later
    /// messages were delivered meanwhile; the connection then stays paused.
    pub fn resume_delivery(&mut self, connection: GatewayId, through: &Position) -> ResumeOutcome {
        if self.epoch.is_none() {
            self.epoch = Some(through.epoch.clone());
        }
        let same_epoch = self.epoch.as_ref() == Some(&through.epoch);
        let through = through.offset.0;
        if let Some(next) = self.next_offset.filter(|next| same_epoch && through + 1 < *next) {
            return ResumeOutcome::HeadAdvanced(handlers::channel::Offset(next - 1));
        }
        self.remove_mark(connection);
        if same_epoch {
            // Required even if live messages follow directly: a message from before the start may still be delivered
            // late.
            self.marks.insert(connection, DeliveryMark::SentThrough(through));
            self.max_sent_through = self.max_sent_through.max(through);
        }
        if same_epoch && self.next_offset.is_none() {
            // The resumed connection must receive the next offset first, whichever message arrives first.
            (self.start_offset, self.next_offset) = (through + 1, Some(through + 1));
        }
        ResumeOutcome::Live
    }

    /// Removes the delivery mark of a connection.
    pub fn remove_mark(&mut self, connection: GatewayId) {
        if self.marks.remove(&connection) == Some(DeliveryMark::Paused) {
            self.paused_count -= 1;
        }
    }

    /// Returns whether the message at `offset` must not be sent to a connection.
    pub fn is_suppressed_for(&self, connection: GatewayId, offset: u64) -> bool {
        if self.paused_count == 0 && offset > self.max_sent_through {
            return false;
        }
        match self.marks.get(&connection) {
            None => false,
            Some(DeliveryMark::Paused) => true,
            Some(DeliveryMark::SentThrough(through)) => offset <= *through,
        }
    }

    /// Returns whether the state can be evicted: no frame is buffered and no connection is paused.
    pub fn is_idle(&self) -> bool {
        self.buffered.is_empty() && self.paused_count == 0
    }

    fn reset_to_epoch(&mut self, epoch: &Epoch, start_offset: u64) -> Vec<(u64, OrderedFrame)> {
        self.marks.retain(|_, mark| *mark == DeliveryMark::Paused);
        self.late_offsets.clear();
        (self.max_sent_through, self.known_head, self.start_offset) = (0, 0, start_offset);
        self.epoch = Some(epoch.clone());
        std::mem::take(&mut self.buffered).into_iter().collect()
    }

    fn accept_other_epoch(&mut self, position: &Position, frame: OrderedFrame) -> AcceptOutcome {
        if !self.is_other_epoch(&position.epoch) {
            let mut ready = self.reset_to_epoch(&position.epoch, position.offset.0);
            ready.extend(self.deliver_from(position.offset.0, frame));
            return AcceptOutcome::Deliver(ready);
        }
        self.observe_other_epoch(position);
        AcceptOutcome::OtherEpoch { missing: self.next_offset.unwrap_or_default() }
    }

    fn observe_other_epoch(&mut self, position: &Position) {
        let is_newer = |known: &Position| known.epoch != position.epoch || known.offset < position.offset;
        if self.other_epoch_head.as_ref().is_none_or(is_newer) {
            self.other_epoch_head = Some(position.clone());
        }
    }

    fn buffer_frame(&mut self, offset: u64, next: u64, frame: OrderedFrame) -> AcceptOutcome {
        if self.buffered.len() < MAX_BUFFERED_FRAMES {
            self.buffered.entry(offset).or_insert(frame);
        } else {
            self.known_head = self.known_head.max(offset);
        }
        AcceptOutcome::Buffered { missing: next }
    }

    fn deliver_from(&mut self, offset: u64, frame: OrderedFrame) -> Vec<(u64, OrderedFrame)> {
        let mut ready = vec![(offset, frame)];
        self.next_offset = Some(offset + 1);
        ready.extend(self.take_contiguous());
        if offset.is_multiple_of(MARK_RETENTION_OFFSETS) {
            let is_recent = |marked: u64| marked + MARK_RETENTION_OFFSETS >= offset;
            self.marks.retain(|_, mark| match mark {
                DeliveryMark::Paused => true,
                DeliveryMark::SentThrough(through) => is_recent(*through),
            });
            self.late_offsets.retain(|late| is_recent(*late));
        }
        ready
    }

    fn take_contiguous(&mut self) -> Vec<(u64, OrderedFrame)> {
        let mut ready = Vec::new();
        while let Some(next) = self.next_offset {
            let Some(frame) = self.buffered.remove(&next) else { break };
            ready.push((next, frame));
            self.next_offset = Some(next + 1);
        }
        ready
    }
}

#[cfg(test)]
mod tests;

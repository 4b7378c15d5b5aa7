//! The order of one channel at this process: what was passed on, what waits for a hole to be filled, and who is withheld.
//!
//! Invariant: placed messages leave in the order of their offsets, each once. A message that arrives early waits; one
//! whose offset was already passed on is dropped. The first release or message that is ever seen sets the start: an earlier
//! message that arrives behind it is passed on late rather than lost. Among several pods the start is looked for in the log
//! (`fill::begin`), because another pod's message may have been overtaken. Pure state: no I/O, no time, no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gateway::id::GatewayId;
use handlers::channel::{Epoch, Position};
use handlers::ports::{Priority, ResumeOutcome};

use crate::connection::OutboundFrame;

/// Most messages that wait behind a hole. What comes beyond it is left to the log, like what is missing.
pub(super) const MAX_BUFFERED_FRAMES: usize = 1_024;
/// How far behind the passed offsets a mark is kept, for messages that are still on their way.
const MARK_RETENTION_OFFSETS: u64 = 256;
/// Messages that are passed on again where a log goes on in another epoch: more than what a master that failed can have
/// kept from the replica that took over, whose offsets have been given out again since.
const REPLAY_AFTER_FAILOVER: u64 = 100;
/// Most messages that are passed on from a log that is shorter than what was passed on before: all of them, when it is
/// noticed as soon as it happens.
const MAX_REPLAY_AFTER_LOSS: u64 = 1_000;

/// A message on its way through the sequence.
#[derive(Debug, Clone)]
pub struct OrderedFrame {
    /// Its lane.
    pub priority: Priority,
    /// The frame.
    pub frame: OutboundFrame,
}

/// What is withheld from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryMark {
    /// Everything: its resume is reading the log.
    Paused,
    /// What it has already been sent from the log: offsets up to this one.
    SentThrough(u64),
}

/// What to do with a message that arrived.
#[derive(Debug)]
pub enum AcceptOutcome {
    /// Pass these on, in this order.
    Deliver(Vec<(u64, OrderedFrame)>),
    /// It waits: the offsets from `missing` on have not arrived.
    Buffered {
        /// The first offset that is missing.
        missing: u64,
    },
    /// It belongs to another epoch than what was passed on. It is dropped, because the log has it if that epoch is the
    /// present one; the log is to be asked, from offset `missing` on.
    OtherEpoch {
        /// The next offset in the epoch that was passed on.
        missing: u64,
    },
    /// It was passed on before.
    Duplicate,
}

/// One channel's order.
#[derive(Debug, Default)]
pub struct ChannelOrder {
    epoch: Option<Epoch>,
    start_offset: u64,
    next_offset: Option<u64>,
    /// The log is known to reach to here, although nothing may wait.
    known_head: u64,
    /// The last position that was heard of in another epoch, until the log has said which one is the present one.
    other_epoch_head: Option<Position>,
    /// What was passed on late, from before `base`; at most [`MARK_RETENTION_OFFSETS`] of them.
    late_offsets: BTreeSet<u64>,
    buffered: BTreeMap<u64, OrderedFrame>,
    marks: HashMap<GatewayId, DeliveryMark>,
    /// How many marks are [`DeliveryMark::Held`].
    paused_count: usize,
    /// No [`DeliveryMark::SentThrough`] is higher: messages behind it need no look at the marks.
    max_sent_through: u64,
}

impl ChannelOrder {
    /// Takes a message in.
    pub fn accept_frame(&mut self, position: &Position, item: OrderedFrame) -> AcceptOutcome {
        let offset = position.offset.0;
        if self.epoch.as_ref() != Some(&position.epoch) {
            return self.accept_other_epoch(position, item);
        }
        match self.next_offset {
            Some(next) if offset == next => AcceptOutcome::Deliver(self.deliver_from(offset, item)),
            Some(next) if offset > next => self.buffer_frame(offset, next, item),
            // What is so far behind the end is a repeat of something that an earlier process delivered.
            Some(next) if offset >= self.start_offset || offset + MARK_RETENTION_OFFSETS < next => {
                AcceptOutcome::Duplicate
            }
            Some(_) if !self.late_offsets.insert(offset) => AcceptOutcome::Duplicate,
            Some(_) => AcceptOutcome::Deliver(vec![(offset, item)]),
            None => {
                self.start_offset = offset;
                AcceptOutcome::Deliver(self.deliver_from(offset, item))
            }
        }
    }

    /// Whether a message at `position` is the first that is heard of a channel which has had others before.
    pub fn needs_start(&self, position: &Position) -> bool {
        let known = self.epoch.as_ref().is_none_or(|epoch| *epoch == position.epoch);
        known && self.next_offset.is_none() && position.offset.0 > 1
    }

    /// Keeps a message that is heard first until [`Self::start_at`]; `false` when there is no room for more.
    pub fn buffer_until_start(&mut self, position: &Position, item: OrderedFrame) -> bool {
        self.epoch.get_or_insert_with(|| position.epoch.clone());
        self.buffered.entry(position.offset.0).or_insert(item);
        self.buffered.len() < MAX_BUFFERED_FRAMES
    }

    /// Sets the start, unless a release or the log's first message has set it meanwhile, and returns what can go out.
    pub fn start_at(&mut self, offset: u64) -> Vec<(u64, OrderedFrame)> {
        let next = *self.next_offset.get_or_insert_with(|| {
            self.start_offset = offset;
            offset
        });
        let behind = self.buffered.split_off(&next);
        let before = std::mem::replace(&mut self.buffered, behind);
        let mut passed: Vec<_> = before.into_iter().filter(|(offset, _)| self.late_offsets.insert(*offset)).collect();
        passed.extend(self.take_contiguous());
        passed
    }

    /// Gives up on the offsets before `offset`: the log does not have them either.
    pub fn skip_to(&mut self, offset: u64) -> Vec<(u64, OrderedFrame)> {
        if self.next_offset.is_some_and(|next| next < offset) {
            self.next_offset = Some(offset);
        }
        self.take_contiguous()
    }

    /// The first offset that is missing while others wait behind it, while the log is known to have it, or while it may be
    /// one of another epoch.
    pub fn first_missing(&self) -> Option<u64> {
        self.next_offset
            .filter(|next| !self.buffered.is_empty() || *next <= self.known_head || self.other_epoch_head.is_some())
    }

    /// Takes note that the log is still in this epoch: messages of another one come from before it.
    pub fn confirm_epoch(&mut self) {
        self.other_epoch_head = None;
    }

    /// Takes note of where the log ends. Returns the first offset that was not passed on, if there is one; an end in
    /// another epoch counts as one, because only the log itself can tell which epoch is the present one.
    pub fn observe_head(&mut self, end: &Position) -> Option<u64> {
        self.next_offset?;
        if self.epoch.as_ref() == Some(&end.epoch) {
            self.known_head = self.known_head.max(end.offset.0);
        } else {
            self.observe_other_epoch(end);
        }
        self.first_missing()
    }

    /// Which incarnation of the log this is the order of.
    pub const fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Whether an epoch is another one than that of what was passed on.
    pub fn is_other_epoch(&self, epoch: &Epoch) -> bool {
        self.next_offset.is_some() && self.epoch.as_ref().is_some_and(|known| known != epoch)
    }

    /// Goes on in another epoch, whose log ends at `end`. Returns the offset up to which readers will not be sent anything
    /// of it, and what still waited. A log that is shorter than before has lost what was passed on, and readers have seen
    /// little or nothing of what it has now; one that is not goes on where it was.
    pub fn switch_epoch(&mut self, end: &Position) -> (u64, Vec<(u64, OrderedFrame)>) {
        let (head, passed) = (end.offset.0, self.next_offset.map_or(0, |next| next - 1));
        let again = if head < passed {
            head.saturating_sub(MAX_REPLAY_AFTER_LOSS)
        } else {
            passed.saturating_sub(REPLAY_AFTER_FAILOVER)
        };
        let told = self.other_epoch_head.take().filter(|foreign| foreign.epoch == end.epoch);
        let waited = self.reset_to_epoch(&end.epoch, again + 1);
        (self.next_offset, self.known_head) = (Some(again + 1), told.map_or(head, |told| head.max(told.offset.0)));
        (again, waited)
    }

    /// The first offset that waits.
    pub fn first_buffered(&self) -> Option<u64> {
        self.buffered.keys().next().copied()
    }

    /// Withholds everything from a connection until it is released.
    pub fn pause_delivery(&mut self, connection: GatewayId) {
        self.remove_mark(connection);
        self.marks.insert(connection, DeliveryMark::Paused);
        self.paused_count += 1;
    }

    /// Lets live messages behind `through` flow to a connection, unless the channel has passed on more than that.
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
            // Kept also where live messages follow at once: one from before the start may still be passed on, late.
            self.marks.insert(connection, DeliveryMark::SentThrough(through));
            self.max_sent_through = self.max_sent_through.max(through);
        }
        if same_epoch && self.next_offset.is_none() {
            // Who was caught up to here sees the next message first, whichever arrives first.
            (self.start_offset, self.next_offset) = (through + 1, Some(through + 1));
        }
        ResumeOutcome::Live
    }

    /// Forgets what was withheld from a connection.
    pub fn remove_mark(&mut self, connection: GatewayId) {
        if self.marks.remove(&connection) == Some(DeliveryMark::Paused) {
            self.paused_count -= 1;
        }
    }

    /// Whether a message at `offset` is withheld from a connection.
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

    /// Whether nothing would be lost by dropping this state after a long silence.
    pub fn is_idle(&self) -> bool {
        self.buffered.is_empty() && self.paused_count == 0
    }

    fn reset_to_epoch(&mut self, epoch: &Epoch, base: u64) -> Vec<(u64, OrderedFrame)> {
        self.marks.retain(|_, mark| *mark == DeliveryMark::Paused);
        self.late_offsets.clear();
        (self.max_sent_through, self.known_head, self.start_offset) = (0, 0, base);
        self.epoch = Some(epoch.clone());
        std::mem::take(&mut self.buffered).into_iter().collect()
    }

    fn accept_other_epoch(&mut self, position: &Position, item: OrderedFrame) -> AcceptOutcome {
        if !self.is_other_epoch(&position.epoch) {
            let mut passed = self.reset_to_epoch(&position.epoch, position.offset.0);
            passed.extend(self.deliver_from(position.offset.0, item));
            return AcceptOutcome::Deliver(passed);
        }
        self.observe_other_epoch(position);
        AcceptOutcome::OtherEpoch { missing: self.next_offset.unwrap_or_default() }
    }

    fn observe_other_epoch(&mut self, position: &Position) {
        let further = |foreign: &Position| foreign.epoch != position.epoch || foreign.offset < position.offset;
        if self.other_epoch_head.as_ref().is_none_or(further) {
            self.other_epoch_head = Some(position.clone());
        }
    }

    fn buffer_frame(&mut self, offset: u64, next: u64, item: OrderedFrame) -> AcceptOutcome {
        if self.buffered.len() < MAX_BUFFERED_FRAMES {
            self.buffered.entry(offset).or_insert(item);
        } else {
            self.known_head = self.known_head.max(offset);
        }
        AcceptOutcome::Buffered { missing: next }
    }

    fn deliver_from(&mut self, offset: u64, item: OrderedFrame) -> Vec<(u64, OrderedFrame)> {
        let mut passed = vec![(offset, item)];
        self.next_offset = Some(offset + 1);
        passed.extend(self.take_contiguous());
        if offset.is_multiple_of(MARK_RETENTION_OFFSETS) {
            self.marks.retain(|_, mark| !matches!(mark, DeliveryMark::SentThrough(through) if *through + MARK_RETENTION_OFFSETS < offset));
            self.late_offsets.retain(|late| *late + MARK_RETENTION_OFFSETS >= offset);
        }
        passed
    }

    fn take_contiguous(&mut self) -> Vec<(u64, OrderedFrame)> {
        let mut ready = Vec::new();
        while let Some(next) = self.next_offset {
            let Some(item) = self.buffered.remove(&next) else { break };
            ready.push((next, item));
            self.next_offset = Some(next + 1);
        }
        ready
    }
}

#[cfg(test)]
mod tests;

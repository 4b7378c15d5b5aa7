//! The bounded outbox of one connection: four lanes by priority, one waker.
//!
//! Who puts a frame in line either has the session woken ([`Outbox::push`]) or sees to the writing itself
//! ([`Outbox::enqueue`]); neither is asked twice for what it has yet to look at.
//! Invariant: the frames held never exceed the byte bound by more than one control frame, and pushing never blocks. When
//! a frame does not fit, ephemeral frames are shed first, then broadcasts (they are in the log; what was shed is
//! remembered per channel and told to the client), and when that is not enough the connection is closed as too slow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};

use gateway::close::CloseCause;
use handlers::channel::{Channel, Position};
use handlers::ports::{Placement, Priority};
use parking_lot::Mutex;
use tokio::sync::Notify;
use websocket::SharedText;

/// Channels whose shed range is remembered one by one; beyond it the client is told to resume without a range.
const MAX_DROPPED_CHANNELS: usize = 64;
/// What a queued frame costs beside its bytes: its slot and a share of the lane's spare capacity.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A frame in line.
#[derive(Debug, Clone)]
pub struct OutboundFrame {
    /// The message's text, shared by all receivers.
    pub text: SharedText,
    /// Its place in a log, shared too.
    pub placement: Option<Arc<Placement>>,
}

/// What a connection lost because it did not keep up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DroppedFrames {
    /// Frames dropped that no log has.
    pub ephemeral: u64,
    /// Frames dropped that a log has.
    pub logged: u64,
    /// From which offset to which position each channel must be fetched again.
    pub channels: BTreeMap<Channel, (u64, Position)>,
}

/// What became of a pushed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueOutcome {
    /// In line.
    Queued,
    /// In line, after this many others were dropped for it, or dropped itself.
    Dropped(u32),
    /// The connection is closing; nothing more is taken.
    Closed,
}

/// What [`Outbox::enqueue`] did, and who flushes the outbox. Each variant carries what became of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "on `NeedsFlush` the caller must flush the outbox or wake the session"]
pub enum Enqueued {
    /// No flush was pending: the caller must flush the outbox, or have the session do it.
    NeedsFlush(EnqueueOutcome),
    /// The session was woken already, or another caller has yet to flush: the caller has nothing to do.
    FlushPending(EnqueueOutcome),
}

impl Enqueued {
    /// What became of the frame.
    #[must_use]
    pub const fn pushed(self) -> EnqueueOutcome {
        match self {
            Self::NeedsFlush(pushed) | Self::FlushPending(pushed) => pushed,
        }
    }
}

/// Frames and requests from everywhere to one connection.
pub struct Outbox {
    state: Mutex<OutboxState>,
    capacity_freed: Notify,
}

/// It lies in memory as it stands here, because memory is what a broadcast to many waits for: what every push and every drain
/// looks at comes first, and shares a cache line.
#[repr(C)]
struct OutboxState {
    queued_bytes: usize,
    max_bytes: usize,
    /// The session was woken and has not looked yet.
    session_woken: bool,
    /// Somebody else has yet to come and write.
    writer_pending: bool,
    /// Somebody waits for room.
    capacity_awaited: bool,
    waker: Option<Waker>,
    dropped: Option<Box<DroppedFrames>>,
    close_cause: Option<CloseCause>,
    queues: [VecDeque<OutboundFrame>; 4],
}

impl Outbox {
    /// An outbox that holds at most `bound` bytes.
    pub const fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(OutboxState {
                queued_bytes: 0,
                max_bytes: bound,
                session_woken: false,
                writer_pending: false,
                capacity_awaited: false,
                waker: None,
                dropped: None,
                close_cause: None,
                queues: [VecDeque::new(), VecDeque::new(), VecDeque::new(), VecDeque::new()],
            }),
            capacity_freed: Notify::const_new(),
        }
    }

    /// Puts a frame in line and wakes the session. Never blocks.
    pub fn push(&self, priority: Priority, queued: OutboundFrame) -> EnqueueOutcome {
        let mut lanes = self.state.lock();
        let pushed = lanes.push_frame(priority, queued);
        lanes.wake_session_once();
        pushed
    }

    /// Queues a frame without waking the session. On [`Enqueued::NeedsFlush`] the caller must start a flush
    /// ([`Outbox::flush_started`]) or leave it to the session ([`Outbox::wake_session`]).
    pub fn enqueue(&self, priority: Priority, queued: OutboundFrame) -> Enqueued {
        let mut lanes = self.state.lock();
        let pushed = lanes.push_frame(priority, queued);
        if lanes.session_woken || lanes.writer_pending {
            return Enqueued::FlushPending(pushed);
        }
        lanes.writer_pending = true;
        Enqueued::NeedsFlush(pushed)
    }

    /// Notes that the one who was to come is here. What is put in line from now on has somebody else asked.
    pub fn flush_started(&self) {
        self.state.lock().writer_pending = false;
    }

    /// Has the session write what is in line, instead of whoever was to come.
    pub fn wake_session(&self) {
        let mut lanes = self.state.lock();
        lanes.writer_pending = false;
        lanes.wake_session_once();
    }

    /// Asks the session to end. The first cause stays.
    pub fn close(&self, cause: CloseCause) {
        let mut lanes = self.state.lock();
        lanes.close_cause.get_or_insert(cause);
        lanes.wake_task();
        drop(lanes);
        self.capacity_freed.notify_waiters();
    }

    /// Whether the session was asked to end.
    pub fn is_closing(&self) -> bool {
        self.state.lock().close_cause.is_some()
    }

    /// Moves what is in line to `batch`, best lane first, up to about `bytes`, and arranges for the session, whose context it
    /// is, to be woken for more. Returns what was shed, once, when nothing is in line any more and something could be
    /// taken, and whether the session is to end.
    pub fn drain(
        &self,
        cx: &Context<'_>,
        batch: &mut Vec<OutboundFrame>,
        bytes: usize,
    ) -> (Option<Box<DroppedFrames>>, Option<CloseCause>) {
        let mut lanes = self.state.lock();
        if bytes > 0 {
            lanes.session_woken = false;
            lanes.take_batch(batch, bytes);
        }
        if !batch.is_empty() && std::mem::take(&mut lanes.capacity_awaited) {
            self.capacity_freed.notify_waiters();
        }
        if !lanes.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            lanes.waker = Some(cx.waker().clone());
        }
        let shed = if lanes.queued_bytes == 0 && bytes > 0 { lanes.dropped.take() } else { None };
        (shed, lanes.close_cause.clone())
    }

    /// Whether a frame of this many bytes fits without anything being shed for it.
    pub fn has_capacity(&self, bytes: usize) -> bool {
        self.state.lock().has_capacity(bytes)
    }

    /// Waits until such a frame fits, or until the connection ends.
    pub async fn wait_for_capacity(&self, bytes: usize) {
        loop {
            let mut drained = std::pin::pin!(self.capacity_freed.notified());
            drained.as_mut().enable();
            if self.state.lock().has_capacity_or_awaits(bytes) {
                return;
            }
            drained.await;
        }
    }
}

impl OutboundFrame {
    fn memory_bytes(&self) -> usize {
        self.text.len() + FRAME_OVERHEAD_BYTES
    }
}

impl OutboxState {
    fn push_frame(&mut self, priority: Priority, queued: OutboundFrame) -> EnqueueOutcome {
        if self.close_cause.is_some() {
            return EnqueueOutcome::Closed;
        }
        let cost = queued.memory_bytes();
        let mut dropped = 0;
        if self.queued_bytes + cost > self.max_bytes {
            dropped = self.drop_lower_priorities(cost, priority);
        }
        if self.queued_bytes + cost > self.max_bytes {
            return self.handle_overflow(priority, &queued, dropped);
        }
        self.queued_bytes += cost;
        self.queues[priority as usize].push_back(queued);
        if dropped > 0 { EnqueueOutcome::Dropped(dropped) } else { EnqueueOutcome::Queued }
    }

    /// Drops from the lanes below control and direct, the least worthy first, as far as `priority` outranks or equals them.
    fn drop_lower_priorities(&mut self, cost: usize, priority: Priority) -> u32 {
        let mut dropped = 0;
        for lane in [Priority::Ephemeral, Priority::Broadcast] {
            while lane >= priority && self.queued_bytes + cost > self.max_bytes {
                let Some(victim) = self.queues[lane as usize].pop_front() else { break };
                self.queued_bytes -= victim.memory_bytes();
                self.record_dropped(&victim);
                dropped += 1;
            }
        }
        dropped
    }

    fn handle_overflow(&mut self, priority: Priority, queued: &OutboundFrame, dropped: u32) -> EnqueueOutcome {
        if matches!(priority, Priority::Broadcast | Priority::Ephemeral) {
            self.record_dropped(queued);
            return EnqueueOutcome::Dropped(dropped + 1);
        }
        self.close_cause = Some(CloseCause::SlowConsumer);
        self.wake_task();
        EnqueueOutcome::Closed
    }

    const fn has_capacity(&self, bytes: usize) -> bool {
        self.close_cause.is_some()
            || self.queued_bytes == 0
            || self.queued_bytes + bytes + FRAME_OVERHEAD_BYTES <= self.max_bytes
    }

    /// Has the next drain tell when there is none.
    const fn has_capacity_or_awaits(&mut self, bytes: usize) -> bool {
        let has_room = self.has_capacity(bytes);
        self.capacity_awaited |= !has_room;
        has_room
    }

    fn wake_session_once(&mut self) {
        if !std::mem::replace(&mut self.session_woken, true) {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn record_dropped(&mut self, lost: &OutboundFrame) {
        let shed = self.dropped.get_or_insert_default();
        let Some(placement) = &lost.placement else {
            shed.ephemeral += 1;
            return;
        };
        shed.logged += 1;
        let offset = placement.position.offset.0;
        if let Some((from, to)) = shed.channels.get_mut(&placement.channel) {
            *from = (*from).min(offset);
            if to.offset.0 < offset {
                *to = placement.position.clone();
            }
        } else if shed.channels.len() < MAX_DROPPED_CHANNELS {
            shed.channels.insert(placement.channel.clone(), (offset, placement.position.clone()));
        }
    }

    fn take_batch(&mut self, batch: &mut Vec<OutboundFrame>, bytes: usize) {
        let mut taken = 0;
        for queue in &mut self.queues {
            while taken < bytes {
                let Some(queued) = queue.pop_front() else { break };
                taken += queued.text.len();
                self.queued_bytes -= queued.memory_bytes();
                batch.push(queued);
            }
            // A burst must not leave its high-water mark behind for the hours that the connection idles.
            if queue.is_empty() && queue.capacity() > 64 {
                queue.shrink_to(8);
            }
        }
    }
}

#[cfg(test)]
mod tests;

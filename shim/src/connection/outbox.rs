//! Bounded outbox of one connection: four priority queues and one waker.
//!
//! [`Outbox::push`] wakes the session; [`Outbox::enqueue`] leaves the flush to the caller. The session is woken at most
//! once until it has drained the outbox, and one caller at a time is asked to flush.
//!
//! Enqueueing never blocks, and the queued frames never exceed the byte limit. When a frame does not fit, ephemeral
//! frames are dropped first, then broadcasts: those are in the log, and the dropped range of each channel is reported
//! to the client. The connection is closed as too slow if that does not free enough room for a control or direct frame,
//! or if messages of more channels were dropped than can be reported: a client must never miss a message unnoticed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};

use gateway::close::CloseCause;
use handlers::channel::{Channel, Position};
use handlers::ports::{Placement, Priority};
use parking_lot::Mutex;
use tokio::sync::Notify;
use websocket::SharedText;

/// Maximum number of channels whose dropped range is tracked. A connection that loses messages of further channels is
/// closed.
const MAX_DROPPED_CHANNELS: usize = 64;
/// Memory of a queued frame in addition to its text, in bytes: its slot and a share of the queue's spare capacity.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A frame to be sent to a client.
#[derive(Debug, Clone)]
pub struct OutboundFrame {
    /// Text of the frame, shared by all its receivers.
    pub text: SharedText,
    /// Channel and position of the message in the log, shared likewise. `None` for a frame that no log has.
    pub placement: Option<Arc<Placement>>,
}

/// Frames dropped because the client reads too slowly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DroppedFrames {
    /// Number of dropped frames that no log has.
    pub ephemeral: u64,
    /// Number of dropped frames that a log has.
    pub logged: u64,
    /// Dropped range of each channel: first offset and last position.
    pub channels: BTreeMap<Channel, (u64, Position)>,
}

/// Result of queueing a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueOutcome {
    /// The frame was queued; nothing was dropped.
    Queued,
    /// This many frames were dropped to make room, possibly including this one.
    Dropped(u32),
    /// The connection is closing and accepts no frames.
    Closed,
}

/// Result of [`Outbox::enqueue`]: the outcome for the frame, and whether the caller must flush the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "on `NeedsFlush` the caller must flush the outbox or wake the session"]
pub enum Enqueued {
    /// No flush was pending: the caller must flush the outbox or wake the session.
    NeedsFlush(EnqueueOutcome),
    /// The session was already woken, or another caller is about to flush.
    FlushPending(EnqueueOutcome),
}

impl Enqueued {
    /// Returns the outcome for the frame.
    #[must_use]
    pub const fn outcome(self) -> EnqueueOutcome {
        match self {
            Self::NeedsFlush(outcome) | Self::FlushPending(outcome) => outcome,
        }
    }
}

/// Queue of frames, and of the close request, from all senders to one connection.
pub struct Outbox {
    state: Mutex<OutboxState>,
    capacity_freed: Notify,
}

/// Field order matters: the hot fields share one cache line, because fan-out is memory-bound.
#[repr(C)]
struct OutboxState {
    queued_bytes: usize,
    max_bytes: usize,
    /// The session was woken and has not drained the outbox since.
    session_woken: bool,
    /// A caller of [`Outbox::enqueue`] has not started its flush yet.
    flush_pending: bool,
    /// A task waits in [`Outbox::wait_for_capacity`].
    capacity_awaited: bool,
    waker: Option<Waker>,
    dropped: Option<Box<DroppedFrames>>,
    close_cause: Option<CloseCause>,
    queues: [VecDeque<OutboundFrame>; 4],
}

impl Outbox {
    /// Creates an outbox that holds at most `max_bytes` bytes.
    pub const fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(OutboxState {
                queued_bytes: 0,
                max_bytes,
                session_woken: false,
                flush_pending: false,
                capacity_awaited: false,
                waker: None,
                dropped: None,
                close_cause: None,
                queues: [VecDeque::new(), VecDeque::new(), VecDeque::new(), VecDeque::new()],
            }),
            capacity_freed: Notify::const_new(),
        }
    }

    /// Queues a frame and wakes the session. Never blocks.
    pub fn push(&self, priority: Priority, frame: OutboundFrame) -> EnqueueOutcome {
        let mut state = self.state.lock();
        let outcome = state.push_frame(priority, frame);
        state.wake_session_once();
        outcome
    }

    /// Queues a frame without waking the session. On [`Enqueued::NeedsFlush`] the caller must start a flush
    /// ([`Outbox::flush_started`]) or leave it to the session ([`Outbox::wake_session`]).
    pub fn enqueue(&self, priority: Priority, frame: OutboundFrame) -> Enqueued {
        let mut state = self.state.lock();
        let outcome = state.push_frame(priority, frame);
        if state.session_woken || state.flush_pending {
            return Enqueued::FlushPending(outcome);
        }
        state.flush_pending = true;
        Enqueued::NeedsFlush(outcome)
    }

    /// Marks the pending flush as started. Frames enqueued after this call request a new flush.
    pub fn flush_started(&self) {
        self.state.lock().flush_pending = false;
    }

    /// Wakes the session to flush the outbox, in place of the caller of [`Outbox::enqueue`].
    pub fn wake_session(&self) {
        let mut state = self.state.lock();
        state.flush_pending = false;
        state.wake_session_once();
    }

    /// Requests that the session close the connection. Only the first cause has an effect.
    pub fn close(&self, cause: CloseCause) {
        let mut state = self.state.lock();
        state.close_cause.get_or_insert(cause);
        state.wake_task();
        drop(state);
        self.capacity_freed.notify_waiters();
    }

    /// Returns whether a close was requested.
    pub fn is_closing(&self) -> bool {
        self.state.lock().close_cause.is_some()
    }

    /// Moves queued frames to `batch`, highest priority first, until at least `bytes` bytes were moved, and registers
    /// the waker of `cx`, the session's context, for later frames. Returns the dropped frames, once, as soon as the
    /// queues are empty (never if `bytes` is 0), and the cause of a requested close.
    pub fn drain(
        &self,
        cx: &Context<'_>,
        batch: &mut Vec<OutboundFrame>,
        bytes: usize,
    ) -> (Option<Box<DroppedFrames>>, Option<CloseCause>) {
        let mut state = self.state.lock();
        if bytes > 0 {
            state.session_woken = false;
            state.take_batch(batch, bytes);
        }
        if !batch.is_empty() && std::mem::take(&mut state.capacity_awaited) {
            self.capacity_freed.notify_waiters();
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let dropped = if state.queued_bytes == 0 && bytes > 0 { state.dropped.take() } else { None };
        (dropped, state.close_cause.clone())
    }

    /// Returns whether a frame of `bytes` bytes fits without dropping other frames.
    pub fn has_capacity(&self, bytes: usize) -> bool {
        self.state.lock().has_capacity(bytes)
    }

    /// Waits until a frame of `bytes` bytes fits, or the connection closes.
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
    fn push_frame(&mut self, priority: Priority, frame: OutboundFrame) -> EnqueueOutcome {
        if self.close_cause.is_some() {
            return EnqueueOutcome::Closed;
        }
        let cost = frame.memory_bytes();
        let mut dropped = 0;
        if self.queued_bytes + cost > self.max_bytes {
            dropped = self.drop_lower_priorities(cost, priority);
        }
        if self.queued_bytes + cost > self.max_bytes {
            return self.handle_overflow(priority, &frame, dropped);
        }
        if self.close_cause.is_some() {
            return EnqueueOutcome::Closed;
        }
        self.queued_bytes += cost;
        self.queues[priority as usize].push_back(frame);
        if dropped > 0 { EnqueueOutcome::Dropped(dropped) } else { EnqueueOutcome::Queued }
    }

    /// Returns the outcome after `dropped` frames were dropped, which may have closed the connection.
    const fn dropped_or_closed(&self, dropped: u32) -> EnqueueOutcome {
        if self.close_cause.is_some() { EnqueueOutcome::Closed } else { EnqueueOutcome::Dropped(dropped) }
    }

    /// Drops the oldest ephemeral frames, then the oldest broadcasts, until `cost` bytes fit. Never drops a frame of a
    /// higher priority than `priority`.
    fn drop_lower_priorities(&mut self, cost: usize, priority: Priority) -> u32 {
        let mut dropped = 0;
        for class in [Priority::Ephemeral, Priority::Broadcast] {
            while class >= priority && self.queued_bytes + cost > self.max_bytes {
                let Some(victim) = self.queues[class as usize].pop_front() else { break };
                self.queued_bytes -= victim.memory_bytes();
                self.record_dropped(&victim);
                dropped += 1;
            }
        }
        dropped
    }

    fn handle_overflow(&mut self, priority: Priority, frame: &OutboundFrame, dropped: u32) -> EnqueueOutcome {
        if matches!(priority, Priority::Broadcast | Priority::Ephemeral) {
            self.record_dropped(frame);
            return self.dropped_or_closed(dropped + 1);
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

    /// Returns whether `bytes` bytes fit; if not, requests a notification from the next drain.
    const fn has_capacity_or_awaits(&mut self, bytes: usize) -> bool {
        let fits = self.has_capacity(bytes);
        self.capacity_awaited |= !fits;
        fits
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
        let dropped = self.dropped.get_or_insert_default();
        let Some(placement) = &lost.placement else {
            dropped.ephemeral += 1;
            return;
        };
        dropped.logged += 1;
        let offset = placement.position.offset.0;
        if let Some((from, to)) = dropped.channels.get_mut(&placement.channel) {
            // Offsets of different epochs are not comparable. A gap in the later epoch invalidates the earlier one.
            let same_epoch = to.epoch == placement.position.epoch;
            *from = if same_epoch { offset.min(*from) } else { offset };
            if !same_epoch || to.offset.0 < offset {
                *to = placement.position.clone();
            }
        } else if dropped.channels.len() < MAX_DROPPED_CHANNELS {
            dropped.channels.insert(placement.channel.clone(), (offset, placement.position.clone()));
        } else {
            self.close_cause.get_or_insert(CloseCause::SlowConsumer);
            self.wake_task();
        }
    }

    fn take_batch(&mut self, batch: &mut Vec<OutboundFrame>, bytes: usize) {
        let mut moved_bytes = 0;
        for queue in &mut self.queues {
            while moved_bytes < bytes {
                let Some(frame) = queue.pop_front() else { break };
                moved_bytes += frame.text.len();
                self.queued_bytes -= frame.memory_bytes();
                batch.push(frame);
            }
            // Releases the memory of a burst; the connection may then be idle for hours.
            if queue.is_empty() && queue.capacity() > 64 {
                queue.shrink_to(8);
            }
        }
    }
}

#[cfg(test)]
mod tests;

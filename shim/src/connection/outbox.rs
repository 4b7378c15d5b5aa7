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
const SHED_CHANNELS: usize = 64;
/// What a queued frame costs beside its bytes: its slot and a share of the lane's spare capacity.
const FRAME_OVERHEAD: usize = 64;

/// A frame in line.
#[derive(Debug, Clone)]
pub struct Queued {
    /// The message's text, shared by all receivers.
    pub text: SharedText,
    /// Its place in a log, shared too.
    pub placement: Option<Arc<Placement>>,
}

/// What a connection lost because it did not keep up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shed {
    /// Frames dropped that no log has.
    pub ephemeral: u64,
    /// Frames dropped that a log has.
    pub logged: u64,
    /// From which offset to which position each channel must be fetched again.
    pub channels: BTreeMap<Channel, (u64, Position)>,
}

/// What became of a pushed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// In line.
    Queued,
    /// In line, after this many others were dropped for it, or dropped itself.
    Shed(u32),
    /// The connection is closing; nothing more is taken.
    Closed,
}

/// What [`Outbox::enqueue`] did, and who flushes the outbox. Each variant carries what became of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "on `NeedsFlush` the caller must flush the outbox or wake the session"]
pub enum Enqueued {
    /// No flush was pending: the caller must flush the outbox, or have the session do it.
    NeedsFlush(Pushed),
    /// The session was woken already, or another caller has yet to flush: the caller has nothing to do.
    FlushPending(Pushed),
}

impl Enqueued {
    /// What became of the frame.
    #[must_use]
    pub const fn pushed(self) -> Pushed {
        match self {
            Self::NeedsFlush(pushed) | Self::FlushPending(pushed) => pushed,
        }
    }
}

/// Frames and requests from everywhere to one connection.
pub struct Outbox {
    lanes: Mutex<Lanes>,
    room: Notify,
}

/// It lies in memory as it stands here, because memory is what a broadcast to many waits for: what every push and every drain
/// looks at comes first, and shares a cache line.
#[repr(C)]
struct Lanes {
    bytes: usize,
    bound: usize,
    /// The session was woken and has not looked yet.
    session_asked: bool,
    /// Somebody else has yet to come and write.
    writer_asked: bool,
    /// Somebody waits for room.
    room_wanted: bool,
    waker: Option<Waker>,
    shed: Option<Box<Shed>>,
    close: Option<CloseCause>,
    queues: [VecDeque<Queued>; 4],
}

impl Outbox {
    /// An outbox that holds at most `bound` bytes.
    pub const fn new(bound: usize) -> Self {
        Self {
            lanes: Mutex::new(Lanes {
                bytes: 0,
                bound,
                session_asked: false,
                writer_asked: false,
                room_wanted: false,
                waker: None,
                shed: None,
                close: None,
                queues: [VecDeque::new(), VecDeque::new(), VecDeque::new(), VecDeque::new()],
            }),
            room: Notify::const_new(),
        }
    }

    /// Puts a frame in line and wakes the session. Never blocks.
    pub fn push(&self, priority: Priority, queued: Queued) -> Pushed {
        let mut lanes = self.lanes.lock();
        let pushed = lanes.push(priority, queued);
        lanes.ask_session();
        pushed
    }

    /// Queues a frame without waking the session. On [`Enqueued::NeedsFlush`] the caller must start a flush
    /// ([`Outbox::visit`]) or leave it to the session ([`Outbox::leave_to_session`]).
    pub fn enqueue(&self, priority: Priority, queued: Queued) -> Enqueued {
        let mut lanes = self.lanes.lock();
        let pushed = lanes.push(priority, queued);
        if lanes.session_asked || lanes.writer_asked {
            return Enqueued::FlushPending(pushed);
        }
        lanes.writer_asked = true;
        Enqueued::NeedsFlush(pushed)
    }

    /// Notes that the one who was to come is here. What is put in line from now on has somebody else asked.
    pub fn visit(&self) {
        self.lanes.lock().writer_asked = false;
    }

    /// Has the session write what is in line, instead of whoever was to come.
    pub fn leave_to_session(&self) {
        let mut lanes = self.lanes.lock();
        lanes.writer_asked = false;
        lanes.ask_session();
    }

    /// Asks the session to end. The first cause stays.
    pub fn close(&self, cause: CloseCause) {
        let mut lanes = self.lanes.lock();
        lanes.close.get_or_insert(cause);
        lanes.wake();
        drop(lanes);
        self.room.notify_waiters();
    }

    /// Whether the session was asked to end.
    pub fn is_closing(&self) -> bool {
        self.lanes.lock().close.is_some()
    }

    /// Moves what is in line to `batch`, best lane first, up to about `bytes`, and arranges for the session, whose context it
    /// is, to be woken for more. Returns what was shed, once, when nothing is in line any more and something could be
    /// taken, and whether the session is to end.
    pub fn drain(
        &self,
        cx: &Context<'_>,
        batch: &mut Vec<Queued>,
        bytes: usize,
    ) -> (Option<Box<Shed>>, Option<CloseCause>) {
        let mut lanes = self.lanes.lock();
        if bytes > 0 {
            lanes.session_asked = false;
            lanes.take(batch, bytes);
        }
        if !batch.is_empty() && std::mem::take(&mut lanes.room_wanted) {
            self.room.notify_waiters();
        }
        if !lanes.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            lanes.waker = Some(cx.waker().clone());
        }
        let shed = if lanes.bytes == 0 && bytes > 0 { lanes.shed.take() } else { None };
        (shed, lanes.close.clone())
    }

    /// Whether a frame of this many bytes fits without anything being shed for it.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.lanes.lock().has_room(bytes)
    }

    /// Waits until such a frame fits, or until the connection ends.
    pub async fn wait_for_room(&self, bytes: usize) {
        loop {
            let mut drained = std::pin::pin!(self.room.notified());
            drained.as_mut().enable();
            if self.lanes.lock().has_room_or_wants_it(bytes) {
                return;
            }
            drained.await;
        }
    }
}

impl Queued {
    fn cost(&self) -> usize {
        self.text.len() + FRAME_OVERHEAD
    }
}

impl Lanes {
    fn push(&mut self, priority: Priority, queued: Queued) -> Pushed {
        if self.close.is_some() {
            return Pushed::Closed;
        }
        let cost = queued.cost();
        let mut dropped = 0;
        if self.bytes + cost > self.bound {
            dropped = self.make_room(cost, priority);
        }
        if self.bytes + cost > self.bound {
            return self.overflow(priority, &queued, dropped);
        }
        self.bytes += cost;
        self.queues[priority as usize].push_back(queued);
        if dropped > 0 { Pushed::Shed(dropped) } else { Pushed::Queued }
    }

    /// Drops from the lanes below control and direct, the least worthy first, as far as `priority` outranks or equals them.
    fn make_room(&mut self, cost: usize, priority: Priority) -> u32 {
        let mut dropped = 0;
        for lane in [Priority::Ephemeral, Priority::Broadcast] {
            while lane >= priority && self.bytes + cost > self.bound {
                let Some(victim) = self.queues[lane as usize].pop_front() else { break };
                self.bytes -= victim.cost();
                self.remember(&victim);
                dropped += 1;
            }
        }
        dropped
    }

    fn overflow(&mut self, priority: Priority, queued: &Queued, dropped: u32) -> Pushed {
        if matches!(priority, Priority::Broadcast | Priority::Ephemeral) {
            self.remember(queued);
            return Pushed::Shed(dropped + 1);
        }
        self.close = Some(CloseCause::SlowConsumer);
        self.wake();
        Pushed::Closed
    }

    const fn has_room(&self, bytes: usize) -> bool {
        self.close.is_some() || self.bytes == 0 || self.bytes + bytes + FRAME_OVERHEAD <= self.bound
    }

    /// Has the next drain tell when there is none.
    const fn has_room_or_wants_it(&mut self, bytes: usize) -> bool {
        let has_room = self.has_room(bytes);
        self.room_wanted |= !has_room;
        has_room
    }

    fn ask_session(&mut self) {
        if !std::mem::replace(&mut self.session_asked, true) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn remember(&mut self, lost: &Queued) {
        let shed = self.shed.get_or_insert_default();
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
        } else if shed.channels.len() < SHED_CHANNELS {
            shed.channels.insert(placement.channel.clone(), (offset, placement.position.clone()));
        }
    }

    fn take(&mut self, batch: &mut Vec<Queued>, bytes: usize) {
        let mut taken = 0;
        for queue in &mut self.queues {
            while taken < bytes {
                let Some(queued) = queue.pop_front() else { break };
                taken += queued.text.len();
                self.bytes -= queued.cost();
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

//! Filling a hole in a channel's order from the log, and finding where the order starts.
//!
//! A hole opens when a handler appended a message and has not delivered it: most often it is about to, so the fill waits a
//! moment; sometimes it never will (it was cancelled, or its process died), and then the log is what is right. Where a pod
//! first hears of a channel, another pod's message may have been overtaken without leaving a hole: readers who know no
//! position would drop it as a repeat when it comes. So the log is asked for what was said a moment before.

use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{Frame, MessageFrame};
use handlers::limits;
use handlers::ports::{Entry, Placement, Priority, Range, Slice};

use super::sequence::{Accepted, Item};
use super::{Hub, Ordered};
use crate::session::outbox::Queued;

/// How long a missing message may still be on its way. Handlers deliver right behind the append, so this is ample.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a log that does not answer is asked before the hole is given up.
const TRIES: u32 = 5;

/// Messages that were sent so shortly before another one may still be on their way behind it, in milliseconds. Longer than
/// the bus takes, and shorter than what a client that has just come would take for old.
const OVERTAKEN_MS: i64 = 1_000;
/// Most of them that are looked for.
const OVERTAKEN_ENTRIES: usize = 32;

/// Waits a moment, then passes on what is still missing from offset `missing` on.
async fn fill(hub: Hub, channel: Channel, missing: u64) {
    tokio::time::sleep(PATIENCE).await;
    // Never closed.
    let _turn = hub.shared.fills.acquire().await;
    complete(&hub, &channel, Some(missing)).await;
}

/// Sets the start of a channel's order: at the first message that was heard, or at those that it may have overtaken.
async fn begin(hub: Hub, channel: Channel) {
    // Never closed.
    let _turn = hub.shared.fills.acquire().await;
    let first = hub.ordered(&channel).lock().sequence.first_waiting();
    let before = Range::Before(Some(Offset(first.unwrap_or_default().saturating_add(1))));
    // A log that fails, within its own deadline, is one reason more to pass on what there is.
    let slice = hub.shared.log.read(&channel, before, OVERTAKEN_ENTRIES, limits::PAGE_BYTES).await;
    let missing = hub.pass_beginning(&channel, slice.ok());
    complete(&hub, &channel, missing).await;
}

/// Passes on what is missing.
async fn complete(hub: &Hub, channel: &Channel, mut missing: Option<u64>) {
    let mut tries = 0;
    let mut answered = true;
    while let Some(offset) = missing.filter(|_| tries < TRIES) {
        let after = Range::After(Offset(offset.saturating_sub(1)));
        match hub.shared.log.read(channel, after, limits::PAGE_ENTRIES, limits::PAGE_BYTES).await {
            Ok(slice) => {
                answered = true;
                missing = hub.pass_slice(channel, offset, slice);
                tries += u32::from(missing == Some(offset));
            }
            Err(error) => {
                tracing::warn!(error = %error, "reading the log to fill a hole failed");
                answered = false;
                tries += 1;
                tokio::time::sleep(PATIENCE * 2_u32.pow(tries)).await;
            }
        }
    }
    hub.end_fill(channel, answered);
}

/// The first of the messages that the last one may have overtaken.
fn first_overtaken(entries: &[Entry]) -> Option<Offset> {
    let last = entries.last()?;
    let recent = |entry: &&Entry| entry.sent_at.0.saturating_add(OVERTAKEN_MS) >= last.sent_at.0;
    entries.iter().rev().take_while(recent).last().map(|entry| entry.offset)
}

impl Hub {
    /// Has the start of a channel's order looked for, unless that is under way.
    pub(super) fn begin(&self, placement: &Placement, state: &mut Ordered, item: Item) {
        if !state.sequence.keep(&placement.position, item) {
            // The log takes too long: what has come is passed on as it is.
            let first = state.sequence.first_waiting().unwrap_or(placement.position.offset.0);
            let items = state.sequence.begin_at(first);
            self.pass(&placement.channel, &state.sequence, items);
        } else if !std::mem::replace(&mut state.filling, true) {
            self.shared.tasks.spawn(begin(self.clone(), placement.channel.clone()));
        }
    }

    /// Starts to fill a channel's holes, unless that is under way.
    pub(super) fn fill(&self, channel: &Channel, state: &mut Ordered, missing: u64) {
        if !std::mem::replace(&mut state.filling, true) {
            self.shared.tasks.spawn(fill(self.clone(), channel.clone(), missing));
        }
    }

    /// Passes on a stretch of the log and returns the next offset that is missing, if any.
    fn pass_slice(&self, channel: &Channel, missing: u64, slice: Slice) -> Option<u64> {
        let ordered = self.ordered(channel);
        let mut state = ordered.lock();
        if state.sequence.epoch() != Some(&slice.head.epoch) && state.sequence.epoch().is_some() {
            self.begin_epoch(channel, &mut state, &slice.head);
            return state.sequence.missing();
        }
        if state.sequence.missing() != Some(missing) {
            // What was on its way has arrived.
            return state.sequence.missing();
        }
        self.shared.metrics.holes.inc();
        let kept_from = slice.entries.first().map_or(slice.first.0, |entry| entry.offset.0);
        if kept_from > missing {
            let items = state.sequence.skip_to(kept_from);
            self.pass(channel, &state.sequence, items);
        }
        self.pass_entries(channel, &mut state, slice);
        state.sequence.missing()
    }

    /// Starts the order and returns the first offset that is missing, if any. Without a slice it starts at what was heard.
    fn pass_beginning(&self, channel: &Channel, slice: Option<Slice>) -> Option<u64> {
        let ordered = self.ordered(channel);
        let mut state = ordered.lock();
        let slice = slice.filter(|slice| state.sequence.epoch() == Some(&slice.head.epoch));
        let overtaken = slice.as_ref().and_then(|slice| first_overtaken(&slice.entries)).map(|offset| offset.0);
        let start = overtaken.into_iter().chain(state.sequence.first_waiting()).min()?;
        let items = state.sequence.begin_at(start);
        self.pass(channel, &state.sequence, items);
        if let Some(mut slice) = slice {
            slice.entries.retain(|entry| entry.offset.0 >= start);
            self.pass_entries(channel, &mut state, slice);
        }
        state.sequence.missing()
    }

    /// Takes entries of the log in as if they had arrived.
    fn pass_entries(&self, channel: &Channel, state: &mut Ordered, slice: Slice) {
        for entry in slice.entries {
            let position = Position { epoch: slice.head.epoch.clone(), offset: entry.offset };
            let text = MessageFrame::entry(&channel.name, &position.epoch, &entry).encode();
            let placement = Arc::new(Placement { channel: channel.clone(), position: position.clone() });
            let item = Item {
                priority: Priority::of_channel(&channel.name),
                queued: Queued { text: text.into(), placement: Some(placement) },
            };
            if let Accepted::Pass(items) = state.sequence.accept(&position, item) {
                self.pass(channel, &state.sequence, items);
            }
        }
    }

    /// Ends the fill; what still waits behind a hole that could not be filled is passed on. Among other pods a log that
    /// did not answer is asked again when the ends are compared next.
    fn end_fill(&self, channel: &Channel, answered: bool) {
        let ordered = self.ordered(channel);
        let mut state = ordered.lock();
        state.filling = false;
        if !answered && self.neighbours().is_some() {
            return;
        }
        if let Some(first) = state.sequence.first_waiting() {
            let items = state.sequence.skip_to(first);
            self.pass(channel, &state.sequence, items);
        }
    }
}

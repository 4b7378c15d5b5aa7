//! Filling a hole in a channel's order from the log, and finding where the order starts.
//!
//! A hole opens when a handler appended a message and has not delivered it: most often it is about to, so the fill waits a
//! moment; sometimes it never will (it was cancelled, or its process died), and then the log is what is right. Where a pod
//! first hears of a channel, another pod's message may have been overtaken without leaving a hole: readers who know no
//! position would drop it as a repeat when it comes. So the log is asked for what was said a moment before.
//!
//! Invariant: a channel in which something is missing has one task that looks for it. That task ends in the same turn of the
//! channel's lock in which it finds nothing missing, or gives a hole up: a hole that opens meanwhile is never taken for one
//! that the log could not fill.

use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{Frame, MessageFrame};
use handlers::limits;
use handlers::ports::{Entry, Placement, Priority, Range, Slice};

use super::sequence::{Accepted, Item};
use super::{ChannelDelivery, Ordered};
use crate::connection::Queued;

/// How long a missing message may still be on its way. Handlers deliver right behind the append, so this is ample.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a log that does not answer is asked before the hole is given up.
const TRIES: u32 = 5;

/// Messages that were sent so shortly before another one may still be on their way behind it, in milliseconds. Longer than
/// the bus takes, and shorter than what a client that has just come would take for old.
const OVERTAKEN_MS: i64 = 1_000;
/// Most of them that are looked for.
const OVERTAKEN_ENTRIES: usize = 32;

/// Passes on what stays missing for longer than a moment, until nothing is missing any more. It begins with offset `missing`.
async fn fill(hub: ChannelDelivery, channel: Channel, mut missing: u64) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let Some(now) = hub.end_unless_missing(&channel) else { return };
        // What was on its way has arrived; what is missing instead gets a moment of its own.
        missing = if now == missing {
            // Never closed.
            let _turn = hub.shared.fills.acquire().await;
            let Some(next) = complete(&hub, &channel).await else { return };
            next
        } else {
            now
        };
    }
}

/// Sets the start of a channel's order: at the first message that was heard, or at those that it may have overtaken.
async fn begin(hub: ChannelDelivery, channel: Channel) {
    // Never closed.
    let turn = hub.shared.fills.acquire().await;
    let first = hub.known_order(&channel).and_then(|state| state.sequence.first_waiting());
    if let Some(first) = first {
        let before = Range::Before(Some(Offset(first.saturating_add(1))));
        // A log that fails, within its own deadline, is one reason more to pass on what there is.
        let slice = hub.shared.log.read(&channel, before, OVERTAKEN_ENTRIES, limits::PAGE_BYTES).await;
        hub.pass_beginning(&channel, slice.ok());
    }
    let missing = complete(&hub, &channel).await;
    drop(turn);
    if let Some(missing) = missing {
        fill(hub, channel, missing).await;
    }
}

/// Passes on what is missing, as far as the log has it. Returns what is missing behind its end; without that, the fill has
/// ended.
async fn complete(hub: &ChannelDelivery, channel: &Channel) -> Option<u64> {
    let mut tries = 0;
    let mut answered = true;
    loop {
        let missing = hub.end_unless_missing(channel)?;
        if tries == TRIES {
            return hub.give_up(channel, missing, answered);
        }
        let after = Range::After(Offset(missing.saturating_sub(1)));
        match hub.shared.log.read(channel, after, limits::PAGE_ENTRIES, limits::PAGE_BYTES).await {
            Ok(slice) => {
                answered = true;
                let end = slice.head.offset.0;
                let now = hub.pass_slice(channel, missing, slice);
                match now.filter(|now| *now != missing) {
                    Some(next) if next > end => return Some(next),
                    Some(_) => tries = 0,
                    None => tries += 1,
                }
            }
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "reading the log to fill a hole failed");
                answered = false;
                tries += 1;
                tokio::time::sleep(PATIENCE * 2_u32.pow(tries)).await;
            }
        }
    }
}

/// The first of the messages that the last one may have overtaken.
fn first_overtaken(entries: &[Entry]) -> Option<Offset> {
    let last = entries.last()?;
    let recent = |entry: &&Entry| entry.sent_at.0.saturating_add(OVERTAKEN_MS) >= last.sent_at.0;
    entries.iter().rev().take_while(recent).last().map(|entry| entry.offset)
}

impl ChannelDelivery {
    /// Has the start of a channel's order looked for, unless that is under way.
    pub(in crate::hub) fn begin(&self, placement: &Placement, state: &mut Ordered, item: Item) {
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
    pub(in crate::hub) fn fill(&self, channel: &Channel, state: &mut Ordered, missing: u64) {
        if !std::mem::replace(&mut state.filling, true) {
            self.shared.tasks.spawn(fill(self.clone(), channel.clone(), missing));
        }
    }

    /// Passes on a stretch of the log and returns the next offset that is missing, if any.
    fn pass_slice(&self, channel: &Channel, missing: u64, slice: Slice) -> Option<u64> {
        let mut state = self.known_order(channel)?;
        if state.sequence.epoch() != Some(&slice.head.epoch) && state.sequence.epoch().is_some() {
            self.begin_epoch(channel, &mut state, &slice.head);
            return state.sequence.missing();
        }
        state.sequence.note_epoch();
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

    /// Starts the order. Without a slice it starts at what was heard.
    fn pass_beginning(&self, channel: &Channel, slice: Option<Slice>) {
        let Some(mut state) = self.known_order(channel) else { return };
        let slice = slice.filter(|slice| state.sequence.epoch() == Some(&slice.head.epoch));
        let overtaken = slice.as_ref().and_then(|slice| first_overtaken(&slice.entries)).map(|offset| offset.0);
        let Some(start) = overtaken.into_iter().chain(state.sequence.first_waiting()).min() else { return };
        let items = state.sequence.begin_at(start);
        self.pass(channel, &state.sequence, items);
        if let Some(mut slice) = slice {
            slice.entries.retain(|entry| entry.offset.0 >= start);
            self.pass_entries(channel, &mut state, slice);
        }
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

    /// Ends the fill, unless something is missing: then this is the first offset. The next hole starts another fill.
    fn end_unless_missing(&self, channel: &Channel) -> Option<u64> {
        let mut state = self.known_order(channel)?;
        let missing = state.sequence.missing();
        state.filling = missing.is_some();
        missing
    }

    /// Passes on what waits behind a hole that could not be filled, and returns what else is missing, as
    /// [`ChannelDelivery::end_unless_missing`] does. Among other pods a log that did not answer is asked again when the ends are compared next.
    fn give_up(&self, channel: &Channel, missing: u64, answered: bool) -> Option<u64> {
        let mut state = self.known_order(channel)?;
        let for_good = answered || self.neighbours().is_none();
        let given_up = state.sequence.missing().filter(|now| for_good && *now == missing);
        if let Some(first) = given_up.and_then(|_| state.sequence.first_waiting()) {
            let messages = first.saturating_sub(missing);
            tracing::warn!(messages, "the log has no trace of messages that were left out");
            let items = state.sequence.skip_to(first);
            self.pass(channel, &state.sequence, items);
        }
        let next = state.sequence.missing().filter(|next| *next != missing);
        state.filling = next.is_some();
        next
    }
}

#[cfg(test)]
mod tests;

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
use handlers::frame::{EncodeFrame, MessageFrame};
use handlers::limits;
use handlers::ports::{LogEntry, LogRange, LogSlice, Placement, Priority};

use super::channel_order::{AcceptOutcome, OrderedFrame};
use super::{ChannelDelivery, TrackedChannel};
use crate::connection::OutboundFrame;

/// How long a missing message may still be on its way. Handlers deliver right behind the append, so this is ample.
const BACKFILL_DELAY: Duration = Duration::from_millis(50);
/// How often a log that does not answer is asked before the hole is given up.
const MAX_READ_ATTEMPTS: u32 = 5;

/// Messages that were sent so shortly before another one may still be on their way behind it, in milliseconds. Longer than
/// the bus takes, and shorter than what a client that has just come would take for old.
const START_LOOKBACK_MS: i64 = 1_000;
/// Most of them that are looked for.
const MAX_START_LOOKBACK_ENTRIES: usize = 32;

/// Passes on what stays missing for longer than a moment, until nothing is missing any more. It begins with offset `missing`.
async fn run_backfill(hub: ChannelDelivery, channel: Channel, mut missing: u64) {
    loop {
        tokio::time::sleep(BACKFILL_DELAY).await;
        let Some(now) = hub.finish_unless_missing(&channel) else { return };
        // What was on its way has arrived; what is missing instead gets a moment of its own.
        missing = if now == missing {
            // Never closed.
            let _turn = hub.shared.backfill_permits.acquire().await;
            let Some(next) = backfill_from_log(&hub, &channel).await else { return };
            next
        } else {
            now
        };
    }
}

/// Sets the start of a channel's order: at the first message that was heard, or at those that it may have overtaken.
async fn run_find_start(hub: ChannelDelivery, channel: Channel) {
    // Never closed.
    let turn = hub.shared.backfill_permits.acquire().await;
    let first = hub.lock_known_channel(&channel).and_then(|state| state.sequence.first_buffered());
    if let Some(first) = first {
        let before = LogRange::Before(Some(Offset(first.saturating_add(1))));
        // A log that fails, within its own deadline, is one reason more to pass on what there is.
        let slice = hub.shared.log.read(&channel, before, MAX_START_LOOKBACK_ENTRIES, limits::MAX_PAGE_BYTES).await;
        hub.deliver_start(&channel, slice.ok());
    }
    let missing = backfill_from_log(&hub, &channel).await;
    drop(turn);
    if let Some(missing) = missing {
        run_backfill(hub, channel, missing).await;
    }
}

/// Passes on what is missing, as far as the log has it. Returns what is missing behind its end; without that, the fill has
/// ended.
async fn backfill_from_log(hub: &ChannelDelivery, channel: &Channel) -> Option<u64> {
    let mut tries = 0;
    let mut answered = true;
    loop {
        let missing = hub.finish_unless_missing(channel)?;
        if tries == MAX_READ_ATTEMPTS {
            return hub.abandon_missing_range(channel, missing, answered);
        }
        let after = LogRange::After(Offset(missing.saturating_sub(1)));
        match hub.shared.log.read(channel, after, limits::MAX_PAGE_ENTRIES, limits::MAX_PAGE_BYTES).await {
            Ok(slice) => {
                answered = true;
                let end = slice.head.offset.0;
                let now = hub.deliver_slice(channel, missing, slice);
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
                tokio::time::sleep(BACKFILL_DELAY * 2_u32.pow(tries)).await;
            }
        }
    }
}

/// The first of the messages that the last one may have overtaken.
fn first_within_lookback(entries: &[LogEntry]) -> Option<Offset> {
    let last = entries.last()?;
    let recent = |entry: &&LogEntry| entry.sent_at.0.saturating_add(START_LOOKBACK_MS) >= last.sent_at.0;
    entries.iter().rev().take_while(recent).last().map(|entry| entry.offset)
}

impl ChannelDelivery {
    /// Has the start of a channel's order looked for, unless that is under way.
    pub(in crate::hub) fn find_start(&self, placement: &Placement, state: &mut TrackedChannel, item: OrderedFrame) {
        if !state.sequence.buffer_until_start(&placement.position, item) {
            // The log takes too long: what has come is passed on as it is.
            let first = state.sequence.first_buffered().unwrap_or(placement.position.offset.0);
            let items = state.sequence.start_at(first);
            self.send_to_audience(&placement.channel, &state.sequence, items);
        } else if !std::mem::replace(&mut state.backfilling, true) {
            self.shared.tasks.spawn(run_find_start(self.clone(), placement.channel.clone()));
        }
    }

    /// Starts to fill a channel's holes, unless that is under way.
    pub(in crate::hub) fn start_backfill(&self, channel: &Channel, state: &mut TrackedChannel, missing: u64) {
        if !std::mem::replace(&mut state.backfilling, true) {
            self.shared.tasks.spawn(run_backfill(self.clone(), channel.clone(), missing));
        }
    }

    /// Passes on a stretch of the log and returns the next offset that is missing, if any.
    fn deliver_slice(&self, channel: &Channel, missing: u64, slice: LogSlice) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        if state.sequence.epoch() != Some(&slice.head.epoch) && state.sequence.epoch().is_some() {
            self.switch_epoch(channel, &mut state, &slice.head);
            return state.sequence.first_missing();
        }
        state.sequence.confirm_epoch();
        if state.sequence.first_missing() != Some(missing) {
            // What was on its way has arrived.
            return state.sequence.first_missing();
        }
        self.shared.metrics.backfilled_ranges.inc();
        let kept_from = slice.entries.first().map_or(slice.first.0, |entry| entry.offset.0);
        if kept_from > missing {
            let items = state.sequence.skip_to(kept_from);
            self.send_to_audience(channel, &state.sequence, items);
        }
        self.deliver_entries(channel, &mut state, slice);
        state.sequence.first_missing()
    }

    /// Starts the order. Without a slice it starts at what was heard.
    fn deliver_start(&self, channel: &Channel, slice: Option<LogSlice>) {
        let Some(mut state) = self.lock_known_channel(channel) else { return };
        let slice = slice.filter(|slice| state.sequence.epoch() == Some(&slice.head.epoch));
        let overtaken = slice.as_ref().and_then(|slice| first_within_lookback(&slice.entries)).map(|offset| offset.0);
        let Some(start) = overtaken.into_iter().chain(state.sequence.first_buffered()).min() else { return };
        let items = state.sequence.start_at(start);
        self.send_to_audience(channel, &state.sequence, items);
        if let Some(mut slice) = slice {
            slice.entries.retain(|entry| entry.offset.0 >= start);
            self.deliver_entries(channel, &mut state, slice);
        }
    }

    /// Takes entries of the log in as if they had arrived.
    fn deliver_entries(&self, channel: &Channel, state: &mut TrackedChannel, slice: LogSlice) {
        for entry in slice.entries {
            let position = Position { epoch: slice.head.epoch.clone(), offset: entry.offset };
            let text = MessageFrame::from_entry(&channel.name, &position.epoch, &entry).encode();
            let placement = Arc::new(Placement { channel: channel.clone(), position: position.clone() });
            let item = OrderedFrame {
                priority: Priority::for_channel(&channel.name),
                frame: OutboundFrame { text: text.into(), placement: Some(placement) },
            };
            if let AcceptOutcome::Deliver(items) = state.sequence.accept_frame(&position, item) {
                self.send_to_audience(channel, &state.sequence, items);
            }
        }
    }

    /// Ends the fill, unless something is missing: then this is the first offset. The next hole starts another fill.
    fn finish_unless_missing(&self, channel: &Channel) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        let missing = state.sequence.first_missing();
        state.backfilling = missing.is_some();
        missing
    }

    /// Passes on what waits behind a hole that could not be filled, and returns what else is missing, as
    /// [`ChannelDelivery::finish_unless_missing`] does. Among other pods a log that did not answer is asked again when the ends are compared next.
    fn abandon_missing_range(&self, channel: &Channel, missing: u64, answered: bool) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        let for_good = answered || self.peer_router().is_none();
        let given_up = state.sequence.first_missing().filter(|now| for_good && *now == missing);
        if let Some(first) = given_up.and_then(|_| state.sequence.first_buffered()) {
            let messages = first.saturating_sub(missing);
            tracing::warn!(messages, "the log has no trace of messages that were left out");
            let items = state.sequence.skip_to(first);
            self.send_to_audience(channel, &state.sequence, items);
        }
        let next = state.sequence.first_missing().filter(|next| *next != missing);
        state.backfilling = next.is_some();
        next
    }
}

#[cfg(test)]
mod tests;

//! Backfill of missing ranges from the log, and search for the start offset of a channel.
//!
//! A range is missing when a handler has appended a message but not delivered it. Usually the delivery follows shortly,
//! so the backfill waits for [`BACKFILL_DELAY`]. If the handler was cancelled or its process died, the message is read
//! from the log.
//!
//! The first message of a channel that reaches this process may have overtaken an earlier one, of another pod or of another
//! handler, without leaving a missing range. Readers without a position would receive the two in the wrong order, or drop
//! the earlier one as a duplicate. Therefore the log is read for messages sent shortly before the first one.
//!
//! A channel with missing offsets has exactly one backfill task. The task decides to end or to skip a range, and does
//! so, within one acquisition of the channel's lock. A range that becomes missing concurrently is therefore never
//! skipped in place of one that the log could not supply.

use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{EncodeFrame, MessageFrame};
use handlers::limits;
use handlers::ports::{LogEntry, LogRange, LogSlice, Placement, Priority};

use super::channel_order::{AcceptOutcome, OrderedFrame};
use super::{ChannelDelivery, TrackedChannel};
use crate::connection::OutboundFrame;

/// Time that a missing message may still be in flight. Handlers deliver immediately after the append.
const BACKFILL_DELAY: Duration = Duration::from_millis(50);
/// Number of reads without progress after which a missing range is skipped.
const MAX_READ_ATTEMPTS: u32 = 5;

/// Messages sent within this time before the first message, in milliseconds, may still be in flight. Longer than the
/// latency of the bus, and short enough that a new client does not receive old messages.
const START_LOOKBACK_MS: i64 = 1_000;
/// Maximum number of messages read in the search for the start offset.
const MAX_START_LOOKBACK_ENTRIES: usize = 32;

/// Delivers missing messages from the log until none is missing, waiting [`BACKFILL_DELAY`] before each read. `missing`
/// is the first missing offset.
async fn run_backfill(hub: ChannelDelivery, channel: Channel, mut missing: u64) {
    loop {
        tokio::time::sleep(BACKFILL_DELAY).await;
        let Some(first_missing) = hub.finish_unless_missing(&channel) else { return };
        missing = if first_missing == missing {
            // The semaphore is never closed.
            let _permit = hub.shared.backfill_permits.acquire().await;
            let Some(next) = backfill_from_log(&hub, &channel).await else { return };
            next
        } else {
            // The missing message has arrived. Another offset is missing, whose message may still be in flight.
            first_missing
        };
    }
}

/// Sets the start offset of a channel's order: the first message that arrived, or an earlier one that it may have
/// overtaken.
async fn run_find_start(hub: ChannelDelivery, channel: Channel) {
    // The semaphore is never closed.
    let permit = hub.shared.backfill_permits.acquire().await;
    let first = hub.lock_known_channel(&channel).and_then(|state| state.order.first_buffered());
    if let Some(first) = first {
        let before = LogRange::Before(Some(Offset(first.saturating_add(1))));
        // If the log is unavailable, the order starts at the first message that arrived.
        let slice = hub.shared.log.read(&channel, before, MAX_START_LOOKBACK_ENTRIES, limits::MAX_PAGE_BYTES).await;
        hub.deliver_start(&channel, slice.ok());
    }
    let missing = backfill_from_log(&hub, &channel).await;
    drop(permit);
    if let Some(missing) = missing {
        run_backfill(hub, channel, missing).await;
    }
}

/// Delivers missing messages as far as the log has them. Returns the first missing offset after the head that was read,
/// or `None` if the backfill has ended.
async fn backfill_from_log(hub: &ChannelDelivery, channel: &Channel) -> Option<u64> {
    let mut attempts = 0;
    let mut log_available = true;
    loop {
        let missing = hub.finish_unless_missing(channel)?;
        if attempts == MAX_READ_ATTEMPTS {
            return hub.abandon_missing_range(channel, missing, log_available);
        }
        let after = LogRange::After(Offset(missing.saturating_sub(1)));
        match hub.shared.log.read(channel, after, limits::MAX_PAGE_ENTRIES, limits::MAX_PAGE_BYTES).await {
            Ok(slice) => {
                log_available = true;
                let head = slice.head.offset.0;
                let next_missing = hub.deliver_slice(channel, missing, slice);
                match next_missing.filter(|next| *next != missing) {
                    Some(next) if next > head => return Some(next),
                    Some(_) => attempts = 0,
                    None => attempts += 1,
                }
            }
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "backfill read from the message log failed");
                log_available = false;
                attempts += 1;
                tokio::time::sleep(BACKFILL_DELAY * 2_u32.pow(attempts)).await;
            }
        }
    }
}

/// Returns the offset of the first entry sent within [`START_LOOKBACK_MS`] before the last one.
fn first_within_lookback(entries: &[LogEntry]) -> Option<Offset> {
    let last = entries.last()?;
    let is_recent = |entry: &&LogEntry| entry.sent_at.0.saturating_add(START_LOOKBACK_MS) >= last.sent_at.0;
    entries.iter().rev().take_while(is_recent).last().map(|entry| entry.offset)
}

impl ChannelDelivery {
    /// Buffers a frame and starts the search for the start offset of its channel, unless one is running.
    pub(in crate::hub) fn find_start(&self, placement: &Placement, state: &mut TrackedChannel, frame: OrderedFrame) {
        if !state.order.buffer_until_start(&placement.position, frame) {
            // The buffer is full before the log has answered: the order starts at the first buffered message.
            let first = state.order.first_buffered().unwrap_or(placement.position.offset.0);
            let frames = state.order.start_at(first);
            self.send_to_audience(&placement.channel, &state.order, frames);
        } else if !std::mem::replace(&mut state.backfilling, true) {
            self.shared.tasks.spawn(run_find_start(self.clone(), placement.channel.clone()));
        }
    }

    /// Starts the backfill of a channel, unless one is running.
    pub(in crate::hub) fn start_backfill(&self, channel: &Channel, state: &mut TrackedChannel, missing: u64) {
        if !std::mem::replace(&mut state.backfilling, true) {
            self.shared.tasks.spawn(run_backfill(self.clone(), channel.clone(), missing));
        }
    }

    /// Delivers a slice of the log and returns the next missing offset, if any.
    fn deliver_slice(&self, channel: &Channel, missing: u64, slice: LogSlice) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        if state.order.epoch() != Some(&slice.head.epoch) && state.order.epoch().is_some() {
            self.switch_epoch(channel, &mut state, &slice.head);
            return state.order.first_missing();
        }
        state.order.confirm_epoch();
        if state.order.first_missing() != Some(missing) {
            // The missing message has arrived.
            return state.order.first_missing();
        }
        self.shared.metrics.backfilled_ranges.inc();
        let first_retained = slice.entries.first().map_or(slice.first.0, |entry| entry.offset.0);
        if first_retained > missing {
            let frames = state.order.skip_to(first_retained);
            self.send_to_audience(channel, &state.order, frames);
        }
        self.deliver_entries(channel, &mut state, slice);
        state.order.first_missing()
    }

    /// Starts the order of a channel at the first message that may have been overtaken, or without a slice at the first
    /// buffered message.
    fn deliver_start(&self, channel: &Channel, slice: Option<LogSlice>) {
        let Some(mut state) = self.lock_known_channel(channel) else { return };
        let slice = slice.filter(|slice| state.order.epoch() == Some(&slice.head.epoch));
        let overtaken = slice.as_ref().and_then(|slice| first_within_lookback(&slice.entries)).map(|offset| offset.0);
        let Some(start) = overtaken.into_iter().chain(state.order.first_buffered()).min() else { return };
        let frames = state.order.start_at(start);
        self.send_to_audience(channel, &state.order, frames);
        if let Some(mut slice) = slice {
            slice.entries.retain(|entry| entry.offset.0 >= start);
            self.deliver_entries(channel, &mut state, slice);
        }
    }

    /// Delivers entries of the log like messages that arrived.
    fn deliver_entries(&self, channel: &Channel, state: &mut TrackedChannel, slice: LogSlice) {
        for entry in slice.entries {
            let position = Position { epoch: slice.head.epoch.clone(), offset: entry.offset };
            let text = MessageFrame::from_entry(&channel.name, &position.epoch, &entry).encode();
            let placement = Arc::new(Placement { channel: channel.clone(), position: position.clone() });
            let frame = OrderedFrame {
                priority: Priority::for_channel(&channel.name),
                frame: OutboundFrame { text: text.into(), placement: Some(placement) },
            };
            if let AcceptOutcome::Deliver(frames) = state.order.accept_frame(&position, frame) {
                self.send_to_audience(channel, &state.order, frames);
            }
        }
    }

    /// Returns the first missing offset. If there is none, marks the backfill as ended, so that the next missing range
    /// starts a new one.
    fn finish_unless_missing(&self, channel: &Channel) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        let missing = state.order.first_missing();
        state.backfilling = missing.is_some();
        missing
    }

    /// Skips the missing range at `missing`, which the log could not supply, and delivers the frames buffered after it.
    /// Returns the next missing offset, as [`ChannelDelivery::finish_unless_missing`] does. In a cluster the range is
    /// skipped only if the log was available; otherwise the next head check starts another backfill.
    fn abandon_missing_range(&self, channel: &Channel, missing: u64, log_available: bool) -> Option<u64> {
        let mut state = self.lock_known_channel(channel)?;
        let may_skip = log_available || self.peer_router().is_none();
        let skipped = state.order.first_missing().filter(|first| may_skip && *first == missing);
        if let Some(first) = skipped.and_then(|_| state.order.first_buffered()) {
            let messages = first.saturating_sub(missing);
            tracing::warn!(messages, "missing range skipped: not in the message log");
            let frames = state.order.skip_to(first);
            self.send_to_audience(channel, &state.order, frames);
        }
        let next = state.order.first_missing().filter(|next| *next != missing);
        state.backfilling = next.is_some();
        next
    }
}

#[cfg(test)]
mod tests;

//! Filling a hole in a channel's order from the log.
//!
//! A hole opens when a handler appended a message and has not delivered it: most often it is about to, so the fill waits a
//! moment; sometimes it never will (it was cancelled, or its process died), and then the log is what is right.

use std::sync::Arc;
use std::time::Duration;

use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{Frame, MessageFrame};
use handlers::limits;
use handlers::ports::{Placement, Priority, Range, Slice};

use super::Hub;
use super::sequence::{Accepted, Item};
use crate::session::outbox::Queued;

/// How long a missing message may still be on its way. Handlers deliver right behind the append, so this is ample.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often a log that does not answer is asked before the hole is given up.
const TRIES: u32 = 5;

/// Waits a moment, then passes on what is still missing from offset `missing` on.
pub async fn fill(hub: Hub, channel: Channel, missing: u64) {
    tokio::time::sleep(PATIENCE).await;
    // Never closed.
    let _turn = hub.shared.fills.acquire().await;
    let mut missing = Some(missing);
    let mut tries = 0;
    let mut answered = true;
    while let Some(offset) = missing.filter(|_| tries < TRIES) {
        let after = Range::After(Offset(offset.saturating_sub(1)));
        match hub.shared.log.read(&channel, after, limits::PAGE_ENTRIES, limits::PAGE_BYTES).await {
            Ok(slice) => {
                answered = true;
                missing = hub.pass_slice(&channel, offset, slice);
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
    hub.end_fill(&channel, answered);
}

impl Hub {
    /// Passes on a stretch of the log and returns the next offset that is missing, if any.
    fn pass_slice(&self, channel: &Channel, missing: u64, slice: Slice) -> Option<u64> {
        let ordered = self.ordered(channel);
        let mut state = ordered.lock();
        if state.sequence.epoch() != Some(&slice.head.epoch) && state.sequence.epoch().is_some() {
            let items = state.sequence.begin_anew(&slice.head);
            self.pass(channel, &state.sequence, items);
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
        state.sequence.missing()
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

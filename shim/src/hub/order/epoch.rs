//! Switch of a channel to another epoch of its log, after the log was lost or a replica that may lack messages took
//! over.
//!
//! Readers receive a `gap` before the first message of the new epoch, at the priority of the messages, and then every
//! message that the `gap` does not cover. Only the log, or a resume that has just read it, decides which epoch is
//! current: a message of another epoch does not, because it may have been published before the loss and arrive late.

use std::sync::Arc;

use gateway::id::GatewayId;
use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{EncodeFrame as _, GapFrame, GapReason};
use handlers::ports::{Placement, Priority, ResumeOutcome};

use super::channel_order::OrderedFrame;
use super::{ChannelDelivery, TrackedChannel};
use crate::connection::OutboundFrame;

impl ChannelDelivery {
    /// Continues in the epoch of `head`, the current head of the log. Sends the buffered messages of the old epoch,
    /// then a `gap` for the messages of the new epoch that are not sent.
    pub(in crate::hub) fn switch_epoch(&self, channel: &Channel, state: &mut TrackedChannel, head: &Position) {
        let (skipped_through, buffered) = state.order.switch_epoch(head);
        self.send_to_audience(channel, &state.order, buffered);
        let (from, to) = (Offset::START.next(), Offset(skipped_through));
        let gap = GapFrame { channel: &channel.name, from, to, epoch: &head.epoch, reason: GapReason::Epoch }.encode();
        // Placed before the messages that follow it, so that an outbox which drops it reports a gap of this epoch.
        let position = Position { epoch: head.epoch.clone(), offset: to };
        let placement = Arc::new(Placement { channel: channel.clone(), position });
        let frame = OutboundFrame { text: gap.into(), placement: Some(placement) };
        let frame = OrderedFrame { priority: Priority::for_channel(&channel.name), frame };
        self.send_to_audience(channel, &state.order, vec![(skipped_through + 1, frame)]);
    }

    /// Resumes delivery to a connection whose resume has sent the log up to `through`. If the resume read another epoch
    /// than the one being delivered, the channel switches to it first.
    pub(in crate::hub) fn resume_in_epoch(
        &self,
        connection: GatewayId,
        channel: &Channel,
        state: &mut TrackedChannel,
        through: &Position,
    ) -> ResumeOutcome {
        let is_other_epoch = state.order.is_other_epoch(&through.epoch);
        if is_other_epoch {
            self.switch_epoch(channel, state, through);
        }
        let outcome = state.order.resume_delivery(connection, through);
        if let Some(missing) = state.order.first_missing().filter(|_| is_other_epoch) {
            self.start_backfill(channel, state, missing);
        }
        outcome
    }
}

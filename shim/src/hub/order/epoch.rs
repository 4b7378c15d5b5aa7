//! A log that is another one than before: it was lost, or a replica took over that may lack messages.
//!
//! Invariant: readers are told with a `gap` before the first message of the new epoch, in the messages' own lane, and get
//! everything of it that the `gap` does not leave out. Which of two epochs is the present one is for the log to say, or for
//! a resume, which has just read it: a message alone proves nothing, because one that was published before the loss may
//! arrive behind it.

use gateway::id::GatewayId;
use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{EncodeFrame as _, GapFrame, GapReason};
use handlers::ports::{Priority, ResumeOutcome};

use super::channel_order::OrderedFrame;
use super::{ChannelDelivery, TrackedChannel};
use crate::connection::OutboundFrame;

impl ChannelDelivery {
    /// Goes on in the epoch of `end`, where the log ends now.
    pub(in crate::hub) fn switch_epoch(&self, channel: &Channel, state: &mut TrackedChannel, end: &Position) {
        let (left_out, waited) = state.sequence.switch_epoch(end);
        self.send_to_audience(channel, &state.sequence, waited);
        let (from, to) = (Offset::START.next(), Offset(left_out));
        let gap = GapFrame { channel: &channel.name, from, to, epoch: &end.epoch, reason: GapReason::Epoch }.encode();
        let queued = OutboundFrame { text: gap.into(), placement: None };
        let item = OrderedFrame { priority: Priority::for_channel(&channel.name), frame: queued };
        self.send_to_audience(channel, &state.sequence, vec![(left_out + 1, item)]);
    }

    /// Releases a connection that was caught up to `through`. The first that is caught up in another epoch is what tells of
    /// it here, when no message has yet.
    pub(in crate::hub) fn resume_in_epoch(
        &self,
        connection: GatewayId,
        channel: &Channel,
        state: &mut TrackedChannel,
        through: &Position,
    ) -> ResumeOutcome {
        let is_foreign = state.sequence.is_other_epoch(&through.epoch);
        if is_foreign {
            self.switch_epoch(channel, state, through);
        }
        let released = state.sequence.resume_delivery(connection, through);
        if let Some(missing) = state.sequence.first_missing().filter(|_| is_foreign) {
            self.start_backfill(channel, state, missing);
        }
        released
    }
}
